"""What a schedule does as time passes: laws over any schedule, and single cases that a person can check."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heddle_campaign.rules.cycle_keys import CycleOrigin
from heddle_campaign.rules.due import (
    Decision,
    ScheduleState,
    activate,
    change,
    counted,
    due,
    finish,
    over,
    pause,
    resume,
)
from heddle_campaign.rules.jitter import due_time
from heddle_campaign.rules.overlap import Admission, Load
from heddle_campaign.rules.records import Counters, Outcome, RangeRecord, Record, SlotRecord
from heddle_campaign.rules.schedule import OverlapPolicy, Schedule
from heddle_campaign.rules.times import between, count
from heddle_core.clock import Micros
from tests.kit.schedules import MINUTE, at, moments, schedule, schedules, text

ALL = replace(schedule("0 * * * *"), overlap=OverlapPolicy.ALLOW_ALL)


def _fired(records: tuple[Record, ...] | list[Record]) -> list[int]:
    slots = (each for each in records if isinstance(each, SlotRecord))
    return [each.key.scheduled_time for each in slots if each.outcome is Outcome.FIRED]


def _sum(records: list[Record]) -> Counters:
    total = Counters()
    for each in records:
        total = total.plus(each.outcome, each.count if isinstance(each, RangeRecord) else 1)
    return total


loads = st.builds(Load, running=st.integers(0, 3), waiting=st.integers(0, 2), capacity=st.integers(1, 3))
steps = st.lists(
    st.tuples(st.sampled_from(["tick", "tick", "tick", "pause", "resume"]), st.integers(0, 3_000), loads), max_size=12
)


@settings(max_examples=120, deadline=None)
@given(schedules(), moments, steps)
def test_every_time_is_settled_once_and_the_counters_add_up(
    subject: Schedule, now: int, told: list[tuple[str, int, Load]]
) -> None:
    begun = Micros(now)
    decision = activate(subject, begun)
    state, records = decision.state, list[Record]()
    for name, minutes, load in told:
        now += minutes * MINUTE
        before = state
        match name:
            case "pause":
                state = pause(state, Micros(now))
            case "resume":
                decision = resume(subject, state, Micros(now)) if state.paused_since is not None else Decision(state)
                state = decision.state
                records.extend(decision.records)
            case _:
                decision = due(subject, state, Micros(now), load, most=5)
                state = decision.state
                records.extend(decision.records)
        assert state.cursor >= before.cursor
        assert state.counters.scheduled == count(subject, begun, state.cursor)
        assert counted(subject, state, Micros(now)).scheduled >= state.counters.scheduled
        assert _sum(records) == state.counters
    singles = [each.key.scheduled_time for each in records if isinstance(each, SlotRecord)]
    assert singles == sorted(set(singles))
    assert set(singles) <= set(between(subject, begun, state.cursor))
    assert all(each.key.scheduled_time <= each.due <= now for each in records if isinstance(each, SlotRecord))
    if subject.max_cycles:
        assert state.counters.fired <= subject.max_cycles


@settings(max_examples=60, deadline=None)
@given(schedules(), moments)
def test_what_is_previewed_is_what_fires_when_asked_at_each_due_time(subject: Schedule, now: int) -> None:
    subject = replace(subject, overlap=OverlapPolicy.ALLOW_ALL, max_cycles=0)
    decision = activate(subject, Micros(now))
    fired = list[int]()
    while decision.next_due is not None and len(fired) < 12:
        asked = decision.next_due
        early = due(subject, decision.state, Micros(asked - 1))
        assert not early.records
        assert early.next_due == asked
        decision = due(subject, decision.state, asked)
        assert decision.records
        fired.extend(_fired(decision.records))
    first_after = Micros(fired[-1] + 1) if fired else Micros(now)
    assert fired == list(between(subject, Micros(now), first_after))[: len(fired)]


@settings(max_examples=60, deadline=None)
@given(schedules(), moments, st.lists(st.integers(0, 2_000), min_size=1, max_size=8))
def test_two_replicas_that_ask_of_one_state_decide_the_same(subject: Schedule, now: int, waits: list[int]) -> None:
    state = activate(subject, Micros(now)).state
    for minutes in waits:
        now += minutes * MINUTE
        first, second = due(subject, state, Micros(now)), due(subject, state, Micros(now))
        assert first == second
        later = due(subject, first.state, Micros(now))
        assert not set(_fired(later.records)) & set(_fired(first.records))
        state = first.state


@settings(max_examples=60, deadline=None)
@given(schedules(), moments, st.integers(0, 3_000), st.integers(0, 3_000))
def test_a_pause_is_one_range_and_changes_nothing_after_it(
    subject: Schedule, now: int, until_pause: int, length: int
) -> None:
    state = due(subject, activate(subject, Micros(now)).state, Micros(now), most=10_000).state
    paused_at = Micros(now + until_pause * MINUTE)
    paused = pause(state, paused_at)
    resumed_at = Micros(paused_at + length * MINUTE)
    assert due(subject, paused, resumed_at) == Decision(paused)
    decision = resume(subject, paused, resumed_at)
    outcomes = [each.outcome for each in decision.records]
    assert outcomes in ([], [Outcome.PAUSED], [Outcome.MISSED], [Outcome.MISSED, Outcome.PAUSED])
    assert all(isinstance(each, RangeRecord) for each in decision.records)
    assert counted(subject, paused, resumed_at) == decision.state.counters
    if not decision.state.ended:
        following = next(between(subject, max(resumed_at, state.cursor), Micros(resumed_at + 400 * 1440 * MINUTE)))
        assert decision.next_due == due_time(subject, following)


def test_a_year_of_paused_minutes_costs_one_record() -> None:
    every = schedule("* * * * *", time_zone="Europe/Berlin")
    state = pause(activate(every, at("2026-01-01 00:00")).state, at("2026-01-01 00:00"))
    (record,) = resume(every, state, at("2027-01-01 00:00")).records
    assert record == RangeRecord(Outcome.PAUSED, 1, at("2026-01-01 00:00"), at("2027-01-01 00:00"), 525_600)


def test_times_beyond_the_catch_up_window_are_missed_as_one_range() -> None:
    state = activate(ALL, at("2026-01-01 00:30")).state
    decision = due(ALL, state, at("2026-01-02 00:30"))
    missed, fired = decision.records
    assert missed == RangeRecord(Outcome.MISSED, 1, at("2026-01-01 00:30"), at("2026-01-01 23:30"), 23)
    assert isinstance(fired, SlotRecord)
    assert text(fired.key.scheduled_time) == "2026-01-02 00:00"
    assert text(decision.next_due or 0) == "2026-01-02 01:00"


def test_a_time_that_is_late_by_just_the_catch_up_window_still_fires() -> None:
    state = activate(ALL, at("2026-01-01 00:30")).state
    assert _fired(due(ALL, state, at("2026-01-01 02:00")).records) == [at("2026-01-01 01:00"), at("2026-01-01 02:00")]


def test_no_catch_up_window_at_all_leaves_a_tick_its_own_delay_and_no_more() -> None:
    subject = replace(ALL, catch_up_window=timedelta(0))
    state = activate(subject, at("2026-01-01 00:30")).state
    assert _fired(due(subject, state, Micros(at("2026-01-01 01:00") + 7)).records) == [at("2026-01-01 01:00")]
    assert _fired(due(subject, state, at("2026-01-01 01:01")).records) == [at("2026-01-01 01:00")]
    late = due(subject, state, Micros(at("2026-01-01 01:01") + 1))
    assert [each.outcome for each in late.records] == [Outcome.MISSED]


def test_a_schedule_that_names_no_times_goes_on_until_its_end() -> None:
    subject = schedule(end=at("2026-01-02 00:00"))
    begun = activate(subject, at("2026-01-01 00:30"))
    assert (begun.state.ended, begun.next_due) == (False, at("2026-01-02 00:00"))
    early = due(subject, begun.state, at("2026-01-01 12:00"))
    assert (early.state.ended, early.next_due, early.records) == (False, at("2026-01-02 00:00"), ())
    over = due(subject, early.state, at("2026-01-02 00:00"))
    assert (over.state.ended, over.next_due, over.records) == (True, None, ())
    waiting = pause(begun.state, at("2026-01-01 01:00"))
    assert not resume(subject, waiting, at("2026-01-01 02:00")).state.ended
    assert resume(subject, waiting, at("2026-01-03 00:00")).state.ended
    endless = schedule()
    assert (activate(endless, at("2026-01-01 00:30")).state.ended, activate(endless, begun.state.cursor).next_due) == (
        False,
        None,
    )


def test_the_limit_of_a_schedule_that_names_no_times_counts_the_cycles_beside_it() -> None:
    subject = schedule(max_cycles=2)
    begun = activate(subject, at("2026-01-01 00:30")).state
    assert not over(subject, replace(begun, counters=Counters(unscheduled=1)))
    assert over(subject, replace(begun, counters=Counters(unscheduled=2)))
    assert not over(replace(ALL, max_cycles=2), replace(begun, counters=Counters(unscheduled=2)))


OVERLAPS = {
    OverlapPolicy.SKIP: [Admission.BEGIN, Admission.SKIP, Admission.SKIP],
    OverlapPolicy.BUFFER_ONE: [Admission.BEGIN, Admission.WAIT, Admission.SKIP],
    OverlapPolicy.BUFFER_ALL: [Admission.BEGIN, Admission.WAIT, Admission.WAIT],
    OverlapPolicy.CANCEL_OTHER: [Admission.SKIP, Admission.SKIP, Admission.BEGIN],
    OverlapPolicy.ALLOW_ALL: [Admission.BEGIN, Admission.BEGIN, Admission.BEGIN],
}


@pytest.mark.parametrize(("policy", "admissions"), OVERLAPS.items())
def test_three_times_due_together_go_by_the_overlap_policy(policy: OverlapPolicy, admissions: list[Admission]) -> None:
    subject = replace(ALL, overlap=policy, catch_up_window=timedelta(hours=5))
    decision = due(subject, activate(subject, at("2026-01-01 00:30")).state, at("2026-01-01 03:00"))
    assert [each.admission for each in decision.records if isinstance(each, SlotRecord)] == admissions
    assert not decision.cancel_open
    assert decision.state.counters.scheduled == 3


def test_only_cancel_other_cancels_and_only_what_is_open() -> None:
    busy = Load(running=1)
    for policy in OverlapPolicy:
        subject = replace(ALL, overlap=policy)
        decision = due(subject, activate(subject, at("2026-01-01 00:30")).state, at("2026-01-01 01:00"), busy)
        assert decision.cancel_open is (policy is OverlapPolicy.CANCEL_OTHER)
        assert bool(_fired(decision.records)) is (policy is not OverlapPolicy.SKIP)


def test_a_schedule_ends_with_its_last_cycle_and_drops_what_was_due_beyond() -> None:
    subject = replace(ALL, max_cycles=2, catch_up_window=timedelta(hours=9))
    decision = due(subject, activate(subject, at("2026-01-01 00:30")).state, at("2026-01-01 05:00"))
    assert [each.outcome for each in decision.records] == [Outcome.FIRED, Outcome.FIRED, Outcome.DROPPED]
    assert decision.state.counters == Counters(fired=2, dropped=3)
    assert decision.state.ended
    assert decision.next_due is None
    assert due(subject, decision.state, at("2026-01-02 05:00")) == Decision(decision.state)


def test_a_schedule_whose_end_has_come_has_ended() -> None:
    subject = replace(ALL, end=at("2026-01-01 02:00"))
    decision = due(subject, activate(subject, at("2026-01-01 00:30")).state, at("2026-01-01 01:00"))
    assert decision.state.ended
    assert decision.next_due is None


def test_many_due_times_are_settled_in_bounded_decisions_without_losing_one() -> None:
    subject = replace(schedule("* * * * *"), overlap=OverlapPolicy.BUFFER_ALL, catch_up_window=timedelta(days=2))
    now = at("2026-01-02 00:00")
    decision, fired, load = activate(subject, at("2026-01-01 00:00")), list[int](), Load()
    for _ in range(15):
        decision = due(subject, decision.state, now, load)
        assert len(decision.records) <= 100
        fired.extend(_fired(decision.records))
        load = Load(1, len(fired) - 1)
        if decision.next_due != now:
            break
    assert len(fired) == 1_001
    assert decision.state.counters == Counters(fired=1_001, dropped=440)


def test_a_change_of_the_schedule_drops_what_was_left_and_goes_on_from_now() -> None:
    state = activate(ALL, at("2026-01-01 00:30")).state
    after = replace(schedule("30 * * * *"), version=2)
    decision = change(ALL, state, after, at("2026-01-01 01:10"))
    assert decision.records == (RangeRecord(Outcome.DROPPED, 1, at("2026-01-01 00:30"), at("2026-01-01 01:10"), 1),)
    assert text(decision.next_due or 0) == "2026-01-01 01:30"


def test_a_change_in_a_pause_accounts_for_it_and_stays_paused() -> None:
    state = pause(activate(ALL, at("2026-01-01 00:30")).state, at("2026-01-01 00:40"))
    decision = change(ALL, state, replace(schedule("30 * * * *"), version=2), at("2026-01-01 02:10"))
    assert decision.state == ScheduleState(
        at("2026-01-01 02:10"), Counters(paused=2), paused_since=at("2026-01-01 02:10")
    )
    assert decision.next_due is None


def test_an_ended_schedule_that_is_changed_goes_on() -> None:
    ended = finish(ALL, activate(ALL, at("2026-01-01 00:30")).state, at("2026-01-01 03:30"))
    assert ended.state.ended
    assert ended.state.counters == Counters(missed=2, dropped=1)
    again = change(ALL, ended.state, replace(schedule("30 * * * *"), version=2), at("2026-01-05 00:00"))
    assert text(again.next_due or 0) == "2026-01-05 00:30"


def test_pausing_twice_keeps_the_first_time() -> None:
    state = pause(activate(ALL, at("2026-01-01 00:30")).state, at("2026-01-01 00:40"))
    assert pause(state, at("2026-01-01 05:00")) is state


def test_a_fired_cycle_that_did_not_begin_stays_one_time() -> None:
    counters = Counters(fired=3, missed=1)
    assert counters.given_up() == Counters(fired=2, missed=1, dropped=1)
    assert counters.given_up(Outcome.SKIPPED).scheduled == counters.scheduled
    assert counters.given_up().taken_up() == counters


def test_a_cycle_beside_the_schedule_that_did_not_begin_is_none() -> None:
    counters = Counters(fired=3, unscheduled=2)
    for origin in (CycleOrigin.MANUAL, CycleOrigin.SIGNAL, CycleOrigin.BACKFILL):
        assert counters.given_up(origin=origin) == Counters(fired=3, unscheduled=1)
        assert counters.given_up(Outcome.SKIPPED, origin).taken_up(origin=origin) == counters


def test_a_schedule_without_times_that_is_full_goes_on_when_a_cycle_is_given_up() -> None:
    subject = schedule(max_cycles=1, end=at("2026-02-01 00:00"))
    begun = activate(subject, at("2026-01-01 00:30")).state
    full = replace(begun, counters=Counters(unscheduled=1))
    again = resume(subject, pause(full, at("2026-01-01 00:40")), at("2026-01-01 00:50"))
    assert over(subject, again.state)
    assert not over(subject, replace(again.state, counters=Counters()))
    assert over(subject, resume(subject, again.state, at("2026-02-01 00:00")).state), "its end is its end"


def test_nothing_says_when_a_campaign_without_a_schedule_is_over() -> None:
    assert not over(None, ScheduleState(at("2026-01-01 00:00"), Counters(unscheduled=9)))
