"""A PostgreSQL database, shared by any number of processes.

A few writers, each with a connection and a queue of its own, commit what waits in groups; a few readers read. All of
them are tasks of the event loop. Writes of one thread of conversation always meet the same writer, so they stay in
order, and mostly find the thread's row free; between processes the row locks decide.
"""

import asyncio
import zlib
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from itertools import zip_longest
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy.util import greenlet_spawn

from heddle_core.clock import Clock
from heddle_database.entrance import Entrance, Reading, Reads
from heddle_database.group_commit import Order
from heddle_database.port import Statistics, Transaction
from heddle_database.postgres_connection import PostgresLink, require_fitness
from heddle_database.postgres_options import PostgresOptions
from heddle_database.postgres_transaction import CommitOrder, PostgresReader
from heddle_database.postgres_writer import PostgresWriter

if TYPE_CHECKING:
    from sqlalchemy import Connection

T = TypeVar("T")


class PostgresDatabase:
    """Fulfils `heddle_database.port.Database` on PostgreSQL. Made by `open`, on the event loop that will use it."""

    def __init__(self, url: str, clock: Clock | None, options: PostgresOptions) -> None:
        self._loop = asyncio.get_running_loop()
        self._url = url
        self._options = options
        self._first = PostgresLink(url, options)
        links = [self._first, *(PostgresLink(url, options) for _ in range(options.writers - 1))]
        order = CommitOrder()
        self._writers = [PostgresWriter(link, clock, order, options.batch_limit) for link in links]
        self._readings: asyncio.Queue[Reading | None] = asyncio.Queue()
        self._entrance = Entrance(options.queue_limit)
        self._reads = Reads(self._entrance, self._readings.put_nowait)
        self._clock = clock
        self._tasks: list[asyncio.Task[None]] = []
        self._closed: asyncio.Task[None] | None = None

    @classmethod
    async def open(
        cls, url: str, *, clock: Clock | None = None, options: PostgresOptions | None = None
    ) -> "PostgresDatabase":
        """Open the database at `url`, as `postgresql://user:password@host/name`.

        `clock` takes the place of the server's, for tests that move time.

        Raises `StoreUnavailable` if it does not answer; `IllegalTransition` if it cannot be run durably.
        """
        options = options or PostgresOptions()
        database = cls(url, clock, options)
        async with AsyncExitStack() as undo:
            undo.push_async_callback(database._first.close)
            await require_fitness(await database._first.driver(), options)
            undo.pop_all()
        database._tasks = [asyncio.create_task(writer.serve()) for writer in database._writers]
        database._tasks += [asyncio.create_task(database._serve_reads()) for _ in range(options.readers)]
        return database

    async def write(
        self,
        operation: Callable[[Transaction], T],
        on_commit: Callable[[T], None] | None = None,
        *,
        affinity: str = "",
        bulk: bool = False,
    ) -> T:
        """See `Database.write`. A bulk operation runs on the event loop, too, which goes on at each statement."""
        self._entrance.require_room("writes", self._writes_waiting)
        future: asyncio.Future[T] = self._loop.create_future()
        self._writer_for(affinity).put(Order(operation, on_commit, future), affinity, bulk=bulk)
        return await future  # a cancelled caller takes away this future, never the order

    async def read(self, operation: Callable[[Transaction], T], *, brief: bool = False) -> T:
        """See `Database.read`. Nothing is carried out by a thread, so `brief` changes nothing."""
        return await self._reads.take(operation)

    async def alter(self, change: "Callable[[Connection], T]") -> T:
        """See `Database.alter`. Of several processes that change the schema at once, one goes first."""
        from heddle_database.postgres_alteration import alter

        self._entrance.require_open()
        return await alter(self._url, self._options, change)

    @property
    def statistics(self) -> Statistics:
        """See `Database.statistics`; of this process, not of the server."""
        done = [writer.group_commit for writer in self._writers]
        return Statistics(
            commits=sum(each.commits for each in done),
            operations=sum(each.operations for each in done),
            replays=sum(each.replays for each in done),
            waiting=self._writes_waiting,
            batch_sizes=tuple(map(sum, zip_longest(*(each.batch_sizes for each in done), fillvalue=0))),
        )

    async def close(self) -> None:
        """See `Database.close`."""
        if self._closed is None:
            self._entrance.closing = True
            self._closed = asyncio.create_task(self._let_go())
        await asyncio.shield(self._closed)

    @property
    def _writes_waiting(self) -> int:
        return sum(writer.waiting for writer in self._writers)

    def _writer_for(self, affinity: str) -> PostgresWriter:
        if affinity:
            return self._writers[zlib.crc32(affinity.encode()) % len(self._writers)]
        return min(self._writers, key=lambda writer: writer.waiting)

    async def _let_go(self) -> None:
        for writer in self._writers:
            writer.stop()
        for _ in range(self._options.readers):
            self._readings.put_nowait(None)
        await asyncio.gather(*self._tasks)

    async def _serve_reads(self) -> None:
        link = PostgresLink(self._url, self._options)
        reader = PostgresReader(link, self._clock)
        while (reading := await self._readings.get()) is not None:
            await greenlet_spawn(reader.read, reading.operation, partial(self._reads.answer, reading.future))
        await link.close()
