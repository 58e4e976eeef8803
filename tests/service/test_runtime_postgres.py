"""A served runtime on PostgreSQL: what it does on SQLite, and what only a server that others reach can do to it."""

import asyncio
from collections.abc import AsyncGenerator
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from heddle.runtime.v1.run_pb2 import RunState
from heddle_core.errors import ServiceUnreachable, StoreUnavailable
from heddle_runtime.settings import LaneTimes
from tests.kit.postgres import shared_server
from tests.kit.running_runtime import House, house, new_id
from tests.kit.stores import migrated
from tests.kit.tcp_proxy import TcpProxy, tcp_proxy

pytestmark = pytest.mark.timeout(110)

SCENARIO = """
turns:
  - when: {user: '^ask'}
    steps:
      - calls: [{tool: current_time, arguments: {}}]
      - calls: [{tool: ask_user, arguments: {question: "Which?", free_text: true}}]
      - text: "You said {{tool.ask_user}}."
  - steps:
      - calls: [{tool: current_time, arguments: {}}]
      - text: "You said {{user}}."
"""
LANES = LaneTimes(sweep_every=timedelta(milliseconds=100), drain_grace=timedelta(milliseconds=100))


@pytest_asyncio.fixture
async def name() -> AsyncGenerator[str]:
    made = await shared_server().create(await shared_server().template("runtime", migrated))
    yield made
    await shared_server().drop(made)


@pytest_asyncio.fixture
async def proxy() -> AsyncGenerator[TcpProxy]:
    async with tcp_proxy(shared_server().port) as made:
        yield made


async def patiently(here: House, text: str, thread_id: str) -> str:
    """Start a turn as a client does that is told to send the same again; its run's id."""
    request_id = new_id()
    while True:
        try:
            return (await here.start(text, thread_id, wait=0, request_id=request_id)).run.run_id
        except (StoreUnavailable, ServiceUnreachable):
            await asyncio.sleep(0.05)


async def ended(here: House, run_id: str) -> int:
    """The state in which a run ends, however often the question has to be asked."""
    while True:
        try:
            run = await here.wait(run_id, 20)
        except (StoreUnavailable, ServiceUnreachable):
            await asyncio.sleep(0.05)
            continue
        if run.state >= RunState.RUN_STATE_COMPLETED:
            return run.state


async def test_a_run_with_a_tool_and_a_question_goes_on_over_a_restart(tmp_path: Path, name: str) -> None:
    url = shared_server().url(name)
    async with house(tmp_path, SCENARIO, database=url) as here:
        run = (await here.start("ask me", "t1")).run
        assert run.state == RunState.RUN_STATE_WAITING
        queued = (await here.start("and then", "t1", wait=0)).run
    async with house(tmp_path, SCENARIO, database=url, first=False) as here:
        (asked,) = await here.pending("t1")
        await here.resolve(asked.input_id, text="this one")
        assert (await here.wait(run.run_id)).result.parts[0].text == "You said this one."
        assert (await here.wait(queued.run_id)).state == RunState.RUN_STATE_COMPLETED
        await here.verify("t1")


async def test_turns_whose_commits_lose_their_answers_happen_once(tmp_path: Path, name: str, proxy: TcpProxy) -> None:
    async with house(tmp_path, SCENARIO, lanes=LANES, database=shared_server().url(name, proxy.port)) as here:
        for _ in range(2):
            done = proxy.cut_answer_to(b"COMMIT\0", times=5)
            runs = await asyncio.gather(*(patiently(here, "hello", f"t{number % 4}") for number in range(12)))
            assert len(set(runs)) == 12
            assert set(await asyncio.gather(*(ended(here, run) for run in runs))) == {RunState.RUN_STATE_COMPLETED}
            await asyncio.wait_for(done.wait(), 20)
        for number in range(4):
            await here.verify(f"t{number}")
    assert await shared_server().rows("SELECT count(*), min(state), max(state) FROM runs", name) == [(24, 4, 4)]
    assert proxy.cuts == 10


async def test_turns_go_on_when_every_connection_is_cut_again_and_again(
    tmp_path: Path, name: str, proxy: TcpProxy
) -> None:
    async with house(tmp_path, SCENARIO, lanes=LANES, database=shared_server().url(name, proxy.port)) as here:

        async def cutting() -> None:
            for _ in range(10):
                await asyncio.sleep(0.1)
                proxy.cut_all()

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(cutting())
            runs = await asyncio.gather(*(patiently(here, "hello", f"t{number % 4}") for number in range(24)))
        assert set(await asyncio.gather(*(ended(here, run) for run in runs))) == {RunState.RUN_STATE_COMPLETED}
        for number in range(4):
            await here.verify(f"t{number}")
