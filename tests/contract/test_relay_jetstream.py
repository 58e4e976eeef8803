"""What only a real NATS can do to the relay: die under load, forget, come back as an old copy, refuse what is large."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from heddle_bus import subjects
from heddle_bus.events import Event, start_from_first
from heddle_bus.link import Link
from heddle_bus.port import Bus
from heddle_bus.server import NatsServer
from tests.kit.nats import SMALL_SERVER, jetstream_bus, kill, nats_server
from tests.kit.relays import consuming, ends, relaying, stream_of
from tests.kit.stores import SHOPS, Shop


@pytest.fixture(params=SHOPS)
async def shop(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Shop]:
    async with SHOPS[request.param](tmp_path) as shop:
        yield shop


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    async with nats_server(tmp_path / "nats") as server:
        yield server


@pytest.fixture
async def bus(server: NatsServer) -> AsyncIterator[Bus]:
    async with jetstream_bus(server) as bus:
        yield bus


async def talk(shop: Shop, thread: str, steps: int = 3) -> None:
    owner = await shop.owner(thread)
    for _ in range(steps):
        await owner.say("words")
    await owner.complete()


async def test_nats_killed_again_and_again_under_load_loses_and_swaps_nothing(
    shop: Shop, server: NatsServer, bus: Bus
) -> None:
    threads = [f"t{number}" for number in range(6)]
    done = asyncio.Event()

    async def work() -> None:
        for _ in range(3):
            await asyncio.gather(*(talk(shop, thread, steps=10) for thread in threads))
        done.set()

    async def strike() -> None:
        for _ in range(3):
            await kill(server)
        await done.wait()

    async with relaying(shop, bus) as working, consuming(shop, bus) as consumer:
        async with asyncio.timeout(90), asyncio.TaskGroup() as tasks:
            tasks.create_task(work())
            tasks.create_task(strike())
        await consumer.read_until(**await ends(shop))
        await consumer.check()
        await working.marked()


async def test_a_stream_that_somebody_removed_is_filled_again(shop: Shop, server: NatsServer, bus: Bus) -> None:
    link = Link(server.endpoint(), name="saboteur", on_lost=lambda: None)
    async with relaying(shop, bus) as working:
        await talk(shop, "t1")
        await working.marked()
        await link.open()
        await link.api(f"STREAM.DELETE.{subjects.EVENT_STREAM}", {}, timedelta(seconds=5))
        await link.close()
        await talk(shop, "t2")
        async with consuming(shop, bus) as consumer:
            await consumer.read_until(**await ends(shop))
            await consumer.check()
    assert bus.connection.value.count == 1


async def test_an_old_copy_of_the_stream_is_noticed_though_its_name_and_age_are_the_same(
    shop: Shop, server: NatsServer, bus: Bus, tmp_path: Path
) -> None:
    async with relaying(shop, bus) as working:
        await talk(shop, "t1")
        await working.marked()
        await server.stop()
        await asyncio.to_thread(shutil.copytree, server.store, tmp_path / "copy")
        await server.start()
        await talk(shop, "t1", steps=8)
        await working.marked()
        await server.stop()
        await asyncio.to_thread(shutil.rmtree, server.store)
        await asyncio.to_thread(shutil.copytree, tmp_path / "copy", server.store)
        await server.start()
        async with consuming(shop, bus) as consumer:
            await consumer.read_until(**await ends(shop))
            await consumer.check()
    last = (await ends(shop))["t1"]
    assert {sequence for _, sequence in await stream_of(bus, "t1")} == set(range(1, last + 1))


async def test_an_event_too_large_for_the_server_is_pointed_at_and_read_from_the_log(
    shop: Shop, tmp_path: Path
) -> None:
    narrow = replace(SMALL_SERVER, most_payload=64 * 1024)
    async with (
        NatsServer(tmp_path / "narrow", narrow) as server,
        jetstream_bus(server) as bus,
        relaying(shop, bus),
        consuming(shop, bus, start_from_first) as consumer,
    ):
        owner = await shop.owner("t1")
        await owner.say("words " * 20_000)
        await owner.complete()
        await consumer.read_until(**await ends(shop))
        await consumer.check()
        fetched = [item for item in consumer.items if isinstance(item, Event) and item.from_log]
        assert [item.event.WhichOneof("payload") for item in fetched] == ["assistant_message_completed"]
        assert bus.connection.value.count == 1
