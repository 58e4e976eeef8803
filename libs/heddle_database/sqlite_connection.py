"""Connections to one SQLite file: how they are made, what is demanded of them, and what their errors mean.

They are the driver's own: a small operation took 20 us that took 90 through SQLAlchemy's `exec_driver_sql`
(bench/database.py, `--statements`). Only a change of the schema is lent to SQLAlchemy, for alembic.
"""

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from heddle_core.errors import IllegalTransition, StoreUnavailable
from heddle_database.port import StatementFailed

MEBIBYTE = 1 << 20
MINIMUM_VERSION = (3, 40, 0)

_PAGE = 4_096
_LEAST_LOG_PAGES = 256
"""Of the write-ahead log: it is copied back no sooner, however full the disk is."""


@dataclass(frozen=True)
class SqliteOptions:
    """How a SQLite database is run. The defaults suit the runtime's log."""

    batch_limit: int = 64
    """Most operations in one transaction: so many hold up the event loop in one piece."""
    queue_limit: int = 10_000
    """Most writes, and most reads, that may wait; one more is refused with `Overloaded`."""
    readers: int = 3
    """Reading connections, each with a thread of its own."""
    busy_timeout: timedelta = timedelta(seconds=5)
    """How long to wait for a lock that a foreign process holds, a backup for example."""
    checkpoint_operations: int = 1_000
    """The write-ahead log is copied back into the database after so many operations, beside the event loop."""
    checkpoint_pages: int = 16_000
    """The same within a commit, should the log have grown to so many pages of 4 KiB all the same; or to an eighth of
    what was free on the disk when the database was opened, so that the log alone never fills it."""
    page_limit: int | None = None
    """Most pages of 4 KiB in the database; one more, and the disk counts as full. None is SQLite's own limit."""


class SqliteFile:
    """The file that was opened, to notice when it is taken away: SQLite would go on writing to a removed file."""

    def __init__(self, path: Path) -> None:
        """Create an empty file where there is none, and make its name durable."""
        self.path = path.absolute()
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        self._identity = self._look()

    def check(self) -> None:
        """Raises `StoreUnavailable` while the file is not where it was. Costs one stat call, about 2 us."""
        try:
            present = self._look() == self._identity
        except OSError:
            present = False
        if not present:
            raise StoreUnavailable("the database file was removed or replaced: put it back, or restart")

    def free_pages(self) -> int:
        """How many pages of 4 KiB are free beside it. Raises OSError."""
        return shutil.disk_usage(self.path.parent).free // _PAGE

    def _look(self) -> tuple[int, int]:
        found = os.stat(self.path)  # noqa: PTH116 - half the time of Path.stat, on each commit
        return found.st_dev, found.st_ino


class HeldConnection:
    """One connection that is kept for as long as it is sound, and replaced when it is not.

    It may pass from thread to thread, as long as no two use it at once: its owner sees to that.
    """

    def __init__(self, file: SqliteFile, demands: Mapping[str, int | str]) -> None:
        self._file = file
        self._demands = demands
        self._driver: sqlite3.Connection | None = None

    def driver(self) -> sqlite3.Connection:
        """The driver's connection, in autocommit mode.

        Raises `StoreUnavailable`, and `IllegalTransition` where a setting that is demanded does not hold.
        """
        self._file.check()
        if self._driver is None:
            try:
                self._driver = _connect(self._file, self._demands)
            except sqlite3.Error as error:
                raise meaning(error, "connect", writing=True) from error
        return self._driver

    @property
    def current(self) -> sqlite3.Connection | None:
        """The driver's connection if there is one; none is made."""
        return self._driver

    def drop(self) -> None:
        """Close the connection; the next use makes a new one."""
        held, self._driver = self._driver, None
        if held is not None:
            with contextlib.suppress(sqlite3.Error):
                held.close()


def writing(options: SqliteOptions, free_pages: int) -> Mapping[str, int | str]:
    """The settings of the only writing connection, on a disk on which so many pages are free.

    It does not wait for a foreign process's lock by itself: it is used on the event loop, which must not stand still.
    """
    demands: dict[str, int | str] = {
        **_common(),
        "busy_timeout": 0,
        "journal_mode": "wal",
        "wal_autocheckpoint": min(options.checkpoint_pages, max(free_pages // 8, _LEAST_LOG_PAGES)),
        "journal_size_limit": 64 * MEBIBYTE,
        "secure_delete": 1,  # what is redacted, trimmed or deleted is overwritten, or the file and its copies keep it
    }
    if options.page_limit is not None:
        demands["max_page_count"] = options.page_limit
    return demands


def reading(options: SqliteOptions) -> Mapping[str, int | str]:
    """The settings of connections that cannot write.

    They never run a checkpoint: SQLite before 3.51.3 may damage a write-ahead log that two connections write or
    checkpoint at once (sqlite.org/wal.html#walresetbug).
    """
    return {
        **_common(),
        "busy_timeout": options.busy_timeout // timedelta(milliseconds=1),
        "wal_autocheckpoint": 0,
        "query_only": 1,
    }


def reading_at_once(options: SqliteOptions) -> Mapping[str, int | str]:
    """As `reading`, for the event loop: it waits for nobody's lock."""
    return {**reading(options), "busy_timeout": 0}


def meaning(error: BaseException, sql: str, *, writing: bool) -> StoreUnavailable | StatementFailed:
    """What an error of the driver says: trouble of the store, or a statement that was wrong."""
    code = _primary_code(error)
    if code is None or code not in _TROUBLE or (code == sqlite3.SQLITE_READONLY and not writing):
        return StatementFailed(str(error), sql)
    return StoreUnavailable(_TROUBLE[code])


def unsound(error: BaseException) -> bool:
    """Whether a connection that raised this should be replaced, since what it holds in memory may be wrong."""
    return _primary_code(error) in _UNSOUND


_TROUBLE: Mapping[int, str] = {
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_IOERR: "the disk answered with an I/O error",
    sqlite3.SQLITE_BUSY: "another process holds the database's lock",
    sqlite3.SQLITE_LOCKED: "another connection holds a table's lock",
    sqlite3.SQLITE_PROTOCOL: "the database's lock could not be taken",
    sqlite3.SQLITE_CANTOPEN: "the database file cannot be opened",
    sqlite3.SQLITE_READONLY: "the database file is read-only",
    sqlite3.SQLITE_PERM: "access to the database file is denied",
    sqlite3.SQLITE_NOMEM: "memory is exhausted",
    sqlite3.SQLITE_CORRUPT: "the database file is damaged: restore it from a backup",
    sqlite3.SQLITE_NOTADB: "the database file is no database: restore it from a backup",
}
_UNSOUND = frozenset(
    {
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
    }
)


def _primary_code(error: BaseException) -> int | None:
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF  # the rest is detail: sqlite.org/rescode.html#pve


def busy(error: BaseException) -> bool:
    """Whether a foreign process's lock stood in the way."""
    return _primary_code(error) == sqlite3.SQLITE_BUSY


def _common() -> dict[str, int | str]:
    return {
        "synchronous": 2,  # FULL: the write-ahead log is synced at each commit
        "fullfsync": 1,  # on macOS a plain fsync leaves the data in the disk's cache; no effect elsewhere
        "foreign_keys": 1,
        "temp_store": 2,  # memory
        "cache_size": -16 * 1024,  # negative: KiB
    }


def _connect(file: SqliteFile, demands: Mapping[str, int | str]) -> sqlite3.Connection:
    if sqlite3.sqlite_version_info < MINIMUM_VERSION:
        raise _unfit(file, f"served by SQLite {sqlite3.sqlite_version}", "use SQLite 3.40 or later")
    connection = sqlite3.connect(
        file.path.as_uri() + "?mode=rw",  # a file that was removed must not come back empty
        uri=True,
        isolation_level=None,
        cached_statements=512,
        check_same_thread=False,
    )
    with ExitStack() as undo:
        undo.callback(connection.close)
        for name, wanted in demands.items():
            connection.execute(f"PRAGMA {name} = {wanted}").fetchall()
        for name, wanted in {**demands, "journal_mode": "wal"}.items():
            found = connection.execute(f"PRAGMA {name}").fetchone()[0]
            if found != wanted:
                problem = f"on a disk or with data where {name} is {found} instead of {wanted}"
                raise _unfit(file, problem, "put it on a local disk, and open no older copy beside it")
        undo.pop_all()
    return connection


def _unfit(file: SqliteFile, state: str, remedy: str) -> IllegalTransition:
    return IllegalTransition("database", str(file.path), state, "be opened", remedy)
