"""A transaction on SQLite, for writing and for reading. The only place that speaks to the driver for operations."""

import contextlib
import sqlite3
from collections.abc import Callable, Generator, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from heddle_core.clock import Clock, Micros
from heddle_core.errors import StoreUnavailable
from heddle_database.port import Row, StatementFailed, Transaction
from heddle_database.sqlite_connection import HeldConnection, busy, meaning, unsound

if TYPE_CHECKING:
    from sqlalchemy import Connection

T = TypeVar("T")


class SqliteTransaction:
    """Fulfils `heddle_database.group_commit.OpenTransaction`."""

    __slots__ = ("_driver", "_schema_changes", "_writing", "failure", "now", "unsound")

    def __init__(self, driver: sqlite3.Connection, now: Micros, *, writing: bool) -> None:
        self._driver = driver
        self._schema_changes = 0
        self._writing = writing
        self.now = now
        self.failure: BaseException | None = None
        self.unsound = False

    @property
    def row_lock(self) -> str:
        """Empty: whoever writes is alone."""
        return ""

    @property
    def changes(self) -> int:
        """See `OpenTransaction.changes`."""
        return self._driver.total_changes + self._schema_changes

    def rows(self, sql: str, /, **params: object) -> list[Row]:
        """See `Transaction.rows`."""
        if self.failure is not None:
            raise self.failure
        try:
            return self._driver.execute(sql, params).fetchall()
        except Exception as error:
            raise self.failed(error, sql) from error

    def row(self, sql: str, /, **params: object) -> Row | None:
        """See `Transaction.row`."""
        if self.failure is not None:
            raise self.failure
        try:
            return self._driver.execute(sql, params).fetchone()
        except Exception as error:
            raise self.failed(error, sql) from error

    def run(self, sql: str, /, **params: object) -> int:
        """See `Transaction.run`."""
        if self.failure is not None:
            raise self.failure
        try:
            changed = self._driver.execute(sql, params).rowcount
        except Exception as error:
            raise self.failed(error, sql) from error
        if changed < 0:  # the driver's answer to what is not about rows
            self._schema_changes += 1
        return changed

    def many(self, sql: str, params: Sequence[Mapping[str, object]], /) -> None:
        """See `Transaction.many`."""
        if self.failure is not None:
            raise self.failure
        try:
            self._driver.executemany(sql, params)
        except Exception as error:
            raise self.failed(error, sql) from error

    def failed(self, error: Exception, sql: str) -> StoreUnavailable | StatementFailed:
        """Remember that this transaction is spoiled; returns what to raise."""
        failure = meaning(error, sql, writing=self._writing)
        self.failure = failure
        self.unsound = unsound(error)
        return failure


class SqliteSession:
    """The writing connection, as group commit wants it. Used by the event loop and the writer's thread in turn."""

    def __init__(self, held: HeldConnection, clock: Clock) -> None:
        self._held = held
        self._clock = clock
        self._driver: sqlite3.Connection | None = None
        self._transaction: SqliteTransaction | None = None
        self.blocked = False
        """Whether the last `begin` failed on a foreign process's lock: waiting for it may help."""

    def open(self) -> None:
        """Connect, so that a database that cannot be run is refused at the start. Raises as `SqliteDatabase.open`."""
        self._held.driver()

    @contextlib.contextmanager
    def patience(self, timeout: timedelta) -> Generator[None]:
        """Within this, `begin` waits for a foreign process's lock. Not for the event loop."""
        self._demand_timeout(timeout // timedelta(milliseconds=1))
        try:
            yield
        finally:
            self._demand_timeout(0)

    def _demand_timeout(self, milliseconds: int) -> None:
        if (driver := self._held.current) is not None:
            driver.execute(f"PRAGMA busy_timeout = {milliseconds}").fetchall()

    def begin(self) -> SqliteTransaction:
        """See `Session.begin`."""
        self.blocked = False
        driver = self._held.driver()
        transaction = SqliteTransaction(driver, self._clock.now(), writing=True)
        self._driver, self._transaction = driver, transaction
        try:
            driver.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            self.blocked = busy(error)
            failure = transaction.failed(error, "BEGIN IMMEDIATE")
            self.rollback()
            raise failure from error
        return transaction

    def commit(self) -> None:
        """See `Session.commit`. With synchronous=FULL the write-ahead log is synced when it returns."""
        assert self._driver is not None and self._transaction is not None
        try:
            self._driver.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._transaction.failed(error, "COMMIT") from error

    def rollback(self) -> None:
        """See `Session.rollback`. Some errors have rolled back already (sqlite.org/lang_transaction.html)."""
        assert self._driver is not None and self._transaction is not None
        try:
            if self._driver.in_transaction:
                self._driver.execute("ROLLBACK")
        except sqlite3.Error:
            self._transaction.unsound = True
        if self._transaction.unsound:
            self._held.drop()

    def checkpoint(self) -> None:
        """Copy the write-ahead log into the database, as far as no reader needs it. A failure costs nothing."""
        with contextlib.suppress(sqlite3.Error, StoreUnavailable):
            self._held.driver().execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def alter(self, change: "Callable[[Connection], T]") -> T:
        """See `Database.alter`. The connection is replaced afterwards, since it ran without foreign keys."""
        from heddle_database.sqlite_alteration import altered

        try:
            return altered(self._held.driver(), change)
        finally:
            self._held.drop()

    def close(self) -> None:
        """Empty the write-ahead log into the database, as far as nobody else reads it, and let go of both.

        Where that fails, the log stays beside the database and is read at the next start.
        """
        if (driver := self._held.current) is not None:
            with contextlib.suppress(sqlite3.Error):
                driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        self._held.drop()


class SqliteReader:
    """One reading connection. Belongs to one thread: a reader's, or the event loop's."""

    def __init__(self, held: HeldConnection, clock: Clock) -> None:
        self._held = held
        self._clock = clock

    def read(self, operation: Callable[[Transaction], T]) -> T:
        """Carry out `operation` on the state of this moment. Raises what it raised, or `StoreUnavailable`."""
        driver = self._held.driver()
        transaction = SqliteTransaction(driver, self._clock.now(), writing=False)
        try:
            transaction.run("BEGIN")
            result = operation(transaction)
            if transaction.failure is not None:
                raise transaction.failure
            return result
        finally:
            self._end(driver, transaction)

    def close(self) -> None:
        """Let go of the connection."""
        self._held.drop()

    def _end(self, driver: sqlite3.Connection, transaction: SqliteTransaction) -> None:
        try:
            if driver.in_transaction:
                driver.execute("ROLLBACK")
        except sqlite3.Error:
            transaction.unsound = True
        if transaction.unsound:
            self._held.drop()
