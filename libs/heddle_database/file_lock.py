"""One process per database file: two writers would each believe that they own the log."""

import fcntl
import os
from pathlib import Path

from heddle_core.errors import IllegalTransition


class FileLock:
    """An exclusive lock on a file beside the database. The kernel lets go of it when the process ends, however it ends.

    The lock is never on the database file itself: closing any descriptor of that file would drop SQLite's own locks.
    """

    def __init__(self, database: Path) -> None:
        """Take the lock for `database`. Raises `IllegalTransition` naming the file and the holder, at once."""
        path = database.with_name(database.name + ".lock")
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._descriptor)
            raise IllegalTransition(
                "database",
                str(database),
                f"in use by process {holder}",
                "be opened a second time",
                "stop that process, or give this one a folder of its own",
            ) from None
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let go. The file stays: removing it would let two processes lock two files of one name."""
        os.close(self._descriptor)
