"""Reads a SQLite database from another process than the one that serves it, while that goes on: for maintenance.

A connection that is opened read-only runs no checkpoint and writes no page, and in WAL mode its snapshot keeps no
writer waiting. What it costs the server is room: while a long read lasts, the write-ahead log cannot begin anew.

Never in the process that serves: closing any descriptor of the file would drop the locks that SQLite holds on it there.
"""

import sqlite3
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import TypeVar

from heddle_core.clock import Clock
from heddle_core.errors import IllegalTransition
from heddle_database.port import Transaction
from heddle_database.sqlite_connection import meaning
from heddle_database.sqlite_transaction import SqliteTransaction

T = TypeVar("T")

MAGIC = b"SQLite format 3\0"
"""With which every SQLite database begins."""

_PAGES = 4_096
_PATIENCE = 30.0
"""Seconds to wait for a lock: recovery after a crash holds one, and a checkpoint for a moment."""


class SqliteReading:
    """A database file that is only read. Made by `reading`."""

    def __init__(self, driver: sqlite3.Connection, clock: Clock) -> None:
        self._driver = driver
        self._clock = clock

    async def read(self, operation: Callable[[Transaction], T]) -> T:
        """See `Database.read`. It keeps this process busy until it is done."""
        transaction = SqliteTransaction(self._driver, self._clock.now(), writing=False)
        transaction.run("BEGIN")
        try:
            result = operation(transaction)
            if transaction.failure is not None:
                raise transaction.failure
            return result
        finally:
            if self._driver.in_transaction:
                self._driver.execute("ROLLBACK")

    def copy(self, path: Path, progress: Callable[[int, int], None]) -> None:
        """Copy the database as it is at this moment to the file at `path`, which nobody else knows yet.

        `progress` is told how many of how many pages are copied.
        """
        self._driver.execute("BEGIN")  # one snapshot: without it, each write of the server's would begin the copy anew
        try:
            self._driver.execute("SELECT 1 FROM sqlite_master").fetchone()
            with closing(sqlite3.connect(path)) as target:
                self._driver.backup(
                    target, pages=_PAGES, progress=lambda _status, left, of: progress(of - left, of), sleep=0
                )
                target.execute("PRAGMA journal_mode = delete").fetchall()  # one file, without a log beside it
        except sqlite3.Error as error:
            raise meaning(error, "backup", writing=True) from error
        finally:
            self._driver.execute("ROLLBACK")


@asynccontextmanager
async def reading(path: Path, clock: Clock) -> AsyncGenerator[SqliteReading]:
    """Open the database file at `path` for reading, whether a process serves it or not.

    Raises:
        IllegalTransition: there is no such file.
        StoreUnavailable: it cannot be read.
    """
    driver = _connect(path)
    try:
        yield SqliteReading(driver, clock)
    finally:
        driver.close()


def _connect(path: Path) -> sqlite3.Connection:
    if not path.is_file():
        raise IllegalTransition("database", str(path), "missing", "be read", "name the folder that `heddle up` uses")
    uri = f"{path.absolute().as_uri()}?mode=ro"
    try:
        return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=_PATIENCE)
    except sqlite3.Error as error:
        raise meaning(error, "connect", writing=False) from error
