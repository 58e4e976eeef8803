"""Three runtime processes on one PostgreSQL and one NATS: killed, paused and stopped under those who watch and act."""

import asyncio
import signal
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import pytest
import pytest_asyncio

from heddle.runtime.v1.agent_runtime_pb2 import StartStreamingTurnRequest
from heddle.runtime.v1.event_pb2 import ThreadEvent
from heddle.runtime.v1.run_pb2 import RunState
from heddle.runtime.v1.stream_pb2 import StreamFrame
from heddle_client.resume import follow_turn
from heddle_client.transcript import Transcript
from tests.kit.replica_processes import Cluster, ReplicaProcess, cluster
from tests.kit.replicas import Started

pytestmark = pytest.mark.timeout(110)

WORDS = " ".join(f"wörd{number}" for number in range(80))
SCENARIO = f"""
turns:
  - when: {{user: '^ask'}}
    steps:
      - calls: [{{tool: ask_user, arguments: {{question: "Which?", free_text: true}}}}]
      - text: "You said {{{{tool.ask_user}}}}."
  - when: {{user: '^long'}}
    steps:
      - text: "{WORDS}"
        stream: {{delay_ms: 25}}
  - steps:
      - text: "You said {{{{user}}}}."
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def three(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Cluster]:
    async with cluster(tmp_path_factory.mktemp("replicas"), SCENARIO) as running:
        yield running


class Screen:
    """What a client shows of one run, and whether it was right at every moment."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self.events: list[ThreadEvent] = []
        self.attempt = 0
        self._transcript = Transcript()
        self._changed = asyncio.Event()

    @property
    def text(self) -> str:
        return self._transcript.answer(self.run_id)

    def show(self, frame: StreamFrame) -> None:
        """Take a frame, and compare what is shown with what may be."""
        before, self._transcript = self.text, self._transcript.after(frame)
        discarded = any(event.step_started.discards_message_id for event in frame.events.events)
        assert WORDS.startswith(self.text), f"{self.text!r} was never written"
        assert self.text.startswith(before) or discarded, f"{self.text!r} after {before!r}"
        if discarded and not any(event.HasField("assistant_message_completed") for event in frame.events.events):
            assert not self.text, "words of an attempt that counts no more"
        for event in frame.events.events:
            self.events.append(event)
            self.attempt = max(self.attempt, event.run_started.attempt, event.run_resumed.attempt)
        self._changed.set()

    async def until(self, words: str, attempt: int) -> None:
        """Wait until an attempt at the answer has come to some words."""
        while not (self.attempt >= attempt and words in self.text):
            self._changed.clear()
            await self._changed.wait()


async def watch(screen: Screen, started: Started, replicas: Sequence[ReplicaProcess]) -> None:
    """Follow a run that was started elsewhere, at whichever replica serves, until it settles."""
    join = StartStreamingTurnRequest(request_id=started.request_id, after_sequence=0)
    first, *others = [each.runtime for each in replicas]
    async with aclosing(follow_turn(first, join, elsewhere=others)) as frames:
        async for frame in frames:
            screen.show(frame)


def beginnings(events: Sequence[ThreadEvent]) -> list[tuple[str, int, int]]:
    """Worker, attempt and fence of each claim of a run."""
    claims = [each.run_started if each.HasField("run_started") else each.run_resumed for each in events]
    return [(each.worker_id, each.attempt, each.fence) for each in claims if each.worker_id]


@pytest.mark.asyncio(loop_scope="module")
async def test_a_client_reads_one_answer_through_a_death_and_a_restart(three: Cluster) -> None:
    a, b, c = three.all
    started = await b.desk.start("long story", "t1")
    screen = Screen(started.run.run_id)
    owner = b.worker_id
    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        tasks.create_task(watch(screen, started, (a, c)))
        await screen.until("wörd10 ", attempt=1)
        await b.kill()
        await screen.until("wörd10 ", attempt=2)
        a.signal(signal.SIGTERM)
        assert await a.ended() == 0
    assert screen.text == WORDS
    log = [each for each in await c.desk.events("t1") if each.run_id == started.run.run_id]
    assert screen.events == log, "every fact once, in order"
    claims = beginnings(log)
    assert claims[0] == (owner, 1, 1) and claims[-1][0] == c.worker_id
    assert [attempt for _, attempt, _ in claims] == [fence for _, _, fence in claims] == [*range(1, len(claims) + 1)]
    assert (await c.desk.run(started.run.run_id)).state == RunState.RUN_STATE_COMPLETED
    await asyncio.gather(a.start(), b.start())


@pytest.mark.asyncio(loop_scope="module")
async def test_snapshots_are_equal_on_all_replicas_at_each_sequence(three: Cluster) -> None:
    a, b, c = three.all
    first = await a.desk.start("ask me", "t2")
    await c.desk.ended(first.run.run_id, RunState.RUN_STATE_WAITING)
    for replica in three.all:
        assert len((await replica.desk.snapshot("t2")).pending_inputs) == 1
    (asked,) = (await b.desk.snapshot("t2")).pending_inputs
    await c.desk.answer(asked.input_id, "yes")
    assert (await b.desk.ended(first.run.run_id)).result.parts[0].text == "You said yes."
    last = (await b.desk.events("t2"))[-1].sequence
    for at in (*range(1, last + 1), 0):
        shown = await asyncio.gather(*(replica.desk.snapshot("t2", at) for replica in three.all))
        assert shown[0] == shown[1] == shown[2]
        assert shown[0].sequence == (at or last)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_cancel_through_another_replica_stops_a_run_that_is_worked_on(three: Cluster) -> None:
    a, b, c = three.all
    started = await b.desk.start("long story", "t3")
    await a.desk.words(started, "wörd5 ")
    async with asyncio.timeout(10):
        cancelled = await c.desk.cancel(started.run.run_id)
        run = await a.desk.ended(started.run.run_id)
    assert run.state == RunState.RUN_STATE_CANCELLED
    events = await a.desk.events("t3")
    behind = events[cancelled.cancelled[0].cancel_sequence :]
    assert [each.WhichOneof("payload") for each in behind][-1] == "run_cancelled"
    assert not any(each.HasField("tool_call_started") for each in behind)
    assert beginnings(events) == [(b.worker_id, 1, 1)], "its owner has settled it"


@pytest.mark.asyncio(loop_scope="module")
async def test_a_cancel_is_forced_where_the_owner_is_paused_and_it_writes_nothing_later(three: Cluster) -> None:
    a, b, c = three.all
    started = await b.desk.start("long story", "t4")
    await a.desk.words(started, "wörd5 ")
    b.signal(signal.SIGSTOP)
    try:
        async with asyncio.timeout(10):
            await c.desk.cancel(started.run.run_id)
            run = await a.desk.ended(started.run.run_id)
        assert (run.state, run.attempt) == (RunState.RUN_STATE_CANCELLED, 2), "somebody else has settled it"
        events = await a.desk.events("t4")
    finally:
        b.signal(signal.SIGCONT)
    async with asyncio.timeout(20):
        again = await b.desk.start("be well", "t5")
        assert (await b.desk.ended(again.run.run_id)).state == RunState.RUN_STATE_COMPLETED
    assert await b.desk.events("t4") == events


@pytest.mark.asyncio(loop_scope="module")
async def test_a_paused_owner_loses_its_run_and_its_own_watchers_see_the_right_words(three: Cluster) -> None:
    a, b, c = three.all
    started = await b.desk.start("long story", "t6")
    here, elsewhere = Screen(started.run.run_id), Screen(started.run.run_id)
    async with asyncio.timeout(40), asyncio.TaskGroup() as tasks:
        tasks.create_task(watch(here, started, (b,)))
        tasks.create_task(watch(elsewhere, started, (a, c)))
        await here.until("wörd5 ", attempt=1)
        b.signal(signal.SIGSTOP)
        try:
            await elsewhere.until("wörd5 ", attempt=2)
        finally:
            b.signal(signal.SIGCONT)
    log = [each for each in await c.desk.events("t6") if each.run_id == started.run.run_id]
    assert here.events == elsewhere.events == log
    assert here.text == elsewhere.text == WORDS
    claims = beginnings(log)
    assert claims[0] == (b.worker_id, 1, 1) and claims[1][1:] == (2, 2) and len(claims) == 2
    assert claims[1][0] in (a.worker_id, c.worker_id)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_worker_that_is_asked_to_stop_hands_over_within_a_second(three: Cluster) -> None:
    a, b, c = three.all
    started = await b.desk.start("long story", "t7")
    screen = Screen(started.run.run_id)
    left = b.worker_id
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        tasks.create_task(watch(screen, started, (a, c)))
        await screen.until("wörd5 ", attempt=1)
        b.signal(signal.SIGTERM)
        assert await b.ended() == 0
        ended = asyncio.get_running_loop().time()
        await screen.until("", attempt=2)
        assert asyncio.get_running_loop().time() - ended < 1.0
    assert screen.text == WORDS
    assert [worker == left for worker, _, _ in beginnings(screen.events)] == [True, False]
    await b.start()
