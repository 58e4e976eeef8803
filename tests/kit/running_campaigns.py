"""A campaign service on a port of its own, wired as it is served, and what callers do with it."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from heddle.campaign.v1alpha1 import campaign_pb2, cycle_pb2, schedule_pb2
from heddle.campaign.v1alpha1 import campaign_service_pb2 as pb
from heddle.campaign.v1alpha1 import cycle_request_pb2 as cycle_pb
from heddle.campaign.v1alpha1.campaign_service_pb2_grpc import CampaignServiceStub
from heddle_campaign.settings import CampaignServiceSettings
from heddle_campaign.wiring import RunningCampaign, running_campaign
from heddle_core.faults import HeddleError, StatusCode
from heddle_grpc.channel import open_channel
from heddle_grpc.settings import ChannelSettings
from tests.kit.running_runtime import new_id

NOBODY = "127.0.0.1:1"
"""Where no runtime listens: for what needs none."""


@dataclass
class Calls:
    """What callers of a campaign service do."""

    campaigns: CampaignServiceStub

    async def create(self, *, request_id: str = "", **fields: Any) -> campaign_pb2.Campaign:
        """A campaign like `campaign()`; other fields are those of the request."""
        given = {"campaign": fields.pop("campaign", None) or campaign()}
        request = pb.CreateCampaignRequest(request_id=request_id or new_id(), **given, **fields)
        return (await self.campaigns.CreateCampaign(request, wait_for_ready=True)).campaign

    async def activate(self, campaign_id: str, **fields: Any) -> campaign_pb2.Campaign:
        request = pb.ActivateCampaignRequest(**{"request_id": new_id(), "campaign_id": campaign_id, **fields})
        return (await self.campaigns.ActivateCampaign(request)).campaign

    async def active(self, **fields: Any) -> campaign_pb2.Campaign:
        """A new campaign, activated."""
        return await self.activate((await self.create(**fields)).campaign_id)

    async def get(self, campaign_id: str) -> campaign_pb2.Campaign:
        return (await self.campaigns.GetCampaign(pb.GetCampaignRequest(campaign_id=campaign_id))).campaign

    async def update(self, given: campaign_pb2.Campaign, *paths: str, **fields: Any) -> campaign_pb2.Campaign:
        request = pb.UpdateCampaignRequest(
            **{"request_id": new_id(), "campaign": given, "update_mask": {"paths": paths}, **fields}
        )
        return (await self.campaigns.UpdateCampaign(request)).campaign

    async def pause(self, campaign_id: str, **fields: Any) -> campaign_pb2.Campaign:
        request = pb.PauseCampaignRequest(**{"request_id": new_id(), "campaign_id": campaign_id, **fields})
        return (await self.campaigns.PauseCampaign(request)).campaign

    async def trigger(self, campaign_id: str, **fields: Any) -> cycle_pb2.Cycle:
        request = cycle_pb.TriggerCampaignRequest(**{"request_id": new_id(), "campaign_id": campaign_id, **fields})
        return (await self.campaigns.TriggerCampaign(request)).cycle

    async def report(self, signal: Any, **fields: Any) -> list[Any]:
        request = cycle_pb.ReportSignalRequest(**{"request_id": new_id(), "signal": signal, **fields})
        return list((await self.campaigns.ReportSignal(request)).matches)

    async def until(self, cycle_id: str, state: int) -> cycle_pb2.Cycle:
        """The cycle, once it stands so: told by what its campaign's watchers see."""
        found = (await self.campaigns.GetCycle(cycle_pb.GetCycleRequest(cycle_id=cycle_id))).cycle
        if found.state == state:
            return found
        async with asyncio.timeout(30):
            async for frame in self.campaigns.WatchCampaign(pb.WatchCampaignRequest(campaign_id=found.campaign_id)):
                for each in (*frame.open_cycles, *frame.recent_cycles):
                    if each.cycle_id == cycle_id and each.state == state:
                        return each
        raise AssertionError(f"{cycle_id} did not get there")


@dataclass
class Studio(Calls):
    """A campaign service that is served in this process."""

    served: RunningCampaign


def campaign(**fields: Any) -> campaign_pb2.Campaign:
    """A campaign with one agent and a schedule."""
    usual: dict[str, Any] = {
        "title": "News",
        "brief": "Tell the news.",
        "agents": [campaign_pb2.CampaignAgent(role="writer", agent_id="writer")],
        "schedule": schedule_pb2.Schedule(cron="0 9 * * *"),
    }
    return campaign_pb2.Campaign(**{**usual, **fields})


async def refusal(call: Any) -> HeddleError:
    with pytest.raises(HeddleError) as raised:
        await call
    assert raised.value.status is not StatusCode.INTERNAL
    return raised.value


def at(moment: str) -> Timestamp:
    stamp = Timestamp()
    stamp.FromJsonString(moment)
    return stamp


@asynccontextmanager
async def studio(folder: Path, runtime: str = NOBODY, **settings: Any) -> AsyncGenerator[Studio]:
    """Serve campaigns; their turns go to `runtime`."""
    given: dict[str, Any] = {
        "data_dir": folder / "campaign",
        "listen": "127.0.0.1:0",
        "runtime": {"address": runtime},
        "log_level": "WARNING",
        **settings,
    }
    async with running_campaign(CampaignServiceSettings(**given)) as served:
        channel = open_channel(ChannelSettings.model_validate({"address": served.address, "attempts": 1}))
        try:
            yield Studio(CampaignServiceStub(channel), served)
        finally:
            await channel.close()
