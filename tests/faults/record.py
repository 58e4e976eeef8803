"""The folder of a run: what was planned, on which sources, and what has come of it so far, line by line.

A run may be cut at any moment and go on later with `--resume FOLDER`. So that all of it is about the same code, the
sources and the suite itself are copied into the folder at the start, and every part of the run works on that copy.
"""

import hashlib
import json
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tests.faults.processes import ROOT
from tests.faults.run_cell import Report, as_dict

_LINES = "run.jsonl"
_PRODUCT = ("libs", "services", "examples")
_SUITE = ("tests/faults", "tests/kit")
_COUNTS = (".py", ".patch", ".yaml", ".sql", ".json")
"""Ends of the names of files that decide what a run does."""

Line = dict[str, Any]


class Record:
    """One run's folder. What is written is on disk when the call returns, as far as a killed process goes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()

    @property
    def sources(self) -> Path:
        """The copy of product and suite that the run works on."""
        return self.folder / "sources"

    @property
    def plan(self) -> Line:
        """What the run was asked to do. Raises ValueError where the folder holds no run."""
        found = [line for line in self.lines() if line["kind"] == "plan"]
        if not found:
            raise ValueError(f"{self.folder} holds no run of the fault suite")
        return found[0]

    @classmethod
    def begin(cls, folder: Path, plan: Mapping[str, Any]) -> "Record":
        """Copy the sources into a folder that may be new, and note what is to be done with them."""
        folder.mkdir(parents=True, exist_ok=True)
        record = cls(folder)
        copy_sources(record.sources, source=ROOT, suite=True)
        about = {
            "product": digest(record.sources, _PRODUCT),
            "suite": digest(record.sources, _SUITE),
            "commit": _commit(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "system": f"{platform.system()} {platform.machine()}",
        }
        record.write("plan", **plan, **about)
        return record

    def write(self, kind: str, **told: Any) -> None:
        """Add a line, on a line of its own even where the one before was cut."""
        with (self.folder / _LINES).open("a+b") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(end - 1, 0))
            cut = file.read() not in (b"", b"\n")
            line = json.dumps({"kind": kind, "at": time.time(), **told}, ensure_ascii=False)
            file.write(f"{chr(10) if cut else ''}{line}\n".encode())

    def lines(self) -> list[Line]:
        """All lines so far; one that was cut in its middle is left out."""
        found: list[Line] = []
        for text in (self.folder / _LINES).read_text(encoding="utf-8").splitlines():
            try:
                found.append(json.loads(text))
            except ValueError:
                continue  # the process that wrote it was killed
        return found

    def note_report(self, report: Report) -> None:
        """A cell is over."""
        self.write("cell", **as_dict(report))

    def reports(self) -> dict[str, Report]:
        """What came of each cell that is over, by name: the last time that it was run."""
        found: dict[str, Report] = {}
        for line in self.lines():
            if line["kind"] == "again":
                found.pop(line["what"], None)
            elif line["kind"] == "cell":
                fields = {name: value for name, value in line.items() if name in Report.__dataclass_fields__}
                found[line["cell"]] = Report(**fields)
        return found

    def judged(self) -> dict[str, Line]:
        """What came of each planted fault, by name: the last time that it was planted."""
        return {line["mutant"]: line for line in self.lines() if line["kind"] == "mutant"}


def copy_sources(folder: Path, *, source: Path, suite: bool = False) -> Path:
    """The product's sources in a folder, and the suite's where wanted; files keep their times, so byte code fits."""
    leave_out = shutil.ignore_patterns("node_modules", "*.pyi")
    for part in (*_PRODUCT, *(_SUITE if suite else ())):
        shutil.copytree(source / part, folder / part, ignore=leave_out)
    return folder


def digest(folder: Path, parts: Iterable[str]) -> str:
    """Sixteen digits that differ where any file of the parts does."""
    sums = hashlib.sha256()
    for part in parts:
        for file in sorted((folder / part).rglob("*")):
            if file.suffix in _COUNTS:
                sums.update(f"{file.relative_to(folder)}\n".encode() + file.read_bytes() + b"\n")
    return sums.hexdigest()[:16]


def _commit() -> str:
    """The commit of the sources, and whether they were changed since; empty where git does not know."""
    asked = ["git", "-C", str(ROOT)]
    try:
        head = subprocess.run([*asked, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
        parts = [*_PRODUCT, *_SUITE]
        changed = subprocess.run([*asked, "status", "--porcelain", "--", *parts], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return head.stdout.strip() + (" with changes" if changed.stdout else "")
