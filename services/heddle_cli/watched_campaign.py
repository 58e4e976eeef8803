"""Follows a campaign over anything that passes by itself: rotated streams, a server that starts again."""

import asyncio
from collections.abc import AsyncGenerator
from datetime import timedelta

from google.protobuf.timestamp_pb2 import Timestamp

from heddle.campaign.v1alpha1.campaign_pb2 import CampaignState
from heddle.campaign.v1alpha1.campaign_service_pb2 import WatchCampaignRequest, WatchCampaignResponse
from heddle.campaign.v1alpha1.campaign_service_pb2_grpc import CampaignServiceStub
from heddle.campaign.v1alpha1.cycle_request_pb2 import PreviewScheduleRequest
from heddle.campaign.v1alpha1.schedule_pb2 import ScheduledTime
from heddle_client.transience import is_passing, pause_after
from heddle_core.faults import HeddleError
from heddle_core.values import value

_TIMES = 3
_MOST_PAUSE = timedelta(seconds=5)


@value
class WatchedCampaign:
    """A campaign as it stands."""

    frame: WatchCampaignResponse
    next_times: tuple[ScheduledTime, ...]
    """Of an ACTIVE one, its next times."""


async def watch_campaign(campaigns: CampaignServiceStub, campaign_id: str) -> AsyncGenerator[WatchedCampaign]:
    """How it stands, whenever that changes, until it is deleted.

    Raises what the first call raises; later, only what does not pass by itself.
    """
    times: tuple[ScheduledTime, ...] = ()
    asked_at: Timestamp | None = None
    seen, tries = False, 0
    while True:
        try:
            async for frame in campaigns.WatchCampaign(WatchCampaignRequest(campaign_id=campaign_id)):
                if asked_at != frame.campaign.next_cycle_time:
                    times = await _next_times(campaigns, frame)
                    asked_at = frame.campaign.next_cycle_time
                seen, tries = True, 0
                yield WatchedCampaign(frame, times)
            return
        except HeddleError as error:
            if not seen or not is_passing(error):
                raise
            await asyncio.sleep(pause_after(error, tries, _MOST_PAUSE).total_seconds())
            tries += 1


async def _next_times(campaigns: CampaignServiceStub, frame: WatchCampaignResponse) -> tuple[ScheduledTime, ...]:
    campaign = frame.campaign
    if campaign.state != CampaignState.CAMPAIGN_STATE_ACTIVE or not campaign.HasField("next_cycle_time"):
        return ()
    request = PreviewScheduleRequest(campaign_id=campaign.campaign_id, count=_TIMES)
    return tuple((await campaigns.PreviewSchedule(request)).times)
