"""What the beginning and the end of a cycle mean for its campaign: its cost, its yield, whether it goes on. Pure."""

from dataclasses import dataclass, replace

from heddle_campaign.facade.lifecycle import exhaustion, halt, pause
from heddle_campaign.facade.ports.decisions import Change, Standing
from heddle_campaign.facade.scheduling import completed_if_over
from heddle_campaign.rules.budget import Quota
from heddle_campaign.rules.campaigns import Campaign, PauseReason
from heddle_campaign.rules.cycles import Cycle, CycleFailure
from heddle_campaign.rules.failures import FailureStep, failure_step, failures_after
from heddle_campaign.rules.produced import together
from heddle_campaign.rules.records import Outcome
from heddle_campaign.rules.states import CampaignState, CycleState
from heddle_core.usage import NOTHING, MicroUsd, Usage

AGENT_GONE = frozenset(("AGENT_NOT_FOUND", "ILLEGAL_TRANSITION"))
"""Reasons for which no run was started because the agent is gone, or archived."""

_NO_PRODUCT = Quota()


@dataclass(frozen=True, slots=True)
class Yield:
    """What a cycle's end adds to its campaign."""

    spent: Usage = NOTHING
    """Since it was begun, or begun again."""
    produced: Quota = _NO_PRODUCT


def after_begin(standing: Standing, *, cycle: Cycle) -> Change:
    """The campaign once `cycle` has begun to work: the latest of its beginnings is on record."""
    began = [each for each in (standing.campaign.last_cycle_time, cycle.start_time) if each is not None]
    return Change(replace(standing.campaign, last_cycle_time=max(began, default=None)))


def after_end(standing: Standing, *, cycle: Cycle, gain: Yield) -> Change:
    """What becomes of the campaign once `cycle` has ended; `standing.load` is without it.

    Agents that are gone, and failures in a row, pause it; what is used up pauses or completes it; it is COMPLETED
    where its schedule has ended and nothing else is open.
    """
    campaign = _reckoned(standing.campaign, cycle, gain)
    standing = replace(standing, campaign=campaign)
    if campaign.state is not CampaignState.ACTIVE:
        return Change(campaign)
    used_up = exhaustion(campaign)
    if used_up is not None:
        return halt(standing, used_up)
    gone = [each for each in cycle.turns if each.failure is not None and _has_no_agent(each.failure)]
    if gone:
        names = ", ".join(f"{each.role} ({each.agent_id})" for each in gone)
        note = f"no agent for {names}: name another with UpdateCampaign, then resume"
        return pause(standing, reason=PauseReason.AGENT_MISSING, note=note)
    if cycle.state is CycleState.FAILED:
        step = failure_step(campaign.settings.failure_policy, campaign.failures_in_row)
        if step is not FailureStep.GO_ON:
            return pause(standing, reason=PauseReason.FAILURES, note=_failure_note(campaign, cycle, step))
    return completed_if_over(standing, Change(campaign))


def spent_since(usage: Usage, before: Usage) -> Usage:
    """What of a cycle's usage has not been counted at an earlier end of it, before it was retried."""
    return Usage(
        usage.input_tokens - before.input_tokens,
        usage.output_tokens - before.output_tokens,
        usage.cached_input_tokens - before.cached_input_tokens,
        usage.reasoning_tokens - before.reasoning_tokens,
        usage.model_calls - before.model_calls,
        usage.tool_calls - before.tool_calls,
        MicroUsd(usage.cost - before.cost),
    )


def _has_no_agent(failure: CycleFailure) -> bool:
    return not failure.of_run and failure.reason in AGENT_GONE


def _reckoned(campaign: Campaign, cycle: Cycle, gain: Yield) -> Campaign:
    state = campaign.schedule_state
    if cycle.state is CycleState.SKIPPED:
        counters = state.counters.given_up(Outcome.SKIPPED, cycle.key.origin)
        return replace(campaign, schedule_state=replace(state, counters=counters))
    in_row = campaign.failures_in_row
    if cycle.state in (CycleState.COMPLETED, CycleState.FAILED):
        in_row = failures_after(in_row, failed=cycle.state is CycleState.FAILED)
    return replace(
        campaign,
        failures_in_row=in_row,
        usage=campaign.usage + gain.spent,
        produced=together((campaign.produced, gain.produced)),
    )


def _failure_note(campaign: Campaign, cycle: Cycle, step: FailureStep) -> str:
    failures: list[CycleFailure] = [each.failure for each in cycle.turns if each.failure is not None]
    last = f"; the last: {failures[-1].message[:300]}" if failures else ""
    who = ": only a person can resume it" if step is FailureStep.NEED_PERSON else ""
    return f"{campaign.failures_in_row} cycles failed in a row{who}{last}"
