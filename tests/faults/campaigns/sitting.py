"""One sitting: campaigns are made and fall due, some are paused and resumed, replicas die meanwhile; then all settles.

All that the checker must know beside the rows goes into the journal: what was made, and between which two moments
each call was asked and answered.
"""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from heddle.campaign.v1alpha1 import campaign_pb2, schedule_pb2
from heddle.campaign.v1alpha1 import campaign_service_pb2 as pb
from heddle.campaign.v1alpha1 import cycle_request_pb2 as cycle_pb
from heddle_core.errors import InvalidField
from heddle_core.faults import HeddleError
from tests.faults.campaigns import rows
from tests.faults.campaigns.plan import MINUTE, SECOND, Member, Options, plan, quiet_at
from tests.faults.campaigns.replicas import Replicas, replicas
from tests.kit.running_runtime import new_id

_LEAD, _LEAD_OF_EACH = 3 * SECOND, SECOND // 100
"""Before the first time is due, and more for each campaign: the first ones are made in it."""
_MAKERS = 8
"""Campaigns that are made side by side."""


async def sit(folder: Path, options: Options) -> rows.Evidence:
    """Have it all happen in a folder that is there; what is on record then."""
    async with replicas(folder, options.sweep_every) as served:
        await rows.watch(served.campaign_url)
        members = plan(options)
        zero = _now() + _LEAD + _LEAD_OF_EACH * options.campaigns
        random = Random(options.seed + 1)
        enough = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(served.harass(random, options.kill_every, enough))
            await _Crowd(served, zero).live(members)
            await asyncio.sleep(max(0, zero + quiet_at(members) - _now()) / SECOND)
            enough.set()
        await _settle(served, options)
        return await rows.read(folder / "journal.jsonl", served.campaign_url, served.runtime_url)


class _Crowd:
    """Everybody who owns a campaign."""

    def __init__(self, served: Replicas, zero: int) -> None:
        self._served = served
        self._zero = zero
        self._makers = asyncio.Semaphore(_MAKERS)

    async def live(self, members: Sequence[Member]) -> None:
        """Make all campaigns, in order, and do with each what the plan says."""
        async with asyncio.TaskGroup() as group:
            for member in members:
                group.create_task(self._own(member))

    async def _own(self, member: Member) -> None:
        async with self._makers:
            campaign_id = await self._make(member)
        if campaign_id is None:
            return
        if member.past:
            await self._backfill(campaign_id, self._zero + member.start, _now() - SECOND)
        if member.pause is not None:
            await self._pause(campaign_id, member)

    async def _make(self, member: Member) -> str | None:
        """The id of the new campaign, once it is ACTIVE; None where its times had passed before it could be made."""
        request = pb.CreateCampaignRequest(request_id=new_id(), campaign=_campaign(member, self._zero))
        try:
            campaign_id = (await self._served.call("CreateCampaign", request)).campaign.campaign_id
        except InvalidField as error:
            self._served.journal.write("refused", what="made", name=member.name, why=str(error))
            return None
        self._served.journal.write(
            "made",
            campaign=campaign_id,
            recurrence=member.kind,
            every=member.every,
            start=self._zero + member.start,
            end=self._zero + member.end,
            jitter=member.jitter,
            roles=member.roles,
            name=member.name,
            pace=member.pace,
            overlap=member.overlap,
        )
        request = pb.ActivateCampaignRequest(campaign_id=campaign_id)
        return campaign_id if await self._tell("activated", "ActivateCampaign", request) else None

    async def _pause(self, campaign_id: str, member: Member) -> None:
        assert member.pause is not None
        await self._until(member.pause.start)
        began = _now()
        request = pb.PauseCampaignRequest(campaign_id=campaign_id, cancel_cycles=member.pause.cancel)
        if not await self._tell("paused", "PauseCampaign", request):
            return
        await self._until(member.pause.end)
        if not await self._tell("resumed", "ResumeCampaign", pb.ResumeCampaignRequest(campaign_id=campaign_id)):
            return
        if member.pause.backfill:
            await self._backfill(campaign_id, began, _now() - SECOND)

    async def _backfill(self, campaign_id: str, start: int, end: int) -> None:
        if start < end:
            stretch = schedule_pb2.TimeRange(start_time=_stamp(start), end_time=_stamp(end))
            request = cycle_pb.BackfillCampaignRequest(campaign_id=campaign_id, range=stretch)
            await self._tell("backfilled", "BackfillCampaign", request, start=start, end=end)

    async def _tell(self, kind: str, method: str, request: Any, **told: Any) -> bool:
        """Call, and put it on record; whether it was done."""
        request.request_id = new_id()
        asked = _now()
        try:
            await self._served.call(method, request)
        except HeddleError as error:
            # A campaign may have ended, or paused by itself, before its plan did.
            self._served.journal.write("refused", what=kind, campaign=request.campaign_id, why=str(error))
            return False
        self._served.journal.write(kind, campaign=request.campaign_id, asked=asked, answered=_now(), **told)
        return True

    async def _until(self, moment: int) -> None:
        await asyncio.sleep(max(0, self._zero + moment - _now()) / SECOND)


async def _settle(served: Replicas, options: Options) -> None:
    """Wait until nothing is open, at most as long as was asked; campaigns that paused themselves are resumed."""
    began = time.monotonic()
    while time.monotonic() - began < options.settle_within:
        standing = await rows.standing(served.campaign_url)
        for campaign_id in standing.paused:
            request = pb.ResumeCampaignRequest(request_id=new_id(), campaign_id=campaign_id)
            asked = _now()
            await served.call("ResumeCampaign", request)
            served.journal.write("resumed", campaign=campaign_id, asked=asked, answered=_now(), again=True)
        if not standing.active and not standing.open_cycles:
            break
        await asyncio.sleep(0.5)
    served.journal.write("settled", seconds=time.monotonic() - began)


def _campaign(member: Member, zero: int) -> campaign_pb2.Campaign:
    schedule = schedule_pb2.Schedule(
        time_zone="Europe/Berlin",
        start_time=_stamp(zero + member.start),
        end_time=_stamp(zero + member.end),
        jitter=_span(member.jitter),
        overlap=schedule_pb2.OverlapPolicy.Value(f"OVERLAP_POLICY_{member.overlap}"),
    )
    if member.kind == "cron":
        schedule.cron = f"*/{member.every // MINUTE} * * * *"
    elif member.kind == "once":
        schedule.once.CopyFrom(_stamp(zero + member.start))
    else:
        schedule.interval.CopyFrom(_span(member.every))
    return campaign_pb2.Campaign(
        title=member.name,
        brief=f"Work {member.pace}.",
        agents=[campaign_pb2.CampaignAgent(role=role, agent_id=role) for role in member.roles],
        schedule=schedule,
        failure_policy=campaign_pb2.FailurePolicy(initial_backoff=_span(2 * SECOND)),
    )


def _stamp(micros: int) -> Timestamp:
    return Timestamp(seconds=micros // SECOND, nanos=micros % SECOND * 1_000)


def _span(micros: int) -> Duration:
    return Duration(seconds=micros // SECOND, nanos=micros % SECOND * 1_000)


def _now() -> int:
    return time.time_ns() // 1_000
