"""CampaignService as gRPC sees it: decode, hand to the facade, encode. Nothing is decided here."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass

from heddle.campaign.v1alpha1 import campaign_pb2, cycle_request_pb2, memory_request_pb2
from heddle.campaign.v1alpha1 import campaign_service_pb2 as pb
from heddle.campaign.v1alpha1.signal_pb2 import SignalMatch
from heddle.campaign.v1alpha1.signal_pb2 import SignalOutcome as SignalOutcomeMessage
from heddle_campaign.codec.campaigns import SETTINGS, campaign_message, settings_message
from heddle_campaign.codec.cycles import cycle_message, gap_message, signal_value
from heddle_campaign.codec.memories import memory_message
from heddle_campaign.codec.schedules import scheduled_time_message
from heddle_campaign.facade.campaigns import Campaigns
from heddle_campaign.facade.cycles import Cycles
from heddle_campaign.facade.ports.listing import ListCampaigns, ListCycles, ListMemories
from heddle_campaign.facade.ports.memories import MemoryStore
from heddle_campaign.facade.reading import Reading, Shown
from heddle_campaign.facade.signals import Signals
from heddle_campaign.facade.templates import TEMPLATES, Template
from heddle_campaign.rpc.checks import fields_set, schedule_of, stretch_of, wish_of
from heddle_campaign.rpc.pages import (
    CAMPAIGN_ORDERS,
    MEMORY_ORDERS,
    campaign_place,
    frame_message,
    memory_place,
    order_of,
    page_given,
)
from heddle_campaign.rpc.scopes import READ, RUN
from heddle_campaign.rules.campaigns import Campaign
from heddle_campaign.rules.cycle_keys import CycleOrigin
from heddle_campaign.rules.memories import MemoryKind
from heddle_campaign.rules.schedule import OverlapPolicy
from heddle_campaign.rules.states import CampaignState, CycleState
from heddle_campaign.rules.validation import EARLIEST, LATEST
from heddle_client.wire_times import micros_of
from heddle_core.clock import Clock, Micros
from heddle_core.errors import invalid
from heddle_core.ids import TenantId
from heddle_grpc.authorization import Access, Rule
from heddle_grpc.calls import Context
from heddle_grpc.drain import Drain
from heddle_grpc.masks import fields_named, text_within
from heddle_grpc.paging import order_asked, size_asked, text_cursor_asked, time_cursor_asked
from heddle_grpc.requests import creator, request_key

NAME = "heddle.campaign.v1alpha1.CampaignService"

RULES: Mapping[str, Rule] = {
    "CreateCampaign": RUN,
    "GetCampaign": READ,
    "ListCampaigns": READ,
    "UpdateCampaign": RUN,
    "ActivateCampaign": RUN,
    "PauseCampaign": RUN,
    "ResumeCampaign": RUN,
    "CompleteCampaign": RUN,
    "DeleteCampaign": RUN,
    "ListCampaignTemplates": Access.ANYBODY_KNOWN,
    "TriggerCampaign": RUN,
    "BackfillCampaign": RUN,
    "ReportSignal": RUN,
    "GetCycle": READ,
    "ListCycles": READ,
    "RetryCycle": RUN,
    "CancelCycle": RUN,
    "PreviewSchedule": READ,
    "ListMemories": READ,
    "PinMemory": RUN,
    "ForgetMemory": RUN,
    "WatchCampaign": READ,
}
"""Which scope each RPC asks for."""

_MOST_NOTE = 1_024
_MOST_CYCLE_NOTE = 4_000
_MOST_PREVIEW, _USUAL_PREVIEW = 100, 10
_MOST_QUERY = 256


@dataclass(frozen=True, slots=True)
class CampaignServicer:
    """The twenty-two RPCs."""

    campaigns: Campaigns
    cycles: Cycles
    signals: Signals
    reading: Reading
    memories: MemoryStore
    clock: Clock
    drain: Drain

    # --- campaigns ----------------------------------------------------------------------------------------

    async def CreateCampaign(self, request: pb.CreateCampaignRequest, context: Context) -> pb.CreateCampaignResponse:
        """A new campaign, DRAFT."""
        fields = fields_set(request.campaign) if request.template_id else SETTINGS
        campaign = await self.campaigns.create(
            request_key("CreateCampaign", request),
            creator(),
            wish_of(request.campaign, fields),
            template_id=request.template_id,
            dry_run=request.validate_only,
        )
        return pb.CreateCampaignResponse(campaign=await self._told(campaign))

    async def GetCampaign(self, request: pb.GetCampaignRequest, context: Context) -> pb.GetCampaignResponse:
        """A campaign."""
        return pb.GetCampaignResponse(campaign=_campaign(await self.reading.get(_tenant(), request.campaign_id)))

    async def ListCampaigns(self, request: pb.ListCampaignsRequest, context: Context) -> pb.ListCampaignsResponse:
        """A page of campaigns."""
        tenant = _tenant()
        order = order_of(tenant, request, request.order_by, CAMPAIGN_ORDERS)
        found = await self.reading.page(
            ListCampaigns(
                tenant=tenant,
                size=size_asked(request),
                after=order.after,
                order_by=order.field,
                descending=order.descending,
                states=tuple(CampaignState(state) for state in request.states if state),
                agent_id=request.agent_id,
                labels=dict(request.labels),
            )
        )
        page = page_given(tenant, request, found, _campaign, lambda each: campaign_place(each, order.field))
        return pb.ListCampaignsResponse(campaigns=page.messages, next_page_token=page.next_page_token)

    async def UpdateCampaign(self, request: pb.UpdateCampaignRequest, context: Context) -> pb.UpdateCampaignResponse:
        """A campaign with other settings."""
        if not request.campaign.campaign_id:
            raise invalid("campaign.campaign_id", "is required: say which campaign is changed")
        campaign = await self.campaigns.update(
            request_key("UpdateCampaign", request),
            request.campaign.campaign_id,
            wish_of(request.campaign, fields_named(request.update_mask, SETTINGS, prefix="campaign")),
            etag=request.etag,
            dry_run=request.validate_only,
        )
        return pb.UpdateCampaignResponse(campaign=await self._told(campaign))

    async def ActivateCampaign(
        self, request: pb.ActivateCampaignRequest, context: Context
    ) -> pb.ActivateCampaignResponse:
        """A campaign whose times fall due from now on."""
        key = request_key("ActivateCampaign", request)
        campaign = await self.campaigns.activate(
            key, request.campaign_id, etag=request.etag, start_now=request.start_now
        )
        return pb.ActivateCampaignResponse(campaign=await self._told(campaign))

    async def PauseCampaign(self, request: pb.PauseCampaignRequest, context: Context) -> pb.PauseCampaignResponse:
        """A campaign of which nothing is due."""
        text_within("note", request.note, _MOST_NOTE)
        key = request_key("PauseCampaign", request)
        campaign = await self.campaigns.pause(
            key, request.campaign_id, note=request.note, cancel_cycles=request.cancel_cycles
        )
        return pb.PauseCampaignResponse(campaign=await self._told(campaign))

    async def ResumeCampaign(self, request: pb.ResumeCampaignRequest, context: Context) -> pb.ResumeCampaignResponse:
        """A campaign that goes on."""
        text_within("note", request.note, _MOST_NOTE)
        key, person = request_key("ResumeCampaign", request), not creator().acted_by
        campaign = await self.campaigns.resume(key, request.campaign_id, note=request.note, person=person)
        return pb.ResumeCampaignResponse(campaign=await self._told(campaign))

    async def CompleteCampaign(
        self, request: pb.CompleteCampaignRequest, context: Context
    ) -> pb.CompleteCampaignResponse:
        """A campaign that is over."""
        text_within("note", request.note, _MOST_NOTE)
        key = request_key("CompleteCampaign", request)
        campaign = await self.campaigns.complete(
            key, request.campaign_id, note=request.note, cancel_cycles=request.cancel_cycles
        )
        return pb.CompleteCampaignResponse(campaign=await self._told(campaign))

    async def DeleteCampaign(self, request: pb.DeleteCampaignRequest, context: Context) -> pb.DeleteCampaignResponse:
        """The id of a campaign that is gone."""
        await self.campaigns.delete(request_key("DeleteCampaign", request), request.campaign_id, etag=request.etag)
        return pb.DeleteCampaignResponse(campaign_id=request.campaign_id)

    async def ListCampaignTemplates(
        self, request: pb.ListCampaignTemplatesRequest, context: Context
    ) -> pb.ListCampaignTemplatesResponse:
        """A page of templates."""
        tenant = _tenant()
        descending = order_asked(request.order_by, ("template_id", "template_id desc")).endswith(" desc")
        last = text_cursor_asked(tenant, request)
        ordered = sorted(TEMPLATES, key=lambda each: each.template_id, reverse=descending)
        found = [
            each
            for each in ordered
            if last is None or (each.template_id < last[1] if descending else each.template_id > last[1])
        ]
        page = page_given(tenant, request, found, _template, lambda each: ("", each.template_id))
        return pb.ListCampaignTemplatesResponse(campaign_templates=page.messages, next_page_token=page.next_page_token)

    async def WatchCampaign(
        self, request: pb.WatchCampaignRequest, context: Context
    ) -> AsyncGenerator[pb.WatchCampaignResponse]:
        """A campaign, whenever it changes."""
        watched = self.reading.watch(_tenant(), request.campaign_id, self.drain)
        async with aclosing(watched) as frames:
            async for frame in frames:
                yield frame_message(frame)

    async def PreviewSchedule(
        self, request: cycle_request_pb2.PreviewScheduleRequest, context: Context
    ) -> cycle_request_pb2.PreviewScheduleResponse:
        """When a schedule would fire."""
        if not 0 <= request.count <= _MOST_PREVIEW:
            raise invalid("count", f"1 to {_MOST_PREVIEW}, or zero for {_USUAL_PREVIEW}")
        most = request.count or _USUAL_PREVIEW
        start = micros_of(request.start_time) if request.HasField("start_time") else None
        if start is not None and not EARLIEST <= start <= LATEST:
            raise invalid("start_time", "between the years 1970 and 2200; leave it out for now")
        match request.WhichOneof("subject"):
            case "campaign_id":
                told = await self.reading.foretell(_tenant(), request.campaign_id, start=start, most=most)
            case "schedule":
                schedule = schedule_of(request.schedule)
                told = await self.reading.foretell_unsaved(schedule, start=start, most=most)
            case None:
                raise invalid("subject", "set campaign_id or schedule")
        times = [scheduled_time_message(each) for each in told.times]
        return cycle_request_pb2.PreviewScheduleResponse(times=times, description=told.description)

    # --- cycles -------------------------------------------------------------------------------------------

    async def TriggerCampaign(
        self, request: cycle_request_pb2.TriggerCampaignRequest, context: Context
    ) -> cycle_request_pb2.TriggerCampaignResponse:
        """A cycle beside the schedule."""
        text_within("note", request.note, _MOST_CYCLE_NOTE)
        cycle = await self.cycles.trigger(
            request_key("TriggerCampaign", request),
            request.campaign_id,
            roles=request.roles,
            note=request.note,
            overlap=OverlapPolicy(request.overlap) if request.overlap else None,
        )
        return cycle_request_pb2.TriggerCampaignResponse(cycle=cycle_message(cycle))

    async def BackfillCampaign(
        self, request: cycle_request_pb2.BackfillCampaignRequest, context: Context
    ) -> cycle_request_pb2.BackfillCampaignResponse:
        """Cycles for the times of a past stretch."""
        stretch = stretch_of(request.range)
        overlap = OverlapPolicy(request.overlap or OverlapPolicy.BUFFER_ALL)
        if request.validate_only:
            count = await self.cycles.backfill_count(_tenant(), request.campaign_id, stretch, overlap)
            return cycle_request_pb2.BackfillCampaignResponse(count=count)
        key = request_key("BackfillCampaign", request)
        cycles = await self.cycles.backfill(key, request.campaign_id, stretch, overlap)
        ids = [each.cycle_id for each in cycles]
        return cycle_request_pb2.BackfillCampaignResponse(count=len(ids), cycle_ids=ids)

    async def ReportSignal(
        self, request: cycle_request_pb2.ReportSignalRequest, context: Context
    ) -> cycle_request_pb2.ReportSignalResponse:
        """What campaigns do with something that happened."""
        matches = await self.signals.report(
            TenantId(_tenant()),
            signal_value(request.signal, self.clock.now()),
            campaign_id=request.campaign_id,
            key=request_key("ReportSignal", request),
        )
        told = (
            SignalMatch(
                campaign_id=each.campaign_id,
                trigger_key=each.trigger_key,
                outcome=SignalOutcomeMessage.ValueType(each.outcome),
                cycle_id=each.cycle_id,
                score=each.score,
            )
            for each in matches
        )
        return cycle_request_pb2.ReportSignalResponse(matches=told)

    async def GetCycle(
        self, request: cycle_request_pb2.GetCycleRequest, context: Context
    ) -> cycle_request_pb2.GetCycleResponse:
        """A cycle."""
        cycle = await self.reading.cycle(_tenant(), request.cycle_id)
        return cycle_request_pb2.GetCycleResponse(cycle=cycle_message(cycle))

    async def ListCycles(
        self, request: cycle_request_pb2.ListCyclesRequest, context: Context
    ) -> cycle_request_pb2.ListCyclesResponse:
        """A page of cycles, and the gaps between them."""
        tenant = _tenant()
        order = order_asked(request.order_by, ("scheduled_time desc", "scheduled_time"))
        descending, after = order.endswith(" desc"), time_cursor_asked(tenant, request)
        found = await self.reading.cycles(
            ListCycles(
                tenant=tenant,
                campaign_id=request.campaign_id,
                size=size_asked(request),
                after=(Micros(after[0]), after[1]) if after is not None else None,
                descending=descending,
                states=tuple(CycleState(state) for state in request.states if state),
                origins=tuple(CycleOrigin(origin) for origin in request.origins if origin),
                stretch=stretch_of(request.range) if request.HasField("range") else None,
            )
        )
        cycles = found.cycles
        page = page_given(tenant, request, cycles, cycle_message, lambda each: (each.key.scheduled_time, each.cycle_id))
        gaps = found.gaps
        if len(page.messages) < len(cycles):
            # Those that begin beyond the last cycle of this page stand on the next one.
            last = cycles[len(page.messages) - 1].key.scheduled_time
            gaps = tuple(each for each in gaps if (each.start >= last if descending else each.start <= last))
        return cycle_request_pb2.ListCyclesResponse(
            cycles=page.messages, next_page_token=page.next_page_token, gaps=[gap_message(each) for each in gaps]
        )

    async def RetryCycle(
        self, request: cycle_request_pb2.RetryCycleRequest, context: Context
    ) -> cycle_request_pb2.RetryCycleResponse:
        """A cycle that begins again."""
        cycle = await self.cycles.retry(request_key("RetryCycle", request), request.cycle_id)
        return cycle_request_pb2.RetryCycleResponse(cycle=cycle_message(cycle))

    async def CancelCycle(
        self, request: cycle_request_pb2.CancelCycleRequest, context: Context
    ) -> cycle_request_pb2.CancelCycleResponse:
        """A cycle that ends before it is done."""
        text_within("note", request.note, _MOST_NOTE)
        cycle = await self.cycles.cancel(request_key("CancelCycle", request), request.cycle_id, request.note)
        return cycle_request_pb2.CancelCycleResponse(cycle=cycle_message(cycle))

    # --- memories -----------------------------------------------------------------------------------------

    async def ListMemories(
        self, request: memory_request_pb2.ListMemoriesRequest, context: Context
    ) -> memory_request_pb2.ListMemoriesResponse:
        """A page of memories."""
        tenant = _tenant()
        text_within("query", request.query, _MOST_QUERY)
        order = order_of(tenant, request, request.order_by, MEMORY_ORDERS)
        found = await self.reading.known(
            ListMemories(
                tenant=tenant,
                campaign_id=request.campaign_id,
                size=size_asked(request),
                after=order.after,
                order_by=order.field,
                descending=order.descending,
                kinds=tuple(MemoryKind(kind) for kind in request.kinds if kind),
                pinned=request.pinned if request.HasField("pinned") else None,
                platform=request.platform,
                words=tuple(request.query.lower().split()),
            )
        )
        page = page_given(tenant, request, found, memory_message, lambda each: memory_place(each, order.field))
        return memory_request_pb2.ListMemoriesResponse(memories=page.messages, next_page_token=page.next_page_token)

    async def PinMemory(
        self, request: memory_request_pb2.PinMemoryRequest, context: Context
    ) -> memory_request_pb2.PinMemoryResponse:
        """A memory that every turn is given, or no longer."""
        pinned = request.pinned if request.HasField("pinned") else True
        learned = await self.memories.pin(request_key("PinMemory", request), request.memory_id, pinned)
        return memory_request_pb2.PinMemoryResponse(memory=memory_message(learned))

    async def ForgetMemory(
        self, request: memory_request_pb2.ForgetMemoryRequest, context: Context
    ) -> memory_request_pb2.ForgetMemoryResponse:
        """The id of a memory that is erased."""
        await self.memories.forget(request_key("ForgetMemory", request), request.memory_id)
        return memory_request_pb2.ForgetMemoryResponse(memory_id=request.memory_id)

    async def _told(self, campaign: Campaign) -> campaign_pb2.Campaign:
        return _campaign(await self.reading.shown(campaign))


def _tenant() -> str:
    return creator().tenant


def _campaign(shown: Shown) -> campaign_pb2.Campaign:
    return campaign_message(shown.campaign, shown.counters)


def _template(template: Template) -> campaign_pb2.CampaignTemplate:
    return campaign_pb2.CampaignTemplate(
        template_id=template.template_id,
        description=template.description,
        campaign=settings_message(template.settings),
    )
