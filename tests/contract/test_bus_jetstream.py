"""What only a real server can do to the bus: die, freeze, forget, trim, and come back as an old copy."""

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from heddle_bus import subjects
from heddle_bus.endpoint import Endpoint
from heddle_bus.jetstream import JetStreamBus
from heddle_bus.link import Link
from heddle_bus.port import Bus, Gap, GapReason, Publication, StoredMessage
from heddle_bus.server import NatsServer
from heddle_core.errors import DeadlinePassed, ServiceUnreachable
from tests.kit.nats import SMALL_STREAM, jetstream_bus, kill, nats_server

SUBJECT = subjects.thread_event("acme", "t1", "Fact")
STEP = timedelta(seconds=2)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    async with nats_server(tmp_path / "nats") as server:
        yield server


@pytest.fixture
async def bus(server: NatsServer) -> AsyncIterator[Bus]:
    async with jetstream_bus(server) as bus:
        yield bus


@pytest.fixture
async def link(server: NatsServer) -> AsyncIterator[Link]:
    """A bare connection, to do what no Heddle would."""
    link = Link(server.endpoint(), name="saboteur", on_lost=lambda: None)
    await link.open()
    yield link
    await link.close()


async def publish_until_stored(bus: Bus, queues: dict[str, range]) -> None:
    """Store all numbers of all keys, each key's in order, whatever happens to the server."""
    left = {key: list(numbers) for key, numbers in queues.items()}
    while any(left.values()):
        queues_left = [
            [
                Publication(subjects.thread_event("acme", key, "Fact"), b"%d" % number, f"{key}-{number}")
                for number in numbers[:4]
            ]
            for key, numbers in left.items()
        ]
        progress = await bus.publish_in_order(queues_left, deadline=timedelta(seconds=1))
        for key, came in zip(left, progress, strict=True):
            assert came.fault is None or isinstance(came.fault, DeadlinePassed | ServiceUnreachable)
            del left[key][: came.stored]


async def test_kill_9_while_publishing_loses_nothing_and_keeps_the_order(server: NatsServer, bus: Bus) -> None:
    keys, each = [f"t{number}" for number in range(10)], 120
    read: dict[str, list[int]] = {key: [] for key in keys}
    reached = asyncio.Condition()
    total = 0

    async def read_all() -> None:
        nonlocal total
        async with bus.follow((subjects.thread_events("acme"),), after=None) as following:
            while any(len(numbers) < each for numbers in read.values()):
                item = await anext(following)
                assert isinstance(item, StoredMessage)
                numbers = read[item.subject.split(".")[4]]
                if int(item.payload) not in numbers:
                    numbers.append(int(item.payload))
                async with reached:
                    total += 1
                    reached.notify_all()

    async def kill_in_the_middle() -> None:
        for mark in (200, 700):
            async with reached:
                await reached.wait_for(lambda mark=mark: total >= mark)
            await kill(server)

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        group.create_task(read_all())
        group.create_task(kill_in_the_middle())
        group.create_task(publish_until_stored(bus, dict.fromkeys(keys, range(each))))
    assert all(numbers == list(range(each)) for numbers in read.values())
    assert bus.connection.value.count == 3
    assert (await bus.identity()).last_sequence == len(keys) * each


async def test_a_frozen_server_makes_a_publish_unknown_and_the_retry_settles_it(server: NatsServer, bus: Bus) -> None:
    pid = server.running.value
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    await asyncio.to_thread(os.waitid, os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)
    try:
        with pytest.raises(DeadlinePassed):
            await bus.publish(SUBJECT, b"x", message_id="m1", deadline=timedelta(milliseconds=200))
    finally:
        os.kill(pid, signal.SIGCONT)
    again = await bus.publish(SUBJECT, b"x", message_id="m1")
    assert again.duplicate and again.stream_sequence == 1


async def test_a_stream_that_somebody_removed_is_made_again(bus: Bus, link: Link) -> None:
    await bus.publish(SUBJECT, b"1", message_id="m1")
    before = await bus.identity()
    async with bus.follow((SUBJECT,), after=None) as following:
        assert isinstance(await anext(following), StoredMessage)
        (await link.api(f"STREAM.DELETE.{subjects.EVENT_STREAM}", {}, STEP)).checked()
        assert (await bus.publish(SUBJECT, b"2", message_id="m2")).stream_sequence == 1
        assert (await bus.identity()).created != before.created
        assert await anext(following) == Gap(GapReason.REPLACED)
        item = await anext(following)
        assert isinstance(item, StoredMessage) and item.payload == b"2"
    assert bus.connection.value.count == 1


async def test_a_consumer_that_somebody_removed_is_made_again(bus: Bus, link: Link) -> None:
    async with bus.follow((SUBJECT,), after=None) as following:
        await bus.publish(SUBJECT, b"1", message_id="m1")
        assert isinstance(await anext(following), StoredMessage)
        listed = await link.api(f"CONSUMER.NAMES.{subjects.EVENT_STREAM}", {}, STEP)
        for name in listed.checked()["consumers"]:
            (await link.api(f"CONSUMER.DELETE.{subjects.EVENT_STREAM}.{name}", {}, STEP)).checked()
        await bus.publish(SUBJECT, b"2", message_id="m2")
        item = await anext(following)
        assert isinstance(item, StoredMessage) and item.payload == b"2"


async def test_a_closed_following_leaves_no_consumer_on_the_server(bus: Bus, link: Link) -> None:
    await bus.publish(SUBJECT, b"1", message_id="m1")
    async with bus.follow((SUBJECT,), after=None) as following:
        await anext(following)
    listed = await link.api(f"CONSUMER.NAMES.{subjects.EVENT_STREAM}", {}, STEP)
    assert not listed.checked()["consumers"]


async def test_an_old_copy_of_the_store_is_noticed_even_after_it_has_grown_again(
    server: NatsServer, bus: Bus, tmp_path: Path
) -> None:
    await bus.publish(SUBJECT, b"1", message_id="m1")
    await server.stop()
    shutil.copytree(server.store, tmp_path / "copy")
    await server.start()
    async with bus.follow((SUBJECT,), after=None) as following:
        for number in (2, 3):
            await bus.publish(SUBJECT, b"%d" % number, message_id=f"m{number}")
        items = [await anext(following) for _ in range(3)]
        assert all(isinstance(item, StoredMessage) for item in items)
        before = await bus.identity()
        await server.stop()
        shutil.rmtree(server.store)
        shutil.copytree(tmp_path / "copy", server.store)
        await server.start()
        async with asyncio.timeout(10):
            assert (await bus.read(3)) is None
            assert (await bus.identity()).created == before.created
            for number in (20, 30, 40):
                await bus.publish(SUBJECT, b"%d" % number, message_id=f"m{number}")
            assert await anext(following) == Gap(GapReason.REPLACED)
            items = [await anext(following) for _ in range(4)]
    assert [item.payload for item in items if isinstance(item, StoredMessage)] == [b"1", b"20", b"30", b"40"]


async def test_what_the_limits_drop_before_it_is_read_shows_as_a_gap(server: NatsServer) -> None:
    small = replace(SMALL_STREAM, bytes_limit=64 * 1024)
    async with jetstream_bus(server, small) as bus, bus.follow((SUBJECT,), after=None) as following:
        await bus.publish(SUBJECT, bytes(1024), message_id="m0")
        first = await anext(following)
        assert isinstance(first, StoredMessage)
        async with asyncio.TaskGroup() as group:
            for number in range(1, 200):
                group.create_task(bus.publish(SUBJECT, bytes(1024), message_id=f"m{number}"))
        async with bus.follow((SUBJECT,), after=first.position) as late:
            gap = await anext(late)
            assert isinstance(gap, Gap) and gap.reason is GapReason.TRIMMED
            after = await anext(late)
            assert isinstance(after, StoredMessage)
            assert after.position.sequence == (gap.missed or 0) + 2


async def test_changed_settings_reach_a_stream_that_is_there_and_keep_what_it_holds(
    server: NatsServer, link: Link
) -> None:
    async with jetstream_bus(server) as bus:
        await bus.publish(SUBJECT, b"1", message_id="m1")
    async with jetstream_bus(server, replace(SMALL_STREAM, age_limit=timedelta(hours=1))) as bus:
        assert (await bus.identity()).last_sequence == 1
    info = (await link.api(f"STREAM.INFO.{subjects.EVENT_STREAM}", {}, STEP)).checked()
    assert info["config"]["max_age"] == 3_600 * 10**9
    assert (info["config"]["storage"], info["config"]["discard"]) == ("file", "old")


async def test_who_only_listens_reads_the_stream_and_leaves_its_settings_as_they_are(
    server: NatsServer, link: Link
) -> None:
    kept = replace(SMALL_STREAM, age_limit=timedelta(hours=1))
    async with (
        jetstream_bus(server, kept) as bus,
        JetStreamBus(server.endpoint, name="listener", keeps_stream=False) as listener,
        listener.follow((SUBJECT,), after=None) as following,
    ):
        await bus.publish(SUBJECT, b"1", message_id="m1")
        async with asyncio.timeout(20):
            item = await anext(following)
        assert isinstance(item, StoredMessage) and item.payload == b"1"
    config = (await link.api(f"STREAM.INFO.{subjects.EVENT_STREAM}", {}, STEP)).checked()["config"]
    assert (config["max_age"], config["max_bytes"]) == (3_600 * 10**9, SMALL_STREAM.bytes_limit)


def test_the_example_of_a_consumer_only_listens() -> None:
    example = Path(__file__).parents[2] / "examples" / "consume_events.py"
    assert 'name="example", keeps_stream=False)' in example.read_text(encoding="utf-8")


async def test_nobody_gets_in_without_the_token(server: NatsServer) -> None:
    (url,) = server.endpoint().servers
    for token in ("", "guess"):
        async with JetStreamBus(lambda token=token: Endpoint((url,), token=token)) as bus:
            state = await bus.connection.until(lambda state: state.problem != "not connected yet")
            assert not state.connected and "Authorization" in state.problem


async def test_nothing_is_printed_while_the_server_dies_and_returns(
    server: NatsServer, bus: Bus, capfd: pytest.CaptureFixture[str]
) -> None:
    async with bus.follow((SUBJECT,), after=None) as following:
        waiting = asyncio.create_task(anext(following))
        count = bus.connection.value.count
        await kill(server)
        await bus.connection.until(lambda state: state.durable and state.count > count)
        await bus.publish(SUBJECT, b"x", message_id="m1")
        await waiting
    assert capfd.readouterr() == ("", "")


async def test_a_bus_may_be_opened_before_its_server(tmp_path: Path) -> None:
    server = NatsServer(tmp_path / "nats")
    async with JetStreamBus(
        lambda: server.endpoint() if server.endpoint().servers else Endpoint(("127.0.0.1:1",))
    ) as bus:
        await bus.connection.until(lambda state: "refused" in state.problem or "servers" in state.problem)
        async with server:
            assert (await bus.publish(SUBJECT, b"x", message_id="m1")).stream_sequence == 1
