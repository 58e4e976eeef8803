"""What campaigns learn of reported metrics, once a dedupe key: what works, how their posts did, how far goals are."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import cast

from heddle_campaign.facade.ports.campaigns import CampaignStore
from heddle_campaign.facade.ports.decisions import Change, Standing
from heddle_campaign.facade.ports.listing import ListCampaigns
from heddle_campaign.facade.ports.memories import MemoryStore
from heddle_campaign.facade.scheduling import changed
from heddle_campaign.rules.campaigns import Campaign
from heddle_campaign.rules.conditions import Value
from heddle_campaign.rules.cycles import Signal
from heddle_campaign.rules.learned import Learned
from heddle_campaign.rules.reports import counted, known, measures_in
from heddle_campaign.rules.states import CampaignState
from heddle_campaign.rules.winners import KIND, Post, posts_in, winner
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

    async def learn(self, tenant: TenantId, signal: Signal, campaign_id: str = "") -> tuple[Learned, ...]:
        """Learn what works from a signal of kind `post_metrics`; of another kind, nothing. Repeats change nothing.

        Its posts are counted, and the goals moved whose measures it tells. Only the named campaign learns, or that of
        the payload's `campaign_id`, or else all ACTIVE ones of the tenant; each from the posts on its own platforms, if
        it names any.

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
        learned: list[Learned] = []
        for each in campaigns:
            on_own = _on_platforms_of(each, posts)
            found = winner(tenant, each.campaign_id, on_own, dedupe_key=signal.dedupe_key, now=signal.occur_time)
            learned += [] if found is None else [found]
            await self._count(each, signal, on_own, measures_in(payload, [post.engagement for post in on_own]))
        if learned:
            await self.memories.learn(learned)
        return tuple(learned)

    async def _count(
        self, campaign: Campaign, signal: Signal, posts: Sequence[Post], measures: Mapping[str, float]
    ) -> None:
        if not posts and not any(goal.metric in measures for goal in campaign.settings.goals):
            return
        decision = partial(reported, signal=signal, posts=posts, measures=measures)
        try:
            await self.store.decide(campaign.tenant, campaign.campaign_id, decision)
        except CampaignNotFound:  # deleted meanwhile
            return

    async def _campaigns(self, tenant: TenantId, named: str) -> Sequence[Campaign]:
        if named:
            campaign = await self.store.campaign(tenant, named)
            return () if campaign is None else (campaign,)
        command = ListCampaigns(tenant, _MOST_CAMPAIGNS, states=(CampaignState.ACTIVE,))
        return (await self.store.campaigns(command))[:_MOST_CAMPAIGNS]


def reported(standing: Standing, *, signal: Signal, posts: Sequence[Post], measures: Mapping[str, float]) -> Change:
    """Count reported posts, and move the goals whose measure was reported; once a dedupe key.

    A value that was measured before the one that a goal has from an earlier report is passed over.
    """
    campaign, reports = standing.campaign, standing.campaign.reports
    if known(reports, signal.dedupe_key):
        return Change(campaign)
    told = ((each.traits.get("platform", ""), each.target, each.engagement) for each in posts)
    reports = counted(reports, told, dedupe_key=signal.dedupe_key, at=signal.occur_time, now=standing.now)
    moved = {
        each.key: measures[each.metric]
        for each in campaign.settings.goals
        if each.metric in measures and signal.occur_time >= reports.goals.get(each.key, 0)
    }
    times = {each.key: reports.goals[each.key] for each in campaign.settings.goals if each.key in reports.goals}
    reports = replace(reports, goals=times | dict.fromkeys(moved, signal.occur_time))
    after = replace(campaign, reports=reports)
    goals = tuple(replace(each, current_value=moved.get(each.key, each.current_value)) for each in after.settings.goals)
    if goals == after.settings.goals:
        return Change(after)
    return Change(changed(after, standing.now, settings=replace(after.settings, goals=goals)))


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
