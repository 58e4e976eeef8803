"""A transaction on PostgreSQL, for writing and for reading. The only place that speaks to the driver for operations.

Operations are synchronous functions. They run in a greenlet on the event loop: where one waits for the server, the loop
goes on with other work, and no thread fights for the interpreter's lock. SQLAlchemy brings the two ends of that bridge.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

from sqlalchemy.util import await_only

from heddle_core.clock import Clock, Micros
from heddle_core.errors import StoreUnavailable
from heddle_database.port import Row, StatementFailed, Transaction
from heddle_database.postgres_connection import (
    CommitUnknown,
    PostgresLink,
    meaning,
    refused_at_commit,
    unsound,
)
from heddle_database.postgres_driver import PostgresDriver
from heddle_database.postgres_statements import Statement, changed_rows, translated

T = TypeVar("T")

_NOW = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"


class PostgresTransaction:
    """Fulfils `heddle_database.group_commit.OpenTransaction`, inside a greenlet of the loop that has the connection."""

    __slots__ = ("_clock", "_driver", "_now", "_writing", "changes", "failure", "unsound")

    def __init__(self, driver: PostgresDriver, clock: Clock | None, *, writing: bool) -> None:
        self._driver = driver
        self._clock = clock
        self._writing = writing
        self._now: Micros | None = None
        self.changes = 0
        self.failure: BaseException | None = None
        self.unsound = False

    @property
    def now(self) -> Micros:
        """See `Transaction.now`. Read when it is first asked for: most reads never do."""
        if self._now is None:
            self._now = Micros(self.rows(_NOW)[0][0]) if self._clock is None else self._clock.now()
        return self._now

    @property
    def row_lock(self) -> str:
        """See `Transaction.row_lock`. A reader has nobody to keep away: its snapshot stays as it is."""
        return " FOR UPDATE" if self._writing else ""

    def rows(self, sql: str, /, **params: object) -> list[Row]:
        """See `Transaction.rows`."""
        statement, arguments = self._prepared(sql, params)
        found = self._wait(self._driver.fetch(statement.text, *arguments), sql)
        if statement.returning:
            self.changes += len(found)
        return [tuple(record) for record in found]

    def row(self, sql: str, /, **params: object) -> Row | None:
        """See `Transaction.row`."""
        found = self.rows(sql, **params)
        return found[0] if found else None

    def run(self, sql: str, /, **params: object) -> int:
        """See `Transaction.run`."""
        statement, arguments = self._prepared(sql, params)
        changed = changed_rows(self._wait(self._driver.execute(statement.text, *arguments), sql))
        self.changes += changed
        return changed

    def many(self, sql: str, params: Sequence[Mapping[str, object]], /) -> None:
        """See `Transaction.many`."""
        if not params:
            return
        statement, first = self._prepared(sql, params[0])
        arguments = [first, *(statement.arguments(each) for each in params[1:])]
        self._wait(self._driver.executemany(statement.text, arguments), sql)
        self.changes += len(params)

    def begin(self, sql: str) -> None:
        """Begin it on the server. Raises as statements do."""
        self._wait(self._driver.execute(sql), "BEGIN")

    def failed(self, error: BaseException, sql: str) -> Exception:
        """Remember that this transaction is spoiled; returns what to raise."""
        failure = meaning(error, sql, writing=self._writing, connected=not self._driver.is_closed())
        self.failure = failure
        self.unsound = unsound(error) or unsound(failure)
        return failure

    def _prepared(self, sql: str, params: Mapping[str, object]) -> tuple[Statement, list[object]]:
        if self.failure is not None:
            raise self.failure
        try:
            statement = translated(sql)
            return statement, statement.arguments(params)
        except StatementFailed as failure:
            self.failure = failure
            raise

    def _wait(self, answer: Awaitable[T], sql: str) -> T:
        try:
            return await_only(answer)
        except Exception as error:
            raise self.failed(error, sql) from error


class CommitOrder:
    """Has commits of several connections be told in the order in which they happened.

    A transaction that builds on another's rows had to wait for its commit, so its own COMMIT is sent later. So it is
    enough to tell of them in the order in which they were sent, though their answers may come in any.
    """

    def __init__(self) -> None:
        self._last: asyncio.Future[None] | None = None

    def join(self) -> "tuple[asyncio.Future[None] | None, asyncio.Future[None]]":
        """To be called before COMMIT is sent: what has to be told before, and what to resolve when it is told."""
        before = self._last
        self._last = asyncio.get_running_loop().create_future()
        return before, self._last


class PostgresSession:
    """One writing connection, as group commit wants it. Its methods run in a greenlet."""

    def __init__(self, link: PostgresLink, clock: Clock | None, order: CommitOrder) -> None:
        self._link = link
        self._clock = clock
        self._order = order
        self._telling: asyncio.Future[None] | None = None
        self._driver: PostgresDriver | None = None
        self._transaction: PostgresTransaction | None = None

    def begin(self) -> PostgresTransaction:
        """See `Session.begin`."""
        self.told()
        self._driver, self._transaction = begun(self._link, self._clock, self._link.begin_writing, writing=True)
        return self._transaction

    def commit(self) -> None:
        """See `Session.commit`. Raises `CommitUnknown` when the answer is missing.

        Returns when all that was committed before has been told; so `told` has to be called once this was.
        """
        assert self._driver is not None and self._transaction is not None
        before, self._telling = self._order.join()
        try:
            self._commit()
        finally:
            if before is not None and not before.done():
                await_only(asyncio.wait([before]))

    def told(self) -> None:
        """What was committed last has been told to whoever waits for it."""
        if self._telling is not None:
            self._telling.set_result(None)
            self._telling = None

    def rollback(self) -> None:
        """See `Session.rollback`."""
        assert self._driver is not None and self._transaction is not None
        end(self._link, self._driver, self._transaction)

    def _commit(self) -> None:
        assert self._driver is not None and self._transaction is not None
        try:
            status = await_only(self._driver.execute("COMMIT"))
        except Exception as error:
            if refused_at_commit(error):
                raise self._transaction.failed(error, "COMMIT") from error
            self._transaction.unsound = True
            raise CommitUnknown(str(error)) from error
        if status != "COMMIT":
            raise StoreUnavailable("PostgreSQL rolled the transaction back")


class PostgresReader:
    """One reading connection. Its methods run in a greenlet."""

    def __init__(self, link: PostgresLink, clock: Clock | None) -> None:
        self._link = link
        self._clock = clock

    def read(
        self, operation: Callable[[Transaction], T], answer: Callable[[T | None, BaseException | None], None]
    ) -> None:
        """Carry out `operation` on the state of its first statement, and give `answer` its result or its failure.

        The answer is given before the server is told of the end, which changes nothing any more.
        """
        try:
            driver, transaction = begun(self._link, self._clock, self._link.begin_reading, writing=False)
        except Exception as failure:
            answer(None, failure)
            return
        try:
            result = operation(transaction)
            if transaction.failure is not None:
                raise transaction.failure
        except BaseException as failure:  # it belongs to whoever waits, not to this reader
            answer(None, failure)
        else:
            answer(result, None)
        end(self._link, driver, transaction)


def begun(
    link: PostgresLink, clock: Clock | None, opening: str, *, writing: bool
) -> tuple[PostgresDriver, PostgresTransaction]:
    """A transaction that has begun. A connection that turns out to be lost is replaced once: nothing was done on it.

    Raises:
        StoreUnavailable: there is no connection to be had.
    """
    for last in (False, True):
        driver = await_only(link.driver())
        transaction = PostgresTransaction(driver, clock, writing=writing)
        try:
            transaction.begin(opening)
        except Exception:  # a lost connection is told in many ways; what was none comes out the second time
            link.drop()
            if last:
                raise
        else:
            return driver, transaction
    raise AssertionError("the second attempt returns or raises")


def end(link: PostgresLink, driver: PostgresDriver, transaction: PostgresTransaction) -> None:
    """Leave no transaction open, whatever state the connection is in. Raises nothing."""
    try:
        if not driver.is_closed() and driver.is_in_transaction() and not transaction.unsound:
            await_only(driver.execute("ROLLBACK"))
    except Exception:  # whatever it was: a connection that cannot be rolled back is not used again
        transaction.unsound = True
    if transaction.unsound:
        link.drop()
