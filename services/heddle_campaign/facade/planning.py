"""What a cycle does: whether it works at all, on what, with whom, for how much, and what each turn is told. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from heddle_campaign.facade.lifecycle import exhaustion
from heddle_campaign.facade.messages import messages_for
from heddle_campaign.facade.ports.listing import Past
from heddle_campaign.facade.ports.runs import Prepare
from heddle_campaign.facade.scheduling import schedule_of
from heddle_campaign.rules import prompts
from heddle_campaign.rules.budget import Share, left_for_cycle, split
from heddle_campaign.rules.campaigns import Campaign, CampaignAgent
from heddle_campaign.rules.cycle_keys import CycleOrigin, turn_request_id, turn_thread_id
from heddle_campaign.rules.cycles import Cycle, CycleTurn, MemoryUse, SkipReason
from heddle_campaign.rules.extraction import kept_text, turn_type
from heddle_campaign.rules.learned import Learned, PeerMessage
from heddle_campaign.rules.memories import Known, Wanted, rank
from heddle_campaign.rules.rotation import (
    MOST_AGENTS,
    Candidate,
    RotationTarget,
    choose_agents,
    next_target,
    nobody,
    refusal,
    workable,
)
from heddle_campaign.rules.words import terms
from heddle_campaign.rules.zones import DAY, local_at
from heddle_client.values import UNBOUNDED, Bounds, Cause, NewTurn, Note, Text
from heddle_core.clock import Micros, micros
from heddle_core.usage import MicroUsd

LOOKED_BACK = 200
"""Ended cycles that are read for what was done in the last 7 days."""
MESSAGES_SINCE = timedelta(days=7)
MOST_MESSAGES_READ = 100


@dataclass(frozen=True, slots=True)
class Lore:
    """What a campaign knows when turns are prepared."""

    memories: Sequence[Learned] = ()
    known: Sequence[Known] = ()
    """The same memories, with those of their words that are among the `wanted_words` of the cycle."""
    messages: Sequence[PeerMessage] = ()
    """Newest first."""
    recent: Sequence[Cycle] = ()
    """Ended cycles."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Why a cycle is left out."""

    reason: SkipReason
    note: str
    """For people."""


def look_back(campaign: Campaign, now: Micros) -> tuple[Micros, Micros]:
    """Since when turns are counted for the rotation, and cost for daily budgets: today began then in the zone."""
    zone = schedule_of(campaign).time_zone
    since = now - micros(campaign.settings.rotation.look_back)
    # On a day whose offset changes, by an hour too much or too little: a budget's day is no promise to the minute.
    return Micros(since), Micros(now - local_at(zone, now) % DAY)


def plan(campaign: Campaign, cycle: Cycle, past: Past) -> Cycle | LeftOut:
    """The cycle with its target, its budget and its turns, none of them prepared; or why it is left out."""
    used_up = exhaustion(campaign)
    if used_up is not None:
        return LeftOut(SkipReason.EXHAUSTED, f"{used_up.value} is used up")
    if not _within_dates(campaign, cycle):
        return LeftOut(SkipReason.OUTSIDE_DATES, "its time lies outside the campaign's dates")
    slice_ = _slice(campaign, past)
    if slice_ == 0:
        return LeftOut(SkipReason.EXHAUSTED, "the cycles at work may use all that is left of the budget")
    candidates = [_candidate(each, past.spent) for each in campaign.settings.agents]
    choice = _choice(campaign, cycle, past, candidates)
    if isinstance(choice, LeftOut):
        return choice
    target, roles = choice
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


def wanted_words(campaign: Campaign, cycle: Cycle) -> frozenset[str]:
    """The words of what the turns of a cycle are about, all together."""
    return terms(campaign.settings.brief, cycle.topic, *(turn.objective for turn in cycle.turns))


def prepared_turn(
    campaign: Campaign, cycle: Cycle, turn: CycleTurn, lore: Lore, prepare: Prepare, now: Micros
) -> CycleTurn | None:
    """The turn with the very request that will be sent for this attempt; None: earlier ones have used its budget."""
    left = None if turn.budget is None else MicroUsd(turn.budget - turn.usage.cost)
    if left is not None and left <= 0:
        return None
    words = terms(turn.objective, cycle.topic, campaign.settings.brief)
    wanted = Wanted(cycle.platform, turn_type(cycle, turn), words)
    by_id = {each.memory.memory_id: each for each in lore.memories}
    ranked = rank(lore.known, wanted, now)
    thread_id = turn_thread_id(cycle.cycle_id, turn.role, turn.attempt)
    asked = NewTurn(
        thread_id=thread_id,
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
    return replace(turn, prepared=prepare(asked), new_thread=thread_id, memories=uses)


def _choice(
    campaign: Campaign, cycle: Cycle, past: Past, candidates: Sequence[Candidate]
) -> tuple[RotationTarget | None, tuple[str, ...]] | LeftOut:
    """What is worked on and who is asked, or why nobody can be."""
    targets = campaign.settings.rotation.targets
    if cycle.roles:
        # Whoever was named is asked whatever its weight and the target are.
        named = {each.role: replace(each, weight=max(1, each.weight)) for each in candidates}
        able = tuple(each for each in cycle.roles if each in named and not refusal(named[each]))[:MOST_AGENTS]
        if not able:
            refused = (f"{each} ({refusal(named[each]) if each in named else 'is gone'})" for each in cycle.roles)
            return LeftOut(SkipReason.NO_AGENT, _note(", ".join(refused)))
        chosen = next_target(targets, past.worked_on)
        return (chosen.target if chosen is not None else None), able
    chosen = next_target(workable(targets, candidates), past.worked_on)
    target = chosen.target if chosen is not None else None
    roles = choose_agents(candidates, past.asked, target, campaign.settings.max_agents_per_cycle)
    if not roles or (targets and target is None):
        return LeftOut(SkipReason.NO_AGENT, _note(nobody(targets, candidates)))
    return target, roles


def _note(why: str) -> str:
    return kept_text(f"nobody can be asked: {why}")


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
    zone = schedule_of(campaign).time_zone
    found = [
        prompts.evidence_note(cycle.evidence, zone) if cycle.evidence is not None else None,
        prompts.goals_note(campaign.settings.goals, zone),
        prompts.week_note(lore.recent, campaign.reports, now),
        *(prompts.memory_note(each) for each in memories),
        *prompts.message_notes(messages_for(lore.messages, turn.role)),
    ]
    return tuple(each for each in found if each is not None)
