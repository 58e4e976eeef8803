"""What every implementation of the bus must do: once in memory, once over a real NATS with JetStream."""

import asyncio
import os
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from heddle_bus import subjects
from heddle_bus.port import Acknowledgement, Bus, Following, Gap, GapReason, Progress, Publication, StoredMessage
from heddle_core.errors import InvalidField, RequestTooLarge, ServiceUnreachable
from tests.kit.nats import SMALL_SERVER, World, bus_world
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


def queue_of(key: str, numbers: range) -> list[Publication]:
    subject = subjects.thread_event("acme", key, "Fact")
    return [Publication(subject, b"%d" % number, f"{key}-{number}", {"ce-subject": key}) for number in numbers]


async def test_queues_are_stored_side_by_side_and_each_in_its_order(bus: Bus) -> None:
    keys, each = 20, 15
    progress = await bus.publish_in_order([queue_of(f"t{key}", range(each)) for key in range(keys)])
    assert all(came.stored == each and came.fault is None for came in progress)
    assert sorted(came.last.stream_sequence for came in progress if came.last)[-1] == keys * each
    read: dict[str, list[int]] = {}
    async with bus.follow((subjects.thread_events("acme"),), after=None) as following:
        for _ in range(keys * each):
            message = await anext(following)
            assert isinstance(message, StoredMessage)
            assert message.headers["ce-subject"] == message.subject.split(".")[4]
            read.setdefault(message.subject, []).append(int(message.payload))
    assert len(read) == keys and all(numbers == list(range(each)) for numbers in read.values())


async def test_a_queue_that_was_stored_before_is_acknowledged_as_duplicates(bus: Bus) -> None:
    await bus.publish_in_order([queue_of("t1", range(3))])
    (again,) = await bus.publish_in_order([queue_of("t1", range(1, 5))])
    assert again == Progress(4, Acknowledgement(5, duplicate=False), None)
    assert (await bus.identity()).last_sequence == 5


async def test_what_a_queue_cannot_publish_holds_it_up_and_no_other(bus: Bus) -> None:
    large = Publication(SUBJECT, bytes(SMALL_SERVER.most_payload + 1), "large")
    wrong = Publication(BELL, b"x", "m1")
    forged = Publication(SUBJECT, b"x", "m2", {"n": "x\r\ny: z"})
    last = queue_of("t9", range(1, 2))
    progress = await bus.publish_in_order(
        [[*queue_of("t1", range(2)), large, *last], [wrong], [forged], [], queue_of("t2", range(3))]
    )
    assert [came.stored for came in progress] == [2, 0, 0, 0, 3]
    faults = [type(came.fault) for came in progress]
    assert faults == [RequestTooLarge, InvalidField, InvalidField, type(None), type(None)]
    assert bus.connection.value.count == 1


async def test_queues_wait_out_an_outage_within_their_deadline(world: World) -> None:
    bus = await world.bus()
    await world.stop()
    await bus.connection.until(lambda state: not state.connected)
    (came,) = await bus.publish_in_order([queue_of("t1", range(2))], deadline=timedelta(milliseconds=50))
    assert came.stored == 0 and isinstance(came.fault, ServiceUnreachable)
    waiting = await under_way(bus.publish_in_order([queue_of("t1", range(2))], deadline=SOON))
    await world.start()
    (came,) = await waiting
    assert came.stored == 2 and came.fault is None


async def test_what_is_held_to_a_connection_goes_over_no_other(world: World) -> None:
    bus = await world.bus()
    judged = bus.connection.value.count
    first = await bus.publish(SUBJECT, b"1", message_id="m1", over=judged)
    await world.stop()
    await bus.connection.until(lambda state: not state.connected)
    await refused_over(bus, judged)
    await world.start()
    await bus.connection.until(lambda state: state.durable)
    await refused_over(bus, judged)
    assert (await bus.identity()).last_sequence == first.stream_sequence
    assert await bus.purge(SUBJECT, over=bus.connection.value.count) == 1


async def refused_over(bus: Bus, connection: int) -> None:
    async with asyncio.timeout(SOON.total_seconds()):  # at once, and not when the call's own deadline has passed
        with pytest.raises(ServiceUnreachable):
            await bus.publish(SUBJECT, b"2", message_id="m2", deadline=10 * SOON, over=connection)
        with pytest.raises(ServiceUnreachable):
            await bus.purge(SUBJECT, over=connection)
        (came,) = await bus.publish_in_order([queue_of("t1", range(2))], deadline=10 * SOON, over=connection)
        assert came.stored == 0 and isinstance(came.fault, ServiceUnreachable)


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
                await asyncio.sleep(0)  # a turn of the loop, so that the reader is cancelled at each of its steps
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
    waiting = await under_way(anext(following, None))
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


async def test_a_purge_can_leave_what_came_last(bus: Bus) -> None:
    for number in range(4):
        await publish(bus, number)
    assert await bus.purge(subjects.thread_events("acme", "t1"), before=4) == 3
    async with bus.follow((SUBJECT,), after=None) as following:
        assert await stored(following, 1) == [3]


async def test_a_purge_removes_one_thread_and_leaves_the_others(bus: Bus) -> None:
    other = subjects.thread_event("acme", "t2", "RunStarted")
    for number, subject in enumerate([SUBJECT, other, SUBJECT]):
        await publish(bus, number, subject)
    assert await bus.purge(subjects.thread_events("acme", "t1")) == 2
    assert await bus.read(1) is None
    kept = await bus.read(2)
    assert kept is not None and kept.subject == other
