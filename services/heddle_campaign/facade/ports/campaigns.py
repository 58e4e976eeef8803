"""Stable storage of campaigns and their cycles, as the service needs it."""

from datetime import timedelta
from typing import Protocol

from heddle_campaign.facade.ports.decisions import NOTHING_ASKED, Asked, Decided, Decision, Settled, Taken
from heddle_campaign.facade.ports.listing import CyclePage, ListCampaigns, ListCycles, Past
from heddle_campaign.rules.campaigns import Campaign
from heddle_campaign.rules.cycles import Cycle
from heddle_campaign.rules.queue import Bounds
from heddle_core.clock import Micros
from heddle_core.requests import RequestKey


class CampaignStore(Protocol):
    """Campaigns, cycles and their gaps on stable storage. Raises StoreUnavailable when it is in trouble."""

    async def create(self, key: RequestKey, campaign: Campaign) -> Decided:
        """Write a new campaign, or find the one that this request made. Raises RequestIdReused."""
        ...

    async def decide(
        self,
        tenant: str,
        campaign_id: str,
        decision: Decision,
        *,
        key: RequestKey | None = None,
        asked: Asked = NOTHING_ASKED,
    ) -> Decided:
        """Do what a decision says, once a request; a repeat finds the campaign and the cycles that it made then.

        Raises:
            CampaignNotFound, RequestIdReused, and what the decision raises.
        """
        ...

    async def target_of(self, key: RequestKey) -> str | None:
        """What was kept of a request by `remember`. Raises RequestIdReused."""
        ...

    async def remember(self, key: RequestKey, target: str) -> None:
        """Keep what came of a request that may change several campaigns. Raises RequestIdReused."""
        ...

    async def settle(self, decision: Decision, most: int, again: timedelta) -> Settled:
        """Decide on the ACTIVE campaigns that are due, oldest first, each by itself.

        Those that another replica is settling are left to it. One whose decision fails is due again after `again`.
        """
        ...

    async def delete(self, key: RequestKey, campaign_id: str, *, etag: str) -> None:
        """Remove a campaign that is not ACTIVE and has no cycle at work, with all that is its own, once a request.

        Raises:
            CampaignNotFound, EtagMismatch, IllegalTransition, RequestIdReused.
        """
        ...

    async def campaign(self, tenant: str, campaign_id: str) -> Campaign | None:
        """A campaign by its id."""
        ...

    async def now(self) -> Micros:
        """The database's time."""
        ...

    async def campaigns(self, command: ListCampaigns) -> tuple[Campaign, ...]:
        """A page, up to one more than were asked for."""
        ...

    async def answering(self, tenant: str, kind: str, campaign_id: str = "") -> tuple[Campaign, ...]:
        """Campaigns with a trigger for signals of a kind, whatever their state; only the named one, if one is."""
        ...

    async def claim(self, worker: str, most: int, bounds: Bounds, lease: timedelta) -> Taken:
        """Make DUE cycles RUNNING and ours, by `rules.queue.choose` over all tenants."""
        ...

    async def take(self, worker: str, most: int, lease: timedelta) -> Taken:
        """Open cycles that it is time to look at, oldest first: ours from now on, whoever had them before."""
        ...

    async def save(self, old: Cycle, new: Cycle, then: Decision | None = None) -> Cycle | None:
        """Write `new` if `old` still stands, and what its end means for the campaign; None: somebody was faster."""
        ...

    async def request_stop(self, tenant: str, cycle_id: str, note: str, *, key: RequestKey | None = None) -> Cycle:
        """Have an open cycle cancelled; one that is only DUE is CANCELLED at once. Raises CycleNotFound."""
        ...

    async def retry(self, key: RequestKey, cycle_id: str) -> Cycle:
        """Queue a FAILED or CANCELLED cycle again, once a request; its turns that are not COMPLETED begin anew.

        Raises:
            CycleNotFound, IllegalTransition, RequestIdReused.
        """
        ...

    async def cycle(self, tenant: str, cycle_id: str) -> Cycle | None:
        """A cycle by its id."""
        ...

    async def of_thread(self, tenant: str, thread_id: str) -> tuple[Cycle, ...]:
        """Open cycles with a turn in this thread."""
        ...

    async def cycles(self, command: ListCycles) -> CyclePage:
        """A page of cycles."""
        ...

    async def open_cycles(self, tenant: str, campaign_id: str) -> tuple[Cycle, ...]:
        """Those that are DUE or RUNNING, oldest first."""
        ...

    async def recent_cycles(self, tenant: str, campaign_id: str, most: int) -> tuple[Cycle, ...]:
        """Those that ended last, newest first."""
        ...

    async def past(self, tenant: str, campaign_id: str, *, since: Micros, spent_since: Micros) -> Past:
        """What the campaign's cycles did."""
        ...
