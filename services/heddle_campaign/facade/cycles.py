"""Cycles as they are asked for beside the schedule, begun again and cancelled, each once a request."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from heddle_campaign.facade import firing
from heddle_campaign.facade.campaigns import Ring
from heddle_campaign.facade.ports.campaigns import CampaignStore
from heddle_campaign.facade.ports.decisions import Asked, Standing
from heddle_campaign.facade.ports.listing import ListCycles
from heddle_campaign.rules.cycle_keys import CycleOrigin
from heddle_campaign.rules.cycles import Cycle
from heddle_campaign.rules.overlap import Load
from heddle_campaign.rules.schedule import OverlapPolicy, Stretch
from heddle_core.clock import Micros
from heddle_core.companion_errors import CampaignNotFound
from heddle_core.requests import RequestKey

_PAGE = 1_000


@dataclass(frozen=True, slots=True)
class Cycles:
    """Takes what is asked of cycles."""

    store: CampaignStore
    ring: Ring

    async def trigger(
        self,
        key: RequestKey,
        campaign_id: str,
        *,
        roles: Sequence[str] = (),
        note: str = "",
        overlap: OverlapPolicy | None = None,
    ) -> Cycle:
        """Start a cycle now. Raises CampaignNotFound, IllegalTransition, InvalidField, RequestIdReused."""
        decision = partial(firing.trigger, roles=tuple(roles), note=note, overlap=overlap)
        decided = await self.store.decide(key.tenant, campaign_id, decision, key=key)
        self.ring()
        return decided.cycles[0]

    async def backfill(
        self, key: RequestKey, campaign_id: str, stretch: Stretch, overlap: OverlapPolicy
    ) -> tuple[Cycle, ...]:
        """Fire the times of a past stretch that have no cycle; their cycles, oldest first.

        Raises:
            CampaignNotFound, IllegalTransition, InvalidField, RequestIdReused.
        """
        decision = partial(firing.backfill, stretch=stretch, overlap=overlap)
        decided = await self.store.decide(key.tenant, campaign_id, decision, key=key, asked=Asked(stretch))
        self.ring()
        return tuple(sorted(decided.cycles, key=lambda each: each.key.scheduled_time))

    async def backfill_count(self, tenant: str, campaign_id: str, stretch: Stretch, overlap: OverlapPolicy) -> int:
        """How many times `backfill` would fire now. Raises as it does."""
        campaign = await self.store.campaign(tenant, campaign_id)
        if campaign is None:
            raise CampaignNotFound(campaign_id)
        now = await self.store.now()
        standing = Standing(campaign, Load(capacity=campaign.settings.max_concurrent_cycles), now, now)
        taken: frozenset[Micros] = frozenset()
        if stretch.start < stretch.end <= now:
            taken = await self._taken(tenant, campaign_id, stretch)
        return len(firing.backfill(replace(standing, taken=taken), stretch=stretch, overlap=overlap).cycles)

    async def retry(self, key: RequestKey, cycle_id: str) -> Cycle:
        """Begin a FAILED or CANCELLED cycle again. Raises CycleNotFound, IllegalTransition, RequestIdReused."""
        cycle = await self.store.retry(key, cycle_id)
        self.ring()
        return cycle

    async def cancel(self, key: RequestKey, cycle_id: str, note: str) -> Cycle:
        """Have a cycle cancelled; one that has ended stays as it is. Raises CycleNotFound, RequestIdReused."""
        cycle = await self.store.request_stop(key.tenant, cycle_id, note, key=key)
        self.ring()
        return cycle

    async def _taken(self, tenant: str, campaign_id: str, stretch: Stretch) -> frozenset[Micros]:
        origins = CycleOrigin.SCHEDULE, CycleOrigin.BACKFILL
        taken: set[Micros] = set()
        command = ListCycles(tenant, campaign_id, _PAGE, descending=False, origins=origins, stretch=stretch)
        while True:
            cycles = (await self.store.cycles(command)).cycles
            taken.update(each.key.scheduled_time for each in cycles)
            if len(cycles) <= _PAGE:
                return frozenset(taken)
            last = cycles[_PAGE - 1]
            command = replace(command, after=(last.key.scheduled_time, last.cycle_id))
