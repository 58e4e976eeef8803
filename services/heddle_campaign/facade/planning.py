"""What a cycle does: whether it works at all, on what, with whom, for how much, and what each turn is told. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from heddle_campaign.facade.lifecycle import exhaustion
from heddle_campaign.facade.messages import messages_for
from heddle_campaign.facade.ports import Past, Prepare
from heddle_campaign.facade.scheduling import schedule_of
from heddle_campaign.rules import prompts
from heddle_campaign.rules.budget import Share, left_for_cycle, split
from heddle_campaign.rules.campaigns import Campaign, CampaignAgent
from heddle_campaign.rules.cycle_keys import CycleOrigin, turn_request_id
from heddle_campaign.rules.cycles import Cycle, CycleTurn, MemoryUse, SkipReason
from heddle_campaign.rules.learned import Learned, PeerMessage
from heddle_campaign.rules.memories import Wanted, rank, terms
from heddle_campaign.rules.rotation import MOST_AGENTS, Candidate, choose_agents, next_target
from heddle_campaign.rules.zones import DAY, local_at
from heddle_client.values import UNBOUNDED, Bounds, Cause, NewTurn, Note, Text
from heddle_core.clock import Micros
from heddle_core.usage import MicroUsd

LOOKED_BACK = 200
"""Ended cycles that are read for what was done in the last 7 days."""
MESSAGES_SINCE = timedelta(days=7)
MOST_MESSAGES_READ = 100


@dataclass(frozen=True, slots=True)
class Lore:
    """What a campaign knows when a turn is prepared."""

    memories: Sequence[Learned] = ()
    messages: Sequence[PeerMessage] = ()
    """Newest first."""
    recent: Sequence[Cycle] = ()
    """Ended cycles."""


def look_back(campaign: Campaign, now: Micros) -> tuple[Micros, Micros]:
    """Since when turns are counted for the rotation, and cost for daily budgets: today began then in the zone."""
    zone = schedule_of(campaign).time_zone
    since = now - campaign.settings.rotation.look_back // timedelta(microseconds=1)
    # On a day whose offset changes, by an hour too much or too little: a budget's day is no promise to the minute.
    return Micros(since), Micros(now - local_at(zone, now) % DAY)


def plan(campaign: Campaign, cycle: Cycle, past: Past) -> Cycle | SkipReason:
    """The cycle with its target, its budget and its turns, none of them prepared; or why it is left out."""
    if exhaustion(campaign) is not None:
        return SkipReason.EXHAUSTED
    if not _within_dates(campaign, cycle):
        return SkipReason.OUTSIDE_DATES
    slice_ = _slice(campaign, past)
    if slice_ == 0:
        return SkipReason.EXHAUSTED
    choice = next_target(campaign.settings.rotation.targets, past.worked_on)
    target = choice.target if choice is not None else None
    candidates = [_candidate(each, past.spent) for each in campaign.settings.agents]
    if cycle.roles:
        # Whoever was named is asked whatever its weight and the target are.
        named = {each.role: each for each in candidates if not each.disabled and each.budget_left != 0}
        roles = tuple(each for each in cycle.roles if each in named)[:MOST_AGENTS]
    else:
        roles = choose_agents(candidates, past.asked, target, campaign.settings.max_agents_per_cycle)
    if not roles:
        return SkipReason.NO_AGENT
    agents = {each.role: each for each in campaign.settings.agents}
    left = {each.role: each.budget_left for each in candidates}
    slices = split(slice_, [Share(role, agents[role].weight, left[role]) for role in roles])
    turns = tuple(
        CycleTurn(
            role,
            agents[role].agent_id,
            objective=prompts.objective(campaign.settings, role),
            budget=slices[role],
        )
        for role in roles
        if slices[role] != 0  # less than a millionth for each: those who get nothing are not asked
    )
    planned = replace(cycle, turns=turns, budget=slice_)
    if target is None:
        return planned
    return replace(planned, topic=target.topic or target.key, rotation_key=target.key, platform=target.platform)


def prepared_turn(
    campaign: Campaign, cycle: Cycle, turn: CycleTurn, lore: Lore, prepare: Prepare, now: Micros
) -> CycleTurn | None:
    """The turn with the very request that will be sent for this attempt; None: earlier ones have used its budget."""
    left = None if turn.budget is None else MicroUsd(turn.budget - turn.usage.cost)
    if left is not None and left <= 0:
        return None
    wanted = Wanted(cycle.platform, words=terms(turn.objective, cycle.topic, campaign.settings.brief))
    by_id = {each.memory.memory_id: each for each in lore.memories}
    ranked = rank((each.memory for each in lore.memories), wanted, now)
    asked = NewTurn(
        request_id=turn_request_id(cycle.cycle_id, turn.role, turn.attempt),
        content=(Text(prompts.task(campaign.settings, cycle, turn)),),
        agent_id=turn.agent_id,
        agent_version=_version(campaign, turn),
        context=_notes(campaign, cycle, turn, [by_id[each.memory.memory_id] for each in ranked], lore, now),
        limits=UNBOUNDED if left is None else Bounds(cost_micro_usd=left),
        labels=campaign.settings.labels,
        cause=Cause.CAMPAIGN,
        cause_id=cycle.cycle_id,
    )
    uses = tuple(MemoryUse(each.memory.memory_id, each.score, each.explanation) for each in ranked)
    return replace(turn, prepared=prepare(asked), memories=uses)


def _within_dates(campaign: Campaign, cycle: Cycle) -> bool:
    """Whether the cycle's time lies in the campaign's dates; who starts one by hand is above them."""
    schedule = campaign.settings.schedule
    if schedule is None or cycle.key.origin is CycleOrigin.MANUAL:
        return True
    at = cycle.key.scheduled_time
    return schedule.start <= at and (schedule.end is None or at < schedule.end)


def _slice(campaign: Campaign, past: Past) -> MicroUsd | None:
    """What the cycle may cost: what is left, shared with those that may yet begin beside it."""
    settings = campaign.settings
    left = left_for_cycle(settings.budget, MicroUsd(campaign.usage.cost), past.open_slices)
    if left is None:
        return None
    return MicroUsd(left // max(1, settings.max_concurrent_cycles - len(past.open_slices)))


def _candidate(agent: CampaignAgent, spent: Mapping[str, MicroUsd]) -> Candidate:
    bound = agent.daily_budget
    left = None if bound is None else MicroUsd(max(0, bound - spent.get(agent.role, 0)))
    return Candidate(agent.role, agent.weight, frozenset(agent.platforms), agent.disabled, left)


def _version(campaign: Campaign, turn: CycleTurn) -> int:
    """The version that the campaign asks for; the newest where the role has another agent by now."""
    agents = [each for each in campaign.settings.agents if (each.role, each.agent_id) == (turn.role, turn.agent_id)]
    return agents[0].agent_version if agents else 0


def _notes(
    campaign: Campaign, cycle: Cycle, turn: CycleTurn, memories: Sequence[Learned], lore: Lore, now: Micros
) -> tuple[Note, ...]:
    found = [
        prompts.evidence_note(cycle.evidence) if cycle.evidence is not None else None,
        prompts.goals_note(campaign.settings.goals, schedule_of(campaign).time_zone),
        prompts.week_note(lore.recent, now),
        *(prompts.memory_note(each) for each in memories),
        *prompts.message_notes(messages_for(lore.messages, turn.role)),
    ]
    return tuple(each for each in found if each is not None)
