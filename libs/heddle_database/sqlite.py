"""A database in one SQLite file, owned by one process: the embedded default.

Writes are `sqlite_writer`'s. A few threads read, each on a connection of its own, and answer through the loop; brief
reads stay on the loop, on one more connection.
"""

import asyncio
import queue
import threading
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from heddle_core.clock import Clock
from heddle_database.entrance import Entrance, Reading, Reads
from heddle_database.file_lock import FileLock
from heddle_database.group_commit import Order, resolve
from heddle_database.port import Statistics, Transaction
from heddle_database.sqlite_connection import (
    HeldConnection,
    SqliteFile,
    SqliteOptions,
    reading,
    reading_at_once,
    writing,
)
from heddle_database.sqlite_transaction import SqliteReader, SqliteSession
from heddle_database.sqlite_writer import Errand, SqliteWriter, outcome_of, post

if TYPE_CHECKING:
    from sqlalchemy import Connection

T = TypeVar("T")


class SqliteDatabase:
    """Fulfils `heddle_database.port.Database` on a SQLite file. Made by `open`, on the event loop that will use it."""

    def __init__(self, file: SqliteFile, lock: FileLock, clock: Clock, options: SqliteOptions) -> None:
        self._loop = asyncio.get_running_loop()
        self._lock = lock
        self._readings: queue.SimpleQueue[Reading | None] = queue.SimpleQueue()
        self._entrance = Entrance(options.queue_limit)
        self._reads = Reads(self._entrance, self._readings.put)
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self._session = SqliteSession(HeldConnection(file, writing(options, file.free_pages())), clock)
        self._writer = SqliteWriter(self._loop, self._session, options)
        self._writer.start(f"{file.path.name} writer")
        self._brief_reader = SqliteReader(HeldConnection(file, reading_at_once(options)), clock)
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
        async with AsyncExitStack() as undo:
            undo.callback(lock.release)
            database = cls(SqliteFile(path), lock, clock, options or SqliteOptions())
            undo.pop_all()
            undo.push_async_callback(database.close)  # lets go of the lock, too
            await database._on_the_writers_thread(database._session.open)
            undo.pop_all()
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
        self._entrance.require_room("writes", self._writer.waiting)
        future: asyncio.Future[T] = self._loop.create_future()
        self._writer.put(Order(operation, on_commit, future), bulk=bulk)
        return await future  # a cancelled caller takes away this future, never the order

    async def read(self, operation: Callable[[Transaction], T], *, brief: bool = False) -> T:
        """See `Database.read`."""
        if brief:
            self._entrance.require_open()
            return self._brief_reader.read(operation)
        return await self._reads.take(operation)

    async def alter(self, change: "Callable[[Connection], T]") -> T:
        """See `Database.alter`."""
        self._entrance.require_open()
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
        if not self._entrance.closing:
            self._entrance.closing = True
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
            self._readings.put(None)
        for reader in self._readers:
            reader.join()
        self._brief_reader.close()
        try:  # the writer leaves last, or its checkpoint could not empty the log
            self._session.close()
        finally:
            self._lock.release()

    # --- on a reader's thread ------------------------------------------------------------------------------

    def _serve_reads(self, reader: SqliteReader) -> None:
        while (reading := self._readings.get()) is not None:
            result, failure = outcome_of(partial(reader.read, reading.operation))
            post(self._loop, self._reads.answer, reading.future, result, failure)
        reader.close()
