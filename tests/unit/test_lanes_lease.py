"""A lease is believed no longer than the database can have granted it."""

from datetime import timedelta

import pytest

from heddle_core.clock import ManualClock
from heddle_core.errors import StoreUnavailable
from heddle_core.ids import RunId, TenantId, ThreadId, WorkerId
from heddle_core.runtime_errors import StaleFence
from heddle_runtime.lanes.lease import Lease
from heddle_runtime.runs.claim import Claim

CLAIM = Claim(TenantId("acme"), ThreadId("t1"), RunId("run_1"), WorkerId("wrk_1"), 7, 1)
TEN = timedelta(seconds=10)


async def renewed(clock: ManualClock, *, takes: float = 0, fails: bool = False) -> None:
    clock.advance(takes)
    if fails:
        raise StoreUnavailable("the disk is full")


async def test_it_holds_from_its_first_renewal_to_its_end() -> None:
    clock = ManualClock()
    lease = Lease(clock, TEN)
    assert not lease.holds
    await lease.prolong(renewed(clock))
    clock.advance(9.999)
    assert lease.holds
    lease.require(CLAIM)
    clock.advance(0.002)
    assert not lease.holds


async def test_a_dispatch_after_its_end_is_refused_as_a_run_that_is_lost() -> None:
    clock = ManualClock()
    lease = Lease(clock, TEN)
    await lease.prolong(renewed(clock))
    clock.advance(10)
    with pytest.raises(StaleFence) as refused:
        lease.require(CLAIM)
    assert (refused.value.run_id, refused.value.fence) == ("run_1", 7)


async def test_it_counts_from_when_a_renewal_was_asked_for() -> None:
    clock = ManualClock()
    lease = Lease(clock, TEN)
    await lease.prolong(renewed(clock, takes=8))
    clock.advance(2.001)
    assert not lease.holds


async def test_a_renewal_that_fails_prolongs_nothing() -> None:
    clock = ManualClock()
    lease = Lease(clock, TEN)
    await lease.prolong(renewed(clock))
    clock.advance(6)
    with pytest.raises(StoreUnavailable):
        await lease.prolong(renewed(clock, fails=True))
    clock.advance(5)
    assert not lease.holds
    await lease.prolong(renewed(clock))
    assert lease.holds


async def test_a_jump_of_the_wall_clock_moves_nothing() -> None:
    class Jumping(ManualClock):
        def now(self):  # type: ignore[no-untyped-def]
            return super().now() + 3_600_000_000

    clock = Jumping()
    lease = Lease(clock, TEN)
    await lease.prolong(renewed(clock))
    assert lease.holds
