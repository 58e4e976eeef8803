"""Two runtimes on one PostgreSQL and one NATS, whose sweeps come too late: what happens, happens by doorbells."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from pydantic import SecretStr

from heddle.runtime.v1 import thread_service_pb2 as threads_pb
from heddle.runtime.v1.agent_runtime_pb2 import StartStreamingTurnRequest
from heddle.runtime.v1.run_pb2 import RunState
from heddle.runtime.v1.turn_pb2 import ConflictPolicy
from heddle_bus.endpoint import Endpoint
from heddle_bus.server import NatsServer
from heddle_client.transcript import Transcript
from heddle_core.runtime_errors import ThreadNotFound
from heddle_runtime.settings import BusSettings, LaneTimes, RuntimeSettings
from heddle_runtime.wiring.runtime import RunningRuntime, running_runtime
from tests.kit.nats import nats_server
from tests.kit.postgres import shared_server
from tests.kit.replicas import Desk, desk_at
from tests.kit.running_runtime import new_id, says
from tests.kit.stores import migrated

pytestmark = pytest.mark.timeout(110)

WORDS = " ".join(f"word{number}" for number in range(400))
SCENARIO = f"""
turns:
  - when: {{user: '^ask'}}
    steps:
      - calls: [{{tool: ask_user, arguments: {{question: "Which?", free_text: true}}}}]
      - text: "You said {{{{tool.ask_user}}}}."
  - when: {{user: '^long'}}
    steps:
      - text: "{WORDS}"
        stream: {{delay_ms: 20}}
  - steps:
      - text: "You said {{{{user}}}}."
"""
RARELY = timedelta(minutes=5)
SOON = 9.0
"""Seconds: sooner than the sweep of watchers, which finds all within ten."""
"""Seconds: far below a sweep, and far above what a loaded machine needs."""


@dataclass
class Pair:
    """Two replicas; `leave` ends the first as SIGTERM does."""

    a: Desk
    b: Desk
    leave: AsyncExitStack


@asynccontextmanager
async def replica(folder: Path, database: str, nats: NatsServer | None) -> AsyncGenerator[RunningRuntime]:
    endpoint = nats.endpoint() if nats else Endpoint(servers=())
    lanes = LaneTimes(sweep_every=RARELY, cancel_grace=RARELY, drain_grace=timedelta(milliseconds=50))
    settings = RuntimeSettings(
        data_dir=folder,
        database=database,
        nats=",".join(endpoint.servers),
        bus=BusSettings(token=SecretStr(endpoint.token), bytes_limit=64 * 1024**2),
        listen="127.0.0.1:0",
        model=f"scripted:{folder / 'scenario.yaml'}",
        lanes=lanes,
        log_level="WARNING",
    )
    async with running_runtime(settings) as running:
        yield running


@asynccontextmanager
async def two(folder: Path, nats: NatsServer | None) -> AsyncGenerator[Pair]:
    server = shared_server()
    name = await server.create(await server.template("runtime", migrated))
    (folder / "scenario.yaml").write_text(SCENARIO)
    async with AsyncExitStack() as first, AsyncExitStack() as second:
        a = await first.enter_async_context(replica(folder, server.url(name), nats))
        b = await second.enter_async_context(replica(folder, server.url(name), nats))
        desk_a = await first.enter_async_context(desk_at(a.address, a.worker_id))
        desk_b = await second.enter_async_context(desk_at(b.address, b.worker_id))
        yield Pair(desk_a, desk_b, first)
    await server.drop(name)


@pytest_asyncio.fixture
async def pair(tmp_path: Path) -> AsyncGenerator[Pair]:
    async with nats_server(tmp_path / "nats") as nats, two(tmp_path, nats) as made:
        yield made


async def test_who_watches_another_replica_sees_facts_and_words(pair: Pair) -> None:
    started = await pair.a.start("long story", "t1")
    shown = Transcript()
    async with asyncio.timeout(30), aclosing(pair.b.join(started.request_id)) as frames:
        async for frame in frames:
            shown = shown.after(frame)
            assert WORDS.startswith(shown.answer(started.run.run_id))
            if "word40 " in shown.answer(started.run.run_id):
                break
    kinds = [event.WhichOneof("payload") for event in await pair.b.events("t1")]
    assert "assistant_message_completed" not in kinds, "the words came while they were written"


async def test_who_comes_in_the_middle_gets_the_text_so_far(pair: Pair) -> None:
    started = await pair.a.start("long story", "t1")
    await pair.a.words(started, "word10 ")
    first = asyncio.Event()

    async def watch(until: str) -> None:
        assert await pair.b.words(started, until)
        first.set()

    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        tasks.create_task(watch("word60 "))
        await pair.b.words(started, "word20 ")
        tasks.create_task(watch("word40 "))


async def test_a_cancel_reaches_the_owner_through_another_replica(pair: Pair) -> None:
    started = await pair.a.start("long story", "t1")
    await pair.a.words(started, "word3 ")
    async with asyncio.timeout(SOON):
        await pair.b.cancel(started.run.run_id)
        run = await pair.b.ended(started.run.run_id)
    assert run.state == RunState.RUN_STATE_CANCELLED
    said = [each.assistant_message_completed for each in await pair.b.events("t1")]
    assert any(each.incomplete and each.content[0].text.startswith("word0 word1 ") for each in said)


async def test_an_interrupt_through_another_replica_makes_way(pair: Pair) -> None:
    started = await pair.a.start("long story", "t1")
    await pair.a.words(started, "word3 ")
    async with asyncio.timeout(SOON):
        policy = ConflictPolicy.CONFLICT_POLICY_INTERRUPT
        second = await pair.b.start("be short", "t1", conflict_policy=policy)
        assert (await pair.b.ended(second.run.run_id)).result.parts[0].text == "You said be short."
    assert (await pair.a.run(started.run.run_id)).state == RunState.RUN_STATE_CANCELLED


async def test_an_answer_through_another_replica_is_worked_on_there(pair: Pair) -> None:
    started = await pair.a.start("ask me", "t1")
    async with asyncio.timeout(SOON):
        await pair.b.ended(started.run.run_id, RunState.RUN_STATE_WAITING)
        (asked,) = (await pair.b.snapshot("t1")).pending_inputs
        await pair.b.answer(asked.input_id, "this")
        # Asked there: a follower at the other replica lets that one hear of the answer, and it may be faster.
        assert (await pair.b.ended(started.run.run_id)).result.parts[0].text == "You said this."
    resumed = [each.run_resumed for each in await pair.a.events("t1") if each.HasField("run_resumed")]
    assert [each.worker_id for each in resumed] == [pair.b.worker_id]


async def test_a_queued_turn_of_another_replica_is_followed_where_it_was_sent(pair: Pair) -> None:
    started = await pair.a.start("long story", "t1")
    await pair.a.words(started, "word3 ")
    request = StartStreamingTurnRequest(request_id=new_id(), thread_id="t1", turn=says("and then"))
    shown = Transcript()
    async with asyncio.timeout(30), aclosing(pair.b.stream(request)) as frames:
        async for frame in frames:
            shown = shown.after(frame)
            if frame.HasField("opened"):
                await pair.b.cancel(started.run.run_id)
    (run,) = (each for each in shown.runs.values() if each.run_id != started.run.run_id)
    assert shown.answer(run.run_id) == "You said and then."


async def test_a_worker_that_leaves_has_its_runs_taken_over_at_once(pair: Pair) -> None:
    started = await pair.a.start("long story", "t1")
    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(pair.b.words(started, "word30 ", again=True))
        await pair.b.words(started, "word5 ")
        async with asyncio.timeout(30):  # no sweep comes in between, and the story is told anew
            await pair.leave.aclose()
            await watching
    run = await pair.b.run(started.run.run_id)
    assert (run.attempt, run.state) == (2, RunState.RUN_STATE_RUNNING)


async def test_a_list_of_threads_is_watched_across_replicas(pair: Pair) -> None:
    seen = asyncio.Event()

    async def watch() -> None:
        call = pair.b.stubs.threads.WatchThreads(threads_pb.WatchThreadsRequest())
        async for frame in call:
            if any(thread.thread_id == "t1" for thread in frame.threads):
                seen.set()
                return
            if not frame.threads:
                started.set()

    started = asyncio.Event()
    async with asyncio.timeout(SOON), asyncio.TaskGroup() as tasks:
        tasks.create_task(watch())
        await started.wait()
        await pair.a.start("hello", "t1")
    assert seen.is_set()


async def test_a_thread_that_is_deleted_elsewhere_is_gone_for_those_who_watch_it(pair: Pair) -> None:
    run = await pair.a.start("hello", "t1")
    await pair.a.ended(run.run.run_id)
    await pair.b.snapshot("t1")

    async def watch() -> None:
        with pytest.raises(ThreadNotFound):
            async for response in pair.b.stubs.threads.WatchThread(threads_pb.WatchThreadRequest(thread_id="t1")):
                if response.frame.HasField("checkpoint"):
                    caught_up.set()

    caught_up = asyncio.Event()
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        tasks.create_task(watch())
        await caught_up.wait()
        await pair.a.stubs.threads.DeleteThread(threads_pb.DeleteThreadRequest(request_id=new_id(), thread_id="t1"))
    with pytest.raises(ThreadNotFound):
        await pair.b.snapshot("t1")


async def test_without_nats_a_sweep_of_what_is_watched_shows_the_facts(tmp_path: Path) -> None:
    async with two(tmp_path, None) as pair, asyncio.timeout(30):
        started = await pair.a.start("ask me", "t1")
        seen: list[int] = []
        async with aclosing(pair.b.join(started.request_id)) as frames:
            async for frame in frames:
                seen += [event.sequence for event in frame.events.events]
        log = [event.sequence for event in await pair.a.events("t1") if event.run_id == started.run.run_id]
        assert seen == log
