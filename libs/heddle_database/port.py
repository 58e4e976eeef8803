"""What a service may ask of its database, whichever engine stands behind it.

A store is written once, against this port, and runs on SQLite (3.40 or later) and PostgreSQL (15 or later). That
holds while its SQL keeps to what both know: `:name` parameters, RETURNING, ON CONFLICT, CAST; integers, floats, text,
bytes and NULL as values. No booleans, dates or JSON types, and no NUL in text, which PostgreSQL refuses.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from heddle_core.clock import Micros

if TYPE_CHECKING:
    from sqlalchemy import Connection

T = TypeVar("T")

Row = tuple[Any, ...]
"""One row: its columns in the order of the statement."""


class StatementFailed(Exception):
    """The database refused a statement: a constraint was broken, or the SQL or a value is wrong.

    This is a fault of the code, never an answer for a client: what may collide is written with ON CONFLICT, and what
    may be missing is asked for with RETURNING. Parameter values stay out of the text, since they may be secret.
    """

    def __init__(self, problem: str, sql: str) -> None:
        super().__init__(f"{problem} in: {' '.join(sql.split())}")
        self.problem = problem
        self.sql = sql


class Transaction(Protocol):
    """What an operation works on. Valid only inside that operation, on the thread that runs it.

    A statement that fails ends the transaction, as on PostgreSQL: the operation may not catch the error and go on.
    All statements raise `StatementFailed`, or `StoreUnavailable` when the store itself is in trouble.
    """

    @property
    def now(self) -> Micros:
        """The database's clock, read once per transaction: operations committed together share it."""
        ...

    @property
    def row_lock(self) -> str:
        """What follows a SELECT so that nobody else changes its rows before the commit; empty where nobody can."""
        ...

    def rows(self, sql: str, /, **params: object) -> list[Row]:
        """All rows that the statement returns."""
        ...

    def row(self, sql: str, /, **params: object) -> Row | None:
        """The first row that the statement returns, or None."""
        ...

    def run(self, sql: str, /, **params: object) -> int:
        """Carry out a statement that returns no rows; how many rows it changed."""
        ...

    def many(self, sql: str, params: Sequence[Mapping[str, object]], /) -> None:
        """Carry out one statement for each set of parameters, in order."""
        ...


@dataclass(frozen=True)
class Statistics:
    """What the write path has done since it was opened, for metrics."""

    commits: int
    """Transactions that were committed."""
    operations: int
    """Operations in those transactions."""
    replays: int
    """Transactions that were rolled back and carried out again in parts, because one operation spoiled them."""
    waiting: int
    """Operations accepted and not settled yet."""
    batch_sizes: tuple[int, ...]
    """Commits by size: entry 0 counts commits of one operation, entry n those of 2^(n-1)+1 to 2^n operations."""


class Database(Protocol):
    """A database that a service owns. Its methods belong to the event loop on which it was opened."""

    async def write(
        self,
        operation: Callable[[Transaction], T],
        on_commit: Callable[[T], None] | None = None,
        *,
        affinity: str = "",
        bulk: bool = False,
    ) -> T:
        """Carry out `operation` and return its result once it is on stable storage.

        Operations of the same `affinity`, a thread's key for example, are carried out in the order of their calls
        by the same writer, where there are several. A `bulk` operation touches many rows: it gets a transaction of
        its own, away from the event loop.

        Operations that wait at the same time share one transaction and one commit. Each is a synchronous function that
        does nothing but statements and thought. It **must be repeatable**: when another operation spoils the shared
        transaction, everything is rolled back and this one is called again, with a new `now`. So it may not touch
        anything outside its transaction, nor consume what it was given; effects belong into `on_commit`, or after
        the await.

        `on_commit` is called with the result on the event loop, in the order of commits, before any caller of
        the same batch resumes; never for an operation that failed. It must be quick and may not fail.

        A `HeddleError` raised before anything was changed refuses this operation alone, and costs nothing. Any other
        exception, or a refusal after a change, costs a rollback of the batch, but reaches only its own caller.

        A cancelled caller stops waiting; its operation is carried out all the same.

        Raises what the operation raised; `StoreUnavailable` when the disk is full, an I/O error occurred, somebody
        else holds the lock, or the database is gone or closing; `Overloaded` when the queue is full.
        """
        ...

    async def read(self, operation: Callable[[Transaction], T], *, brief: bool = False) -> T:
        """Carry out `operation` on one consistent snapshot; a writer never makes it wait.

        `brief` says that it looks up a few small rows by their keys. It may then be carried out on the event loop,
        where that takes less time than going to a thread and back.

        It sees every write that was acknowledged before the call. Statements that change anything raise
        `StatementFailed`. Raises otherwise as `write` does.
        """
        ...

    async def alter(self, change: "Callable[[Connection], T]") -> T:
        """Carry out a change of the schema, alone and in one transaction, and return its result.

        For migrations before serving, and for nothing else. Foreign keys are checked at the end, not on the way, so
        that tables may be rebuilt. Raises what `change` raised, after a rollback.
        """
        ...

    @property
    def statistics(self) -> Statistics:
        """The counts up to this moment."""
        ...

    async def close(self) -> None:
        """Settle all that was accepted, then let go of the database. A second call waits for the first."""
        ...
