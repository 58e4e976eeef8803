"""What the relay promises to whoever listens (P12, SEMANTICS 30 and 31), over the bus in memory and over JetStream."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from heddle_bus.events import Event, start_from_first
from heddle_bus.port import Bus, Gap, GapReason
from heddle_core.ids import MessageId, RequestId, ThreadId, WorkerId
from heddle_runtime.facade.commands import RedactMessage, RequestKey
from heddle_runtime.facade.thread_commands import DeleteThread
from heddle_runtime.relay.outbox import OutboxLimits
from heddle_runtime.relay.ports import Mark, StreamNote
from heddle_runtime.store import relay_rows
from heddle_runtime.store.thread_store import ThreadStore
from tests.kit.nats import World, bus_world
from tests.kit.relays import QUICK, WatchedRows, consuming, ends, relaying, stream_of
from tests.kit.stores import ADA, SHOPS, Shop


@pytest.fixture(params=["memory", "jetstream"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    async with bus_world(request.param, tmp_path / "nats") as world:
        yield world


@pytest.fixture
async def bus(world: World) -> Bus:
    return await world.bus()


@pytest.fixture(params=SHOPS)
async def shop(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Shop]:
    async with SHOPS[request.param](tmp_path) as shop:
        yield shop


async def talk(shop: Shop, *threads: str, steps: int = 3) -> None:
    """A turn on each of these threads, some events in each of some commits, at the same time."""

    async def turn(thread: str) -> None:
        owner = await shop.owner(thread)
        for _ in range(steps):
            await owner.say("words")
        await owner.complete()

    await asyncio.gather(*map(turn, threads))


async def test_a_consumer_sees_every_committed_event_in_order(shop: Shop, bus: Bus) -> None:
    threads = [f"t{number}" for number in range(12)]
    async with relaying(shop, bus), consuming(shop, bus) as consumer:
        await talk(shop, *threads)
        await talk(shop, *threads[:5], steps=5)
        await consumer.read_until(**await ends(shop))
        await consumer.check()
        assert set(consumer.seen) == set(threads)
        assert all(sequences[0] == 1 for sequences in consumer.seen.values())


async def test_what_was_committed_while_no_relay_ran_is_published_at_its_start(shop: Shop, bus: Bus) -> None:
    await talk(shop, "t1", "t2", steps=40)
    async with consuming(shop, bus) as consumer, relaying(shop, bus) as working:
        await consumer.read_until(**await ends(shop))
        await consumer.check()
        await working.marked()
    before = (await bus.identity()).last_sequence
    async with relaying(shop, bus) as working:
        await talk(shop, "t3")
        await working.marked()
    assert (await bus.identity()).last_sequence == before + (await ends(shop))["t3"]


async def test_an_outage_delays_events_and_nothing_else(shop: Shop, world: World) -> None:
    bus = await world.bus()
    async with relaying(shop, bus), consuming(shop, bus) as consumer:
        await talk(shop, "t1")
        await consumer.read_until(**await ends(shop))
        await world.stop()
        await bus.connection.until(lambda state: not state.connected)
        await talk(shop, "t1", "t2", "t3", steps=30)
        await world.start()
        await consumer.read_until(**await ends(shop))
        await consumer.check()


async def test_a_stream_wiped_before_its_consumption_loses_nothing_though_no_event_follows(
    shop: Shop, world: World
) -> None:
    bus = await world.bus()
    async with relaying(shop, bus) as working:
        await talk(shop, "t1", "t2", steps=40)
        await working.marked()
        await world.wipe()
        async with consuming(shop, bus) as consumer:
            await consumer.read_until(**await ends(shop))
            await consumer.check()
            assert all(sequences[0] == 1 for sequences in consumer.seen.values())


async def test_a_stream_wiped_while_nobody_looked_is_found_out_at_the_start(shop: Shop, world: World) -> None:
    bus = await world.bus()
    async with relaying(shop, bus) as working:
        await talk(shop, "t1")
        await working.marked()
    await world.wipe()
    await bus.connection.until(lambda state: state.durable and state.count == 2)
    async with relaying(shop, bus), consuming(shop, bus) as consumer:
        assert await consumer.read_until(**await ends(shop)) == {"t1": [*range(1, (await ends(shop))["t1"] + 1)]}


async def test_a_reader_that_was_there_before_the_wipe_sees_each_event_once(shop: Shop, world: World) -> None:
    bus = await world.bus()
    async with relaying(shop, bus), consuming(shop, bus) as consumer:
        await talk(shop, "t1")
        await consumer.read_until(**await ends(shop))
        await world.wipe()
        await talk(shop, "t1", "t2")
        await consumer.read_until(**await ends(shop))
        await consumer.check()
        reasons = [item.reason for item in consumer.items if isinstance(item, Gap)]
        assert GapReason.REPLACED in reasons


async def test_what_is_older_than_the_streams_age_limit_is_not_published_again(shop: Shop, world: World) -> None:
    bus = await world.bus()
    async with relaying(shop, bus) as working:
        await talk(shop, "old", "both")
        old = (await ends(shop))["both"]
        await working.marked()
        shop.clock.advance(timedelta(days=4).total_seconds())
        await talk(shop, "both", "new")
        await working.marked()
        await world.wipe()
        async with consuming(shop, bus) as consumer:
            last = await ends(shop)
            await consumer.read_until(both=last["both"], new=last["new"])
            assert consumer.seen == {"both": [*range(old + 1, last["both"] + 1)], "new": [*range(1, last["new"] + 1)]}


class Unmarked(WatchedRows):
    """The rows of a relay that dies before it has marked anything."""

    async def mark(self, worker_id: WorkerId, marks: Sequence[Mark], stream: StreamNote | None) -> frozenset[int]:
        return frozenset()


async def test_what_was_published_and_not_marked_is_published_again_and_dropped(shop: Shop, world: World) -> None:
    bus = await world.bus()
    async with consuming(shop, bus) as consumer:
        async with relaying(shop, bus, rows=Unmarked):
            await talk(shop, "t1")
            await consumer.read_until(**await ends(shop))
        assert await shop.row("SELECT published_sequence FROM threads") == (0,)
        before = (await bus.identity()).last_sequence
        async with relaying(shop, bus) as working:
            await talk(shop, "t2")
            await working.marked()
        last = await ends(shop)
        assert (await bus.identity()).last_sequence == before + last["t2"], "the bus knows the ids of the first time"
        await consumer.read_until(**last)
        await consumer.check()


async def test_a_deleted_thread_is_told_of_and_leaves_nothing_in_the_stream(shop: Shop, bus: Bus) -> None:
    sweeping = replace(QUICK, sweep_every=timedelta(milliseconds=20))
    async with relaying(shop, bus, sweeping), consuming(shop, bus) as consumer:
        await talk(shop, "t1", "t2")
        last = await ends(shop)
        await consumer.read_until(**last)
        key = RequestKey("DeleteThread", RequestId("d1"), b"")
        await ThreadStore(shop.store).delete_thread(DeleteThread(ADA, key, ThreadId("t1")))
        await consumer.read_until_deleted("t1")
        await talk(shop, "t2")
        await consumer.read_until(t2=(await ends(shop))["t2"])
    assert await stream_of(bus, "t1") == [("ThreadDeleted", last["t1"] + 1)]
    assert len(await stream_of(bus, "t2")) == (await ends(shop))["t2"]
    assert await shop.row("SELECT published FROM tombstones") == (1,)


async def test_words_that_were_redacted_are_gone_from_the_stream(shop: Shop, bus: Bus) -> None:
    async with relaying(shop, bus) as working:
        await talk(shop, "t1")
        key = RequestKey("RedactMessage", RequestId("x1"), b"")
        await ThreadStore(shop.store).redact_message(
            RedactMessage(ADA, key, ThreadId("t1"), MessageId("said_1"), "secret")
        )
        await working.marked()
        async with consuming(shop, bus, start_from_first) as consumer:
            await consumer.read_until(**await ends(shop))
            await consumer.check()
            turn = next(item for item in consumer.items if isinstance(item, Event) and item.event.redacted)
            assert turn.from_log
    assert [kind for kind, _ in await stream_of(bus, "t1")] == ["MessageRedacted"]


async def test_what_stands_behind_a_redaction_stays_in_the_stream(shop: Shop, bus: Bus) -> None:
    await talk(shop, "t1")
    key = RequestKey("RedactMessage", RequestId("x1"), b"")
    redact = RedactMessage(ADA, key, ThreadId("t1"), MessageId("said_1"), "secret")
    await ThreadStore(shop.store).redact_message(redact)
    redacted = (await ends(shop))["t1"]
    await talk(shop, "t1", "t2")
    async with relaying(shop, bus) as working:  # all of it is published in one round
        await working.marked()
    last = (await ends(shop))["t1"]
    assert [sequence for _, sequence in await stream_of(bus, "t1")] == [*range(redacted, last + 1)]


async def test_memory_is_bounded_and_the_backlog_finds_what_was_left_out(shop: Shop, bus: Bus) -> None:
    narrow = replace(QUICK, limits=OutboxLimits(events=4, threads=2, positions=2), threads_a_round=3, events_a_thread=2)
    threads = [f"t{number}" for number in range(9)]
    async with relaying(shop, bus, narrow), consuming(shop, bus) as consumer:
        await talk(shop, *threads)
        await consumer.read_until(**await ends(shop))
        await consumer.check()


async def test_events_of_threads_that_it_knows_are_not_read_from_the_log(shop: Shop, bus: Bus) -> None:
    async with relaying(shop, bus) as working, consuming(shop, bus) as consumer:
        await working.rows.backlogs.until(lambda count: count > 0)  # or it may find t3, and read that
        await talk(shop, "t1", "t2")
        await consumer.read_until(**await ends(shop))
        reads = working.rows.reads
        for _ in range(3):
            await talk(shop, "t1", "t2", "t3")
            await consumer.read_until(**await ends(shop))
        assert working.rows.reads == reads


async def test_a_restored_log_publishes_under_its_own_epoch(shop: Shop, bus: Bus) -> None:
    async with relaying(shop, bus) as working:
        await talk(shop, "t1")
        await working.marked()
    assert await shop.store.write(lambda writer: relay_rows.raise_epoch(writer.tx)) == 2
    async with relaying(shop, bus), consuming(shop, bus) as consumer:
        await talk(shop, "t1")
        await consumer.read_until(**await ends(shop))
        epochs = [item.origin.log_epoch for item in consumer.items if isinstance(item, Event)]
        assert epochs == sorted(epochs) and set(epochs) == {1, 2}
        await consumer.check()
