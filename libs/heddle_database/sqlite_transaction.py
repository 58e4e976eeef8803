"""A transaction on SQLite, for writing and for reading. The only place that speaks to the driver for operations."""

import contextlib
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from heddle_core.clock import Clock, Micros
from heddle_core.errors import StoreUnavailable
from heddle_database.port import Row, StatementFailed, Transaction
from heddle_database.sqlite_connection import HeldConnection, meaning, unsound

T = TypeVar("T")


class SqliteTransaction:
    """Fulfils `heddle_database.group_commit.OpenTransaction`."""

    __slots__ = ("_driver", "_writing", "failure", "now", "unsound")

    def __init__(self, driver: sqlite3.Connection, now: Micros, *, writing: bool) -> None:
        self._driver = driver
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
        """Rows changed on this connection so far."""
        return self._driver.total_changes

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
            return self._driver.execute(sql, params).rowcount
        except Exception as error:
            raise self.failed(error, sql) from error

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
    """The writing connection, as group commit wants it. Belongs to the writer's thread."""

    def __init__(self, held: HeldConnection, clock: Clock) -> None:
        self._held = held
        self._clock = clock
        self._driver: sqlite3.Connection | None = None
        self._transaction: SqliteTransaction | None = None

    def open(self) -> None:
        """Connect, so that a database that cannot be run is refused at the start. Raises as `SqliteDatabase.open`."""
        self._held.driver()

    def begin(self) -> SqliteTransaction:
        """See `Session.begin`."""
        driver = self._held.driver()
        transaction = SqliteTransaction(driver, self._clock.now(), writing=True)
        try:
            driver.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            self._driver, self._transaction = driver, transaction
            failure = transaction.failed(error, "BEGIN IMMEDIATE")
            self.rollback()
            raise failure from error
        self._driver, self._transaction = driver, transaction
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

    def alter(self, change: Callable[[Connection], T]) -> T:
        """See `Database.alter`. The connection is replaced afterwards, since it ran without foreign keys."""
        driver = self._held.driver()
        connection = self._held.connection()
        try:
            driver.execute("PRAGMA foreign_keys = 0")
            with connection.begin():
                result = change(connection)
                broken = driver.execute("PRAGMA foreign_key_check").fetchone()
                if broken is not None:
                    raise StatementFailed(f"a foreign key of table {broken[0]} is broken", "change of schema")
            return result
        except DBAPIError as error:
            raise meaning(error.orig or error, error.statement or "change of schema", writing=True) from error
        except sqlite3.Error as error:
            raise meaning(error, "change of schema", writing=True) from error
        finally:
            self._held.drop()

    def close(self) -> None:
        """Empty the write-ahead log into the database, as far as nobody else reads it, and let go of both.

        Where that fails, the log stays beside the database and is read at the next start.
        """
        if (driver := self._held.current) is not None:
            with contextlib.suppress(sqlite3.Error):
                driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        self._held.close()


class SqliteReader:
    """One reading connection. Belongs to one reader's thread."""

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
        self._held.close()

    def _end(self, driver: sqlite3.Connection, transaction: SqliteTransaction) -> None:
        try:
            if driver.in_transaction:
                driver.execute("ROLLBACK")
        except sqlite3.Error:
            transaction.unsound = True
        if transaction.unsound:
            self._held.drop()
