"""What every implementation of the bus must do: once in memory, once over a real NATS with JetStream."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Protocol

import pytest

from heddle_bus import subjects
from heddle_bus.memory import MemoryBus, MemoryServer
from heddle_bus.pipeline import Pipeline
from heddle_bus.port import Acknowledgement, Bus, Following, Gap, GapReason, Message, StoredMessage
from heddle_bus.server import NatsServer
from heddle_core.clock import ManualClock
from heddle_core.errors import DeadlinePassed, InvalidField, RequestTooLarge, ServiceUnreachable
from tests.kit.nats import SMALL_SERVER, jetstream_bus
from tests.kit.nats import wipe as wipe_server

SOON = timedelta(seconds=10)
SUBJECT = subjects.thread_event("acme", "t1", "RunStarted")
BELL = subjects.control("runs", "r1")


class World(Protocol):
    """A server that the test may harm, and buses on it."""

    async def bus(self) -> Bus: ...
    async def stop(self) -> None: ...
    async def start(self) -> None: ...
    async def wipe(self) -> None: ...


class MemoryWorld:
    def __init__(self, closing: AsyncExitStack) -> None:
        self.server = MemoryServer(ManualClock())
        self._closing = closing

    async def bus(self) -> Bus:
        return await self._closing.enter_async_context(MemoryBus(self.server))

    async def stop(self) -> None:
        self.server.stop()

    async def start(self) -> None:
        self.server.start()

    async def wipe(self) -> None:
        self.server.stop()
        self.server.wipe()
        self.server.start()


class JetStreamWorld:
    def __init__(self, closing: AsyncExitStack, server: NatsServer) -> None:
        self.server = server
        self._closing = closing

    async def bus(self) -> Bus:
        return await self._closing.enter_async_context(jetstream_bus(self.server))

    async def stop(self) -> None:
        await self.server.stop()

    async def start(self) -> None:
        await self.server.start()

    async def wipe(self) -> None:
        await wipe_server(self.server)


@pytest.fixture(params=["memory", "jetstream"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    async with AsyncExitStack() as closing:
        if request.param == "memory":
            yield MemoryWorld(closing)
        else:
            server = await closing.enter_async_context(NatsServer(tmp_path / "nats", SMALL_SERVER))
            yield JetStreamWorld(closing, server)


@pytest.fixture
async def bus(world: World) -> Bus:
    return await world.bus()


async def publish(bus: Bus, number: int, subject: str = SUBJECT) -> Acknowledgement:
    return await bus.publish(subject, b"%d" % number, message_id=f"{subject}-{number}", deadline=SOON)


async def stored(following: Following, count: int) -> list[int]:
    async with asyncio.timeout(SOON.total_seconds()):
        items = [await anext(following) for _ in range(count)]
    return [int(item.payload) for item in items if isinstance(item, StoredMessage)]


# --- publishing ------------------------------------------------------------------------------------------


async def test_publishing_returns_ascending_places_in_the_stream(bus: Bus) -> None:
    answers = [await publish(bus, number) for number in range(3)]
    assert answers == [Acknowledgement(place, duplicate=False) for place in (1, 2, 3)]


async def test_a_repeated_message_id_is_acknowledged_as_a_duplicate_and_not_stored(bus: Bus) -> None:
    first = await publish(bus, 1)
    again = await bus.publish(SUBJECT, b"other words", message_id=f"{SUBJECT}-1")
    assert again == Acknowledgement(first.stream_sequence, duplicate=True)
    assert (await bus.identity()).last_sequence == 1


async def test_headers_arrive_with_what_is_stored(bus: Bus) -> None:
    headers = {"ce-type": "RunStarted", "traceparent": "00-ab-cd-01", "ce-subject": "größer: 1"}
    await bus.publish(SUBJECT, b"x", message_id="m1", headers=headers)
    async with bus.follow((SUBJECT,), after=None) as following:
        message = await anext(following)
    read = await bus.read(1)
    assert isinstance(message, StoredMessage) and read is not None
    for each in (message, read):
        assert each.payload == b"x" and each.subject == SUBJECT
        assert {name: each.headers.get(name) for name in headers} == headers
        assert each.headers[subjects.MESSAGE_ID] == "m1"


async def test_a_payload_above_the_limit_is_refused_and_the_bus_goes_on(bus: Bus) -> None:
    with pytest.raises(RequestTooLarge):
        await bus.publish(SUBJECT, bytes(SMALL_SERVER.most_payload + 1), message_id="large")
    with pytest.raises(RequestTooLarge):
        await bus.send(BELL, bytes(SMALL_SERVER.most_payload + 1))
    assert (await publish(bus, 1)).stream_sequence == 1
    assert bus.connection.value.count == 1


async def test_a_large_payload_travels_unharmed(bus: Bus) -> None:
    payload = os.urandom(4 * 1024 * 1024)
    await bus.publish(SUBJECT, payload, message_id="large")
    async with bus.follow((SUBJECT,), after=None) as following:
        message = await anext(following)
    assert isinstance(message, StoredMessage) and message.payload == payload


async def test_publishing_on_a_subject_that_the_stream_does_not_store_is_refused(bus: Bus) -> None:
    with pytest.raises(InvalidField):
        await bus.publish(BELL, b"x", message_id="m1")


async def test_a_pipeline_keeps_order_per_key_with_many_keys_in_flight(bus: Bus) -> None:
    keys, each = 20, 15
    pipeline = Pipeline(bus, most_in_flight=8)
    names = {f"t{key}": subjects.thread_event("acme", f"t{key}", "Fact") for key in range(keys)}
    async with asyncio.TaskGroup() as group:
        for number in range(each):
            for key, subject in names.items():
                group.create_task(
                    pipeline.publish(key, subject, b"%d" % number, message_id=f"{key}-{number}", deadline=SOON)
                )
    read: dict[str, list[int]] = {subject: [] for subject in names.values()}
    async with bus.follow((subjects.thread_events("acme"),), after=None) as following:
        for _ in range(keys * each):
            message = await anext(following)
            assert isinstance(message, StoredMessage)
            read[message.subject].append(int(message.payload))
    assert all(numbers == list(range(each)) for numbers in read.values())


# --- following -------------------------------------------------------------------------------------------


async def test_following_resumes_after_a_given_position(world: World) -> None:
    writer, reader = await world.bus(), await world.bus()
    for number in range(1, 8):
        await publish(writer, number)
    async with reader.follow((SUBJECT,), after=None) as following:
        assert await stored(following, 3) == [1, 2, 3]
        item = await anext(following)
    assert isinstance(item, StoredMessage)
    async with reader.follow((SUBJECT,), after=item.position) as following:
        assert await stored(following, 3) == [5, 6, 7]
        waiting = asyncio.create_task(stored(following, 1))
        await publish(writer, 8)
        assert await waiting == [8]


async def test_following_brings_only_what_matches(bus: Bus) -> None:
    other = subjects.thread_event("other", "t1", "RunStarted")
    for number, subject in enumerate([SUBJECT, other, SUBJECT, other, SUBJECT]):
        await publish(bus, number, subject)
    async with bus.follow((subjects.thread_events("acme"),), after=None) as following:
        assert await stored(following, 3) == [0, 2, 4]


async def test_following_from_the_end_brings_only_what_is_new(bus: Bus) -> None:
    await publish(bus, 1)
    async with bus.follow((SUBJECT,), after=(await bus.identity()).end) as following:
        await publish(bus, 2)
        assert await stored(following, 1) == [2]


async def test_a_cancelled_wait_loses_nothing(bus: Bus) -> None:
    read: list[int] = []
    async with bus.follow((SUBJECT,), after=None) as following:
        for number in range(20):
            waiting = asyncio.create_task(stored(following, 1))
            for _ in range(number % 5):
                await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait([waiting])
            if not waiting.cancelled():
                read += waiting.result()
            await publish(bus, number)
        read += await stored(following, 20 - len(read))
    assert read == list(range(20))


async def test_closing_a_following_ends_its_waiting_reader(bus: Bus) -> None:
    following = bus.follow((SUBJECT,), after=None)
    waiting = asyncio.create_task(anext(following, None))
    await publish(bus, 1)
    assert isinstance(await waiting, StoredMessage)
    waiting = asyncio.create_task(anext(following, None))
    await asyncio.sleep(0)
    await following.close()
    async with asyncio.timeout(SOON.total_seconds()):
        assert await waiting is None


async def test_a_wiped_stream_shows_in_the_identity_and_to_those_who_follow(world: World) -> None:
    bus = await world.bus()
    for number in range(5):
        await publish(bus, number)
    before = await bus.identity()
    async with bus.follow((SUBJECT,), after=None) as following:
        assert await stored(following, 5) == [0, 1, 2, 3, 4]
        connected = bus.connection.value.count
        await world.wipe()
        await bus.connection.until(lambda state: state.durable and state.count > connected)
        after = await bus.identity()
        assert after.created != before.created and after.last_sequence == 0
        await publish(bus, 70)
        async with asyncio.timeout(SOON.total_seconds()):
            assert await anext(following) == Gap(GapReason.REPLACED)
        assert await stored(following, 1) == [70]
    async with bus.follow((SUBJECT,), after=before.end) as following:
        assert await anext(following) == Gap(GapReason.REPLACED)
        assert await stored(following, 1) == [70]


async def test_a_purge_removes_one_thread_and_leaves_the_others(bus: Bus) -> None:
    other = subjects.thread_event("acme", "t2", "RunStarted")
    for number, subject in enumerate([SUBJECT, other, SUBJECT]):
        await publish(bus, number, subject)
    assert await bus.purge(subjects.thread_events("acme", "t1")) == 2
    assert await bus.read(1) is None
    kept = await bus.read(2)
    assert kept is not None and kept.subject == other


# --- what is not stored ----------------------------------------------------------------------------------


async def test_doorbells_reach_whoever_subscribed_before(world: World) -> None:
    ringer, listener = await world.bus(), await world.bus()
    async with await listener.subscribe(subjects.controls("runs")) as bells:
        for number in range(100):
            await ringer.send(BELL, b"%d" % number)
        heard = [await anext(bells) for _ in range(100)]
    assert heard == [Message(BELL, b"%d" % number) for number in range(100)]


async def test_a_slow_subscriber_gets_a_mark_where_messages_are_missing(world: World) -> None:
    sender, reader = await world.bus(), await world.bus()
    fence = await reader.subscribe(subjects.control("fence", "f1"))
    async with await reader.subscribe(BELL, most_messages=10) as slow:
        for number in range(50):
            await sender.send(BELL, b"%d" % number)
        await sender.send(subjects.control("fence", "f1"), b"")
        await anext(fence)
        items = [await anext(slow) for _ in range(11)]
        await sender.send(BELL, b"50")
        items.append(await anext(slow))
    numbers = [int(item.payload) for item in items if isinstance(item, Message)]
    assert numbers == [*range(10), 50]
    assert items[10] == Gap(GapReason.OVERFLOW, missed=40)


async def test_a_subscriber_is_bounded_by_bytes_but_gets_one_message_of_any_size(world: World) -> None:
    bus = await world.bus()
    fence = await bus.subscribe(subjects.control("fence", "f1"))
    async with await bus.subscribe(BELL, most_bytes=1000) as slow:
        for _ in range(3):
            await bus.send(BELL, bytes(5000))
        await bus.send(subjects.control("fence", "f1"), b"")
        await anext(fence)
        assert await anext(slow) == Message(BELL, bytes(5000))
        assert await anext(slow) == Gap(GapReason.OVERFLOW, missed=2)


async def test_an_outage_marks_every_subscription_and_the_connection_tells(world: World) -> None:
    bus = await world.bus()
    async with await bus.subscribe(BELL) as bells:
        await world.stop()
        await bus.connection.until(lambda state: not state.connected)
        assert bus.connection.value.problem
        await bus.send(BELL, b"lost")
        async with await bus.subscribe(BELL) as late:
            await world.start()
            state = await bus.connection.until(lambda state: state.durable)
            assert state.count == 2
            for feed in (bells, late):
                assert await anext(feed) == Gap(GapReason.DISCONNECTED)
            await bus.send(BELL, b"heard")
            for feed in (bells, late):
                assert await anext(feed) == Message(BELL, b"heard")


async def test_publishing_waits_out_an_outage_within_its_deadline(world: World) -> None:
    bus = await world.bus()
    await world.stop()
    await bus.connection.until(lambda state: not state.connected)
    with pytest.raises(ServiceUnreachable):
        await bus.publish(SUBJECT, b"0", message_id="m", deadline=timedelta(milliseconds=50))
    waiting = asyncio.create_task(publish(bus, 1))
    await asyncio.sleep(0)
    await world.start()
    assert (await waiting).duplicate is False


async def test_a_question_is_answered(world: World) -> None:
    asker, answerer = await world.bus(), await world.bus()
    async with await answerer.subscribe(BELL) as questions, asyncio.TaskGroup() as group:

        async def reply() -> None:
            question = await anext(questions)
            assert isinstance(question, Message)
            await answerer.answer(question, b"so far: " + question.payload)

        group.create_task(reply())
        answer = await asker.ask(BELL, b"text?", deadline=SOON)
    assert answer.payload == b"so far: text?"


async def test_a_question_to_nobody_is_refused_at_once(bus: Bus) -> None:
    with pytest.raises(ServiceUnreachable):
        await bus.ask(BELL, b"text?", deadline=SOON)


async def test_a_question_that_nobody_answers_ends_at_its_deadline(bus: Bus) -> None:
    async with await bus.subscribe(BELL):
        with pytest.raises(DeadlinePassed):
            await bus.ask(BELL, b"text?", deadline=timedelta(milliseconds=50))


# --- safety ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "evil",
    [
        "",
        "a b",
        "a..b",
        ".a",
        "a.",
        "a\r\nPUB heddle.v1.other 1\r\nx\r\n",
        "a\n",
        "a\t",
        "a.*",
        "a.>",
        "$JS.API.STREAM.DELETE.HEDDLE_EVENTS",
        "$SYS.REQ.SERVER.PING",
        "ä",
        "a\x00",
        "a" * 65,
    ],
)
async def test_no_subject_can_carry_an_injection(bus: Bus, evil: str) -> None:
    with pytest.raises(InvalidField):
        await bus.publish(evil, b"x", message_id="m")
    with pytest.raises(InvalidField):
        await bus.send(evil, b"x")
    with pytest.raises(InvalidField):
        await bus.ask(evil, b"x", deadline=SOON)
    if evil not in ("a.*", "a.>"):
        with pytest.raises(InvalidField):
            await bus.subscribe(evil)
        with pytest.raises(InvalidField):
            bus.follow((evil,), after=None)
        with pytest.raises(InvalidField):
            await bus.purge(evil)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("evil\r\nname", "x"),
        ("", "x"),
        ("a:b", "x"),
        ("n", "x\r\ny: z"),
        ("n", "x\n"),
        ("n", " x"),
        ("n", "\x00"),
    ],
)
async def test_no_header_can_carry_an_injection(bus: Bus, name: str, value: str) -> None:
    with pytest.raises(InvalidField):
        await bus.publish(SUBJECT, b"x", message_id="m", headers={name: value})
    with pytest.raises(InvalidField):
        await bus.send(BELL, b"x", headers={name: value})
    assert (await bus.identity()).last_sequence == 0


async def test_no_message_id_can_carry_an_injection(bus: Bus) -> None:
    for evil in ("", "a\r\nb: c", " a", "a\n"):
        with pytest.raises(InvalidField):
            await bus.publish(SUBJECT, b"x", message_id=evil)


async def test_closing_leaves_no_task_and_no_socket(world: World) -> None:
    tasks, descriptors = asyncio.all_tasks(), open_descriptors()
    bus = await world.bus()
    bells = await bus.subscribe(BELL)
    await bus.subscribe(SUBJECT)
    following = bus.follow((SUBJECT,), after=None)
    reader = asyncio.create_task(anext(following, None))
    listener = asyncio.create_task(anext(bells, None))
    await publish(bus, 1)
    assert isinstance(await reader, StoredMessage)
    reader = asyncio.create_task(anext(following, None))
    await asyncio.sleep(0)
    await bus.close()
    assert await reader is None and await listener is None
    assert asyncio.all_tasks() == tasks
    assert open_descriptors() == descriptors
    assert not bus.connection.value.connected
    with pytest.raises(ServiceUnreachable):
        await publish(bus, 2)


async def test_closing_during_an_outage_is_quick_and_leaves_nothing(world: World) -> None:
    tasks = asyncio.all_tasks()
    bus = await world.bus()
    following = bus.follow((SUBJECT,), after=None)
    await world.stop()
    await bus.connection.until(lambda state: not state.connected)
    waiting = [
        asyncio.create_task(anext(following, None)),
        asyncio.create_task(publish(bus, 1)),
    ]
    await asyncio.sleep(0)
    async with asyncio.timeout(2):
        await bus.close()
        ended = await asyncio.gather(*waiting, return_exceptions=True)
    assert ended[0] is None and isinstance(ended[1], ServiceUnreachable)
    assert asyncio.all_tasks() <= tasks
    await world.start()


def open_descriptors() -> int:
    if not sys.platform.startswith("linux"):
        return 0
    return len(list(Path("/proc/self/fd").iterdir()))
