"""Who looks after the log, when, and what a round does."""

import asyncio
from datetime import timedelta
from random import Random

from heddle_core.errors import StoreUnavailable
from heddle_core.ids import TenantId, ThreadId, WorkerId
from heddle_runtime.facade.retention import Candidates, Place, RetentionPolicy, Upkeep

ACME = TenantId("acme")
ME = WorkerId("wrk_1")
KEEP = RetentionPolicy(keep_events=10)


class Log:
    """A store that notes what is asked of it."""

    def __init__(self, threads: int = 0, *, eldest: WorkerId = ME, troubles: int = 0) -> None:
        self.threads = [ThreadId(f"t{number}") for number in range(threads)]
        self.eldest = eldest
        self.troubles = troubles
        self.purges = 0
        self.requests = 0
        self.trimmed: list[ThreadId] = []
        self.purged = asyncio.Event()

    async def is_eldest(self, worker_id: WorkerId) -> bool:
        return worker_id == self.eldest

    async def purge_deleted(self) -> int:
        if self.troubles:
            self.troubles -= 1
            raise StoreUnavailable("the disk is full")
        self.purges += 1
        self.purged.set()
        return 0

    async def purge_requests(self, kept_for: timedelta, most: int) -> int:
        gone, self.requests = min(most, self.requests), max(0, self.requests - most)
        return gone

    async def candidates(self, policy: RetentionPolicy, after: Place, limit: int) -> Candidates:
        begin = self.threads.index(after.thread_id) + 1 if after.thread_id else 0
        page = tuple((ACME, each) for each in self.threads[begin : begin + 2])
        return Candidates(page, Place(*page[-1]) if len(page) == 2 else None)

    async def trim(self, policy: RetentionPolicy, tenant: TenantId, thread_id: ThreadId) -> int:
        self.trimmed.append(thread_id)
        return 3


async def test_a_round_goes_through_all_threads_page_by_page() -> None:
    log = Log(5)
    assert await Upkeep(log, ME, KEEP, Random(1)).round() == 15
    assert log.trimmed == log.threads and log.purges == 1


async def test_without_a_policy_a_round_only_ends_deletions() -> None:
    log = Log(5)
    assert await Upkeep(log, ME, RetentionPolicy(), Random(1)).round() == 0
    assert (log.trimmed, log.purges) == ([], 1)


async def test_a_round_lets_all_old_requests_go_portion_by_portion() -> None:
    log = Log()
    log.requests = 1_700
    await Upkeep(log, ME, RetentionPolicy(), Random(1)).round()
    assert log.requests == 0


async def test_only_the_eldest_worker_makes_rounds() -> None:
    log = Log(5, eldest=WorkerId("wrk_0"))
    assert await Upkeep(log, ME, KEEP, Random(1)).round() == 0
    assert (log.trimmed, log.purges) == ([], 0)


async def test_rounds_go_on_after_trouble_and_end_with_the_block() -> None:
    log = Log(1, troubles=2)
    async with Upkeep(log, ME, KEEP, Random(1), timedelta(milliseconds=1)).serving():
        await asyncio.wait_for(log.purged.wait(), 10)
    purges = log.purges
    await asyncio.sleep(0)
    assert log.purges == purges and log.troubles == 0
