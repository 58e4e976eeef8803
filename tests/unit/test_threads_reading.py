"""A reader skips nothing of what other processes commit, and shows words only behind the facts that they follow."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from heddle_core.clock import Micros
from heddle_core.ids import MessageId, RunId, StepId, TenantId, ThreadId
from heddle_core.runtime_errors import ThreadNotFound
from heddle_runtime.threads.deltas import Channel, Delta
from heddle_runtime.threads.events import AssistantMessageCompleted, Event, Payload, StepStarted
from heddle_runtime.threads.follow import Followers, Item
from heddle_runtime.threads.log import Committed
from heddle_runtime.threads.reading import PAGE, Reading

KEY = TenantId("acme"), ThreadId("t1")
RUN, BESIDE = RunId("r1"), RunId("r2")


def fact(sequence: int, run: RunId = RUN, payload: Payload | None = None) -> Event:
    return Event(sequence, run, Micros(1), payload or StepStarted(StepId("s1"), 1, 1, MessageId("m1")), raw=b"raw")


def words(text: str, after: int, message: str = "m1") -> Delta:
    return Delta(RUN, StepId("s1"), 1, MessageId(message), Channel.TEXT, 0, text, after)


class Log:
    """What is on disk."""

    def __init__(self, *events: Event) -> None:
        self.events = events
        self.reads = 0
        self.deleted = False
        self.before_bounds: Callable[[], None] = lambda: None

    async def read_events(
        self, tenant: TenantId, thread_id: ThreadId, after: int, limit: int, run_id: RunId = RunId("")
    ) -> tuple[Event, ...]:
        self.reads += 1
        found = [each for each in self.events if each.sequence > after and run_id in ("", each.run_id)]
        return tuple(found[:limit])

    async def log_bounds(self, tenant: TenantId, thread_id: ThreadId) -> tuple[int, int]:
        self.before_bounds()
        if self.deleted:
            raise ThreadNotFound(thread_id)
        return len(self.events), 1


class Reader:
    """A reading as the stream uses it."""

    def __init__(self, log: Log, after: int, run_id: RunId = RunId("")) -> None:
        self.followers = Followers()
        self.follower = self.followers.join(*KEY)
        self.reading = Reading(log, self.follower, KEY, after, run_id)

    def tell(self, *events: Event) -> None:
        self.followers.committed(Committed(*KEY, events), None)

    async def read(self) -> list[Any]:
        batch = self.reading.take()
        items: list[Item] = list(batch.items)
        while not batch.caught_up:
            batch = await self.reading.read_on()
            items += batch.items
        return shown(items)


def shown(items: Sequence[Item]) -> list[Any]:
    return [each.text if isinstance(each, Delta) else each.sequence for each in items]


def facts(count: int, run: RunId = RUN) -> list[Event]:
    return [fact(sequence, run) for sequence in range(1, count + 1)]


async def test_facts_between_two_that_were_told_are_read_from_the_log() -> None:
    log = Log(*facts(6))
    reader = Reader(log, 1)
    reader.tell(fact(2))
    reader.tell(fact(5))
    reader.tell(fact(6))
    assert await reader.read() == [2, 3, 4, 5, 6]
    assert log.reads == 1
    assert await reader.read() == []


async def test_a_hole_of_many_pages_is_read_page_by_page() -> None:
    log = Log(*facts(3 * PAGE))
    reader = Reader(log, 0)
    reader.tell(fact(3 * PAGE))
    assert await reader.read() == [*range(1, 3 * PAGE + 1)]
    assert log.reads == 3


async def test_words_wait_for_the_facts_before_them() -> None:
    reader = Reader(Log(*facts(4)), 1)
    reader.follower.put_delta(words("hello", after=4))
    assert await reader.read() == [2, 3, 4, "hello"]


async def test_words_of_a_message_that_is_whole_in_the_log_are_late() -> None:
    said = fact(3, payload=AssistantMessageCompleted(MessageId("m1"), ()))
    reader = Reader(Log(fact(1), fact(2), said), 2)
    reader.tell(said)
    reader.follower.put_delta(words("late", after=2))
    reader.follower.put_delta(words("new", after=3, message="m2"))
    assert await reader.read() == [3, "new"]


async def test_who_is_poked_reads_on_from_the_cursor() -> None:
    log = Log(*facts(3))
    reader = Reader(log, 1)
    reader.followers.poke(*KEY, 3)
    assert reader.follower.doorbell.is_set()
    assert await reader.read() == [2, 3]
    reader.followers.poke(*KEY, 3)
    assert not reader.follower.doorbell.is_set(), "known already"


async def test_the_reader_of_a_run_passes_over_the_facts_of_others() -> None:
    log = Log(fact(1), *(fact(each, BESIDE) for each in range(2, 6)))
    reader = Reader(log, 1, RUN)
    reader.followers.poke(*KEY, 5)
    assert await reader.read() == [] and reader.reading.cursor == 5
    reader.tell(fact(6))
    assert await reader.read() == [6]


async def test_an_end_that_the_log_does_not_have_moves_no_cursor() -> None:
    reader = Reader(Log(*facts(2)), 2)
    reader.followers.poke(*KEY, 9)
    reader.follower.put_delta(words("of another log", after=7))
    assert await reader.read() == [] and reader.reading.cursor == 2
    reader.tell(fact(3))
    assert await reader.read() == [3]


async def test_the_reader_of_a_deleted_thread_is_told_so() -> None:
    log = Log()
    log.deleted = True
    reader = Reader(log, 2)
    reader.followers.poke(*KEY, 3)
    with pytest.raises(ThreadNotFound):
        await reader.read()


async def test_what_is_committed_while_a_hole_is_looked_at_is_not_passed_over() -> None:
    log = Log(*facts(2))
    reader = Reader(log, 2)

    def commit() -> None:
        log.events = tuple(facts(3))

    log.before_bounds = commit
    reader.followers.poke(*KEY, 3)
    assert await reader.read() == [3]


async def test_a_poke_that_comes_while_the_facts_of_others_are_passed_over_is_heard() -> None:
    log = Log(fact(1), fact(2, BESIDE))
    reader = Reader(log, 1, RUN)

    def commit() -> None:
        log.events = (*log.events[:2], fact(3))
        reader.followers.poke(*KEY, 3)

    log.before_bounds = commit
    reader.followers.poke(*KEY, 2)
    assert await reader.read() == [3]
