"""Words of runs elsewhere: what continues what is known is shown, and nothing that the log does not know as written."""

import asyncio
from collections.abc import AsyncGenerator, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

import pytest
import pytest_asyncio

import heddle_runtime.threads.events as e
from heddle_bus import subjects
from heddle_bus.memory import MemoryBus, MemoryServer
from heddle_bus.observed import Observed
from heddle_core.clock import ManualClock
from heddle_core.ids import CallId, MessageId, RunId, StepId, TenantId, ThreadId, WorkerId
from heddle_runtime.codec.words import decode_words, encode_words
from heddle_runtime.replicas.telling import Telling
from heddle_runtime.replicas.words import Words
from heddle_runtime.threads.deltas import Channel, Delta, Writing
from heddle_runtime.threads.fold import fold
from heddle_runtime.threads.follow import Follower, Followers
from heddle_runtime.threads.log import ThreadKey, ThreadLog
from heddle_runtime.threads.state import ThreadFold
from tests.kit.thread_facts import RUN, more, requested, said, started, step, stepped, tell
from tests.kit.thread_stories import THREAD, Story

KEY = TenantId("acme"), THREAD
OWNER, OTHER, HERE = WorkerId("wrk_owner"), WorkerId("wrk_other"), WorkerId("wrk_here")


class Shared:
    """The database that all replicas see: one thread, and who works on it."""

    def __init__(self) -> None:
        self.story = tell(requested(), started(), step())
        self.owner: WorkerId | None = OWNER
        self.asked = Observed(0)

    async def load_fold(self, tenant: TenantId, thread_id: ThreadId, at_sequence: int = 0) -> ThreadFold:
        return fold(ThreadFold(thread_id), self.story.events)

    async def read_events(
        self, tenant: TenantId, thread_id: ThreadId, after: int, limit: int, run_id: RunId = RunId("")
    ) -> tuple[e.Event, ...]:
        return tuple(self.story.events[after : after + limit])

    async def owners(self, keys: Collection[ThreadKey]) -> Mapping[ThreadKey, WorkerId]:
        self.asked.set(self.asked.value + 1)
        return {KEY: self.owner} if self.owner else {}

    async def last_sequences(self, keys: Collection[ThreadKey]) -> Mapping[ThreadKey, int]:
        return {KEY: len(self.story.events)}

    async def changed_threads(
        self, tenants: Collection[TenantId], within: timedelta, limit: int
    ) -> Mapping[ThreadKey, int]:
        return {}

    # --- as the lanes of an owner ---

    def works_on(self, tenant: TenantId, thread_id: ThreadId) -> bool:
        return self.owner is not None

    async def look_again(self, tenant: TenantId, thread_id: ThreadId) -> None: ...

    def look_for_work(self) -> None: ...


class Screen:
    """What one reader has been shown of the words, by message and channel."""

    def __init__(self, follower: Follower) -> None:
        self.follower = follower
        self.shown: dict[tuple[str, Channel, str], bytes] = {}

    def take(self) -> None:
        for item in self.follower.take(0):
            if isinstance(item, Delta):
                key = (item.message_id, item.channel, item.call_id)
                known = b"" if item.reset else self.shown.get(key, b"")
                assert len(known) == item.offset, "words with a hole, or twice"
                self.shown[key] = known + item.text.encode()

    def text(self, message: str = "msg_1", channel: Channel = Channel.TEXT, call: str = "") -> str:
        return self.shown.get((message, channel, call), b"").decode()

    async def until(self, text: str, message: str = "msg_1", channel: Channel = Channel.TEXT, call: str = "") -> None:
        async with asyncio.timeout(10):
            while self.text(message, channel, call) != text:
                await self.follower.doorbell.wait()
                self.take()


class World:
    """An owner and a replica where somebody watches, on one bus."""

    def __init__(self, server: MemoryServer, owners: MemoryBus, watchers: MemoryBus) -> None:
        self.server = server
        self.shared = Shared()
        self.bus = owners
        self.theirs = Followers()
        self.followers = Followers()
        self.log = ThreadLog(self.shared, shared=True)
        self.log.add_listener(self.followers.committed)
        self.telling = Telling(owners, OWNER, self.theirs, self.shared, encode_words)
        self.words = Words(watchers, HERE, self.shared, self.log, self.followers, decode_words)
        self.log.add_listener(self.words.committed)

    def write(self, message: str = "msg_1", attempt: int = 1) -> Writing:
        """The owner's model begins a message."""
        last = len(self.shared.story.events)
        writing = Writing(RUN, StepId("step_1"), attempt, MessageId(message), last)
        self.theirs.write_begins(*KEY, writing)
        return writing

    def commit(self, *payloads: e.Payload) -> Story:
        """Something happens to the run; nobody tells the replica where it is watched."""
        return more(self.shared.story, *payloads)

    async def send(self, *words: Delta) -> None:
        """Words from whoever takes himself for the owner."""
        await self.bus.send(subjects.deltas(*KEY, RUN), encode_words(words))

    async def subscribed(self) -> None:
        """Wait until the words of the thread are listened to and were asked for."""
        async with asyncio.timeout(10):
            await self.shared.asked.until(lambda count: count >= 2)

    def watch(self) -> Screen:
        return Screen(self.followers.join(*KEY))


@pytest_asyncio.fixture
async def world() -> AsyncGenerator[World]:
    server = MemoryServer(ManualClock())
    async with (
        MemoryBus(server) as owners,
        MemoryBus(server) as watchers,
        running(World(server, owners, watchers)) as w,
    ):
        yield w


@asynccontextmanager
async def running(world: World) -> AsyncGenerator[World]:
    async with AsyncExitStack() as stack:
        for part in (world.telling.answer(), world.words.get()):
            task = asyncio.create_task(part)
            stack.push_async_callback(asyncio.wait, [task])
            stack.callback(task.cancel)
        await asyncio.sleep(0)
        yield world


def delta(text: str, offset: int = 0, message: str = "msg_1", after: int = 4) -> Delta:
    return Delta(RUN, StepId("step_1"), 1, MessageId(message), Channel.TEXT, offset, text, after)


async def test_the_text_so_far_and_what_follows_is_shown(world: World) -> None:
    writing = world.write()
    writing.add(Channel.TEXT, "für ")
    screen = world.watch()
    world.words.wake(KEY)
    await screen.until("für ")
    writing.add(Channel.TEXT, "dich")
    await screen.until("für dich")
    writing.add(Channel.TOOL_ARGUMENTS, '{"a"', CallId("c1"))
    writing.add(Channel.TOOL_ARGUMENTS, ":1}", CallId("c1"))
    await screen.until('{"a":1}', channel=Channel.TOOL_ARGUMENTS, call="c1")
    assert screen.text() == "für dich"


async def test_who_comes_later_gets_the_text_so_far_from_here(world: World) -> None:
    writing = world.write()
    writing.add(Channel.TEXT, "one ")
    first = world.watch()
    world.words.wake(KEY)
    await first.until("one ")
    asked = world.shared.asked.value
    second = world.watch()
    await second.until("one ")
    writing.add(Channel.TEXT, "two")
    await first.until("one two")
    await second.until("one two")
    assert world.shared.asked.value == asked


async def test_words_that_are_known_are_dropped_and_a_hole_is_asked_for(world: World) -> None:
    writing = world.write()
    writing.add(Channel.TEXT, "one ")
    screen = world.watch()
    world.words.wake(KEY)
    await screen.until("one ")
    await world.send(delta("ne two", 1))
    await screen.until("one two")
    writing.add(Channel.TEXT, "two three ")  # what the bus loses of it is found by the next question
    await screen.until("one two three ")
    asked = world.shared.asked.value
    await world.send(delta("lost", 40))
    async with asyncio.timeout(10):
        await world.shared.asked.change_from(asked)
    screen.take()
    assert screen.text() == "one two three "


async def test_a_lost_connection_is_made_good_by_a_question(world: World) -> None:
    writing = world.write()
    screen = world.watch()
    world.words.wake(KEY)
    await world.subscribed()
    world.server.stop()
    writing.add(Channel.TEXT, "said while nobody listened")
    world.server.start()
    await screen.until("said while nobody listened")


async def test_words_wait_until_the_log_knows_their_step(world: World) -> None:
    screen = world.watch()
    world.words.wake(KEY)
    await world.subscribed()
    await world.log.fold(*KEY)
    world.commit(stepped(error="cut"), e.StepStarted(StepId("step_1"), 1, 2, MessageId("msg_2"), MessageId("msg_1")))
    writing = world.write("msg_2", attempt=2)
    writing.add(Channel.TEXT, "again")
    await screen.until("again", "msg_2")
    assert world.log.in_memory(*KEY) is not None


async def test_words_of_an_owner_that_has_lost_the_run_are_dropped(world: World) -> None:
    world.write().add(Channel.TEXT, "first ")
    screen = world.watch()
    world.words.wake(KEY)
    await screen.until("first ")
    world.commit(e.RunResumed(2, 2, OTHER), e.StepStarted(StepId("s"), 1, 2, MessageId("msg_2"), MessageId("msg_1")))
    await world.log.fold(*KEY)
    await world.send(delta("try goes on", 6), delta("second", 0, "msg_2", after=6))
    await screen.until("second", "msg_2")
    assert screen.text() == "first "


@pytest.mark.parametrize("told", [True, False], ids=["told of it", "with no fold in memory"])
async def test_nobody_who_comes_when_the_message_is_whole_is_shown_its_words(world: World, told: bool) -> None:
    world.write().add(Channel.TEXT, "whole")
    screen = world.watch()
    world.words.wake(KEY)
    await screen.until("whole")
    events = world.commit(said("whole"), stepped()).events
    if told:
        caught_up = asyncio.Event()
        world.log.add_listener(lambda _committed, _fold: caught_up.set())
        world.log.look_again(*KEY)
        async with asyncio.timeout(10):
            await caught_up.wait()
        assert world.followers.writing(*KEY) is None
    else:
        world.log.forget(*KEY)
        world.words.lost_sight(KEY)
    late = world.watch()
    late.take()
    await world.send(delta(" and more", 5), delta("whole"))
    await world.log.fold(*KEY)
    late.take()
    assert late.text() == ""
    assert len(events) == 6


async def test_the_next_owner_is_asked_after_a_takeover(world: World) -> None:
    world.shared.owner = OTHER
    world.write().add(Channel.TEXT, "here")
    screen = world.watch()
    world.words.wake(KEY)
    await world.subscribed()  # nobody answers for the other
    world.shared.owner = OWNER
    world.words.wake(KEY)
    await screen.until("here")


async def test_the_first_words_of_another_replica_replace_what_a_reader_saw_elsewhere(world: World) -> None:
    world.write().add(Channel.TEXT, "one ")
    screen = world.watch()
    screen.shown["msg_1", Channel.TEXT, ""] = b"one "
    world.words.wake(KEY)
    async with asyncio.timeout(10):
        await screen.follower.doorbell.wait()
    screen.take()
    assert screen.text() == "one "


async def test_words_that_are_got_again_replace_those_that_were_shown(world: World) -> None:
    writing = world.write()
    writing.add(Channel.TEXT, "one ")
    screen = world.watch()
    world.words.wake(KEY)
    await screen.until("one ")
    world.words.lost_sight(KEY)
    await world.send(delta("one "))  # was on its way
    writing.add(Channel.TEXT, "two")
    world.words.wake(KEY)
    await screen.until("one two")


async def test_words_of_a_run_that_was_taken_over_here_are_not_shown_again_when_they_come_back(world: World) -> None:
    world.write().add(Channel.TEXT, "first ")
    screen = world.watch()
    world.words.wake(KEY)
    await screen.until("first ")
    world.commit(e.RunResumed(2, 2, HERE), e.StepStarted(StepId("s"), 1, 2, MessageId("msg_2"), MessageId("msg_1")))
    await world.log.fold(*KEY)
    mine = Writing(RUN, StepId("s"), 2, MessageId("msg_2"), 6)
    world.followers.write_begins(*KEY, mine)
    mine.add(Channel.TEXT, "second ")
    await screen.until("second ", "msg_2")
    world.shared.owner = HERE
    asked = world.shared.asked.value
    await world.send(delta("second ", 0, "msg_2", after=6))
    async with asyncio.timeout(10):
        await world.shared.asked.change_from(asked)
    mine.add(Channel.TEXT, "try")
    await screen.until("second try", "msg_2")


async def test_nothing_is_asked_where_nobody_else_works_on_it(world: World) -> None:
    for owner in (None, HERE):
        world.shared.owner, before = owner, world.shared.asked.value
        world.words.wake(KEY)
        async with asyncio.timeout(10):
            await world.shared.asked.change_from(before)
    assert world.followers.writing(*KEY) is None


async def test_words_end_when_the_last_watcher_leaves(world: World) -> None:
    world.write().add(Channel.TEXT, "one")
    screen = world.watch()
    world.words.wake(KEY)
    await screen.until("one")
    with screen.follower:
        world.words.leave(KEY)
    assert world.followers.writing(*KEY) is None


async def test_no_words_of_a_thread_that_nobody_watches_travel(world: World) -> None:
    async with await world.bus.subscribe(subjects.thread_deltas(*KEY)) as feed:
        world.write().add(Channel.TEXT, "to nobody")
        await world.send(delta("a mark"))
        async with asyncio.timeout(10):
            async for item in feed:
                assert b"a mark" in getattr(item, "payload", b"")
                break


async def test_a_text_that_is_larger_than_a_message_of_the_bus_comes_whole(world: World) -> None:
    writing = world.write()
    text = "wörd " * 100_000
    writing.add(Channel.TEXT, text)
    screen = world.watch()
    world.words.wake(KEY)
    await screen.until(text)


async def test_what_is_no_words_is_dropped(world: World) -> None:
    world.write().add(Channel.TEXT, "one")
    screen = world.watch()
    world.words.wake(KEY)
    await screen.until("one")
    await world.bus.send(subjects.deltas(*KEY, RUN), b"\xff\xff")
    await world.send(delta(" two", 3))
    await screen.until("one two")
