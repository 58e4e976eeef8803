"""How all tests run: what takes long begins first, and what they write goes to memory where there is enough of it."""

import os
import shutil
import signal
import tempfile
from pathlib import Path

import pytest

_MEMORY = Path("/dev/shm")
_ENOUGH = 4 * 1024**3
"""Bytes free: a whole run with many workers needs a quarter of it."""


@pytest.hookimpl(tryfirst=True)
def pytest_configure() -> None:
    """Make temporary folders in memory, for the tests and the processes they start, unless TMPDIR says where.

    Servers then wait for no disk at each commit; that what is written survives a crash is for the fault suite to say.
    And have processes end by SIGINT.
    """
    if "TMPDIR" not in os.environ and _is_of_use(_MEMORY):
        os.environ["TMPDIR"] = tempfile.tempdir = str(_MEMORY)
    # A run in the background of a script has it ignored, and so would have the processes that tests interrupt.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put slow tests before all others, each group in its own order."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def _is_of_use(folder: Path) -> bool:
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        return False
    runs_programs = not os.statvfs(folder).f_flag & os.ST_NOEXEC
    return runs_programs and shutil.disk_usage(folder).free >= _ENOUGH
