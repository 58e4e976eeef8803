"""A database in one SQLite file, owned by one process: the embedded default.

Writes are `sqlite_writer`'s. A few threads read, each on a connection of its own, and answer through the loop.

A thread that waits for the interpreter's lock beside a busy loop gets it after one thread switch interval, so a
serving process should call `sys.setswitchinterval(SWITCH_INTERVAL)` at its start.
"""

import asyncio
import queue
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from heddle_core.clock import Clock
from heddle_core.errors import Overloaded, StoreUnavailable
from heddle_database.file_lock import FileLock
from heddle_database.group_commit import Order, resolve
from heddle_database.port import Statistics, Transaction
from heddle_database.sqlite_connection import HeldConnection, SqliteFile, SqliteOptions, reading, writing
from heddle_database.sqlite_transaction import SqliteReader, SqliteSession
from heddle_database.sqlite_writer import Errand, SqliteWriter, outcome_of, post

if TYPE_CHECKING:
    from sqlalchemy import Connection

T = TypeVar("T")

SWITCH_INTERVAL = 0.000_1
"""Seconds; Python's default is 0.005. For the whole process, hence left to the one who wires it."""


class SqliteDatabase:
    """Fulfils `heddle_database.port.Database` on a SQLite file. Made by `open`, on the event loop that will use it."""

    def __init__(self, file: SqliteFile, lock: FileLock, clock: Clock, options: SqliteOptions) -> None:
        self._loop = asyncio.get_running_loop()
        self._lock = lock
        self._options = options
        self._reads: queue.SimpleQueue[_Reading | None] = queue.SimpleQueue()
        self._reads_waiting = 0
        self._closing = False
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self._session = SqliteSession(HeldConnection(file, writing(options)), clock)
        self._writer = SqliteWriter(self._loop, self._session, options)
        self._writer.start(f"{file.path.name} writer")
        self._readers = [
            threading.Thread(
                target=self._serve_reads,
                args=(SqliteReader(HeldConnection(file, reading(options)), clock),),
                name=f"{file.path.name} reader {number}",
                daemon=True,
            )
            for number in range(options.readers)
        ]
        for reader in self._readers:
            reader.start()

    @classmethod
    async def open(cls, path: Path, *, clock: Clock, options: SqliteOptions | None = None) -> "SqliteDatabase":
        """Open the database file at `path`, made if missing, in a folder that exists.

        Raises `IllegalTransition` if another process (or this one) has it open, or if it cannot be run durably
        where it lies; `StoreUnavailable` if it cannot be read; OSError if the folder is missing.
        """
        lock = FileLock(path)
        try:
            database = cls(SqliteFile(path), lock, clock, options or SqliteOptions())
        except BaseException:
            lock.release()
            raise
        try:
            await database._on_the_writers_thread(database._session.open)
        except BaseException:
            await database.close()
            raise
        return database

    async def write(
        self,
        operation: Callable[[Transaction], T],
        on_commit: Callable[[T], None] | None = None,
        *,
        affinity: str = "",
        bulk: bool = False,
    ) -> T:
        """See `Database.write`. There is one writer, so `affinity` changes nothing."""
        if self._closing:
            raise _closing()
        if self._writer.waiting >= self._options.queue_limit:
            raise Overloaded("the queue of writes", self._options.queue_limit)
        future: asyncio.Future[T] = self._loop.create_future()
        self._writer.put(Order(operation, on_commit, future), bulk=bulk)
        return await future  # a cancelled caller takes away this future, never the order

    async def read(self, operation: Callable[[Transaction], T]) -> T:
        """See `Database.read`."""
        if self._closing:
            raise _closing()
        if self._reads_waiting >= self._options.queue_limit:
            raise Overloaded("the queue of reads", self._options.queue_limit)
        self._reads_waiting += 1
        future: asyncio.Future[T] = self._loop.create_future()
        self._reads.put(_Reading(operation, future))
        return await future

    async def alter(self, change: "Callable[[Connection], T]") -> T:
        """See `Database.alter`."""
        if self._closing:
            raise _closing()
        return await self._on_the_writers_thread(partial(self._session.alter, change))

    @property
    def statistics(self) -> Statistics:
        """See `Database.statistics`."""
        done = self._writer.group_commit
        return Statistics(
            commits=done.commits,
            operations=done.operations,
            replays=done.replays,
            waiting=self._writer.waiting,
            batch_sizes=tuple(done.batch_sizes),
        )

    async def close(self) -> None:
        """See `Database.close`."""
        if not self._closing:
            self._closing = True
            self._writer.send(Errand(self._let_go, partial(resolve, self._closed)))
            self._writer.stop()
        await asyncio.shield(self._closed)

    async def _on_the_writers_thread(self, work: Callable[[], T]) -> T:
        future: asyncio.Future[T] = self._loop.create_future()
        self._writer.send(Errand(work, partial(resolve, future)))
        return await future

    # --- on the writer's thread ----------------------------------------------------------------------------

    def _let_go(self) -> None:
        for _ in self._readers:
            self._reads.put(None)
        for reader in self._readers:
            reader.join()  # the writer leaves last, or its checkpoint could not empty the log
        try:
            self._session.close()
        finally:
            self._lock.release()

    # --- on a reader's thread ------------------------------------------------------------------------------

    def _serve_reads(self, reader: SqliteReader) -> None:
        while (reading := self._reads.get()) is not None:
            result, failure = outcome_of(partial(reader.read, reading.operation))
            post(self._loop, self._answer, reading.future, result, failure)
        reader.close()

    # --- back on the loop ----------------------------------------------------------------------------------

    def _answer(self, future: asyncio.Future[Any], result: object, failure: BaseException | None) -> None:
        self._reads_waiting -= 1
        resolve(future, result, failure)


class _Reading(NamedTuple):
    operation: Callable[[Transaction], Any]
    future: asyncio.Future[Any]


def _closing() -> StoreUnavailable:
    return StoreUnavailable("the database is closing")
