"""P1 against power loss: what an acknowledged turn has written was synced before the answer left the process."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.faults.checker.evidence import Evidence, Line, Violation

_LINE = re.compile(r"^(\d+) +(?:<\.\.\. (\w+) resumed>|(\w+)\()(.*)$")
_WRITES = ("pwrite64", "pwritev", "write", "writev")
_SYNCS = ("fdatasync", "fsync")
_SENDS = ("sendmsg", "sendto", "write", "writev")


@dataclass(frozen=True)
class _Step:
    """A line of the trace: a call that begins here, ends here, or both."""

    process: str
    call: str
    rest: str
    begins: bool
    ends: bool


def p1_synced(evidence: Evidence) -> Iterator[Violation]:
    """Between the write of a turn to the database's log and its acknowledgement lies a whole sync of that log."""
    for line in evidence.supervisor:
        if line["kind"] == "traced":
            yield from _check_trace(line, list(_steps(Path(line["file"]))))


def _check_trace(line: Line, steps: list[_Step]) -> Iterator[Violation]:
    if not line["runs"]:
        yield Violation("P1", "a trace in which no turn was acknowledged")
    for run_id in line["runs"]:
        sent = _first_answer(steps, run_id, line["port"])
        if sent is None:
            yield Violation("P1", f"the trace does not show the answer about {run_id}")
            continue
        written = [
            place
            for place, step in enumerate(steps[:sent])
            if step.call in _WRITES and line["log"] in step.rest.partition(">")[0] and run_id in step.rest
        ]
        if not written:
            yield Violation("P1", f"{run_id} was acknowledged before it was written to the log")
        elif not _synced(steps[written[0] + 1 : sent], line["log"]):
            yield Violation("P1", f"{run_id} was acknowledged before the log was synced")


def _first_answer(steps: list[_Step], run_id: str, port: int) -> int | None:
    """Where the runtime begins to send, from the port it listens on, something that names the run."""
    for place, step in enumerate(steps):
        socket = step.rest.partition(">]")[0]
        if step.begins and step.call in _SENDS and f":{port}->" in socket and run_id in step.rest:
            return place
    return None


def _synced(steps: list[_Step], log: str) -> bool:
    """Whether a sync of the log begins and ends here."""
    begun: set[str] = set()
    for step in steps:
        if step.call not in _SYNCS:
            continue
        if step.begins and log in step.rest:
            begun.add(step.process)
        if step.ends and step.process in begun and "= 0" in step.rest:
            return True
    return False


def _steps(file: Path) -> Iterator[_Step]:
    with file.open(errors="replace") as lines:
        for text in lines:
            found = _LINE.match(text)
            if found:
                process, resumed, called, rest = found.groups()
                unfinished = rest.endswith("<unfinished ...>")
                yield _Step(process, resumed or called, rest, begins=called is not None, ends=not unfinished)
