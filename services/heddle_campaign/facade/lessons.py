"""What campaigns learn of reported metrics, once a dedupe key: what works, how their posts did, how far goals are."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import cast

from heddle_campaign.facade.metrics import Metrics, metrics_of, platforms_of, reported
from heddle_campaign.facade.ports.campaigns import CampaignStore
from heddle_campaign.facade.ports.listing import ListCampaigns
from heddle_campaign.facade.ports.memories import MemoryStore
from heddle_campaign.facade.side_by_side import side_by_side
from heddle_campaign.rules.campaigns import Campaign
from heddle_campaign.rules.conditions import Value
from heddle_campaign.rules.cycles import Signal
from heddle_campaign.rules.states import CampaignState
from heddle_campaign.rules.winners import KIND, posts_in, winner
from heddle_core.clock import Micros
from heddle_core.companion_errors import CampaignNotFound
from heddle_core.errors import invalid
from heddle_core.ids import TenantId

_MOST_CAMPAIGNS = 1_000
"""Of a tenant, that learn from one report which names none; the newest."""


@dataclass(frozen=True, slots=True)
class Lessons:
    """Learns from signals that bring metrics."""

    store: CampaignStore
    memories: MemoryStore

    async def learn(self, tenant: TenantId, signal: Signal, campaign_id: str = "") -> None:
        """Learn what works from a signal of kind `post_metrics`; of another kind, nothing. Repeats change nothing.

        Its posts are counted, and the goals moved whose measures it tells. Only the named campaign learns, or that of
        the payload's `campaign_id`, or else all ACTIVE ones of the tenant; each from the posts on its own platforms, if
        it names any.

        Raises:
            InvalidField: the payload is no JSON object.
            StoreUnavailable.
        """
        if signal.kind != KIND:
            return
        payload = _payload(signal)
        named = payload.get("campaign_id")
        campaigns = await self._campaigns(tenant, campaign_id or (named if isinstance(named, str) else ""))
        told_of = cache(partial(metrics_of, signal, payload, posts_in(payload)))
        now = await self.store.now()
        await side_by_side(self._learn(each, told_of(platforms_of(each)), now) for each in campaigns)

    async def _learn(self, campaign: Campaign, metrics: Metrics, now: Micros) -> None:
        """The memory comes first: of what was counted, a repeat finds all on record."""
        if not metrics.concern(campaign):
            return
        if metrics.pattern is not None:
            at = min(metrics.at, now)
            found = winner(metrics.pattern, campaign.tenant, campaign.campaign_id, metrics.dedupe_key, at)
            await self.memories.learn((found,))
        try:
            await self.store.decide(campaign.tenant, campaign.campaign_id, partial(reported, metrics=metrics))
        except CampaignNotFound:  # deleted meanwhile
            return

    async def _campaigns(self, tenant: TenantId, named: str) -> Sequence[Campaign]:
        if named:
            campaign = await self.store.campaign(tenant, named)
            return () if campaign is None else (campaign,)
        command = ListCampaigns(tenant, _MOST_CAMPAIGNS, states=(CampaignState.ACTIVE,))
        return (await self.store.campaigns(command))[:_MOST_CAMPAIGNS]


def _payload(signal: Signal) -> Mapping[str, Value]:
    try:
        payload = json.loads(signal.payload_json or "{}")
    except (ValueError, RecursionError):
        payload = None
    if not isinstance(payload, dict):
        raise invalid("signal.payload_json", "must be a JSON object")
    return cast(dict[str, Value], payload)
