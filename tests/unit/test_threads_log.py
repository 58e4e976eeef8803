"""Folds in memory move on with every commit, and long threads are stored now and then, beside the way of commits."""

import asyncio
from dataclasses import replace

import pytest

import heddle_runtime.threads.events as e
from heddle_core.errors import StoreUnavailable
from heddle_core.ids import RunId, TenantId, ThreadId
from heddle_runtime.threads.fold import fold
from heddle_runtime.threads.fold_codec import decode, encode
from heddle_runtime.threads.log import Committed, ThreadLog
from heddle_runtime.threads.snapshots import Snapshots
from heddle_runtime.threads.state import ThreadFold
from tests.kit.tasks import under_way
from tests.kit.thread_facts import completed, more, requested, started, tell
from tests.kit.thread_stories import THREAD, Story

ACME = TenantId("acme")


class Disk:
    """What is stored: events, which a load waits for, and snapshots."""

    def __init__(self, events: list[e.Event]) -> None:
        self.events = events
        self.gate = asyncio.Event()
        self.gate.set()
        self.loads = 0
        self.stored: list[tuple[int, bytes]] = []
        self.broken = False

    async def load_fold(self, tenant: TenantId, thread_id: ThreadId, at_sequence: int = 0) -> ThreadFold:
        self.loads += 1
        read = list(self.events)
        await self.gate.wait()
        return fold(ThreadFold(thread_id), read[: at_sequence or None])

    async def read_events(
        self, tenant: TenantId, thread_id: ThreadId, after: int, limit: int, run_id: RunId = RunId("")
    ) -> tuple[e.Event, ...]:
        await self.gate.wait()
        if self.broken:
            raise StoreUnavailable("full")
        return tuple(self.events[after : after + limit])

    async def last_snapshot(self, tenant: TenantId, thread_id: ThreadId) -> int:
        if self.broken:
            raise StoreUnavailable("full")
        return max((sequence for sequence, _ in self.stored), default=0)

    async def store_snapshot(self, tenant: TenantId, state: ThreadFold, body: bytes) -> None:
        self.stored.append((state.last_sequence, body))


def ended_runs(count: int) -> Story:
    story = tell()
    for number in range(count):
        more(story, requested(str(number), f"s{number}"), started(), completed(), run=f"run_{number}")
    return story


def committed(events: list[e.Event]) -> Committed:
    return Committed(ACME, THREAD, tuple(events))


async def test_a_fold_follows_commits_from_the_first_event_without_a_load() -> None:
    story = ended_runs(2)
    disk = Disk([])
    log = ThreadLog(disk)
    for event in story.events:
        log.publish(committed([event]))
    assert encode(await log.fold(ACME, THREAD)) == encode(story.fold)
    assert disk.loads == 0


async def test_what_is_committed_during_a_load_is_not_missed_and_not_counted_twice() -> None:
    story = ended_runs(3)
    disk = Disk(story.events[:5])
    disk.gate.clear()
    log = ThreadLog(disk)
    loads = [await under_way(log.fold(ACME, THREAD)) for _ in range(3)]
    log.publish(committed(story.events[3:5]))
    log.publish(committed(story.events[5:]))
    disk.gate.set()
    folds = await asyncio.gather(*loads)
    assert folds[0] is folds[1] is folds[2] and disk.loads == 1
    assert encode(folds[0]) == encode(story.fold)


async def test_a_thread_that_is_made_while_it_is_looked_up_is_not_set_back() -> None:
    story = ended_runs(2)
    disk = Disk(story.events[:2])
    disk.gate.clear()
    log = ThreadLog(disk)
    loading = await under_way(log.fold(ACME, THREAD))
    log.publish(committed(story.events[:2]))
    log.publish(committed(story.events[2:4]))
    disk.gate.set()
    await loading
    log.publish(committed(story.events[4:]))
    assert encode(await log.fold(ACME, THREAD)) == encode(story.fold)


async def test_folds_that_were_not_used_for_long_are_let_go() -> None:
    story = ended_runs(1)
    disk = Disk(story.events)
    log = ThreadLog(disk, most_folds=2)
    for name in ("t1", "t2", "t3"):
        await log.fold(ACME, ThreadId(name))
    assert log.in_memory(ACME, ThreadId("t1")) is None and log.in_memory(ACME, ThreadId("t3")) is not None
    log.forget(ACME, ThreadId("t3"))
    assert log.in_memory(ACME, ThreadId("t3")) is None


async def storing(story: Story, disk: Disk, **settings: int) -> tuple[Snapshots, ThreadLog]:
    log = ThreadLog(disk)
    snapshots = Snapshots(disk, log, **settings)
    log.add_listener(snapshots.committed)
    async with asyncio.timeout(10), snapshots.serving():
        for event in story.events:
            log.publish(committed([event]))
            await snapshots.settled()
    return snapshots, log


async def test_a_thread_is_stored_at_a_runs_end_when_enough_has_happened_since() -> None:
    disk = Disk([])
    story = ended_runs(20)
    await storing(story, disk, every=9)
    assert [sequence for sequence, _ in disk.stored] == [10, 19, 28, 37, 46, 55]
    for sequence, body in disk.stored:
        stored = decode(body, THREAD)
        assert encode(stored) == encode(fold(ThreadFold(THREAD), story.events[:sequence]))
        assert encode(fold(stored, story.events[sequence:])) == encode(story.fold)


async def test_what_another_process_has_stored_is_not_stored_again() -> None:
    disk = Disk([])
    disk.stored.append((8, b""))
    await storing(ended_runs(5), disk, every=9)
    assert [sequence for sequence, _ in disk.stored] == [8]


async def test_nothing_is_stored_in_the_middle_of_a_run_or_for_a_short_thread() -> None:
    disk = Disk([])
    story = more(ended_runs(1), *[e.ErrorRecorded("NOTE", "x")] * 50, run="")
    await storing(story, disk, every=9)
    assert disk.stored == []


async def test_a_full_queue_drops_notes_and_a_store_in_trouble_harms_nobody() -> None:
    disk = Disk([])
    story = ended_runs(5)
    log = ThreadLog(disk)
    snapshots = Snapshots(disk, log, every=3, most_waiting=1)
    log.add_listener(snapshots.committed)
    for name in ("t1", "t2"):
        log.publish(Committed(ACME, ThreadId(name), tuple(story.events)))
    disk.broken = True
    async with asyncio.timeout(10), snapshots.serving():
        await snapshots.settled()
        disk.broken = False
        log.publish(Committed(ACME, ThreadId("t1"), tuple(_again(story))))
        await snapshots.settled()
    assert len(disk.stored) == 1


def _again(story: Story) -> list[e.Event]:
    known = len(story.events)
    more(story, requested("more", "s_more"), started(), completed(), run="run_more")
    return [replace(event) for event in story.events[known:]]


def told_of(log: ThreadLog) -> list[int]:
    told: list[int] = []
    log.add_listener(lambda committed, _fold: told.extend(event.sequence for event in committed.events))
    return told


async def test_a_commit_behind_others_that_were_not_told_of_is_published_after_them() -> None:
    story = ended_runs(3)
    disk = Disk(story.events[:4])
    log = ThreadLog(disk)
    state = await log.fold(ACME, THREAD)
    told = told_of(log)
    disk.events = story.events[:8]
    log.publish(committed(story.events[6:8]))
    assert (told, state.last_sequence) == ([], 4), "not before the two in between"
    disk.events = story.events
    log.publish(committed(story.events[8:]))
    last = len(story.events)
    reached = asyncio.Event()
    log.add_listener(lambda committed, _fold: reached.set() if committed.events[-1].sequence == last else None)
    await reached.wait()
    assert told == list(range(5, last + 1))
    assert state.head_hash == story.events[-1].hash


async def test_what_the_fold_has_already_is_not_told_again() -> None:
    story = ended_runs(2)
    log = ThreadLog(Disk([]))
    told = told_of(log)
    log.publish(committed(story.events[:3]))
    log.publish(committed(story.events[1:5]))
    assert told == [1, 2, 3, 4, 5]


async def test_a_shared_log_is_looked_at_again_whenever_a_fold_is_asked_for() -> None:
    story = ended_runs(2)
    disk = Disk(story.events[:4])
    log = ThreadLog(disk, shared=True)
    assert (await log.fold(ACME, THREAD)).last_sequence == 4
    disk.events = story.events
    assert (await log.fold(ACME, THREAD)).last_sequence == len(story.events)
    assert disk.loads == 1, "only read on"


async def test_a_fold_that_cannot_be_brought_up_is_not_shown() -> None:
    story = ended_runs(2)
    disk = Disk(story.events[:4])
    log = ThreadLog(disk, shared=True)
    await log.fold(ACME, THREAD)
    disk.broken = True
    with pytest.raises(StoreUnavailable):
        await log.fold(ACME, THREAD)
    disk.broken, disk.events = False, story.events
    assert (await log.fold(ACME, THREAD)).last_sequence == len(story.events)
