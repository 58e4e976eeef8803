"""Cycles that a schedule, a hand, a backfill or a signal make, and what the end of one means for its campaign."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from heddle_campaign.facade.ending import Yield, after_begin, after_end
from heddle_campaign.facade.firing import answer_signal, backfill, trigger
from heddle_campaign.facade.lifecycle import pause
from heddle_campaign.facade.ports.decisions import Change
from heddle_campaign.facade.settling import settle
from heddle_campaign.rules.budget import Quota
from heddle_campaign.rules.campaigns import CampaignAgent, ExhaustionPolicy, PauseReason
from heddle_campaign.rules.cycle_keys import CycleOrigin
from heddle_campaign.rules.cycles import CycleFailure, Signal, SkipReason
from heddle_campaign.rules.records import Outcome
from heddle_campaign.rules.recurrence import Once
from heddle_campaign.rules.schedule import OverlapPolicy, Stretch
from heddle_campaign.rules.signals import TrendSpike, ViralPost
from heddle_campaign.rules.states import CampaignState, CycleState, TurnState
from heddle_campaign.rules.triggers import SignalOutcome, SignalTrigger, TriggerHistory
from heddle_core.errors import IllegalTransition, InvalidField
from heddle_core.usage import MicroUsd, Usage
from tests.kit.campaign_stores import NOW, campaign_of
from tests.kit.campaign_values import (
    WRITER,
    active,
    by_hand,
    ended_cycle,
    fired,
    hourly,
    minute,
    standing,
    turn_of,
)

# --- the schedule ----------------------------------------------------------------------------------------------


def test_a_due_time_becomes_a_cycle_and_the_campaign_is_asked_again_at_the_next() -> None:
    campaign = active(schedule=hourly(start=minute(30)), priority=7)
    change = settle(standing(campaign, at=30))
    (cycle,) = fired(change)
    assert (cycle.key.scheduled_time, cycle.key.origin, cycle.priority) == (minute(30), CycleOrigin.SCHEDULE, 7)
    assert change.campaign.next_due == minute(90)
    assert change.campaign.revision == campaign.revision
    assert change.campaign.schedule_state.counters.fired == 1


def test_a_time_that_finds_another_cycle_open_is_on_record_as_skipped() -> None:
    change = settle(standing(active(schedule=hourly()), at=0, running=1))
    (cycle,) = change.cycles
    assert (cycle.state, cycle.skip_reason, cycle.end_time) == (CycleState.SKIPPED, SkipReason.OVERLAP, NOW)
    assert change.campaign.schedule_state.counters.skipped == 1


def test_times_that_were_missed_become_one_gap() -> None:
    change = settle(standing(active(schedule=hourly(start=minute(30))), at=600))
    assert [(each.outcome, each.count) for each in change.gaps] == [(Outcome.MISSED, 9)]
    assert len(fired(change)) == 1


def test_a_time_that_finds_a_thousand_waiting_is_a_gap_of_its_own() -> None:
    campaign = active(schedule=hourly(overlap=OverlapPolicy.BUFFER_ALL))
    change = settle(standing(campaign, running=1, waiting=1_000))
    assert change.cycles == ()
    assert [(each.outcome, each.start, each.end, each.count) for each in change.gaps] == [
        (Outcome.DROPPED, NOW, NOW + 1, 1)
    ]


def test_a_campaign_is_completed_when_its_schedule_has_ended_and_nothing_is_open() -> None:
    once = hourly(recurrences=(Once((minute(5),)),))
    last = settle(standing(active(schedule=once), at=5))
    assert last.campaign.state is CampaignState.ACTIVE
    assert last.campaign.next_due is None
    cycle = replace(fired(last)[0], state=CycleState.COMPLETED)
    still = after_end(standing(last.campaign, 6, running=1), cycle=cycle, gain=Yield())
    assert still.campaign.state is CampaignState.ACTIVE
    over = after_end(standing(last.campaign, 6), cycle=cycle, gain=Yield())
    assert over.campaign.state is CampaignState.COMPLETED


def test_the_last_of_so_many_cycles_ends_the_schedule() -> None:
    campaign = active(schedule=hourly(max_cycles=2, overlap=OverlapPolicy.ALLOW_ALL))
    first = settle(standing(campaign)).campaign
    second = settle(standing(first, at=60, running=1)).campaign
    assert second.schedule_state.ended
    assert second.next_due is None


@pytest.mark.parametrize("policy", ExhaustionPolicy)
def test_nothing_fires_once_the_budget_is_used_up(policy: ExhaustionPolicy) -> None:
    campaign = active(schedule=hourly(), budget=MicroUsd(100), exhaustion_policy=policy)
    change = settle(standing(replace(campaign, usage=Usage(cost=MicroUsd(100)))))
    assert fired(change) == []
    if policy is ExhaustionPolicy.PAUSE:
        assert (change.campaign.state, change.campaign.pause_reason) == (CampaignState.PAUSED, PauseReason.BUDGET)
    else:
        assert change.campaign.state is CampaignState.COMPLETED


def test_a_campaign_that_is_not_active_is_not_asked_again() -> None:
    paused = replace(pause(standing(active(schedule=hourly()))).campaign, next_due=NOW)
    assert settle(standing(paused)).campaign.next_due is None
    assert settle(standing(paused)).cycles == ()


# --- by hand, and for a past stretch ---------------------------------------------------------------------------


def test_a_cycle_by_hand_asks_whom_it_is_told_to() -> None:
    change = trigger(standing(active(), at=4), roles=("artist", "artist"), note="hurry")
    (cycle,) = fired(change)
    assert (cycle.roles, cycle.note, cycle.key.origin) == (("artist",), "hurry", CycleOrigin.MANUAL)
    assert change.campaign.schedule_state.counters.unscheduled == 1
    assert change.campaign.schedule_state.counters.scheduled == 0


def test_a_cycle_by_hand_obeys_the_overlap_policy_that_it_names() -> None:
    campaign = active(schedule=hourly(overlap=OverlapPolicy.BUFFER_ALL))
    assert len(fired(trigger(standing(campaign, running=1)))) == 1
    left_out = trigger(standing(campaign, running=1), overlap=OverlapPolicy.SKIP)
    assert [each.state for each in left_out.cycles] == [CycleState.SKIPPED]
    assert left_out.campaign.schedule_state.counters.unscheduled == 0
    assert trigger(standing(campaign, running=1), overlap=OverlapPolicy.CANCEL_OTHER).cancel_open


def test_a_role_that_nobody_has_is_refused_by_its_place() -> None:
    campaign = active(agents=(WRITER, CampaignAgent("off", "a", disabled=True)))
    for roles in (("writer", "dancer"), ("writer", "off")):
        with pytest.raises(InvalidField) as refused:
            trigger(standing(campaign), roles=roles)
        assert refused.value.violations[0].field == "roles[1]"
    with pytest.raises(IllegalTransition):
        trigger(standing(campaign_of()))


def test_a_backfill_fires_what_has_no_cycle_oldest_first() -> None:
    campaign = settle(standing(active(schedule=hourly(start=minute(30))), at=300)).campaign
    asked = replace(standing(campaign, at=300), taken=frozenset({minute(90)}))
    change = backfill(asked, Stretch(minute(0), minute(300)))
    cycles = fired(change)
    assert [each.key.scheduled_time for each in cycles] == [minute(30), minute(150), minute(210), minute(270)]
    assert [each.due for each in cycles] == sorted(each.due for each in cycles)
    assert {each.key.origin for each in cycles} == {CycleOrigin.BACKFILL}
    assert change.campaign.schedule_state.counters.unscheduled == 4


@pytest.mark.parametrize(
    ("overlap", "states"),
    [
        (OverlapPolicy.SKIP, "DUE SKIPPED SKIPPED"),
        (OverlapPolicy.BUFFER_ONE, "DUE DUE SKIPPED"),
        (OverlapPolicy.CANCEL_OTHER, "SKIPPED SKIPPED DUE"),
        (OverlapPolicy.ALLOW_ALL, "DUE DUE DUE"),
    ],
)
def test_the_cycles_of_a_backfill_overlap_as_it_says(overlap: OverlapPolicy, states: str) -> None:
    campaign = settle(standing(active(schedule=hourly(catch_up_window=timedelta(0))), at=170)).campaign
    change = backfill(standing(campaign, at=170), Stretch(NOW, minute(170)), overlap)
    assert " ".join(each.state.name for each in change.cycles) == states


def test_a_campaign_without_a_schedule_has_nothing_to_backfill() -> None:
    with pytest.raises(InvalidField, match="no schedule"):
        backfill(standing(active(), at=10), Stretch(NOW, minute(10)))


# --- signals ---------------------------------------------------------------------------------------------------

VIRAL = SignalTrigger("viral", ViralPost())
HAPPENED = Signal("viral_post", json.dumps({"engagement_percent": 12}), "post-1", NOW)
LISTENER = replace(WRITER, signal_kinds=("viral_post",))


def test_a_signal_starts_a_cycle_of_the_agents_that_answer_it() -> None:
    campaign = active(agents=(LISTENER, CampaignAgent("other", "a")), triggers=(VIRAL,))
    answer, change = answer_signal(standing(campaign, at=2), HAPPENED)
    (cycle,) = fired(change)
    assert answer.outcome is SignalOutcome.FIRED
    assert (cycle.roles, cycle.evidence, cycle.trigger_key) == (("writer",), HAPPENED, "viral")
    assert change.fired is not None
    assert (change.fired.trigger_key, change.fired.dedupe_key, change.fired.cycle_id) == (
        "viral",
        "post-1",
        cycle.cycle_id,
    )


def test_a_trend_fits_by_the_words_of_brief_and_topics_that_say_something() -> None:
    spikes = SignalTrigger("trend", TrendSpike())
    campaign = active(
        agents=(replace(WRITER, signal_kinds=("trend_spike",)),), triggers=(spikes,), brief="How to sell coats for you"
    )
    for topic, outcome in (
        ("What you need for dogs, and how", SignalOutcome.NO_MATCH),
        ("Rain coats for dogs", SignalOutcome.FIRED),
    ):
        trend = json.dumps({"topic": topic, "virality": 90, "growth_percent": 90})
        answer, _ = answer_signal(standing(campaign), replace(HAPPENED, kind="trend_spike", payload_json=trend))
        assert answer.outcome is outcome, topic


def test_a_signal_waits_behind_the_cycle_at_work_and_a_second_one_is_left_out() -> None:
    campaign = active(agents=(LISTENER,), triggers=(VIRAL,))
    assert len(fired(answer_signal(standing(campaign, running=1), HAPPENED)[1])) == 1
    refused, second = answer_signal(standing(campaign, running=1, waiting=1), HAPPENED)
    assert (refused.outcome, second) == (SignalOutcome.NO_ROOM, Change(campaign))


def test_a_signal_outside_the_dates_of_a_campaign_starts_nothing() -> None:
    dates = hourly(recurrences=(), start=minute(10), end=minute(20))
    campaign = active(agents=(LISTENER,), triggers=(VIRAL,), schedule=dates)
    answered = [answer_signal(standing(campaign, at=at), HAPPENED) for at in (9, 10, 19, 20)]
    assert [answer.outcome.name for answer, _ in answered] == ["NOBODY", "FIRED", "FIRED", "NOBODY"]
    assert answered[0][1] == Change(campaign)


def test_a_campaign_of_signals_alone_is_completed_at_its_end_or_with_its_last_cycle() -> None:
    dates = hourly(recurrences=(), end=minute(20), max_cycles=2)
    campaign = active(agents=(LISTENER,), triggers=(VIRAL,), schedule=dates)
    assert (campaign.state, campaign.next_due) == (CampaignState.ACTIVE, minute(20))
    assert settle(standing(campaign, at=19)).campaign.state is CampaignState.ACTIVE
    assert settle(standing(campaign, at=20)).campaign.state is CampaignState.COMPLETED
    assert settle(standing(campaign, at=20, running=1)).campaign.state is CampaignState.ACTIVE
    for at in (1, 2):
        campaign = answer_signal(standing(campaign, at=at), HAPPENED)[1].campaign
    answer, change = answer_signal(standing(campaign, at=3), HAPPENED)
    assert (answer.outcome, change.cycles) == (SignalOutcome.NOBODY, ())
    with pytest.raises(IllegalTransition, match="raise it with UpdateCampaign"):
        trigger(standing(campaign, at=3))
    first = after_end(standing(campaign, at=4, waiting=1), cycle=ended_cycle(), gain=Yield())
    assert first.campaign.state is CampaignState.ACTIVE
    assert after_end(standing(campaign, at=5), cycle=ended_cycle(), gain=Yield()).campaign.state is (
        CampaignState.COMPLETED
    )


def test_there_is_nothing_to_backfill_where_no_times_are_named() -> None:
    with pytest.raises(InvalidField, match="names no times"):
        backfill(standing(active(schedule=hourly(recurrences=())), at=10), Stretch(NOW, minute(10)))


def test_a_signal_starts_nothing_twice_nor_where_nobody_listens_or_the_campaign_is_paused() -> None:
    campaign = active(agents=(LISTENER,), triggers=(VIRAL,))
    before = TriggerHistory({}, {"post-1": NOW})
    answer, change = answer_signal(standing(campaign, at=1, history=before), HAPPENED)
    assert answer.outcome is SignalOutcome.DUPLICATE
    assert change.cycles == ()
    deaf = active(agents=(replace(LISTENER, disabled=True), WRITER), triggers=(VIRAL,))
    assert answer_signal(standing(deaf), HAPPENED)[0].outcome is SignalOutcome.NOBODY
    paused = pause(standing(campaign)).campaign
    answer, change = answer_signal(standing(paused), HAPPENED)
    assert (answer.outcome, change.campaign) == (SignalOutcome.NOBODY, paused)


# --- the end of a cycle ----------------------------------------------------------------------------------------


def test_what_a_cycle_cost_and_made_is_added_to_its_campaign() -> None:
    gain = Yield(Usage(input_tokens=5, cost=MicroUsd(40)), Quota(posts=1, images=2))
    change = after_end(standing(active(), at=9), cycle=ended_cycle(), gain=gain)
    assert (change.campaign.usage, change.campaign.produced) == (gain.spent, gain.produced)


def test_the_latest_beginning_of_a_cycle_is_on_record() -> None:
    first = after_begin(standing(active(), at=9), cycle=ended_cycle(start_time=minute(8))).campaign
    assert first.last_cycle_time == minute(8)
    older = after_begin(standing(first, at=9), cycle=ended_cycle(start_time=minute(7))).campaign
    assert older.last_cycle_time == minute(8)
    assert older.revision == active().revision


def test_three_failures_in_a_row_pause_and_a_fifth_needs_a_person() -> None:
    campaign = active()
    failure = CycleFailure("MODEL_UNAVAILABLE", "no answer from the model", True)
    cycle = ended_cycle(CycleState.FAILED, turn_of(state=TurnState.FAILED, failure=failure))
    for _ in range(2):
        campaign = after_end(standing(campaign), cycle=cycle, gain=Yield()).campaign
        assert campaign.state is CampaignState.ACTIVE
    campaign = after_end(standing(campaign), cycle=cycle, gain=Yield()).campaign
    assert (campaign.state, campaign.pause_reason) == (CampaignState.PAUSED, PauseReason.FAILURES)
    assert campaign.pause_note == "3 cycles failed in a row; the last: no answer from the model"
    many = replace(active(), failures_in_row=4)
    note = after_end(standing(many), cycle=cycle, gain=Yield()).campaign.pause_note
    assert "only a person can resume it" in note


def test_a_completed_cycle_ends_the_row_of_failures_and_a_cancelled_one_does_not() -> None:
    failed = replace(active(), failures_in_row=2)
    assert after_end(standing(failed), cycle=ended_cycle(), gain=Yield()).campaign.failures_in_row == 0
    cancelled = ended_cycle(CycleState.CANCELLED)
    assert after_end(standing(failed), cycle=cancelled, gain=Yield()).campaign.failures_in_row == 2


@pytest.mark.parametrize(
    ("settings", "gain", "reason"),
    [
        ({"budget": MicroUsd(100)}, Yield(Usage(cost=MicroUsd(100))), PauseReason.BUDGET),
        ({"quota": Quota(images=2)}, Yield(produced=Quota(images=3)), PauseReason.QUOTA),
    ],
)
def test_what_is_used_up_pauses_the_campaign_or_completes_it(
    settings: dict[str, Any], gain: Yield, reason: PauseReason
) -> None:
    campaign = after_end(standing(active(**settings)), cycle=ended_cycle(), gain=gain).campaign
    assert (campaign.state, campaign.pause_reason) == (CampaignState.PAUSED, reason)
    ending = active(**settings, exhaustion_policy=ExhaustionPolicy.COMPLETE)
    assert after_end(standing(ending), cycle=ended_cycle(), gain=gain).campaign.state is CampaignState.COMPLETED


def test_an_agent_that_is_gone_pauses_the_campaign_and_is_named() -> None:
    gone = turn_of(state=TurnState.FAILED, failure=CycleFailure("AGENT_NOT_FOUND", "No agent", False))
    campaign = after_end(standing(active()), cycle=ended_cycle(CycleState.FAILED, gone), gain=Yield()).campaign
    assert campaign.pause_reason is PauseReason.AGENT_MISSING
    assert "writer (agent_writer)" in campaign.pause_note


def test_a_cycle_that_a_guard_left_out_did_not_fire_after_all() -> None:
    campaign = settle(standing(active(schedule=hourly()))).campaign
    left_out = ended_cycle(CycleState.SKIPPED)
    counters = after_end(standing(campaign), cycle=left_out, gain=Yield()).campaign.schedule_state.counters
    assert (counters.fired, counters.skipped, counters.scheduled) == (0, 1, 1)
    campaign = trigger(standing(active())).campaign
    by_someone = replace(by_hand(), state=CycleState.SKIPPED)
    counters = after_end(standing(campaign), cycle=by_someone, gain=Yield()).campaign.schedule_state.counters
    assert (counters.unscheduled, counters.scheduled) == (0, 0)


def test_the_end_of_a_cycle_leaves_a_paused_campaign_paused() -> None:
    paused = pause(standing(active(budget=MicroUsd(1)))).campaign
    after = after_end(standing(paused), cycle=ended_cycle(), gain=Yield(Usage(cost=MicroUsd(5)))).campaign
    assert (after.state, after.pause_reason, after.usage.cost) == (CampaignState.PAUSED, PauseReason.MANUAL, 5)
