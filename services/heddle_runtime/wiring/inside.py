"""Where the parts of one process reach each other: a socket in a folder of its own, closed to everybody else.

Not in the data folder: its path may be too long for a socket, and it may lie on a file system that has none. So it is
among temporary files, where whoever is killed leaves it; the next start removes what is left. A lock on the folder,
which the kernel lets go of with the process, tells those in use; programs that tidy up temporary files heed it, too.
"""

import fcntl
import os
import stat
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from heddle_core.errors import CannotServe

_PREFIX = "heddle-inside-"
_SOCKET = "inside"
_WHAT = "the socket between the services of this process"
_LONGEST = 103 if sys.platform == "darwin" else 107
"""Bytes that the path of a socket may have: `sun_path`, without the zero behind it."""


@contextmanager
def inside_socket(parent: Path | None = None) -> Generator[str]:
    """The address for a socket that only this user can reach, below `parent` or where temporary files are.

    Removes what processes of this user have left there that were killed. Raises CannotServe where no folder can be
    made, and where its path is too long for a socket.
    """
    try:
        parent = parent or Path(tempfile.gettempdir())
        _remove_left(parent)
        folder, lock = _made(parent)
    except OSError as error:
        place = f" in {parent}" if parent else ""
        problem = f"no folder can be made for it{place}: {error.strerror}"
        raise CannotServe(_WHAT, problem, "set TMPDIR to a folder that this user may write to") from error
    try:
        socket = folder / _SOCKET
        if (length := len(os.fsencode(socket))) > _LONGEST:
            problem = f"{socket} has {length} bytes, and a socket's path at most {_LONGEST}"
            raise CannotServe(_WHAT, problem, "set TMPDIR to a shorter path, as /tmp")
        yield f"unix:{socket}"
    finally:
        _remove(folder)
        os.close(lock)


def _made(parent: Path) -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        lock = _locked(folder)
        if lock is not None:
            return folder, lock


def _remove_left(parent: Path) -> None:
    try:
        found = [Path(each.path) for each in os.scandir(parent) if each.name.startswith(_PREFIX)]
    except OSError:
        return
    for folder in found:
        lock = _locked(folder)
        if lock is not None:
            _remove(folder)
            os.close(lock)


def _locked(folder: Path) -> int | None:
    """A descriptor that locks a folder of ours; None: it is not ours, somebody has it, or it is gone."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        held, there = os.fstat(descriptor), folder.stat(follow_symlinks=False)
        # Between the two steps another start may have removed it, since nobody had the lock.
        if (held.st_dev, held.st_ino) == (there.st_dev, there.st_ino) and _is_private(held):
            return descriptor
    except OSError:
        pass
    os.close(descriptor)
    return None


def _is_private(folder: os.stat_result) -> bool:
    return folder.st_uid == os.getuid() and stat.S_IMODE(folder.st_mode) == 0o700


def _remove(folder: Path) -> None:
    """Remove the socket and the folder; anything else in there stays, and the folder with it."""
    try:
        (folder / _SOCKET).unlink(missing_ok=True)
        folder.rmdir()
    except OSError:
        return
