"""A campaign service and agents in memory, for the command line: it keeps what it is told, and every request."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import Message

from heddle.campaign.v1alpha1 import campaign_service_pb2 as pb
from heddle.campaign.v1alpha1 import cycle_request_pb2 as cycles_pb
from heddle.campaign.v1alpha1 import memory_request_pb2 as memories_pb
from heddle.campaign.v1alpha1.campaign_pb2 import Campaign, CampaignState, CampaignTemplate
from heddle.campaign.v1alpha1.cycle_pb2 import Cycle, CycleGap
from heddle.campaign.v1alpha1.memory_pb2 import Memory
from heddle.campaign.v1alpha1.schedule_pb2 import OverlapPolicy, ScheduledTime
from heddle.campaign.v1alpha1.signal_pb2 import SignalMatch
from heddle.runtime.v1 import agent_service_pb2 as agents_pb
from heddle.runtime.v1.agent_pb2 import Agent
from heddle_core.companion_errors import CampaignNotFound, CycleNotFound
from heddle_core.errors import Draining, IllegalTransition, invalid
from heddle_core.ids import CountingIds
from heddle_core.runtime_errors import AgentNotFound
from heddle_grpc.authorization import Access
from heddle_grpc.identity import Development
from heddle_grpc.routes import Service
from heddle_grpc.server import Server
from tests.kit.grpc_probe import SOMEBODY, local

CAMPAIGNS = "heddle.campaign.v1alpha1.CampaignService"
AGENTS = "heddle.runtime.v1.AgentService"
_NEXT_STATE = {
    "ActivateCampaignRequest": (CampaignState.CAMPAIGN_STATE_DRAFT, CampaignState.CAMPAIGN_STATE_ACTIVE),
    "PauseCampaignRequest": (CampaignState.CAMPAIGN_STATE_ACTIVE, CampaignState.CAMPAIGN_STATE_PAUSED),
    "ResumeCampaignRequest": (CampaignState.CAMPAIGN_STATE_PAUSED, CampaignState.CAMPAIGN_STATE_ACTIVE),
    "CompleteCampaignRequest": (CampaignState.CAMPAIGN_STATE_ACTIVE, CampaignState.CAMPAIGN_STATE_COMPLETED),
}


@dataclass
class CampaignBook:
    """What the server has."""

    campaigns: dict[str, Campaign] = field(default_factory=dict)
    agents: dict[str, Agent] = field(default_factory=dict)
    cycles: dict[str, Cycle] = field(default_factory=dict)
    gaps: list[CycleGap] = field(default_factory=list)
    memories: dict[str, Memory] = field(default_factory=dict)
    times: list[ScheduledTime] = field(default_factory=list)
    matches: list[SignalMatch] = field(default_factory=list)
    templates: list[CampaignTemplate] = field(default_factory=list)
    filled: int = 2
    """Times that a backfill finds."""
    frames: list[pb.WatchCampaignResponse] = field(default_factory=list)
    cuts: int = 0
    """How often a watch is cut after its first frame."""
    asked: list[Message] = field(default_factory=list)
    address: str = ""
    made: dict[str, str] = field(default_factory=dict)
    """Campaigns by the request that made them."""
    older: bool = False
    """Whether it serves agents as an older version: without `labels` of a list and `validate_only` of a creation."""

    def last(self, kind: type[Any]) -> Any:
        """The last request of a kind."""
        return next(each for each in reversed(self.asked) if isinstance(each, kind))

    def changes(self) -> list[str]:
        """The names of the requests that changed something, in order."""
        reads = ("List", "Get", "Preview", "Watch")
        return [
            type(each).__name__.removesuffix("Request")
            for each in self.asked
            if not type(each).__name__.startswith(reads) and not getattr(each, "validate_only", False)
        ]


@asynccontextmanager
async def serving_campaigns(book: CampaignBook | None = None) -> AsyncGenerator[CampaignBook]:
    """The book, served on a free port."""
    kept = book or CampaignBook()
    services = [
        Service(CAMPAIGNS, _Campaigns(kept), _all(pb.DESCRIPTOR.services_by_name["CampaignService"])),
        Service(AGENTS, _Agents(kept), _all(agents_pb.DESCRIPTOR.services_by_name["AgentService"])),
    ]
    server = Server(local(), services, authenticators=[Development(SOMEBODY)], ids=CountingIds())
    async with server.running():
        kept.address = f"127.0.0.1:{server.ports[0]}"
        yield kept


def _all(service: Any) -> dict[str, Access]:
    return {each.name: Access.ANYBODY_KNOWN for each in service.methods}


def _require_short(instructions: str) -> None:
    if len(instructions) > 32_000:
        raise invalid("spec.instructions", "at most 32000 characters")


class _Agents:
    def __init__(self, book: CampaignBook) -> None:
        self._book = book

    async def ListAgents(self, request: Any, context: Any) -> Any:
        self._book.asked.append(request)
        wanted = {} if self._book.older else dict(request.labels)
        shown = [each for each in self._book.agents.values() if request.include_archived or not each.archived]
        return agents_pb.ListAgentsResponse(
            agents=[each for each in shown if wanted.items() <= dict(each.spec.labels).items()]
        )

    async def GetAgent(self, request: Any, context: Any) -> Any:
        self._book.asked.append(request)
        if request.agent_id not in self._book.agents:
            raise AgentNotFound(request.agent_id)
        return agents_pb.GetAgentResponse(agent=self._book.agents[request.agent_id])

    async def CreateAgent(self, request: Any, context: Any) -> Any:
        _require_short(request.spec.instructions)
        if request.validate_only and not self._book.older:
            return agents_pb.CreateAgentResponse(agent=Agent(agent_id=request.agent_id, version=1, spec=request.spec))
        return agents_pb.CreateAgentResponse(agent=self._keep(request, 1))

    async def UpdateAgent(self, request: Any, context: Any) -> Any:
        _require_short(request.spec.instructions)
        before = self._book.agents.get(request.agent_id)
        if before is None:
            raise AgentNotFound(request.agent_id)
        if before.built_in:
            raise IllegalTransition("Agent", request.agent_id, "part of Heddle", "be changed", "make one of your own")
        assert request.etag == before.etag
        if request.validate_only:
            if not request.spec.instructions:
                raise invalid("spec.instructions", "must not be empty here")
            return agents_pb.UpdateAgentResponse(agent=before)
        return agents_pb.UpdateAgentResponse(agent=self._keep(request, before.version + 1))

    async def ArchiveAgent(self, request: Any, context: Any) -> Any:
        self._book.asked.append(request)
        self._book.agents[request.agent_id].archived = True
        return agents_pb.ArchiveAgentResponse(agent=self._book.agents[request.agent_id])

    def _keep(self, request: Any, version: int) -> Agent:
        self._book.asked.append(request)
        agent = Agent(agent_id=request.agent_id, version=version, spec=request.spec, etag=str(version))
        self._book.agents[request.agent_id] = agent
        return agent


class _Campaigns:
    def __init__(self, book: CampaignBook) -> None:
        self._book = book

    async def CreateCampaign(self, request: Any, context: Any) -> Any:
        self._book.asked.append(request)
        campaign = self._checked(request.campaign)
        if request.validate_only:
            return pb.CreateCampaignResponse(campaign=campaign)
        is_new = request.request_id not in self._book.made
        made = self._book.made.setdefault(request.request_id, f"campaign_{len(self._book.made) + 1}")
        campaign.campaign_id, campaign.etag = made, "1"
        campaign.state = CampaignState.CAMPAIGN_STATE_DRAFT
        if is_new:
            self._book.campaigns[made] = campaign
        return pb.CreateCampaignResponse(campaign=campaign)

    async def GetCampaign(self, request: Any, context: Any) -> Any:
        return pb.GetCampaignResponse(campaign=self._found(request))

    async def ListCampaigns(self, request: Any, context: Any) -> Any:
        self._book.asked.append(request)
        wanted = dict(request.labels).items()
        fit = [each for each in self._book.campaigns.values() if wanted <= dict(each.labels).items()]
        return pb.ListCampaignsResponse(campaigns=fit)

    async def ListCampaignTemplates(self, request: Any, context: Any) -> Any:
        return pb.ListCampaignTemplatesResponse(campaign_templates=self._book.templates)

    async def UpdateCampaign(self, request: Any, context: Any) -> Any:
        self._book.asked.append(request)
        before = self._book.campaigns[request.campaign.campaign_id]
        after = Campaign()
        after.CopyFrom(before)
        wanted = self._checked(request.campaign)
        for name in request.update_mask.paths:
            after.ClearField(name)
            part = Campaign()
            part.CopyFrom(wanted)
            for other in Campaign.DESCRIPTOR.fields_by_name:
                if other != name:
                    part.ClearField(other)
            after.MergeFrom(part)
        after.etag = str(int(before.etag) + 1)
        if not request.validate_only:
            assert request.etag == before.etag
            self._book.campaigns[after.campaign_id] = after
        return pb.UpdateCampaignResponse(campaign=after)

    async def ActivateCampaign(self, request: Any, context: Any) -> Any:
        return pb.ActivateCampaignResponse(campaign=self._moved(request))

    async def PauseCampaign(self, request: Any, context: Any) -> Any:
        return pb.PauseCampaignResponse(campaign=self._moved(request))

    async def ResumeCampaign(self, request: Any, context: Any) -> Any:
        return pb.ResumeCampaignResponse(campaign=self._moved(request))

    async def CompleteCampaign(self, request: Any, context: Any) -> Any:
        return pb.CompleteCampaignResponse(campaign=self._moved(request))

    async def DeleteCampaign(self, request: Any, context: Any) -> Any:
        campaign = self._found(request)
        if campaign.state == CampaignState.CAMPAIGN_STATE_ACTIVE:
            raise IllegalTransition("campaign", campaign.campaign_id, "ACTIVE", "be deleted", "pause it first")
        del self._book.campaigns[request.campaign_id]
        return pb.DeleteCampaignResponse(campaign_id=request.campaign_id)

    async def TriggerCampaign(self, request: Any, context: Any) -> Any:
        self._found(request)
        return cycles_pb.TriggerCampaignResponse(cycle=next(iter(self._book.cycles.values())))

    async def BackfillCampaign(self, request: Any, context: Any) -> Any:
        self._found(request)
        ids = [f"c{place}" for place in range(1, self._book.filled + 1)]
        return cycles_pb.BackfillCampaignResponse(count=len(ids), cycle_ids=[] if request.validate_only else ids)

    async def ReportSignal(self, request: Any, context: Any) -> Any:
        self._book.asked.append(request)
        return cycles_pb.ReportSignalResponse(matches=self._book.matches)

    async def GetCycle(self, request: Any, context: Any) -> Any:
        return cycles_pb.GetCycleResponse(cycle=self._cycle(request))

    async def ListCycles(self, request: Any, context: Any) -> Any:
        self._found(request)
        return cycles_pb.ListCyclesResponse(cycles=self._book.cycles.values(), gaps=self._book.gaps)

    async def RetryCycle(self, request: Any, context: Any) -> Any:
        return cycles_pb.RetryCycleResponse(cycle=self._cycle(request))

    async def CancelCycle(self, request: Any, context: Any) -> Any:
        return cycles_pb.CancelCycleResponse(cycle=self._cycle(request))

    async def PreviewSchedule(self, request: Any, context: Any) -> Any:
        self._book.asked.append(request)
        return cycles_pb.PreviewScheduleResponse(times=self._book.times, description="At 09:00, in Europe/Berlin.")

    async def ListMemories(self, request: Any, context: Any) -> Any:
        self._found(request)
        return memories_pb.ListMemoriesResponse(memories=self._book.memories.values())

    async def PinMemory(self, request: Any, context: Any) -> Any:
        self._book.asked.append(request)
        memory = self._book.memories[request.memory_id]
        memory.pinned = request.pinned
        return memories_pb.PinMemoryResponse(memory=memory)

    async def ForgetMemory(self, request: Any, context: Any) -> Any:
        self._book.asked.append(request)
        del self._book.memories[request.memory_id]
        return memories_pb.ForgetMemoryResponse(memory_id=request.memory_id)

    async def WatchCampaign(self, request: Any, context: Any) -> AsyncGenerator[pb.WatchCampaignResponse]:
        self._found(request)
        for frame in self._book.frames:
            yield frame
            if self._book.cuts:
                self._book.cuts -= 1
                raise Draining

    def _found(self, request: Any) -> Campaign:
        self._book.asked.append(request)
        if request.campaign_id not in self._book.campaigns:
            raise CampaignNotFound(request.campaign_id)
        return self._book.campaigns[request.campaign_id]

    def _cycle(self, request: Any) -> Cycle:
        self._book.asked.append(request)
        if request.cycle_id not in self._book.cycles:
            raise CycleNotFound(request.cycle_id)
        return self._book.cycles[request.cycle_id]

    def _moved(self, request: Any) -> Campaign:
        campaign = self._found(request)
        before, after = _NEXT_STATE[type(request).__name__]
        if campaign.state != before:
            raise IllegalTransition("campaign", campaign.campaign_id, "so", "be moved", "it is not there")
        campaign.state, campaign.etag = after, str(int(campaign.etag) + 1)
        return campaign

    def _checked(self, campaign: Campaign) -> Campaign:
        """As a server would keep it: with its defaults."""
        if campaign.schedule.cron == "impossible":
            raise invalid("campaign.schedule.cron", "has 1 of five fields")
        kept = Campaign()
        kept.CopyFrom(campaign)
        if kept.HasField("schedule"):
            kept.schedule.overlap = kept.schedule.overlap or OverlapPolicy.OVERLAP_POLICY_SKIP
            kept.schedule.version = 1
            if not kept.schedule.HasField("start_time"):
                kept.schedule.start_time.GetCurrentTime()
        return kept
