"""What every bus must do with what is not stored, with hostile text, and at its end: in memory and over NATS."""

import asyncio
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from heddle_bus import subjects
from heddle_bus.port import Acknowledgement, Bus, Gap, GapReason, Message, StoredMessage
from heddle_core.errors import DeadlinePassed, InvalidField, ServiceUnreachable
from tests.kit.nats import World, bus_world
from tests.kit.tasks import under_way

SOON = timedelta(seconds=10)
SUBJECT = subjects.thread_event("acme", "t1", "RunStarted")
BELL = subjects.control("runs", "r1")


@pytest.fixture(params=["memory", "jetstream"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    async with bus_world(request.param, tmp_path / "nats") as world:
        yield world


@pytest.fixture
async def bus(world: World) -> Bus:
    return await world.bus()


async def publish(bus: Bus, number: int, subject: str = SUBJECT) -> Acknowledgement:
    return await bus.publish(subject, b"%d" % number, message_id=f"{subject}-{number}", deadline=SOON)


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
    waiting = await under_way(publish(bus, 1))
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
    reader = await under_way(anext(following, None))
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
    waiting = [await under_way(anext(following, None)), await under_way(publish(bus, 1))]
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
