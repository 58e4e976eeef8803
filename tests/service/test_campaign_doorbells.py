"""How a cycle hears that its run has ended: NATS alone rings for it; and without any ring a sweep finds it."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path

from heddle.campaign.v1alpha1 import campaign_service_pb2 as pb
from heddle.campaign.v1alpha1.cycle_pb2 import CycleState, CycleTurn
from heddle.common.v1.content_pb2 import ContentPart
from heddle.runtime.v1 import agent_pb2, agent_service_pb2
from heddle.runtime.v1.run_pb2 import RunState
from heddle_bus.server import NatsServer
from tests.kit.nats import nats_server
from tests.kit.running_campaigns import Studio, studio
from tests.kit.running_runtime import House, new_id
from tests.kit.running_spawn import served_runtime

NEVER = timedelta(hours=1)
OFTEN = timedelta(seconds=1)

ASKING = """
turns:
  - steps:
      - calls: [{tool: ask_user, arguments: {question: "Which?"}}]
      - text: "You said {{tool.ask_user}}."
"""


@asynccontextmanager
async def rung(folder: Path, server: NatsServer, sweep_every: timedelta) -> AsyncGenerator[tuple[Studio, House]]:
    """A runtime that publishes to `server`, and a campaign service that watches no thread itself."""
    async with AsyncExitStack() as stack:
        address, house = await stack.enter_async_context(served_runtime(folder, ASKING, nats=server.endpoint))
        spec = agent_pb2.AgentSpec(instructions="Write.", tools=["builtin/ask_user"])
        await house.stubs.agents.CreateAgent(
            agent_service_pb2.CreateAgentRequest(request_id=new_id(), agent_id="writer", spec=spec)
        )
        bells = {"nats_endpoint": server.endpoint_file, "most_watched": 0, "sweep_every": sweep_every}
        yield await stack.enter_async_context(studio(folder, address, **bells)), house


async def test_the_end_of_a_run_rings_for_its_cycle(tmp_path: Path) -> None:
    async with nats_server(tmp_path / "nats") as server, rung(tmp_path, server, NEVER) as (here, house):
        cycle_id, turn = await waiting_turn(here, house)
        await answer(house, turn)
        ended = await here.until(cycle_id, CycleState.CYCLE_STATE_COMPLETED)
        assert ended.summary == "writer: You said red."


async def test_an_end_that_nothing_rang_for_is_found_by_the_sweep(tmp_path: Path) -> None:
    async with nats_server(tmp_path / "nats") as server, rung(tmp_path, server, OFTEN) as (here, house):
        cycle_id, turn = await waiting_turn(here, house)
        await server.stop()
        await answer(house, turn)
        ended = await here.until(cycle_id, CycleState.CYCLE_STATE_COMPLETED)
        assert ended.turns[0].run_id == turn.run_id


async def waiting_turn(here: Studio, house: House) -> tuple[str, CycleTurn]:
    """A cycle whose only turn waits for an answer, and that turn."""
    made = await here.active()
    cycle = await here.trigger(made.campaign_id)
    async with asyncio.timeout(30):
        async for frame in here.campaigns.WatchCampaign(pb.WatchCampaignRequest(campaign_id=made.campaign_id)):
            (turn,) = next((each.turns for each in frame.open_cycles if each.turns), [CycleTurn()])
            if turn.run_id:
                assert (await house.wait(turn.run_id)).state == RunState.RUN_STATE_WAITING
                return cycle.cycle_id, turn
    raise AssertionError("the campaign is gone")


async def answer(house: House, turn: CycleTurn) -> None:
    """What the turn waits for, so that its run ends."""
    (question,) = await house.pending(turn.thread_id)
    await house.resolve(question.input_id, content=[ContentPart(text="red")])
