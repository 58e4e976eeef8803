"""Who watches here hears of what is committed elsewhere: by the bus, by the sweep where there is none, or both."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio

from heddle_bus import subjects
from heddle_bus.memory import MemoryBus, MemoryServer
from heddle_bus.observed import Observed
from heddle_core.clock import ManualClock
from heddle_core.ids import RunId, TenantId, ThreadId, WorkerId
from heddle_runtime.replicas.doorbells import WorkerDoorbells
from heddle_runtime.replicas.facts import Facts, FactSettings
from heddle_runtime.replicas.interest import Interest
from heddle_runtime.threads.events import Event
from heddle_runtime.threads.fold import fold
from heddle_runtime.threads.follow import Followers
from heddle_runtime.threads.log import Committed, ThreadKey, ThreadLog
from heddle_runtime.threads.state import ThreadFold
from tests.kit.thread_facts import completed, more, requested, started, tell
from tests.kit.thread_stories import THREAD

ACME = TenantId("acme")
KEY, NOBODYS = (ACME, THREAD), (ACME, ThreadId("t2"))
ALL_OF_ACME = (ACME, ThreadId(""))
HERE, THERE = WorkerId("wrk_here"), WorkerId("wrk_there")
QUICK = FactSettings(timedelta(milliseconds=1), timedelta(milliseconds=10), timedelta(hours=1))


class Shared:
    """The database of all replicas, with one thread; and the work of this one."""

    def __init__(self) -> None:
        self.story = tell(requested(), started())
        self.there = True
        self.owner = THERE
        self.looked: Observed[tuple[ThreadKey, ...]] = Observed(())
        self.rung: list[ThreadKey] = []
        self.releases = Observed(0)
        self.heard: asyncio.Queue[ThreadKey] = asyncio.Queue()

    async def load_fold(self, tenant: TenantId, thread_id: ThreadId, at_sequence: int = 0) -> ThreadFold:
        return fold(ThreadFold(thread_id), self.story.events)

    async def read_events(
        self, tenant: TenantId, thread_id: ThreadId, after: int, limit: int, run_id: RunId = RunId("")
    ) -> tuple[Event, ...]:
        return tuple(self.story.events[after : after + limit])

    async def last_sequences(self, keys: Collection[ThreadKey]) -> Mapping[ThreadKey, int]:
        self.looked.set((*self.looked.value, *keys))
        return {KEY: len(self.story.events)} if KEY in keys and self.there else {}

    async def owners(self, keys: Collection[ThreadKey]) -> Mapping[ThreadKey, WorkerId]:
        return {key: self.owner for key in keys if key == KEY}

    async def changed_threads(
        self, tenants: Collection[TenantId], within: timedelta, limit: int
    ) -> Mapping[ThreadKey, int]:
        return {KEY: len(self.story.events)} if ACME in tenants else {}

    def works_on(self, tenant: TenantId, thread_id: ThreadId) -> bool:
        return self.owner == HERE and (tenant, thread_id) == KEY

    async def look_again(self, tenant: TenantId, thread_id: ThreadId) -> None:
        self.heard.put_nowait((tenant, thread_id))

    def look_for_work(self) -> None:
        self.releases.set(self.releases.value + 1)


class World:
    def __init__(self, bus: MemoryBus | None, settings: FactSettings = QUICK, *, apart: bool = False) -> None:
        self.shared = Shared()
        self.interest = Interest()
        self.followers = Followers(self.interest)
        self.log = ThreadLog(self.shared, shared=True)
        self.log.add_listener(self.followers.committed)
        self.facts = Facts(
            *(self.interest, self.shared, self.log, self.followers, self.ring, self.shared, bus, None, settings),
            apart=lambda: apart,
        )
        self.log.add_listener(self.facts.committed)
        self.rings: asyncio.Queue[ThreadKey] = asyncio.Queue()

    def ring(self, tenant: TenantId, thread_id: ThreadId) -> None:
        self.rings.put_nowait((tenant, thread_id))

    async def rung(self) -> ThreadKey:
        async with asyncio.timeout(10):
            return await self.rings.get()


@asynccontextmanager
async def doing(*parts: Callable[[], Coroutine[Any, Any, None]]) -> AsyncGenerator[None]:
    async with AsyncExitStack() as stack:
        for part in parts:
            task = asyncio.create_task(part())
            stack.push_async_callback(asyncio.wait, [task])
            stack.callback(task.cancel)
        yield


@pytest.fixture
def server() -> MemoryServer:
    return MemoryServer(ManualClock())


@pytest_asyncio.fixture
async def bus(server: MemoryServer) -> AsyncGenerator[MemoryBus]:
    async with MemoryBus(server) as made:
        yield made


async def published(bus: MemoryBus, sequence: int, kind: str = "RunStarted", key: ThreadKey = KEY) -> None:
    subject = subjects.thread_event(*key, kind)
    await bus.publish(subject, b"", message_id=f"{key}{sequence}{kind}", headers={subjects.SEQUENCE: str(sequence)})


async def poked(world: World, up_to: int) -> None:
    """Wait until the reader knows of a log's end."""
    with world.followers.join(*KEY) as reader:
        async with asyncio.timeout(10):
            while reader.head < up_to:
                reader.doorbell.clear()
                if reader.head < up_to:
                    await reader.doorbell.wait()


async def test_without_a_bus_those_who_watch_are_told_by_the_sweep() -> None:
    world = World(None)
    async with doing(world.facts.keep_listening, world.facts.sweep), asyncio.TaskGroup() as tasks:
        tasks.create_task(poked(world, 4))
        await world.shared.looked.until(lambda keys: len(keys) > 1)
        more(world.shared.story, completed())


async def test_while_others_are_on_another_bus_those_who_watch_are_told_by_the_sweep(bus: MemoryBus) -> None:
    world = World(bus, apart=True)
    async with doing(world.facts.keep_listening, world.facts.sweep), asyncio.TaskGroup() as tasks:
        tasks.create_task(poked(world, 4))
        await world.shared.looked.until(lambda keys: len(keys) > 1)
        more(world.shared.story, completed())


async def test_while_nobody_watches_nothing_is_asked() -> None:
    world = World(None)
    async with doing(world.facts.keep_listening, world.facts.sweep):
        with world.followers.join(*KEY):
            await world.shared.looked.until(bool)
        assert world.interest.keys == frozenset()
        await world.facts.look(world.interest.keys)
        looked = world.shared.looked.value
        await world.facts.look(world.interest.keys)
        assert world.shared.looked.value == looked


async def test_a_published_event_has_the_log_looked_at(bus: MemoryBus) -> None:
    world = World(bus)
    await world.log.fold(*KEY)
    async with doing(world.facts.keep_listening, world.facts.sweep):
        with world.followers.join(*KEY) as reader:
            await world.shared.looked.until(bool)
            more(world.shared.story, completed())
            await published(bus, 4)
            async with asyncio.timeout(10):
                await reader.doorbell.wait()
            assert [item.sequence for item in reader.take(3) if isinstance(item, Event)] == [4]


async def test_where_no_fold_is_in_memory_the_readers_look_themselves(bus: MemoryBus) -> None:
    world = World(bus)
    async with doing(world.facts.keep_listening, world.facts.sweep):
        with world.followers.join(*KEY) as reader:
            assert await world.rung() == KEY, "what was there before anybody listened"
            assert reader.head == 3
            await published(bus, 4)
            assert await world.rung() == KEY
            assert reader.head == 4
            await published(bus, 4, kind="StepStarted")
            await published(bus, 5)
            assert await world.rung() == KEY
            assert reader.head == 5 and world.rings.empty()


async def test_while_the_bus_is_away_the_sweep_looks(server: MemoryServer, bus: MemoryBus) -> None:
    world = World(bus)
    async with doing(world.facts.keep_listening, world.facts.sweep):
        with world.followers.join(*KEY) as reader:
            await world.rung()
            server.stop()
            await bus.connection.until(lambda state: not state.connected)
            more(world.shared.story, completed())
            assert await world.rung() == KEY and reader.head == 4


async def test_a_gap_in_what_was_heard_has_the_log_looked_at(server: MemoryServer, bus: MemoryBus) -> None:
    rarely = FactSettings(timedelta(milliseconds=1), timedelta(hours=1), timedelta(hours=1))
    world = World(bus, rarely)
    async with doing(world.facts.keep_listening, world.facts.sweep):
        with world.followers.join(*KEY) as reader:
            await world.rung()
            server.stop()
            more(world.shared.story, completed())
            server.start()
            assert await world.rung() == KEY and reader.head == 4


async def test_a_thread_that_is_worked_on_here_is_listened_to_when_that_ends(bus: MemoryBus) -> None:
    world = World(bus)
    world.shared.owner = HERE
    await world.log.fold(*KEY)
    async with doing(world.facts.keep_listening):
        with world.followers.join(*KEY), world.followers.join(*NOBODYS):
            async with asyncio.timeout(10):
                await world.shared.looked.until(bool)
            assert world.shared.looked.value == (NOBODYS,)
            more(world.shared.story, completed())
            world.shared.owner = THERE
            world.log.publish(Committed(*KEY, tuple(world.shared.story.events[3:])))
            async with asyncio.timeout(10):
                await world.shared.looked.until(lambda keys: KEY in keys)


async def test_the_readers_of_a_thread_that_was_deleted_elsewhere_look_too(bus: MemoryBus) -> None:
    world = World(bus)
    await world.log.fold(*KEY)
    async with doing(world.facts.keep_listening):
        with world.followers.join(*KEY) as reader:
            await world.shared.looked.until(bool)
            await published(bus, 4, kind="ThreadDeleted")
            assert await world.rung() == KEY
            assert reader.head > 4 and world.log.in_memory(*KEY) is None


async def test_who_watches_all_threads_of_a_tenant_is_rung_for_each(bus: MemoryBus) -> None:
    world = World(bus)
    async with doing(world.facts.keep_listening, world.facts.sweep):
        world.interest.came(ALL_OF_ACME)
        assert await world.rung() == KEY, "written to lately"
        await published(bus, 1, key=NOBODYS)
        assert await world.rung() == NOBODYS
        await published(bus, 1, key=(TenantId("globex"), THREAD))
        await published(bus, 2, key=NOBODYS)
        assert await world.rung() == NOBODYS


# --- between workers ---


async def test_the_owner_of_a_thread_is_rung_for_what_others_write_to_it(bus: MemoryBus) -> None:
    writer, owner = Shared(), Shared()
    owner.owner = HERE
    ringing = WorkerDoorbells(bus, HERE, writer, writer)
    hearing = WorkerDoorbells(bus, THERE, owner, owner)
    async with doing(ringing.ring_owners, hearing.answer_own, hearing.answer_all):
        await asyncio.sleep(0)
        ringing.written(Committed(*NOBODYS, tuple(writer.story.events[:2])))
        ringing.written(Committed(*KEY, tuple(writer.story.events[:2])))
        async with asyncio.timeout(10):
            assert await owner.heard.get() == KEY
        assert owner.heard.empty()


async def test_nobody_is_rung_for_what_the_owner_writes_or_begins(bus: MemoryBus) -> None:
    shared = Shared()
    ringing = WorkerDoorbells(bus, THERE, shared, shared)
    async with (
        await bus.subscribe(subjects.controls("worker")) as feed,
        doing(ringing.ring_owners),
    ):
        ringing.written(Committed(*KEY, tuple(shared.story.events)))  # its RunStarted
        shared.owner = HERE
        ringing.written(Committed(*KEY, tuple(shared.story.events[:2])))
        await ringing.ring_all()
        async with asyncio.timeout(10):
            item = await anext(feed)
        assert getattr(item, "subject", "") == subjects.control("worker", "all")


async def test_whoever_hands_over_has_all_others_look_for_work(bus: MemoryBus) -> None:
    leaving, staying = Shared(), Shared()
    ringing = WorkerDoorbells(bus, HERE, leaving, leaving)
    hearing = WorkerDoorbells(bus, THERE, staying, staying)
    async with doing(ringing.answer_all, hearing.answer_all):
        await asyncio.sleep(0)
        await ringing.ring_all()
        async with asyncio.timeout(10):
            await staying.releases.until(lambda count: count == 1)
        assert leaving.releases.value == 0
