"""What becomes of a campaign that is activated, paused, resumed, changed and ended, and what is refused."""

from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest

from heddle_campaign.facade.lifecycle import activate, complete, etag_of, pause, resume, update, with_start
from heddle_campaign.facade.ports.decisions import Decision
from heddle_campaign.rules.budget import Quota
from heddle_campaign.rules.campaigns import PauseReason
from heddle_campaign.rules.cycle_keys import CycleOrigin
from heddle_campaign.rules.records import Outcome, RangeRecord
from heddle_campaign.rules.recurrence import Interval
from heddle_campaign.rules.states import CampaignState
from heddle_core.clock import Micros
from heddle_core.errors import EtagMismatch, IllegalTransition, InvalidField
from heddle_core.usage import MicroUsd, Usage
from tests.kit.campaign_stores import NOW, campaign_of
from tests.kit.campaign_values import WRITER, active, fired, hourly, minute, standing


def test_an_activated_campaign_is_due_at_its_first_time_from_then_on() -> None:
    change = activate(standing(campaign_of(schedule=hourly()), at=30))
    assert change.campaign.state is CampaignState.ACTIVE
    assert change.campaign.next_due == minute(60)
    assert change.campaign.revision == 2
    assert change.cycles == ()


def test_a_first_cycle_may_start_at_once_and_counts_beside_the_schedule() -> None:
    change = activate(standing(campaign_of(), at=3), start_now=True)
    (cycle,) = fired(change)
    assert cycle.key.origin is CycleOrigin.MANUAL
    assert cycle.key.scheduled_time == cycle.due == minute(3)
    assert change.campaign.schedule_state.counters.unscheduled == 1


def test_a_campaign_without_anybody_to_work_in_it_is_not_activated() -> None:
    for agents in ((), (replace(WRITER, disabled=True),)):
        with pytest.raises(IllegalTransition, match="agent that is not disabled"):
            activate(standing(campaign_of(agents=agents)))


def test_a_schedule_that_lies_in_the_past_is_refused_when_its_campaign_is_activated() -> None:
    past = hourly(start=minute(-600), end=minute(-60))
    with pytest.raises(InvalidField) as refused:
        activate(standing(campaign_of(schedule=past)))
    assert refused.value.violations[0].field == "schedule.end_time"


def test_what_was_read_too_long_ago_is_not_activated_or_changed() -> None:
    draft = campaign_of()
    with pytest.raises(EtagMismatch):
        activate(standing(draft), etag="7")
    with pytest.raises(EtagMismatch):
        update(standing(draft), draft.settings, etag="7")
    assert activate(standing(draft), etag=etag_of(draft)).campaign.state is CampaignState.ACTIVE


def test_a_pause_becomes_one_gap_when_the_campaign_is_resumed() -> None:
    campaign = active(schedule=hourly(start=minute(30)))
    paused = pause(standing(campaign, at=10), "a holiday").campaign
    assert (paused.state, paused.pause_reason, paused.pause_note) == (
        CampaignState.PAUSED,
        PauseReason.MANUAL,
        "a holiday",
    )
    assert paused.next_due is None
    change = resume(standing(paused, at=10 * 60), "back")
    assert change.gaps == (RangeRecord(Outcome.PAUSED, 1, NOW, minute(600), 10),)
    assert change.campaign.schedule_state.counters.paused == 10
    assert change.campaign.next_due == minute(630)
    assert change.campaign.pause_reason is PauseReason.NONE


def test_pausing_again_changes_nothing_but_may_cancel_what_is_open() -> None:
    paused = pause(standing(active(), at=1)).campaign
    again = pause(standing(paused, at=2), "other", cancel_open=True)
    assert again.campaign == paused
    assert again.cancel_open


def test_a_campaign_whose_schedule_ended_during_a_pause_is_completed_when_it_is_resumed() -> None:
    campaign = active(schedule=hourly(start=minute(30), end=minute(90)))
    paused = pause(standing(campaign, at=10)).campaign
    change = resume(standing(paused, at=200))
    assert change.campaign.state is CampaignState.COMPLETED
    assert change.campaign.schedule_state.counters.paused == 1


def test_a_campaign_is_not_resumed_before_its_means_are_raised() -> None:
    spent = replace(pause(standing(active(budget=MicroUsd(100)))).campaign, usage=Usage(cost=MicroUsd(100)))
    with pytest.raises(IllegalTransition, match="the budget is used up: raise it"):
        resume(standing(spent))
    raised = update(standing(spent), replace(spent.settings, budget=MicroUsd(200))).campaign
    assert resume(standing(raised)).campaign.state is CampaignState.ACTIVE
    made = replace(pause(standing(active(quota=Quota(posts=2)))).campaign, produced=Quota(posts=2))
    with pytest.raises(IllegalTransition, match="a quota is used up"):
        resume(standing(made))


def test_after_five_failures_only_a_person_resumes_and_the_row_is_over_then() -> None:
    failed = replace(pause(standing(active())).campaign, failures_in_row=5)
    with pytest.raises(IllegalTransition, match="a person has to look"):
        resume(standing(failed), person=False)
    assert resume(standing(failed)).campaign.failures_in_row == 0
    fewer = replace(failed, failures_in_row=3)
    assert resume(standing(fewer), person=False).campaign.failures_in_row == 3


def test_a_completed_campaign_accounts_for_what_was_not_fired_and_stays_completed() -> None:
    campaign = active(schedule=hourly(start=minute(30)))
    change = complete(standing(campaign, at=100), "enough", cancel_open=True)
    assert change.campaign.state is CampaignState.COMPLETED
    assert change.campaign.next_due is None
    assert change.cancel_open
    assert [(each.outcome, each.count) for each in change.gaps] == [
        (Outcome.MISSED, 1),
        (Outcome.DROPPED, 1),
    ]
    assert complete(standing(change.campaign, at=200)).campaign == change.campaign


DRAFT = campaign_of()
COMPLETED = complete(standing(active())).campaign


@pytest.mark.parametrize(
    ("campaign", "decision"),
    [
        (DRAFT, pause),
        (DRAFT, resume),
        (DRAFT, complete),
        (active(), activate),
        (active(), resume),
        (COMPLETED, activate),
        (COMPLETED, pause),
        (COMPLETED, resume),
        (COMPLETED, partial(update, settings=DRAFT.settings)),
    ],
)
def test_what_the_table_of_states_does_not_know_is_refused_with_a_remedy(campaign: object, decision: Decision) -> None:
    assert isinstance(campaign, type(DRAFT))
    with pytest.raises(IllegalTransition) as refused:
        decision(standing(campaign))
    assert refused.value.remedy


def test_another_schedule_gets_the_next_version_and_is_due_from_now_on() -> None:
    campaign = active(schedule=hourly(start=minute(30)))
    other = hourly(recurrences=(Interval(timedelta(minutes=10)),), start=Micros(0), version=99)
    change = update(standing(campaign, at=45), replace(campaign.settings, schedule=other))
    schedule = change.campaign.settings.schedule
    assert schedule is not None
    assert (schedule.version, schedule.start) == (2, minute(45))
    assert change.campaign.next_due == minute(45)
    assert [(each.outcome, each.schedule_version, each.count) for each in change.gaps] == [(Outcome.DROPPED, 1, 1)]


def test_a_schedule_that_is_set_again_as_it_was_keeps_its_version_and_its_anchor() -> None:
    campaign = active(schedule=hourly())
    same = replace(hourly(start=Micros(0)), version=7)
    assert update(standing(campaign, at=20), replace(campaign.settings, schedule=same)).campaign == campaign
    later = replace(same, jitter=timedelta(minutes=1))
    change = update(standing(campaign, at=20), replace(campaign.settings, schedule=later))
    assert change.campaign.settings.schedule == replace(later, version=2, start=NOW)


def test_an_unset_start_is_now_where_the_times_recur_otherwise() -> None:
    unset = hourly(start=Micros(0))
    assert with_start(unset, None, minute(5)).start == minute(5)
    assert with_start(unset, hourly(start=minute(-1)), minute(5)).start == minute(-1)
    daily = replace(unset, recurrences=(Interval(timedelta(days=1)),))
    assert with_start(daily, hourly(), minute(5)).start == minute(5)


def test_a_schedule_that_is_taken_away_and_given_back_never_has_a_version_twice() -> None:
    campaign = active(schedule=hourly())
    without = update(standing(campaign, at=90), replace(campaign.settings, schedule=None))
    assert without.campaign.next_due is None
    assert without.campaign.state is CampaignState.ACTIVE
    assert without.campaign.schedule_state.counters.scheduled == 2
    back = update(standing(without.campaign, at=100), campaign.settings).campaign
    assert back.settings.schedule is not None
    assert back.settings.schedule.version == 4
    assert back.next_due == minute(120)
    assert back.schedule_state.counters.scheduled == 2


def test_a_schedule_that_a_paused_campaign_is_given_waits_for_the_resume() -> None:
    paused = pause(standing(active())).campaign
    given = update(standing(paused, at=10), replace(paused.settings, schedule=hourly())).campaign
    assert given.next_due is None
    assert given.schedule_state.paused_since == minute(10)
    resumed = resume(standing(given, at=70)).campaign
    assert resumed.next_due == minute(120)
    assert resumed.schedule_state.counters.paused == 1


def test_an_update_that_changes_nothing_keeps_the_etag() -> None:
    campaign = active()
    assert update(standing(campaign), campaign.settings).campaign == campaign
    renamed = update(standing(campaign), replace(campaign.settings, title="autumn")).campaign
    assert etag_of(renamed) != etag_of(campaign)
