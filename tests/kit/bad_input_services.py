"""A prepared tenant of the services beside the runtime: campaigns in every state, cycles, memories and children."""

import json
from collections import defaultdict
from typing import Any

import grpc

from heddle.campaign.v1alpha1 import campaign_pb2, schedule_pb2, signal_pb2
from heddle.campaign.v1alpha1 import campaign_service_pb2 as campaigns
from heddle.campaign.v1alpha1 import cycle_request_pb2 as cycles
from heddle.campaign.v1alpha1 import memory_request_pb2 as memories
from heddle.campaign.v1alpha1.campaign_service_pb2_grpc import CampaignServiceStub
from heddle.common.v1.content_pb2 import ContentPart
from heddle.spawn.v1alpha1 import spawn_group_pb2, spawn_pb2
from heddle.spawn.v1alpha1 import spawn_service_pb2 as spawns
from heddle.spawn.v1alpha1.spawn_service_pb2_grpc import SpawnServiceStub
from tests.kit.bad_input_world import Metadata

AGENT = "general"
"""Every tenant of a runtime has it."""


class ServiceWorld:
    """What one tenant has, by the name of the field that would name it; see `bad_input_world.World`."""

    def __init__(self, channel: grpc.aio.Channel, metadata: Metadata, name: str) -> None:
        """`name` begins every id that is chosen here."""
        self.ids: dict[str, list[str]] = defaultdict(list)
        self.last_sequence = 5
        self.tools = ""
        self._channel = channel
        self._metadata = metadata
        self._name = name
        self._count = 0

    def spare(self, field: str) -> str:
        """A name for something new."""
        self._count += 1
        return f"{self._name}-new-{field.removesuffix('_id')}-{self._count}"

    async def call(self, rpc: Any, request: Any) -> Any:
        """A good call. Raises AioRpcError when it is refused."""
        if "request_id" in request.DESCRIPTOR.fields_by_name:
            self._count += 1
            request.request_id = f"{self._name}-{self._count}"
            self.ids["request_id"].append(request.request_id)
        return await rpc(request, metadata=self._metadata, timeout=30)

    async def with_campaigns(self) -> "ServiceWorld":
        """Make what the campaign service knows of."""
        stub: Any = CampaignServiceStub(self._channel)
        made = [await self._campaign(stub, title) for title in ("draft", "active", "paused", "completed", "deleted")]
        for each in made[1:4]:
            await self.call(stub.ActivateCampaign, campaigns.ActivateCampaignRequest(campaign_id=each))
        for _ in range(2):
            await self._cycle(stub, made[1], schedule_pb2.OVERLAP_POLICY_BUFFER_ALL)
        cancelled = await self._cycle(stub, made[1], schedule_pb2.OVERLAP_POLICY_BUFFER_ALL)
        await self.call(stub.CancelCycle, cycles.CancelCycleRequest(cycle_id=cancelled))
        await self._cycle(stub, made[1], schedule_pb2.OVERLAP_POLICY_SKIP)
        await self.call(stub.PauseCampaign, campaigns.PauseCampaignRequest(campaign_id=made[2]))
        await self.call(stub.CompleteCampaign, campaigns.CompleteCampaignRequest(campaign_id=made[3]))
        await self.call(stub.DeleteCampaign, campaigns.DeleteCampaignRequest(campaign_id=made[4]))
        await self._learn(stub, made[1])
        self.ids["campaign_id"] = made
        self.ids["agent_id"] = [AGENT]
        self.ids["template_id"] = ["creator-studio", "weekly-report"]
        listed = await self.call(stub.ListCampaigns, campaigns.ListCampaignsRequest(page_size=1))
        self.ids["etag"] = [each.etag for each in listed.campaigns]
        page = await self.call(stub.ListCycles, cycles.ListCyclesRequest(campaign_id=made[1], page_size=1))
        self.ids["page_token"] = [listed.next_page_token, page.next_page_token]
        return self

    async def with_spawns(self) -> "ServiceWorld":
        """Make what the spawn service knows of."""
        stub: Any = SpawnServiceStub(self._channel)
        for number in range(3):
            made = await self.call(stub.SpawnAgent, spawns.SpawnAgentRequest(spec=_child(f"{self._name}-{number}")))
            self.ids["spawn_id"].append(made.spawn.spawn_id)
        stage = spawn_group_pb2.SpawnStage(children=[_child(f"{self._name}-a"), _child(f"{self._name}-b")])
        spec = spawn_group_pb2.SpawnGroupSpec(group_key=f"{self._name}-group", stages=[stage])
        group = await self.call(stub.SpawnGroup, spawns.SpawnGroupRequest(spec=spec))
        self.ids["group_id"].append(group.group.group_id)
        await self.call(stub.CancelSpawn, spawns.CancelSpawnRequest(spawn_id=self.ids["spawn_id"][0]))
        waited = spawns.WaitSpawnRequest(spawn_id=self.ids["spawn_id"][1], wait_seconds=20)
        child = (await self.call(stub.WaitSpawn, waited)).spawn
        self.ids["run_id"].append(child.run_id)
        self.ids["thread_id"].append(child.thread_id)
        self.ids["agent_id"] = [AGENT]
        listed = await self.call(stub.ListSpawns, spawns.ListSpawnsRequest(page_size=1))
        self.ids["page_token"].append(listed.next_page_token)
        return self

    async def _campaign(self, stub: Any, title: str) -> str:
        trigger = signal_pb2.SignalTrigger(key="own", custom=signal_pb2.CustomSignal(kind="stock_low"))
        agent = campaign_pb2.CampaignAgent(role="writer", agent_id=AGENT, signal_kinds=["stock_low"])
        schedule = schedule_pb2.Schedule(cron="0 9 * * *", start_time={"seconds": 1_767_225_600})
        given = campaign_pb2.Campaign(title=title, agents=[agent], schedule=schedule, triggers=[trigger])
        request = campaigns.CreateCampaignRequest(campaign=given)
        return (await self.call(stub.CreateCampaign, request)).campaign.campaign_id

    async def _cycle(self, stub: Any, campaign_id: str, overlap: Any) -> str:
        request = cycles.TriggerCampaignRequest(campaign_id=campaign_id, overlap=overlap)
        cycle_id: str = (await self.call(stub.TriggerCampaign, request)).cycle.cycle_id
        self.ids["cycle_id"].append(cycle_id)
        return cycle_id

    async def _learn(self, stub: Any, campaign_id: str) -> None:
        for number in range(2):
            posts = [{"platform": "x", "format": f"f{number}", "engagement": 1 + each} for each in range(4)]
            signal = signal_pb2.Signal(
                kind="post_metrics", dedupe_key=f"m{number}", payload_json=json.dumps({"posts": posts})
            )
            await self.call(stub.ReportSignal, cycles.ReportSignalRequest(signal=signal, campaign_id=campaign_id))
        listed = await self.call(stub.ListMemories, memories.ListMemoriesRequest(campaign_id=campaign_id))
        self.ids["memory_id"] = [each.memory_id for each in listed.memories]


def _child(key: str) -> spawn_pb2.SpawnSpec:
    return spawn_pb2.SpawnSpec(spawn_key=key, agent_id=AGENT, task=[ContentPart(text="words\nkind=say")])
