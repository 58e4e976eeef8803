"""The event reader over the bus in memory: whatever the bus does, each event once and in order."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heddle_bus import subjects
from heddle_bus.events import (
    Deleted,
    Event,
    EventReader,
    Hole,
    LoggedEvent,
    ThreadPlace,
    start_from_first,
    starting_place,
)
from heddle_bus.headers import EventOrigin, event_headers
from heddle_bus.memory import MemoryBus, MemoryServer
from heddle_bus.port import Bus, Gap, GapReason
from heddle_core.clock import ManualClock, Micros
from heddle_core.errors import StoreUnavailable

PATTERNS = (subjects.thread_events("acme"),)


class Log:
    """What a thread's log would answer, and what it was asked."""

    def __init__(self, last: int = 0, first: int = 1) -> None:
        self.first, self.last = first, last
        self.asked: list[tuple[str, int, int]] = []
        self.fault: Exception | None = None

    async def read(self, tenant: str, thread: str, after: int, up_to: int) -> Sequence[LoggedEvent[int]]:
        self.asked.append((thread, after, up_to))
        if self.fault is not None:
            fault, self.fault = self.fault, None
            raise fault
        numbers = range(max(after + 1, self.first), min(up_to, self.last) + 1)
        return [LoggedEvent(number, number) for number in numbers]


class Places:
    """What a consumer remembers by itself."""

    def __init__(self, **places: ThreadPlace) -> None:
        self.places = places

    async def find(self, tenant: str, thread: str) -> ThreadPlace | None:
        return self.places.get(thread)


async def publish(
    bus: Bus,
    sequence: int,
    *,
    thread: str = "t1",
    epoch: int = 1,
    again: int = 0,
    kind: str = "Fact",
    in_log: bool = False,
) -> None:
    origin = EventOrigin(epoch, "acme", thread, sequence)
    headers = event_headers(origin, kind=kind, committed=Micros(0))
    await bus.publish(
        subjects.thread_event("acme", thread, kind),
        b"" if in_log else b"%d" % sequence,
        message_id=f"{origin.message_id}/{again}",
        headers={**headers, subjects.IN_LOG: "1"} if in_log else headers,
    )


def reader(bus: Bus, log: Log, places: Places | None = None, most_threads: int = 100) -> EventReader[int]:
    following = bus.follow(PATTERNS, after=None)
    find = (places or Places()).find
    return EventReader(following, decode=int, read_log=log.read, find_place=find, most_threads=most_threads)


async def take(events: EventReader[int], count: int) -> list[object]:
    async with asyncio.timeout(5):
        items = [await anext(events) for _ in range(count)]
    return [
        (item.origin.thread, item.origin.log_epoch, item.origin.sequence, item.event)
        if isinstance(item, Event)
        else item
        for item in items
    ]


async def test_events_come_once_and_in_order_though_the_bus_repeats_and_swaps_them() -> None:
    log = Log(last=9)
    async with MemoryBus(MemoryServer(ManualClock())) as bus, reader(bus, log) as events:
        for number, sequence in enumerate([1, 2, 1, 4, 3, 2, 5, 5, 6]):
            await publish(bus, sequence, again=number)
        assert await take(events, 6) == [("t1", 1, number, number) for number in range(1, 7)]
    assert log.asked == [("t1", 2, 3)]


async def test_a_reader_goes_on_from_its_own_place_and_fetches_what_the_bus_lost() -> None:
    log, places = Log(last=20), Places(t1=ThreadPlace(1, 4))
    async with MemoryBus(MemoryServer(ManualClock())) as bus, reader(bus, log, places) as events:
        await publish(bus, 3)
        await publish(bus, 8)
        async with asyncio.timeout(5):
            items = [await anext(events) for _ in range(4)]
    assert all(isinstance(item, Event) for item in items)
    got = [(item.origin.sequence, item.from_log, item.position.sequence) for item in items if isinstance(item, Event)]
    assert got == [(5, True, 1), (6, True, 1), (7, True, 1), (8, False, 2)]


async def test_a_thread_that_is_new_to_the_reader_begins_with_what_arrives() -> None:
    log = Log(last=20)
    async with MemoryBus(MemoryServer(ManualClock())) as bus, reader(bus, log) as events:
        await publish(bus, 8)
        assert await take(events, 1) == [("t1", 1, 8, 8)]
    assert log.asked == []


async def test_what_the_log_has_trimmed_shows_as_a_hole() -> None:
    log, places = Log(last=20, first=7), Places(t1=ThreadPlace(1, 4), t2=ThreadPlace(1, 1))
    async with MemoryBus(MemoryServer(ManualClock())) as bus, reader(bus, log, places) as events:
        await publish(bus, 9)
        await publish(bus, 5, thread="t2")
        assert await take(events, 6) == [
            Hole("acme", "t1", 4, 7),
            ("t1", 1, 7, 7),
            ("t1", 1, 8, 8),
            ("t1", 1, 9, 9),
            Hole("acme", "t2", 1, 5),
            ("t2", 1, 5, 5),
        ]


async def test_after_a_fault_of_the_log_the_same_event_comes_again() -> None:
    log, places = Log(last=20), Places(t1=ThreadPlace(1, 1))
    log.fault = StoreUnavailable("restarting")
    async with MemoryBus(MemoryServer(ManualClock())) as bus, reader(bus, log, places) as events:
        await publish(bus, 3)
        with pytest.raises(StoreUnavailable):
            await anext(events)
        assert await take(events, 2) == [("t1", 1, 2, 2), ("t1", 1, 3, 3)]


async def test_a_restored_log_hands_its_events_over_again_under_its_own_epoch() -> None:
    log = Log(last=20)
    async with MemoryBus(MemoryServer(ManualClock())) as bus, reader(bus, log) as events:
        for sequence in (1, 2, 3):
            await publish(bus, sequence)
        for sequence in (2, 3):
            await publish(bus, sequence, epoch=2)
        await publish(bus, 4, epoch=1)
        await publish(bus, 4, epoch=2)
        assert await take(events, 6) == [
            *(("t1", 1, number, number) for number in (1, 2, 3)),
            *(("t1", 2, number, number) for number in (2, 3, 4)),
        ]


async def test_a_gap_of_the_bus_is_passed_on() -> None:
    server = MemoryServer(ManualClock())
    async with MemoryBus(server) as bus, reader(bus, Log()) as events:
        await publish(bus, 1)
        await take(events, 1)
        server.wipe()
        await publish(bus, 1, again=1)
        await publish(bus, 2)
        assert await take(events, 2) == [Gap(GapReason.REPLACED), ("t1", 1, 2, 2)]


async def test_a_message_that_names_no_event_is_skipped() -> None:
    async with MemoryBus(MemoryServer(ManualClock())) as bus, reader(bus, Log()) as events:
        await bus.publish(subjects.thread_event("acme", "t1", "Fact"), b"?", message_id="foreign")
        await publish(bus, 1)
        assert await take(events, 1) == [("t1", 1, 1, 1)]


async def test_places_that_were_let_go_are_asked_for_again() -> None:
    places = Places()
    async with MemoryBus(MemoryServer(ManualClock())) as bus, reader(bus, Log(), places, most_threads=1) as events:
        await publish(bus, 1, thread="t1")
        await publish(bus, 1, thread="t2")
        await take(events, 2)
        places.places["t1"] = ThreadPlace(1, 1)
        await publish(bus, 1, thread="t1", again=1)
        await publish(bus, 2, thread="t1")
        assert await take(events, 1) == [("t1", 1, 2, 2)]


async def test_an_event_too_large_for_the_bus_is_read_from_the_log() -> None:
    log, places = Log(last=4), Places(t1=ThreadPlace(1, 1))
    async with MemoryBus(MemoryServer(ManualClock())) as bus, reader(bus, log, places) as events:
        await publish(bus, 3, in_log=True)
        await publish(bus, 4)
        assert await take(events, 3) == [("t1", 1, number, number) for number in (2, 3, 4)]
    assert log.asked == [("t1", 1, 3)]


async def test_the_end_of_a_thread_is_told_once_and_what_it_lacks_is_not_asked_for() -> None:
    log, places = Log(last=0), Places(t1=ThreadPlace(1, 1))
    async with MemoryBus(MemoryServer(ManualClock())) as bus, reader(bus, log, places) as events:
        for again in range(2):
            await publish(bus, 9, kind="ThreadDeleted", again=again)
        await publish(bus, 1, thread="t2")
        gone, other = await take(events, 2)
    assert isinstance(gone, Deleted) and (gone.thread, gone.position.sequence) == ("t1", 1)
    assert other == ("t2", 1, 1, 1)
    assert log.asked == []


async def test_a_reader_may_start_with_the_first_event_of_every_thread() -> None:
    log = Log(last=3)
    async with MemoryBus(MemoryServer(ManualClock())) as bus:
        following = bus.follow(PATTERNS, after=None)
        async with EventReader(following, decode=int, read_log=log.read, find_place=start_from_first) as events:
            await publish(bus, 3)
            assert await take(events, 3) == [("t1", 1, number, number) for number in (1, 2, 3)]


async def test_closing_the_reader_ends_it() -> None:
    async with MemoryBus(MemoryServer(ManualClock())) as bus:
        events = reader(bus, Log())
        waiting = asyncio.create_task(anext(events, None))
        await asyncio.sleep(0)
        await events.close()
        assert await waiting is None


@given(
    place=st.none() | st.builds(ThreadPlace, st.integers(1, 3), st.integers(0, 9)),
    epoch=st.integers(1, 3),
    sequence=st.integers(1, 9),
)
def test_a_place_never_lies_behind_the_event_or_in_another_epoch(
    place: ThreadPlace | None, epoch: int, sequence: int
) -> None:
    start = starting_place(place, EventOrigin(epoch, "acme", "t1", sequence))
    if start is None:
        assert place is not None and (place.log_epoch, place.sequence) >= (epoch, sequence)
    else:
        assert start.log_epoch == epoch and start.sequence < sequence
