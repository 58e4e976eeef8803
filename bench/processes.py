"""Children of a measurement: started, asked where they serve, weighed, and stopped, by their own ids alone."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BENCH = ROOT / "bench"
PYTHON = sys.executable
TICKS = os.sysconf("SC_CLK_TCK")


class Failed(Exception):
    """A child did not do what it was started for."""


def environment(*, tree: Path = ROOT, **more: str) -> dict[str, str]:
    """This process's environment with the source roots on Python's path, and no settings of Heddle's but `more`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HEDDLE_")}
    kept.pop("PYTHONDONTWRITEBYTECODE", None)  # or each start would compile everything anew
    return {**kept, "PYTHONPATH": f"{tree / 'libs'}:{tree / 'services'}", **more}


def use_sources() -> None:
    """Let this process import Heddle, whether it is installed or not."""
    for root in ("services", "libs"):
        if str(ROOT / root) not in sys.path:
            sys.path.insert(0, str(ROOT / root))


@dataclass(frozen=True)
class Child:
    """A process that serves."""

    process: "subprocess.Popen[str]"
    said: dict[str, Any]
    """Its first line of JSON."""
    began: float
    """When it was started, of perf_counter."""

    @property
    def pid(self) -> int:
        return self.process.pid


@contextmanager
def serving(command: Sequence[str], log: Path, env: Mapping[str, str], patience: float = 30) -> Generator[Child]:
    """A child that prints one line of JSON when it serves, until the block is left; its stderr goes to `log`."""
    began = time.perf_counter()
    with log.open("w") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=dict(env))
    guard = threading.Timer(patience, process.kill)
    guard.start()
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        guard.cancel()
        if not line.startswith("{"):
            process.kill()
            process.wait()
            raise Failed(f"{' '.join(command)} said {line!r} instead of where it serves:\n{log.read_text()[-2000:]}")
        yield Child(process, json.loads(line), began)
    finally:
        guard.cancel()
        _stop(process)


def figures(command: Sequence[str], patience: float) -> dict[str, Any]:
    """What a child prints as one line of JSON before it ends."""
    done = subprocess.run(command, capture_output=True, check=False, text=True, timeout=patience, env=environment())
    if done.returncode:
        raise Failed(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def family(pid: int) -> list[int]:
    """A process and all its descendants."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int(_stat(int(entry.name))[1])
            except OSError:
                continue
    found = [pid]
    for each in found:
        found.extend(child for child, parent in parents.items() if parent == each)
    return found


def processor_seconds(pid: int) -> float:
    """What a process has taken of the processors, its threads together."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / TICKS


def memory(pid: int) -> dict[str, float]:
    """MiB of a process: resident, proportional (what it shares is split among the sharers), and its own alone."""
    kib = {"Rss": 0, "Pss": 0, "Private_Clean": 0, "Private_Dirty": 0}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name in kib:
            kib[name] = int(rest.split()[0])
    own = kib["Private_Clean"] + kib["Private_Dirty"]
    return {"rss_mib": kib["Rss"] / 1024, "pss_mib": kib["Pss"] / 1024, "own_mib": own / 1024}


def name_of(pid: int) -> str:
    """The command of a process, shortened."""
    words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    return " ".join(Path(word).name if word.startswith("/") else word for word in words if word)[:60]


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    import platform
    import sqlite3
    from importlib.metadata import version

    info = Path("/proc/cpuinfo").read_text()
    model = next((line.split(":")[1].strip() for line in info.splitlines() if line.startswith("model name")), "unknown")
    meminfo = Path("/proc/meminfo").read_text().split()
    packages = ("grpcio", "protobuf", "protovalidate", "sqlalchemy", "uvloop", "nats-py")
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "memory_gib": round(int(meminfo[1]) / 1024**2, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "packages": {name: _version(version, name) for name in packages},
        "commit": _commit(),
        "load": os.getloadavg(),
        "stolen": _stolen(),
    }


def _version(version: Any, name: str) -> str:
    from importlib.metadata import PackageNotFoundError

    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


def _commit() -> str:
    done = subprocess.run(
        ["git", "-C", str(ROOT), "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"


def _stolen() -> float:
    """Part of the processors' time since the start that somebody else's machine had."""
    times = [int(each) for each in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    return round(times[7] / sum(times), 3)


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat behind the command's name, which may hold anything."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _stop(process: "subprocess.Popen[str]") -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stdout is not None:
        process.stdout.close()
