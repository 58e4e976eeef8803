"""Runs that are taken over while the provider of an open tool call is away: what its intent says decides (P8)."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from heddle.runtime.v1.input_pb2 import InputDecision, InputKind
from heddle.runtime.v1.run_pb2 import RunState
from heddle.runtime.v1.thread_service_pb2 import ListEventsRequest
from heddle.runtime.v1.tool_provider_service_pb2 import DeleteToolProviderRequest
from heddle.tools.v1 import tool_pb2
from heddle_runtime.settings import LaneTimes
from tests.kit.running_runtime import House, house, new_id, payloads
from tests.kit.tool_servers import ToolServer, Visit, declared, result, serving

pytestmark = pytest.mark.timeout(60)

QUICK = LaneTimes(drain_grace=timedelta(milliseconds=10))
SOON = Duration(seconds=1)
SCENARIO = """
steps:
  - calls: [{tool: act, arguments: {}}]
  - text: "Result: {{tool.act}}"
"""
COMPLETED, WAITING = RunState.RUN_STATE_COMPLETED, RunState.RUN_STATE_WAITING


def server(**fields: Any) -> ToolServer:
    """A tool whose first call never ends, and whose later ones say how many there were."""
    tools = ToolServer()

    async def behave(visit: Visit) -> AsyncGenerator[Any]:
        if len(tools.visits) == 1:
            await asyncio.Event().wait()
        yield result(f"visit {len(tools.visits)}")

    tools.offer(declared("act", **fields), behave)
    return tools


async def left_open(folder: Path, tools: ToolServer) -> str:
    """The run of a worker that goes while its call is under way; then the provider goes, too."""
    async with serving(tools), house(folder, SCENARIO, tools=tools, lanes=QUICK) as running:
        run_id = (await running.start("go", "t1", wait=0)).run.run_id
        await tools.visited()
    return run_id


@asynccontextmanager
async def heir(folder: Path, tools: ToolServer) -> AsyncGenerator[House]:
    """A worker that has never met the provider."""
    async with house(folder, SCENARIO, tools=tools, lanes=QUICK, first=False) as running:
        yield running


async def sent_again(running: House) -> None:
    """Wait until the second intent is on record."""
    async with asyncio.timeout(20):
        while len(events := await running.events("t1")):
            if len(payloads(events, "tool_call_started")) == 2:
                return
            await running.stubs.threads.ListEvents(
                ListEventsRequest(thread_id="t1", after_sequence=events[-1].sequence, wait_seconds=10)
            )


async def test_an_idempotent_call_is_sent_again_as_soon_as_its_provider_is_back(tmp_path: Path) -> None:
    tools = server(idempotent=True)
    run_id = await left_open(tmp_path, tools)
    async with heir(tmp_path, tools) as running:
        await sent_again(running)
        async with serving(tools, address=tools.address):
            ended = await running.wait(run_id)
        assert (ended.state, ended.result.parts[0].text) == (COMPLETED, "Result: visit 2")
        assert len({visit.request.idempotency_key for visit in tools.visits}) == 1
        assert not payloads(await running.events("t1"), "input_requested")


async def test_an_idempotent_call_whose_provider_stays_away_is_told_to_the_model(tmp_path: Path) -> None:
    tools = server(idempotent=True, deadline=SOON)
    run_id = await left_open(tmp_path, tools)
    async with heir(tmp_path, tools) as running:
        ended = await running.wait(run_id)
        assert ended.state == COMPLETED
        told = ended.result.parts[0].text
        assert told.startswith("Result: [UNKNOWN]") and "did not answer" in told
        assert not payloads(await running.events("t1"), "input_requested")


async def test_an_idempotent_call_whose_provider_is_removed_is_not_said_to_have_failed(tmp_path: Path) -> None:
    tools = server(idempotent=True)
    async with serving(tools):
        async with house(tmp_path, SCENARIO, tools=tools, lanes=QUICK) as running:
            run_id = (await running.start("go", "t1", wait=0)).run.run_id
            await tools.visited()
            await running.stubs.tool_providers.DeleteToolProvider(
                DeleteToolProviderRequest(request_id=new_id(), provider_id="kit")
            )
        async with heir(tmp_path, tools) as running:
            ended = await running.wait(run_id)
            assert ended.result.parts[0].text.startswith("Result: [UNKNOWN]")


async def test_a_harmless_call_is_told_to_the_model_though_its_provider_is_away(tmp_path: Path) -> None:
    tools = server(risk=tool_pb2.RISK_CLASS_READ)
    run_id = await left_open(tmp_path, tools)
    async with heir(tmp_path, tools) as running:
        assert (await running.wait(run_id)).result.parts[0].text.startswith("Result: [UNKNOWN]")


@pytest.mark.parametrize("fields", [{}, {"idempotent": True, "risk": tool_pb2.RISK_CLASS_SPEND, "deadline": SOON}])
async def test_a_person_reconciles_what_may_not_be_repeated_and_what_is_dear(
    tmp_path: Path, fields: dict[str, Any]
) -> None:
    tools = server(**fields)
    async with serving(tools), house(tmp_path, SCENARIO, tools=tools, lanes=QUICK) as running:
        run_id = (await running.start("go", "t1", wait=0)).run.run_id
        if fields:
            await running.wait(run_id)
            (approval,) = await running.pending("t1")
            await running.resolve(approval.input_id, decision=InputDecision.INPUT_DECISION_APPROVE)
        await tools.visited()
    async with heir(tmp_path, tools) as running:
        assert (await running.wait(run_id)).state == WAITING
        assert [each.kind for each in await running.pending("t1")] == [InputKind.INPUT_KIND_RECONCILE]
        assert len(tools.visits) == 1
