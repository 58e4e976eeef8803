"""What campaigns learn of reported metrics: a winner for each campaign that they are about, once a dedupe key."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from heddle_campaign.facade.ports import CampaignStore, ListCampaigns, MemoryStore
from heddle_campaign.rules.campaigns import Campaign
from heddle_campaign.rules.conditions import Value
from heddle_campaign.rules.cycles import Signal
from heddle_campaign.rules.learned import Learned
from heddle_campaign.rules.states import CampaignState
from heddle_campaign.rules.winners import KIND, Post, posts_in, winner
from heddle_core.errors import invalid
from heddle_core.ids import TenantId

_MOST_CAMPAIGNS = 1_000
"""Of a tenant, that learn from one report which names none; the newest."""


@dataclass(frozen=True, slots=True)
class Lessons:
    """Learns from signals that bring metrics."""

    store: CampaignStore
    memories: MemoryStore

    async def learn(self, tenant: TenantId, signal: Signal, campaign_id: str = "") -> tuple[Learned, ...]:
        """Learn what works from a signal of kind `post_metrics`; of another kind, nothing. Repeats change nothing.

        Only the named campaign learns, or that of the payload's `campaign_id`, or else all ACTIVE ones of the tenant;
        each from the posts on its own platforms, if it names any.

        Raises:
            InvalidField: the payload is no JSON object.
            StoreUnavailable.
        """
        if signal.kind != KIND:
            return ()
        payload = _payload(signal)
        posts = posts_in(payload)
        named = payload.get("campaign_id")
        campaigns = await self._campaigns(tenant, campaign_id or (named if isinstance(named, str) else ""))
        found = (
            winner(tenant, each.campaign_id, _on_platforms_of(each, posts), dedupe_key=signal.dedupe_key, now=at)
            for each in campaigns
            for at in (signal.occur_time,)
        )
        learned = tuple(each for each in found if each is not None)
        if learned:
            await self.memories.learn(learned)
        return learned

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


def _on_platforms_of(campaign: Campaign, posts: Sequence[Post]) -> tuple[Post, ...]:
    named = {platform for agent in campaign.settings.agents for platform in agent.platforms}
    named |= {target.platform for target in campaign.settings.rotation.targets if target.platform}
    return tuple(post for post in posts if not named or post.traits.get("platform") in named)
