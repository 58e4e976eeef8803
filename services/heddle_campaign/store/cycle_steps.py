"""What a stop and a retry make of a cycle, and of its campaign's counters. Pure functions."""

from collections.abc import Iterable
from dataclasses import replace

from heddle_campaign.rules.campaigns import Campaign
from heddle_campaign.rules.cycles import Cycle, CycleTurn
from heddle_campaign.rules.due import over
from heddle_campaign.rules.records import Counters
from heddle_campaign.rules.states import (
    CampaignState,
    CycleState,
    CycleTransition,
    TurnState,
    TurnTransition,
    advance_cycle,
    advance_turn,
)
from heddle_core.clock import Micros
from heddle_core.errors import IllegalTransition


def stopped(cycle: Cycle, note: str, now: Micros) -> Cycle:
    """A cycle that is to be cancelled. One that only waits is CANCELLED at once; what has ended stays as it is.

    The first note stands.
    """
    if cycle.state.terminal or cycle.stop:
        return cycle
    asked = replace(cycle, stop=True, stop_note=note)
    if cycle.state is CycleState.DUE:
        state = advance_cycle(cycle.state, CycleTransition.CANCEL)
        return replace(asked, state=state, end_time=now, look_at=Micros(0))
    return replace(asked, look_at=now)


def queued_again(cycle: Cycle, now: Micros) -> Cycle:
    """A FAILED or CANCELLED cycle that waits again. Its turns that are not COMPLETED begin anew, as further attempts.

    Raises:
        IllegalTransition: it is open, completed or was left out.
    """
    if cycle.state not in (CycleState.FAILED, CycleState.CANCELLED):
        remedy = "retry a cycle that is FAILED or CANCELLED; TriggerCampaign starts another one"
        raise IllegalTransition("cycle", cycle.cycle_id, cycle.state.name, "be retried", remedy)
    return replace(
        cycle,
        state=advance_cycle(cycle.state, CycleTransition.RETRY),
        due=now,
        turns=tuple(map(_anew, cycle.turns)),
        retry_count=cycle.retry_count + 1,
        summary="",
        stop=False,
        stop_note="",
        owner="",
        look_at=Micros(0),
        end_time=None,
    )


def recounted(counters: Counters, before: Cycle, after: Cycle) -> Counters:
    """The counters once a cycle was stopped or queued again.

    A scheduled time whose cycle is cancelled before it ever began was not fired after all, but dropped; when that
    cycle is retried, it was. A cycle beside the schedule that is cancelled so was none.
    """
    if before.start_time is not None:
        return counters
    if before.state is CycleState.DUE and after.state is CycleState.CANCELLED:
        return counters.given_up(origin=before.key.origin)
    if before.state is CycleState.CANCELLED and after.state is CycleState.DUE:
        return counters.taken_up(origin=before.key.origin)
    return counters


def campaign_after(campaign: Campaign, before: Cycle, after: Cycle, now: Micros) -> Campaign:
    """The campaign once a cycle of it was stopped or queued again.

    Where that may leave nothing open of a schedule that is over, the schedule is asked once more, to end the campaign.
    """
    state = campaign.schedule_state
    counted = replace(campaign, schedule_state=replace(state, counters=recounted(state.counters, before, after)))
    is_over = over(campaign.settings.schedule, counted.schedule_state)
    if campaign.state is CampaignState.ACTIVE and is_over and after.state is CycleState.CANCELLED:
        return replace(counted, next_due=now)
    return counted


def recounted_all(counters: Counters, changed: Iterable[tuple[Cycle, Cycle]]) -> Counters:
    """The counters once several cycles were changed: pairs of how each was and is."""
    for before, after in changed:
        counters = recounted(counters, before, after)
    return counters


def _anew(turn: CycleTurn) -> CycleTurn:
    if turn.state is TurnState.COMPLETED:
        return turn
    return replace(
        turn,
        # An open turn of an ended cycle has nothing to be retried from; it begins anew like the others.
        state=advance_turn(turn.state, TurnTransition.RETRY) if turn.state.terminal else TurnState.PENDING,
        attempt=turn.attempt + 1,
        prepared=b"",
        new_thread="",
        thread_id="",
        run_id="",
        request_sequence=0,
        failure=None,
        next_attempt=None,
    )
