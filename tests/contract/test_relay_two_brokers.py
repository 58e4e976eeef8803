"""Relays on one database that stand on two servers: one of them publishes, and the other waits until it is gone."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from heddle_bus import subjects
from heddle_bus.link import Link
from heddle_bus.memory import MemoryBus, MemoryServer
from heddle_bus.observed import Observed
from heddle_bus.server import NatsServer
from heddle_core.clock import ManualClock, Micros
from heddle_runtime.relay.shards import SHARDS
from heddle_runtime.store.relay_rows import read_backlog
from heddle_runtime.store.store import Store
from heddle_runtime.threads.log import ThreadKey
from tests.kit.nats import jetstream_bus, nats_server, wipe
from tests.kit.relays import RELAYS_LEASE, SHARED, Relaying, WatchedRows, consuming, ends, relaying
from tests.kit.stores import OTHER, SHOPS, WORKER, Shop

SWEEPING = replace(SHARED, sweep_every=timedelta(milliseconds=20), aside_every=timedelta(milliseconds=20))
"""Nothing but a sweep tells what a relay on another server does."""


class CountedRows(WatchedRows):
    """Counts how often everything was to be published again."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.rewinds = Observed(0)

    async def rewind(self, since: Micros, after: ThreadKey | None) -> ThreadKey | None:
        if after is None:
            self.rewinds.set(self.rewinds.value + 1)
        return await super().rewind(since, after)


@pytest.fixture(params=SHOPS)
async def shop(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Shop]:
    async with SHOPS[request.param](tmp_path) as shop:
        yield shop


@pytest.fixture
def one() -> MemoryServer:
    return MemoryServer(ManualClock())


@pytest.fixture
def another() -> MemoryServer:
    later = ManualClock()
    later.advance(60)
    return MemoryServer(later)


async def looked(rows: WatchedRows, times: int = 5) -> None:
    """Return when a relay has looked so often at where it stands."""
    for _ in range(times):
        known = rows.stands.value
        async with asyncio.timeout(30):
            await rows.stands.change_from(known)


async def marked(shop: Shop, *relays: Relaying) -> None:
    """Return when all that is committed is marked as published, by any of them."""
    async with asyncio.timeout(30):
        while True:
            seen = [(each.rows.marks, each.rows.marks.value) for each in relays]
            if not await shop.store.read(lambda tx: read_backlog(tx, None, 1)):
                return
            waiting = [asyncio.ensure_future(marks.change_from(known)) for marks, known in seen]
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for each in waiting:
                each.cancel()


async def test_one_publishes_what_both_commit_and_nobody_begins_again(
    shop: Shop, one: MemoryServer, another: MemoryServer
) -> None:
    elsewhere = Store(shop.database)
    async with (
        MemoryBus(one) as here,
        MemoryBus(another) as there,
        relaying(shop, here, SWEEPING, rows=CountedRows) as first,
        consuming(shop, here) as consumer,
    ):
        await first.shares(SHARDS)
        async with relaying(shop, there, SWEEPING, worker=OTHER, store=elsewhere, rows=CountedRows) as second:
            there_too = replace(shop, store=elsewhere)
            for number in range(4):
                await shop.turn(f"t{number}")
                await there_too.turn(f"t{number}")
                await looked(first.rows)
                await looked(second.rows)
            await consumer.read_until(**await ends(shop))
            await consumer.check()
            assert (first.rows.shards.value, second.rows.shards.value) == (SHARDS, 0)
            assert isinstance(first.rows, CountedRows) and isinstance(second.rows, CountedRows)
            assert (first.rows.rewinds.value, second.rows.rewinds.value) == (0, 0)
            assert second.relay.brokers.value.aside and set(second.relay.brokers.value.elsewhere) == {WORKER}
            assert not first.relay.brokers.value.aside and set(first.relay.brokers.value.elsewhere) == {OTHER}
            assert another.identity.last_sequence == 0, "nobody publishes to both"
        await looked(first.rows)
        assert not first.relay.brokers.value.elsewhere


async def test_who_waited_publishes_all_that_is_young_when_the_other_has_left(
    shop: Shop, one: MemoryServer, another: MemoryServer
) -> None:
    elsewhere = Store(shop.database)
    async with MemoryBus(one) as here, MemoryBus(another) as there, consuming(shop, there) as consumer:
        async with relaying(shop, here, SWEEPING) as first:
            await first.shares(SHARDS)
            await shop.turn("t1")
            await first.marked()
            second = relaying(shop, there, SWEEPING, worker=OTHER, store=elsewhere, rows=CountedRows)
            working = await second.__aenter__()
            try:
                await looked(working.rows)
                assert working.rows.shards.value == 0
            except BaseException:
                await second.__aexit__(None, None, None)
                raise
        try:
            await consumer.read_until(**await ends(shop))
            await consumer.check()
            await working.shares(SHARDS)
            assert isinstance(working.rows, CountedRows) and working.rows.rewinds.value == 1
            assert not working.relay.brokers.value.aside
        finally:
            await second.__aexit__(None, None, None)


async def test_who_comes_back_after_its_lease_has_ended_waits_for_the_one_that_took_over(
    shop: Shop, one: MemoryServer, another: MemoryServer
) -> None:
    elsewhere = Store(shop.database)
    async with (
        MemoryBus(one) as here,
        MemoryBus(another) as there,
        relaying(shop, here, SWEEPING, rows=CountedRows) as first,
        consuming(shop, there) as consumer,
    ):
        await first.shares(SHARDS)
        await shop.turn("t1")
        async with relaying(shop, there, SWEEPING, worker=OTHER, store=elsewhere, rows=CountedRows) as second:
            shop.clock.advance(RELAYS_LEASE / 1_000_000 + 1)
            await shop.store.renew_lease(OTHER, "there", RELAYS_LEASE)
            await consumer.read_until(**await ends(shop))
            await consumer.check()
            await shop.store.renew_lease(WORKER, "here", RELAYS_LEASE)
            await first.shares(0)
            await looked(first.rows)
            await second.shares(SHARDS)
            assert isinstance(first.rows, CountedRows) and isinstance(second.rows, CountedRows)
            assert (first.rows.rewinds.value, second.rows.rewinds.value) == (0, 1)
            assert first.relay.brokers.value.aside


async def test_a_wipe_is_found_by_all_who_stand_on_the_server_and_one_of_them_publishes_again(
    shop: Shop, one: MemoryServer
) -> None:
    elsewhere = Store(shop.database)
    async with (
        MemoryBus(one) as here,
        MemoryBus(one) as there,
        relaying(shop, here, SHARED, rows=CountedRows) as first,
        relaying(shop, there, SHARED, worker=OTHER, store=elsewhere, rows=CountedRows) as second,
    ):
        await second.shares(SHARDS // 2)
        for number in range(4):
            await shop.turn(f"t{number}")
        await marked(shop, first, second)
        one.stop()
        one.wipe()
        one.start()
        async with consuming(shop, here) as consumer:
            await consumer.read_until(**await ends(shop))
            await consumer.check()
        for each in (first, second):
            await each.rows.shards.until(lambda held: held == SHARDS // 2)
            assert not each.relay.brokers.value.elsewhere


async def test_a_stream_that_was_removed_is_found_by_a_relay_that_has_nothing_to_publish(
    shop: Shop, tmp_path: Path
) -> None:
    elsewhere = Store(shop.database)
    async with (
        nats_server(tmp_path / "nats") as server,
        jetstream_bus(server) as here,
        jetstream_bus(server) as there,
        relaying(shop, here, SHARED) as first,
        relaying(shop, there, SHARED, worker=OTHER, store=elsewhere) as second,
    ):
        await second.shares(SHARDS // 2)
        await shop.turn("t1")
        await marked(shop, first, second)
        await remove_stream(server)
        await shop.turn("t1")  # one of the two finds out by this, and rings for the other
        async with consuming(shop, here) as consumer:
            await consumer.read_until(**await ends(shop))
            await consumer.check()
            assert consumer.seen["t1"][0] == 1


async def test_a_sweep_finds_a_stream_that_was_removed_though_nothing_is_published(shop: Shop, tmp_path: Path) -> None:
    async with (
        nats_server(tmp_path / "nats") as server,
        jetstream_bus(server) as bus,
        relaying(shop, bus, SWEEPING) as working,
    ):
        await shop.turn("t1")
        await working.marked()
        await remove_stream(server)
        async with consuming(shop, bus) as consumer:
            await consumer.read_until(**await ends(shop))
            await consumer.check()


async def test_a_server_that_was_wiped_is_no_other_server_to_those_who_were_on_it(shop: Shop, tmp_path: Path) -> None:
    elsewhere = Store(shop.database)
    async with (
        nats_server(tmp_path / "nats") as server,
        jetstream_bus(server) as here,
        jetstream_bus(server) as there,
        relaying(shop, here, SHARED) as first,
        relaying(shop, there, SHARED, worker=OTHER, store=elsewhere) as second,
    ):
        await second.shares(SHARDS // 2)
        await shop.turn("t1")
        await marked(shop, first, second)
        await wipe(server)
        async with consuming(shop, here) as consumer:
            await consumer.read_until(**await ends(shop))
            await consumer.check()
        for each in (first, second):
            await each.rows.shards.until(lambda held: held == SHARDS // 2)


async def remove_stream(server: NatsServer) -> None:
    link = Link(server.endpoint(), name="saboteur", on_lost=lambda: None)
    await link.open()
    await link.api(f"STREAM.DELETE.{subjects.EVENT_STREAM}", {}, timedelta(seconds=5))
    await link.close()
