"""What a report of metrics tells campaigns, and what one of them writes of it: its posts, and how far goals are. Pure.

A report is reckoned once for all campaigns that work on the same platforms: it may bring thousands of posts, and a
tenant may have a thousand campaigns.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from heddle_campaign.facade.ports.decisions import Change, Standing
from heddle_campaign.facade.scheduling import changed
from heddle_campaign.rules.campaigns import Campaign
from heddle_campaign.rules.cycles import Signal
from heddle_campaign.rules.reports import Place, Tally, counted, known, measures_in, summed
from heddle_campaign.rules.signals import Payload
from heddle_campaign.rules.winners import Pattern, Post, pattern_of
from heddle_core.clock import Micros


@dataclass(frozen=True, slots=True)
class Metrics:
    """A report, as far as it is about some platforms."""

    dedupe_key: str
    at: Micros
    """When it was measured, by the clock of whoever reports it."""
    posts: Mapping[Place, Tally]
    measures: Mapping[str, float]
    """By their names."""
    pattern: Pattern | None = None
    """What its best posts have in common."""

    def concern(self, campaign: Campaign) -> bool:
        """Whether there is anything for this campaign in it that was not counted before."""
        if known(campaign.reports, self.dedupe_key):
            return False
        return bool(self.posts) or any(goal.metric in self.measures for goal in campaign.settings.goals)


def metrics_of(signal: Signal, payload: Payload, posts: Sequence[Post], platforms: frozenset[str]) -> Metrics:
    """What a signal of kind `post_metrics` tells of some platforms; of all, where none is named.

    `payload` is the signal's, and `posts` are those in it.
    """
    meant = [each for each in posts if not platforms or each.traits.get("platform") in platforms]
    return Metrics(
        signal.dedupe_key,
        signal.occur_time,
        summed((each.traits.get("platform", ""), each.target, each.engagement) for each in meant),
        measures_in(payload, [each.engagement for each in meant]),
        pattern_of(meant),
    )


def platforms_of(campaign: Campaign) -> frozenset[str]:
    """The platforms that a campaign works on. Empty: any."""
    named = {platform for agent in campaign.settings.agents for platform in agent.platforms}
    return frozenset(named | {each.platform for each in campaign.settings.rotation.targets if each.platform})


def reported(standing: Standing, *, metrics: Metrics) -> Change:
    """Count reported posts, and move the goals whose measure was reported; once a dedupe key.

    A value that was measured before the one that a goal has from an earlier report is passed over. What a sender's
    clock says is still to come was measured now: otherwise one wrong report would hold up all later ones.
    """
    campaign, reports, now = standing.campaign, standing.campaign.reports, standing.now
    if known(reports, metrics.dedupe_key):
        return Change(campaign)
    at = min(metrics.at, now)
    reports = counted(reports, metrics.posts, dedupe_key=metrics.dedupe_key, at=at, now=now)
    moved = {
        each.key: metrics.measures[each.metric]
        for each in campaign.settings.goals
        if each.metric in metrics.measures and not at < reports.goals.get(each.key, 0) <= now
    }
    times = {each.key: reports.goals[each.key] for each in campaign.settings.goals if each.key in reports.goals}
    after = replace(campaign, reports=replace(reports, goals=times | dict.fromkeys(moved, at)))
    goals = tuple(replace(each, current_value=moved.get(each.key, each.current_value)) for each in after.settings.goals)
    if goals == after.settings.goals:
        return Change(after)
    return Change(changed(after, now, settings=replace(after.settings, goals=goals)))
