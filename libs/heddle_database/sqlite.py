"""A database in one SQLite file, owned by one process: the embedded default.

One thread writes and a few read, each on a connection of its own; the event loop only waits. The threads meet the
loop in two queues on the way in, and one call per transaction on the way out.

Each statement lets go of the interpreter's lock and must get it back. Beside a busy loop that takes up to one thread
switch interval each time, so a serving process should call `sys.setswitchinterval(SWITCH_INTERVAL)` at its start: with
a fully busy loop, one writer went from 5 to 170 writes a second by it (bench/database.py, `--busy`).
"""

import asyncio
import queue
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Connection

from heddle_core.clock import Clock
from heddle_core.errors import Overloaded, StoreUnavailable
from heddle_database.file_lock import FileLock
from heddle_database.group_commit import GroupCommit, Order, Outcome, deliver, resolve
from heddle_database.port import Statistics, Transaction
from heddle_database.sqlite_connection import (
    HeldConnection,
    SqliteFile,
    SqliteOptions,
    reader_engine,
    writer_engine,
)
from heddle_database.sqlite_transaction import SqliteReader, SqliteSession

T = TypeVar("T")

SWITCH_INTERVAL = 0.000_1
"""Seconds; Python's default is 0.005. For the whole process, hence left to the one who wires it."""


class SqliteDatabase:
    """Fulfils `heddle_database.port.Database` on a SQLite file. Made by `open`, on the event loop that will use it."""

    def __init__(self, file: SqliteFile, lock: FileLock, clock: Clock, options: SqliteOptions) -> None:
        self._loop = asyncio.get_running_loop()
        self._lock = lock
        self._options = options
        self._writes: queue.SimpleQueue[Order | _Alteration | _End] = queue.SimpleQueue()
        self._reads: queue.SimpleQueue[_Reading | None] = queue.SimpleQueue()
        self._writes_waiting = 0
        self._reads_waiting = 0
        self._closing = False
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._session = SqliteSession(HeldConnection(writer_engine(file, options), file), clock)
        self._group_commit = GroupCommit(self._session)
        engine = reader_engine(file, options)
        self._readers = [
            threading.Thread(
                target=self._serve_reads,
                args=(SqliteReader(HeldConnection(engine, file), clock),),
                name=f"{file.path.name} reader {number}",
                daemon=True,
            )
            for number in range(options.readers)
        ]
        self._writer = threading.Thread(target=self._serve_writes, name=f"{file.path.name} writer", daemon=True)

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
        for thread in (database._writer, *database._readers):
            thread.start()
        try:
            await asyncio.shield(database._opened)
        except BaseException:
            await database.close()
            raise
        return database

    async def write(self, operation: Callable[[Transaction], T], on_commit: Callable[[T], None] | None = None) -> T:
        """See `Database.write`."""
        if self._closing:
            raise _closing()
        if self._writes_waiting >= self._options.queue_limit:
            raise Overloaded("the queue of writes", self._options.queue_limit)
        self._writes_waiting += 1
        future: asyncio.Future[T] = self._loop.create_future()
        self._writes.put(Order(operation, on_commit, future))
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

    async def alter(self, change: Callable[[Connection], T]) -> T:
        """See `Database.alter`."""
        if self._closing:
            raise _closing()
        future: asyncio.Future[T] = self._loop.create_future()
        self._writes.put(_Alteration(change, future))
        return await future

    @property
    def statistics(self) -> Statistics:
        """See `Database.statistics`."""
        done = self._group_commit
        return Statistics(
            commits=done.commits,
            operations=done.operations,
            replays=done.replays,
            waiting=self._writes_waiting,
            batch_sizes=tuple(done.batch_sizes),
        )

    async def close(self) -> None:
        """See `Database.close`."""
        if not self._closing:
            self._closing = True
            self._writes.put(_End())
        await asyncio.shield(self._closed)

    # --- on the writer's thread ----------------------------------------------------------------------------

    def _serve_writes(self) -> None:
        failure = _outcome(self._session.open)[1]
        self._post(resolve, self._opened, None, failure)
        try:
            self._settle_until_the_end()
            for _ in self._readers:
                self._reads.put(None)
            for reader in self._readers:
                reader.join()  # the writer leaves last, or its checkpoint could not empty the log
        finally:
            failure = _outcome(self._session.close)[1]
            self._lock.release()
            self._post(resolve, self._closed, None, failure)

    def _settle_until_the_end(self) -> None:
        while True:
            orders, other = self._gather()
            if orders:
                for outcomes in self._group_commit.settle(orders):
                    self._post(self._deliver, outcomes)
            match other:
                case _Alteration(change, future):
                    result, failure = _outcome(partial(self._session.alter, change))
                    self._post(resolve, future, result, failure)
                case _End():
                    return
                case None:
                    pass

    def _gather(self) -> "tuple[list[Order], _Alteration | _End | None]":
        """Wait for the first order, take those that wait behind it, and stop at anything else."""
        orders: list[Order] = []
        while len(orders) < self._options.batch_limit:
            try:
                item = self._writes.get(block=not orders)
            except queue.Empty:
                break
            if not isinstance(item, Order):
                return orders, item
            orders.append(item)
        return orders, None

    # --- on a reader's thread ------------------------------------------------------------------------------

    def _serve_reads(self, reader: SqliteReader) -> None:
        while (reading := self._reads.get()) is not None:
            result, failure = _outcome(partial(reader.read, reading.operation))
            self._post(self._answer, reading.future, result, failure)
        reader.close()

    # --- back on the loop ----------------------------------------------------------------------------------

    def _post(self, call: Callable[..., None], *arguments: object) -> None:
        """Have the loop call. A loop that was closed meanwhile has nobody left who waits."""
        try:
            self._loop.call_soon_threadsafe(call, *arguments)
        except RuntimeError:
            assert self._loop.is_closed()

    def _deliver(self, outcomes: list[Outcome]) -> None:
        self._writes_waiting -= len(outcomes)
        deliver(self._loop, outcomes)

    def _answer(self, future: asyncio.Future[Any], result: object, failure: BaseException | None) -> None:
        self._reads_waiting -= 1
        resolve(future, result, failure)


class _Alteration(NamedTuple):
    change: Callable[[Connection], Any]
    future: asyncio.Future[Any]


class _Reading(NamedTuple):
    operation: Callable[[Transaction], Any]
    future: asyncio.Future[Any]


class _End(NamedTuple):
    """The last thing in the queue of writes."""


def _outcome(call: Callable[[], T]) -> tuple[T | None, BaseException | None]:
    try:
        return call(), None
    except BaseException as failure:  # it belongs to whoever waits, not to this thread
        return None, failure


def _closing() -> StoreUnavailable:
    return StoreUnavailable("the database is closing")
