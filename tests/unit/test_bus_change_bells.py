"""Replicas that tell each other what they have changed: who is rung, who is not, and what a lost ring does."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

from heddle_bus.change_bells import ChangeBells
from heddle_bus.memory import MemoryBus, MemoryServer
from heddle_core.changes import Changes
from heddle_core.clock import ManualClock
from heddle_grpc.drain import Drain

SECONDS = 20


@asynccontextmanager
async def replicas(count: int, server: MemoryServer) -> AsyncGenerator[list[Changes]]:
    """Replicas of one service that hear each other."""
    async with AsyncExitStack() as stack:
        found: list[Changes] = []
        for number in range(count):
            bus = await stack.enter_async_context(MemoryBus(server))
            found.append(Changes())
            bells = ChangeBells(bus, found[-1], "campaign", f"worker_{number}")
            await stack.enter_async_context(bells.serving())
        yield found


async def rings(bell: asyncio.Event) -> bool:
    async with asyncio.timeout(SECONDS):
        return await bell.wait()


async def test_a_change_at_one_replica_rings_those_who_watch_it_at_another() -> None:
    async with replicas(2, MemoryServer(ManualClock())) as (one, two):
        with two.bell("acme", "c1") as own, two.bell("acme", "c2") as other, two.bell("else", "c1") as foreign:
            one.tell("acme", "c1", "")
            assert await rings(own)
            assert not other.is_set()
            assert not foreign.is_set()


async def test_a_replica_is_not_rung_by_its_own_change_twice() -> None:
    async with replicas(2, MemoryServer(ManualClock())) as (one, two):
        with one.bell("acme", "c1") as own, one.bell("acme", "c2") as answer, two.bell("acme", "c1") as there:
            one.tell("acme", "c1")
            assert own.is_set(), "whoever waits in the same process is rung at once"
            own.clear()
            assert await rings(there)
            two.tell("acme", "c2")
            assert await rings(answer)
            assert not own.is_set()


async def test_a_burst_of_changes_is_told_whole() -> None:
    async with replicas(2, MemoryServer(ManualClock())) as (one, two), AsyncExitStack() as stack:
        bells = [stack.enter_context(two.bell("acme", f"c{number}")) for number in range(1_200)]
        for number in range(1_200):
            one.tell("acme", f"c{number}")
        for bell in bells:
            assert await rings(bell)


async def test_where_rings_may_have_been_lost_everybody_looks() -> None:
    server = MemoryServer(ManualClock())
    async with replicas(1, server) as (one,):
        with one.bell("acme", "c1") as bell, one.bell("else", "c9") as other:
            server.stop()
            server.start()
            assert await rings(bell)
            assert await rings(other)


async def test_a_server_that_goes_away_rings_whoever_waits() -> None:
    drain, changes = Drain(), Changes()
    with changes.bell("acme", "c1") as bell, drain.ringing(bell):
        drain.begin()
        assert bell.is_set()
