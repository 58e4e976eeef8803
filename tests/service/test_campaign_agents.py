"""Campaigns as `heddle up` serves them: signals from outside, agents that note and tell, threads that are deleted."""

import asyncio
import base64
import hashlib
import hmac
import socket
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import httpx
import nats
import nats.js.errors
import pytest

from heddle.campaign.v1alpha1 import campaign_pb2, cycle_pb2, memory_pb2, memory_request_pb2, signal_pb2
from heddle.campaign.v1alpha1 import cycle_request_pb2 as cycle_pb
from heddle.campaign.v1alpha1.campaign_service_pb2_grpc import CampaignServiceStub
from heddle.runtime.v1 import agent_pb2, agent_service_pb2, thread_service_pb2, tool_provider_service_pb2
from heddle_bus import subjects
from heddle_bus.events import DELETED
from heddle_bus.server import NatsServer
from heddle_campaign.settings import CampaignServiceSettings
from heddle_campaign.wiring import RunningCampaign, campaign_companion
from heddle_client.stubs import RuntimeStubs
from heddle_grpc.channel import open_channel
from heddle_grpc.settings import ChannelSettings
from heddle_runtime.settings import BusSettings, LaneTimes, RuntimeSettings
from heddle_runtime.wiring.runtime import running_runtime
from heddle_spawn.settings import SpawnSettings
from heddle_spawn.wiring import spawn_companion
from tests.kit.nats import jetstream_bus, nats_server
from tests.kit.running_campaigns import Studio, campaign
from tests.kit.running_runtime import House, new_id, payloads
from tests.kit.tool_servers import ToolServer

SOON = 30.0
KEY = bytes(range(32))
SECRET = "whsec_" + base64.b64encode(KEY).decode()
SCENARIO = """
turns:
  - steps:
      - calls:
          - tool: remember
            arguments: {text: "Readers like dogs", tags: [dogs]}
          - tool: send_message
            arguments: {text: "I need a dog's picture", kind: request, receiver_role: artist}
      - text: |
          Posted.
          Decision: post daily
"""


@dataclass
class Up:
    """Everything on one port."""

    house: House
    studio: Studio
    server: NatsServer
    webhooks: int

    async def memories(self, campaign_id: str) -> list[memory_pb2.Memory]:
        request = memory_request_pb2.ListMemoriesRequest(campaign_id=campaign_id, page_size=100)
        return list((await self.studio.campaigns.ListMemories(request)).memories)

    async def cited(self, campaign_id: str) -> set[str]:
        """The threads that something was learned from."""
        return {each.citation.thread_id for each in await self.memories(campaign_id)}

    async def ended(self, campaign_id: str, kind: str) -> cycle_pb2.Cycle:
        """The campaign's newest cycle of a signal of that kind, once it has ended."""
        completed = cycle_pb2.CycleState.CYCLE_STATE_COMPLETED
        async with asyncio.timeout(SOON):
            while True:
                request = cycle_pb.ListCyclesRequest(campaign_id=campaign_id)
                for each in (await self.studio.campaigns.ListCycles(request)).cycles:
                    if each.evidence.kind == kind:
                        return await self.studio.until(each.cycle_id, completed)


@asynccontextmanager
async def up(folder: Path) -> AsyncIterator[Up]:
    file = folder / "scenario.yaml"
    file.write_text(SCENARIO)
    settings = RuntimeSettings(
        data_dir=folder / "data",
        listen="127.0.0.1:0",
        model=f"scripted:{file}",
        lanes=LaneTimes(drain_grace=timedelta(milliseconds=100)),
        bus=BusSettings(bytes_limit=64 * 1024**2),
        log_level="WARNING",
    )
    port = _free_port()
    given: dict[str, Any] = {"webhooks": f"127.0.0.1:{port}", "webhook_secrets": {"default": [SECRET]}}
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(nats_server(folder / "nats"))
        campaigns = campaign_companion(CampaignServiceSettings(data_dir=settings.data_dir, **given), server.endpoint)
        spawns = spawn_companion(SpawnSettings(data_dir=settings.data_dir), server.endpoint)
        runtime = await stack.enter_async_context(
            running_runtime(settings, server.endpoint, companions=(spawns, campaigns))
        )
        channel = open_channel(ChannelSettings.model_validate({"address": runtime.address, "attempts": 1}))
        stack.push_async_callback(channel.close)
        house = House(RuntimeStubs.on(channel), ToolServer(), folder)
        for agent_id in ("writer", "artist"):
            spec = agent_pb2.AgentSpec(instructions="Test.", tools=["campaign/*"])
            request = agent_service_pb2.CreateAgentRequest(request_id=new_id(), agent_id=agent_id, spec=spec)
            await house.stubs.agents.CreateAgent(request)
        yield Up(house, Studio(CampaignServiceStub(channel), cast(RunningCampaign, None)), server, port)


def answering(*kinds: str) -> campaign_pb2.Campaign:
    """A campaign whose writer answers signals of its own kinds; its artist answers none."""
    return campaign(
        agents=[
            campaign_pb2.CampaignAgent(role="writer", agent_id="writer", signal_kinds=kinds),
            campaign_pb2.CampaignAgent(role="artist", agent_id="artist"),
        ],
        triggers=[signal_pb2.SignalTrigger(key=kind, custom=signal_pb2.CustomSignal(kind=kind)) for kind in kinds],
    )


async def test_the_tools_of_both_services_are_known_under_their_own_ids(tmp_path: Path) -> None:
    async with up(tmp_path) as here:
        listed = await here.house.stubs.tool_providers.ListTools(
            tool_provider_service_pb2.ListToolsRequest(page_size=100)
        )
    paths = {f"{each.provider_id}/{each.tool.name}" for each in listed.tools}
    assert {"spawn/spawn_agent", "campaign/remember", "campaign/send_message"} <= paths
    assert not {"spawn/remember", "campaign/spawn_agent"} & paths


async def test_a_signal_over_nats_starts_a_turn_whose_agent_notes_tells_and_decides_for_the_next(
    tmp_path: Path,
) -> None:
    async with up(tmp_path) as here:
        made = await here.studio.active(campaign=answering("stock_low", "stock_high"))
        await publish(here.server, "heddle.v1.default.signals.stock_low", b'{"left": 3}')
        cycle = await here.ended(made.campaign_id, "stock_low")
        (turn,) = cycle.turns
        learned = {each.text: each for each in await here.memories(made.campaign_id)}
        assert {"Readers like dogs", "post daily"} < set(learned)
        assert len(learned) == 3
        events = await here.house.events(turn.thread_id)
        started = [event.sequence for event in events if event.WhichOneof("payload") == "tool_call_started"]
        note, decision = learned["Readers like dogs"], learned["post daily"]
        assert note.kind == memory_pb2.MEMORY_KIND_NOTE
        assert (note.citation.thread_id, note.citation.run_id) == (turn.thread_id, turn.run_id)
        assert note.citation.first_sequence == started[0]
        assert decision.citation.first_sequence <= note.citation.first_sequence
        assert decision.citation.last_sequence == events[-1].sequence

        # The artist is told in its next turn, and both agents know what was learned.
        asked = await here.studio.trigger(made.campaign_id, roles=["artist"])
        later = await here.studio.until(asked.cycle_id, cycle_pb2.CycleState.CYCLE_STATE_COMPLETED)
        (requested,) = payloads(await here.house.events(later.turns[0].thread_id), "turn_requested")
        told = [item.text for item in requested.turn.context]
        assert any("I need a dog's picture" in text for text in told)
        assert note.memory_id in {item.item_id for item in requested.turn.context}


@pytest.mark.slow  # the relay tells of deletions every 10 s
async def test_what_was_learned_from_a_thread_goes_with_it(tmp_path: Path) -> None:
    async with up(tmp_path) as here, jetstream_bus(here.server) as bus:
        made = await here.studio.active(campaign=answering("stock_low"))
        turns = []
        for _ in range(2):
            cycle = await here.studio.trigger(made.campaign_id, roles=["writer"])
            ended = await here.studio.until(cycle.cycle_id, cycle_pb2.CycleState.CYCLE_STATE_COMPLETED)
            turns += ended.turns
        first, second = (each.thread_id for each in turns)
        assert await here.cited(made.campaign_id) == {first, second}
        delete = thread_service_pb2.DeleteThreadRequest(request_id=new_id(), thread_id=first)
        deletions = bus.follow((subjects.thread_events(event=DELETED),), after=None)
        async with deletions, asyncio.timeout(SOON):
            await here.house.stubs.threads.DeleteThread(delete)
            await anext(deletions)
            while first in await here.cited(made.campaign_id):
                pass  # it is told, and is forgotten within some calls
        assert await here.cited(made.campaign_id) == {second}


async def test_a_signed_webhook_starts_a_cycle_once_and_its_metrics_are_learned(tmp_path: Path) -> None:
    async with up(tmp_path) as here, httpx.AsyncClient(base_url=f"http://127.0.0.1:{here.webhooks}") as client:
        made = await here.studio.active(campaign=answering("post_metrics"))
        body = b'{"posts": [' + b",".join([b'{"platform": "tiktok", "tone": "dry", "engagement": 4}'] * 8) + b"]}"
        for outcome in ("FIRED", "DUPLICATE"):
            response = await client.post("/v1/signals/default/post_metrics", content=body, headers=signed(body))
            assert response.status_code == 200, response.text
            (match,) = response.json()["matches"]
            assert (match["campaign_id"], match["outcome"]) == (made.campaign_id, outcome)
        await here.ended(made.campaign_id, "post_metrics")
        winners = [each for each in await here.memories(made.campaign_id) if each.kind == memory_pb2.MEMORY_KIND_WINNER]
        assert [each.platform for each in winners] == ["tiktok"]


def signed(body: bytes) -> dict[str, str]:
    at = str(int(time.time()))
    digest = hmac.new(KEY, f"msg_1.{at}.".encode() + body, hashlib.sha256).digest()
    signature = f"v1,{base64.b64encode(digest).decode()}"
    return {"webhook-id": "msg_1", "webhook-timestamp": at, "webhook-signature": signature}


async def publish(server: NatsServer, subject: str, body: bytes) -> None:
    """Publish as anybody does, as soon as the campaign service has made the stream."""
    endpoint = server.endpoint()
    client = await nats.connect(list(endpoint.servers), token=endpoint.token or None)
    try:
        async with asyncio.timeout(SOON):
            while True:
                try:
                    await client.jetstream().publish(subject, body, headers={"Heddle-Dedupe-Key": "spring"})
                    return
                except nats.js.errors.NoStreamResponseError:
                    await client.flush()
    finally:
        await client.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
