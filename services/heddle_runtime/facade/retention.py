"""What a runtime does to its own log in the background: it ends deletions, and lets old events go (SEMANTICS 35).

One worker does it for all: the one that has lived longest. That two believe so for a moment costs a little reading,
since each step states what it expects to find.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from random import Random
from typing import Protocol

from heddle_core.background import in_background
from heddle_core.faults import HeddleError
from heddle_core.ids import TenantId, ThreadId, WorkerId
from heddle_core.log_lines import LogLines
from heddle_core.values import value

_log = LogLines(__name__)

THREADS_AT_ONCE = 500
"""Threads that are looked at in one read."""

REQUESTS_AT_ONCE = 500
"""Requests that go in one transaction."""


@value
class RetentionPolicy:
    """Which events may go. An event stays as long as any rule that is set wants it."""

    keep_for: timedelta = timedelta(0)
    """Age that an event reaches before it goes; zero: age says nothing."""
    keep_events: int = 0
    """Newest events of each thread that stay; zero: their number says nothing."""
    published_only: bool = False
    """Whether events stay until the relay has published them."""
    least: int = 256
    """Events that must be gained before a thread is trimmed for their number, since each trim stores a base."""

    requests_kept: timedelta = timedelta(days=7)
    """How long a request is known that made no run and no thread. The others are known as long as what they made."""

    @property
    def trims(self) -> bool:
        """Whether anything ever goes."""
        return bool(self.keep_for or self.keep_events)


@value
class Place:
    """How far a round has come: the last thread that was looked at."""

    tenant: TenantId = TenantId("")
    thread_id: ThreadId = ThreadId("")


@value
class Candidates:
    """Threads that may have something to trim, and where to go on; without a place the round is over."""

    threads: tuple[tuple[TenantId, ThreadId], ...]
    next: Place | None


class RetentionStore(Protocol):
    """What is asked of the store; see `store.retention.LogRetention`. All methods raise StoreUnavailable."""

    async def is_eldest(self, worker_id: WorkerId) -> bool:
        """Whether no other worker that lives began earlier."""
        ...

    async def purge_deleted(self) -> int:
        """Go on removing what deleted threads have left; of how many threads."""
        ...

    async def purge_requests(self, kept_for: timedelta, most: int) -> int:
        """Forget `most` requests that made no run and no thread, and are older; how many went."""
        ...

    async def candidates(self, policy: RetentionPolicy, after: Place, limit: int) -> Candidates:
        """Threads behind a place that may have something to trim, of the next `limit` threads."""
        ...

    async def trim(self, policy: RetentionPolicy, tenant: TenantId, thread_id: ThreadId) -> int:
        """Trim one thread; how many events went."""
        ...


class Upkeep:
    """Looks after the log while the runtime serves."""

    def __init__(
        self,
        store: RetentionStore,
        worker_id: WorkerId,
        policy: RetentionPolicy,
        chance: Random,
        every: timedelta = timedelta(hours=1),
    ) -> None:
        """Make a round each `every`, give or take a tenth by `chance`, the first one soon after the start."""
        self._store = store
        self._worker_id = worker_id
        self._policy = policy
        self._every = every
        self._chance = chance

    @asynccontextmanager
    async def serving(self) -> AsyncGenerator[None]:
        """Make rounds until the block is left. A round that is cut short is made anew after the next start."""
        async with in_background({"looking after the log": self._rounds}, pause=self._every):
            yield

    async def round(self) -> int:
        """Make one round, if it is this worker's turn; how many events went."""
        if not await self._store.is_eldest(self._worker_id):
            return 0
        await self._store.purge_deleted()
        while await self._store.purge_requests(self._policy.requests_kept, REQUESTS_AT_ONCE) == REQUESTS_AT_ONCE:
            pass  # each portion lets others in
        gone = 0
        place: Place | None = Place() if self._policy.trims else None
        while place is not None:
            found = await self._store.candidates(self._policy, place, THREADS_AT_ONCE)
            for tenant, thread_id in found.threads:
                gone += await self._store.trim(self._policy, tenant, thread_id)
            place = found.next
        if gone:
            _log.info("trimmed the log", events=gone)
        return gone

    async def _rounds(self) -> None:
        wait = self._every.total_seconds() / 60  # the first sooner: deletions that a crash cut short should end
        while True:
            await asyncio.sleep(wait * self._chance.uniform(0.9, 1.1))
            wait = self._every.total_seconds()
            try:
                await self.round()
            except HeddleError as error:
                _log.warning("could not look after the log", reason=error.reason, problem=str(error))
