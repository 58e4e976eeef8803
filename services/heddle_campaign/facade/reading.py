"""Campaigns, cycles, gaps and memories as they are found, listed, foretold and watched."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from datetime import timedelta

from heddle_campaign.facade.lifecycle import with_start
from heddle_campaign.facade.ports.campaigns import CampaignStore
from heddle_campaign.facade.ports.listing import CyclePage, ListCampaigns, ListCycles, ListMemories
from heddle_campaign.facade.ports.memories import MemoryStore
from heddle_campaign.rules import due
from heddle_campaign.rules.campaigns import Campaign
from heddle_campaign.rules.cycles import Cycle
from heddle_campaign.rules.description import describe
from heddle_campaign.rules.learned import Learned, PeerMessage
from heddle_campaign.rules.records import Counters
from heddle_campaign.rules.schedule import Schedule
from heddle_campaign.rules.times import ScheduledTime, preview
from heddle_campaign.rules.validation import MINIMUM_DISTANCE, check
from heddle_core.changes import Changes, Leaving, rung
from heddle_core.clock import Micros, micros
from heddle_core.companion_errors import CampaignNotFound, CycleNotFound
from heddle_core.errors import Draining, invalid

RECENT = 20
"""Ended cycles in a frame of WatchCampaign."""
MOST_MESSAGES = 50
MESSAGES_SINCE = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Shown:
    """A campaign at one moment, with the counters that it has then."""

    campaign: Campaign
    counters: Counters


@dataclass(frozen=True, slots=True)
class Foretold:
    """When a schedule would fire, and what it means."""

    times: tuple[ScheduledTime, ...]
    description: str


@dataclass(frozen=True, slots=True)
class Frame:
    """A campaign with what is going on in it."""

    shown: Shown
    open_cycles: tuple[Cycle, ...]
    recent_cycles: tuple[Cycle, ...]
    messages: tuple[PeerMessage, ...]


@dataclass(frozen=True, slots=True)
class Reading:
    """Answers about campaigns."""

    store: CampaignStore
    memories: MemoryStore
    changes: Changes
    minimum_distance: timedelta = MINIMUM_DISTANCE
    look_every: timedelta = timedelta(seconds=10)
    """After this a watcher looks by itself: of what another process wrote, the doorbell may be lost."""

    async def get(self, tenant: str, campaign_id: str) -> Shown:
        """A campaign. Raises CampaignNotFound."""
        return await self.shown(await self._campaign(tenant, campaign_id))

    async def page(self, command: ListCampaigns) -> tuple[Shown, ...]:
        """Campaigns, up to one more than were asked for."""
        found = await self.store.campaigns(command)
        now = await self._now_for(found)
        shown: list[Shown] = []
        for each in found:
            shown.append(Shown(each, _counters(each, now)))
            if each.schedule_state.paused_since is not None:
                # What has passed of a pause is counted a day at a time: others get their turn in between.
                await asyncio.sleep(0)
        return tuple(shown)

    async def shown(self, campaign: Campaign) -> Shown:
        """A campaign with its counters of now."""
        return Shown(campaign, _counters(campaign, await self._now_for((campaign,))))

    async def cycle(self, tenant: str, cycle_id: str) -> Cycle:
        """A cycle. Raises CycleNotFound."""
        cycle = await self.store.cycle(tenant, cycle_id)
        if cycle is None:
            raise CycleNotFound(cycle_id)
        return cycle

    async def cycles(self, command: ListCycles) -> CyclePage:
        """Cycles, up to one more than were asked for, and the gaps between them. Raises CampaignNotFound."""
        page = await self.store.cycles(command)
        if not page.cycles:
            await self._campaign(command.tenant, command.campaign_id)
        return page

    async def known(self, command: ListMemories) -> tuple[Learned, ...]:
        """Memories, up to one more than were asked for. Raises CampaignNotFound."""
        found = await self.memories.memories(command)
        if not found:
            await self._campaign(command.tenant, command.campaign_id)
        return found

    async def foretell(self, tenant: str, campaign_id: str, *, start: Micros | None, most: int) -> Foretold:
        """When a campaign would fire by its schedule. Raises CampaignNotFound; InvalidField: it has no schedule."""
        campaign = await self._campaign(tenant, campaign_id)
        if campaign.settings.schedule is None:
            raise invalid("campaign_id", "has no schedule: only TriggerCampaign and signals start its cycles")
        return await self._foretold(campaign.settings.schedule, start, most)

    async def foretell_unsaved(self, schedule: Schedule, *, start: Micros | None, most: int) -> Foretold:
        """When a schedule would fire that is not saved. Raises InvalidField for one that could not be."""
        now = await self.store.now()
        begun = with_start(schedule, None, now)
        check(begun, now, self.minimum_distance)
        return await self._foretold(begun, start, most)

    async def watch(self, tenant: str, campaign_id: str, leaving: Leaving) -> AsyncGenerator[Frame]:
        """A campaign now, and again at every change, until it is deleted. Raises CampaignNotFound, Draining."""
        last = await self._frame(tenant, campaign_id)
        if last is None:
            raise CampaignNotFound(campaign_id)
        with self.changes.bell(tenant, campaign_id) as bell, leaving.ringing(bell):
            yield last
            while True:
                bell.clear()
                frame = await self._frame(tenant, campaign_id)
                if frame is None:
                    return
                if frame != last:
                    yield frame
                last = frame
                if leaving.started.is_set():
                    raise Draining()
                await rung(bell, self.look_every.total_seconds())

    async def _frame(self, tenant: str, campaign_id: str) -> Frame | None:
        campaign = await self.store.campaign(tenant, campaign_id)
        if campaign is None:
            return None
        now = await self.store.now()
        since = Micros(now - micros(MESSAGES_SINCE))
        return Frame(
            Shown(campaign, _counters(campaign, now)),
            await self.store.open_cycles(tenant, campaign_id),
            await self.store.recent_cycles(tenant, campaign_id, RECENT),
            await self.memories.messages(tenant, campaign_id, since=since, most=MOST_MESSAGES),
        )

    async def _campaign(self, tenant: str, campaign_id: str) -> Campaign:
        campaign = await self.store.campaign(tenant, campaign_id)
        if campaign is None:
            raise CampaignNotFound(campaign_id)
        return campaign

    async def _foretold(self, schedule: Schedule, start: Micros | None, most: int) -> Foretold:
        begin = await self.store.now() if start is None else start
        return Foretold(preview(schedule, begin, most), describe(schedule))

    async def _now_for(self, campaigns: Sequence[Campaign]) -> Micros:
        """The database's time where counters depend on it; else zero, without asking."""
        paused = any(each.schedule_state.paused_since is not None for each in campaigns)
        return await self.store.now() if paused else Micros(0)


def _counters(campaign: Campaign, now: Micros) -> Counters:
    schedule, state = campaign.settings.schedule, campaign.schedule_state
    return state.counters if schedule is None else due.counted(schedule, state, now)
