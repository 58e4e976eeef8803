"""Several relays on one database: each thread has one at a time, and what one leaves the next takes up."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from heddle_bus.memory import MemoryBus, MemoryServer
from heddle_bus.port import Connection
from heddle_core.clock import ManualClock, Micros
from heddle_core.ids import ThreadId, WorkerId
from heddle_runtime.relay.ports import Mark, StreamNote
from heddle_runtime.relay.shards import SHARDS, fair_share, shard_of
from heddle_runtime.store.relay_store import DatabaseRelayStore
from heddle_runtime.store.store import Store
from tests.kit.relays import SHARED, consuming, ends, relaying
from tests.kit.stores import ACME, LEASE, OTHER, SHOPS, WORKER, Shop

THIRD = WorkerId("wrk_3")
STREAM = Micros(7)
"""The one server's."""


@pytest.fixture(params=SHOPS)
async def shop(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Shop]:
    async with SHOPS[request.param](tmp_path) as shop:
        yield shop


@pytest.fixture
def rows(shop: Shop) -> DatabaseRelayStore:
    return DatabaseRelayStore(shop.store)


@pytest.fixture
def server() -> MemoryServer:
    return MemoryServer(ManualClock())


async def stand(rows: DatabaseRelayStore, shop: Shop, worker: WorkerId) -> set[int]:
    await shop.store.renew_lease(worker, "here", LEASE)
    return set((await rows.stand(worker, STREAM, sole_process=False)).fences)


def test_every_thread_has_a_shard_and_they_are_evenly_filled() -> None:
    counts = [0] * SHARDS
    for number in range(64_00):
        counts[shard_of((ACME, ThreadId(f"thr_{number}")))] += 1
    assert min(counts) > 50 and max(counts) < 160
    assert shard_of((ACME, ThreadId("t1"))) == 3, "what is computed here, other versions compute, too"


def test_a_share_is_rounded_up_so_that_no_shard_is_left_over() -> None:
    assert [fair_share(workers) for workers in (0, 1, 2, 3, 64, 65)] == [64, 64, 32, 22, 1, 1]


async def test_the_first_worker_has_all_shards_and_gives_up_those_beyond_its_share(
    shop: Shop, rows: DatabaseRelayStore
) -> None:
    assert len(await stand(rows, shop, WORKER)) == SHARDS
    assert await stand(rows, shop, OTHER) == set()
    mine = await stand(rows, shop, WORKER)
    theirs = await stand(rows, shop, OTHER)
    assert len(mine) == len(theirs) == SHARDS // 2 and not mine & theirs
    await stand(rows, shop, THIRD)
    held = [mine := await stand(rows, shop, each) for each in (WORKER, OTHER, THIRD)]
    assert sorted(map(len, held)) == [20, 22, 22]
    assert set.union(*held) == set(range(SHARDS))


async def test_the_shards_of_a_worker_whose_lease_has_ended_go_to_the_others(
    shop: Shop, rows: DatabaseRelayStore
) -> None:
    await stand(rows, shop, WORKER)
    await stand(rows, shop, OTHER)
    shop.clock.advance(LEASE / 1_000_000 + 1)
    assert len(await stand(rows, shop, OTHER)) == SHARDS
    standing = await rows.stand(OTHER, STREAM, sole_process=False)
    assert set(standing.fences.values()) == {2} and standing.owners == {}


async def test_the_shards_of_a_worker_that_leaves_are_free_at_once(shop: Shop, rows: DatabaseRelayStore) -> None:
    await stand(rows, shop, WORKER)
    await rows.leave(WORKER)
    assert len(await stand(rows, shop, OTHER)) == SHARDS


async def test_a_sole_process_takes_all_shards_from_whoever_had_them(shop: Shop, rows: DatabaseRelayStore) -> None:
    await stand(rows, shop, WORKER)
    standing = await rows.stand(OTHER, STREAM, sole_process=True)
    assert len(standing.fences) == SHARDS
    again = await rows.stand(OTHER, STREAM, sole_process=True)
    assert again.fences == standing.fences, "what it has it keeps, under the same fence"


async def test_a_mark_under_a_fence_of_yesterday_is_refused(shop: Shop, rows: DatabaseRelayStore) -> None:
    await shop.turn("t1")
    key = (ACME, ThreadId("t1"))
    shard = shard_of(key)
    await shop.store.renew_lease(WORKER, "here", LEASE)
    fence = (await rows.stand(WORKER, STREAM, sole_process=False)).fences[shard]
    await rows.leave(WORKER)
    standing = await rows.stand(OTHER, STREAM, sole_process=False)
    assert await rows.mark(WORKER, [Mark(key, 2, shard, fence)], None) == {shard}
    assert await shop.row("SELECT published_sequence FROM threads") == (0,)
    assert await rows.mark(OTHER, [Mark(key, 2, shard, standing.fences[shard])], None) == frozenset()
    assert await rows.mark(OTHER, [Mark(key, 1, shard, standing.fences[shard])], None) == frozenset()
    assert await shop.row("SELECT published_sequence FROM threads") == (2,), "marks only rise"


async def test_adopting_another_stream_voids_the_fences_of_all(shop: Shop, rows: DatabaseRelayStore) -> None:
    await stand(rows, shop, WORKER)
    await rows.adopt(None, shop.clock.now())
    first = await rows.stand(WORKER, STREAM, sole_process=False)
    assert first.stream == StreamNote(shop.clock.now(), 0, "")
    await rows.adopt(None, shop.clock.now())
    assert (await rows.stand(WORKER, STREAM, sole_process=False)).fences == first.fences, "it is no other stream"
    shop.clock.advance(1)
    await rows.adopt(first.stream, shop.clock.now())
    after = (await rows.stand(WORKER, STREAM, sole_process=False)).fences
    assert all(after[shard] == fence + 1 for shard, fence in first.fences.items())


async def test_what_a_lost_stream_acknowledged_is_not_marked_once_a_rewind_has_begun(
    shop: Shop, rows: DatabaseRelayStore
) -> None:
    await shop.turn("t1")
    key = (ACME, ThreadId("t1"))
    await stand(rows, shop, WORKER)
    await stand(rows, shop, OTHER)
    await stand(rows, shop, WORKER)
    standing = await rows.stand(OTHER, STREAM, sole_process=False)
    held = {WORKER: (await rows.stand(WORKER, STREAM, sole_process=False)).fences, OTHER: standing.fences}
    shard = shard_of(key)
    owner = next(worker for worker, fences in held.items() if shard in fences)
    await rows.rewind(Micros(0), None)
    assert await rows.mark(owner, [Mark(key, 2, shard, held[owner][shard])], None) == {shard}
    assert await shop.row("SELECT published_sequence FROM threads") == (0,)


async def test_an_old_copy_of_the_stream_is_adopted_once_though_it_is_as_old_as_the_stream(
    shop: Shop, rows: DatabaseRelayStore
) -> None:
    await stand(rows, shop, WORKER)
    created = shop.clock.now()
    await rows.adopt(None, created)
    lost = StreamNote(created, 9, "nine")
    await rows.mark(WORKER, [], lost)
    before = await rows.stand(WORKER, STREAM, sole_process=False)
    await rows.adopt(lost, created)
    after = await rows.stand(WORKER, STREAM, sole_process=False)
    assert after.stream == StreamNote(created, 0, "")
    assert all(after.fences[shard] == fence + 1 for shard, fence in before.fences.items())
    again = StreamNote(created, 4, "four")
    await rows.mark(WORKER, [], again)
    await rows.adopt(lost, created)
    later = await rows.stand(WORKER, STREAM, sole_process=False)
    assert (later.stream, later.fences) == (again, after.fences), "another relay had seen the same loss"


async def test_the_stream_note_follows_the_stream_it_was_made_for(shop: Shop, rows: DatabaseRelayStore) -> None:
    await stand(rows, shop, WORKER)
    created = shop.clock.now()
    await rows.adopt(None, created)
    for note in (StreamNote(created, 5, "e"), StreamNote(created, 3, "c")):
        await rows.mark(WORKER, [], note)
    await rows.mark(WORKER, [], StreamNote(type(created)(created - 1), 9, "z"))
    assert (await rows.stand(WORKER, STREAM, sole_process=False)).stream == StreamNote(created, 5, "e")


async def test_what_a_replica_commits_is_published_by_the_owner_of_its_shard(shop: Shop, server: MemoryServer) -> None:
    elsewhere = Store(shop.database)
    threads = [f"t{number}" for number in range(16)]
    async with (
        MemoryBus(server) as here,
        MemoryBus(server) as there,
        relaying(shop, here, SHARED) as first,
        relaying(shop, there, SHARED, worker=OTHER, store=elsewhere) as second,
        consuming(shop, here) as consumer,
    ):
        await second.shares(SHARDS // 2)
        await asyncio.gather(*(shop.turn(thread) for thread in threads))
        await consumer.read_until(**await ends(shop))
        await consumer.check()
        for each in (first, second):
            await each.rows.marks.until(lambda count: count > 0)
        assert second.rows.reads, "the other relay was told, and has read the log"


async def test_what_a_relay_leaves_is_published_by_those_that_stay(shop: Shop, server: MemoryServer) -> None:
    elsewhere = Store(shop.database)
    threads = [f"t{number}" for number in range(16)]
    async with MemoryBus(server) as here, MemoryBus(server) as there, consuming(shop, here) as consumer:
        async with relaying(shop, here, SHARED) as first:
            async with relaying(shop, there, SHARED, worker=OTHER, store=elsewhere) as second:
                await second.shares(SHARDS // 2)
            await asyncio.gather(*(shop.turn(thread) for thread in threads))
            await consumer.read_until(**await ends(shop))
            await first.shares(SHARDS)
        await consumer.check()


async def test_the_shards_of_a_relay_that_died_are_taken_when_its_lease_ends(shop: Shop, server: MemoryServer) -> None:
    rows = DatabaseRelayStore(shop.store)
    await stand(rows, shop, OTHER)
    await shop.turn("t1")
    shop.clock.advance(LEASE / 1_000_000 + 1)
    async with (
        MemoryBus(server) as bus,
        relaying(shop, bus, SHARED) as working,
        consuming(shop, bus) as consumer,
    ):
        await working.shares(SHARDS)
        await consumer.read_until(t1=2)
        await consumer.check()


async def test_a_relay_looks_again_when_the_lease_of_another_may_have_ended(shop: Shop, server: MemoryServer) -> None:
    rows = DatabaseRelayStore(shop.store)
    await shop.store.renew_lease(OTHER, "here", 200_000)
    await rows.stand(OTHER, STREAM, sole_process=False)
    await shop.turn("t1")
    async with (
        MemoryBus(server) as bus,
        relaying(shop, bus, SHARED) as working,
        consuming(shop, bus) as consumer,
    ):
        await working.rows.stands.until(lambda times: times >= 2)
        shop.clock.advance(0.3)
        await working.shares(SHARDS)
        await consumer.read_until(t1=2)
        await consumer.check()


async def test_a_relay_that_cannot_reach_the_bus_leaves_its_shards_to_others(shop: Shop, server: MemoryServer) -> None:
    hasty = replace(SHARED, leave_after=timedelta(milliseconds=20))
    elsewhere = Store(shop.database)
    async with (
        MemoryBus(server) as here,
        MemoryBus(server) as there,
        consuming(shop, there) as consumer,
        relaying(shop, here, hasty) as first,
    ):
        await first.shares(SHARDS)
        here.connection.set(Connection(False, False, 1, "cut off"))
        await shop.turn("t1")
        await first.rows.left.until(lambda times: times == 1)
        async with relaying(shop, there, SHARED, worker=OTHER, store=elsewhere) as second:
            await second.shares(SHARDS)
            await consumer.read_until(t1=2)
            await consumer.check()


def test_the_settings_of_this_suite_leave_no_sweep_to_help() -> None:
    assert SHARED.sweep_every >= timedelta(hours=1) and not SHARED.sole_process
