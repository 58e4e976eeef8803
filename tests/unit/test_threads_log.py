"""Folds in memory move on with every commit, and long threads are stored now and then, beside the way of commits."""

import asyncio
from dataclasses import replace

import heddle_runtime.threads.events as e
from heddle_core.errors import StoreUnavailable
from heddle_core.ids import TenantId, ThreadId
from heddle_runtime.threads.fold import fold
from heddle_runtime.threads.fold_codec import decode, encode
from heddle_runtime.threads.log import Committed, ThreadLog
from heddle_runtime.threads.snapshots import Snapshots
from heddle_runtime.threads.state import ThreadFold
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
    loads = [asyncio.ensure_future(log.fold(ACME, THREAD)) for _ in range(3)]
    await asyncio.sleep(0)
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
    loading = asyncio.ensure_future(log.fold(ACME, THREAD))
    await asyncio.sleep(0)
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
