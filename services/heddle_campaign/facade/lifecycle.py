"""What becomes of a campaign when somebody, or its own means, activate, pause, resume, change or end it. Pure.

Each function here is a decision: it is called with the campaign as it stands inside the transaction that writes its
answer. Give what else it takes with `functools.partial`.
"""

from dataclasses import replace
from typing import NoReturn

from heddle_campaign.facade.ports.decisions import Change, Standing
from heddle_campaign.facade.scheduling import changed, new_cycle, schedule_of, written
from heddle_campaign.rules import due
from heddle_campaign.rules.budget import Exhausted, exhausted
from heddle_campaign.rules.campaigns import Campaign, CampaignSettings, ExhaustionPolicy, PauseReason
from heddle_campaign.rules.cycle_keys import CycleOrigin
from heddle_campaign.rules.failures import FailureStep, failure_step
from heddle_campaign.rules.jitter import slot_key
from heddle_campaign.rules.schedule import Schedule
from heddle_campaign.rules.states import CampaignState, CampaignTransition, advance_campaign
from heddle_campaign.rules.validation import check
from heddle_core.clock import Micros
from heddle_core.errors import EtagMismatch, IllegalTransition, invalid
from heddle_core.usage import MicroUsd


def etag_of(campaign: Campaign) -> str:
    """What a caller names to be sure that nobody has changed the campaign since it was read."""
    return str(campaign.revision)


def activate(standing: Standing, *, start_now: bool = False, etag: str = "") -> Change:
    """Make a DRAFT campaign ACTIVE; `start_now`: with a first cycle beside the schedule.

    Raises:
        EtagMismatch; IllegalTransition: it is no draft, or nobody works in it.
        InvalidField: its schedule names no time any more.
    """
    campaign, now = standing.campaign, standing.now
    _require(campaign, etag)
    if campaign.state is not CampaignState.DRAFT:
        _refuse(campaign, "be activated", "only a DRAFT is; a PAUSED one is resumed with ResumeCampaign")
    if all(each.disabled for each in campaign.settings.agents):
        _refuse(campaign, "be activated", "give it an agent that is not disabled, with UpdateCampaign")
    state = advance_campaign(campaign.state, CampaignTransition.ACTIVATE)
    after = changed(campaign, now, state=state)
    schedule = campaign.settings.schedule
    change = Change(after)
    if schedule is not None:
        begun = due.activate(schedule, now, campaign.schedule_state.counters)
        if begun.state.ended:
            check(schedule, now)
            raise invalid("schedule", "names no time any more: change it with UpdateCampaign")
        change = written(standing, after, begun)
    if not start_now:
        return change
    first = new_cycle(after, slot_key(schedule_of(after), standing.moment, CycleOrigin.MANUAL), now)
    return replace(change, campaign=counted(change.campaign, 1), cycles=(*change.cycles, first))


def pause(
    standing: Standing, note: str = "", *, cancel_open: bool = False, reason: PauseReason = PauseReason.MANUAL
) -> Change:
    """Make an ACTIVE campaign PAUSED; one that is PAUSED stays as it is. Raises IllegalTransition."""
    campaign = standing.campaign
    if campaign.state is CampaignState.PAUSED:
        return Change(campaign, cancel_open=cancel_open)
    if campaign.state is not CampaignState.ACTIVE:
        _refuse(campaign, "be paused", "only an ACTIVE campaign is")
    after = changed(
        campaign,
        standing.now,
        state=advance_campaign(campaign.state, CampaignTransition.PAUSE),
        pause_reason=reason,
        pause_note=note,
        next_due=None,
    )
    if campaign.settings.schedule is not None:
        after = replace(after, schedule_state=due.pause(campaign.schedule_state, standing.now))
    return Change(after, cancel_open=cancel_open)


def resume(standing: Standing, note: str = "", *, person: bool = True) -> Change:
    """Make a PAUSED campaign ACTIVE. What has passed meanwhile becomes one gap.

    Args:
        standing: the campaign.
        note: why, for people; kept until it is paused again.
        person: whether a person asks, and nobody acts for one.

    Raises:
        IllegalTransition: it is not PAUSED; budget or quota are still used up; only a person may resume it.
    """
    campaign, now = standing.campaign, standing.now
    if campaign.state is not CampaignState.PAUSED:
        _refuse(campaign, "be resumed", "only a PAUSED campaign is")
    used_up = exhaustion(campaign)
    if used_up is not None:
        _refuse(campaign, "be resumed", f"{used_up.value} is used up: raise it with UpdateCampaign")
    alone = failure_step(campaign.settings.failure_policy, campaign.failures_in_row) is FailureStep.NEED_PERSON
    if alone and not person:
        _refuse(campaign, "be resumed", f"{campaign.failures_in_row} cycles have failed in a row: a person has to look")
    after = changed(
        campaign,
        now,
        state=advance_campaign(campaign.state, CampaignTransition.RESUME),
        pause_reason=PauseReason.NONE,
        pause_note=note,
        # A row that a person has looked at is over; a shorter one goes on, so that the next failure pauses again.
        failures_in_row=0 if alone else campaign.failures_in_row,
    )
    if campaign.settings.schedule is None:
        return Change(after)
    return written(standing, after, due.resume(campaign.settings.schedule, campaign.schedule_state, now))


def complete(standing: Standing, note: str = "", *, cancel_open: bool = False) -> Change:
    """Make an ACTIVE or PAUSED campaign COMPLETED; one that is, stays as it is. Raises IllegalTransition."""
    campaign = standing.campaign
    if campaign.state is CampaignState.COMPLETED:
        return Change(campaign, cancel_open=cancel_open)
    if campaign.state is CampaignState.DRAFT:
        _refuse(campaign, "be completed", "it never began: delete it with DeleteCampaign")
    after = changed(
        campaign,
        standing.now,
        state=advance_campaign(campaign.state, CampaignTransition.COMPLETE),
        pause_reason=PauseReason.NONE,
        pause_note=note,
        next_due=None,
    )
    change = Change(after)
    if campaign.settings.schedule is not None:
        finished = due.finish(campaign.settings.schedule, campaign.schedule_state, standing.now)
        change = written(standing, after, finished)
    return replace(change, cancel_open=cancel_open)


def update(standing: Standing, settings: CampaignSettings, *, etag: str = "") -> Change:
    """Change a campaign's settings; another schedule gets the next version, and its times fall due from now on.

    The version in the new schedule is not looked at, and where its start is zero, `with_start` finds one.

    Raises:
        EtagMismatch; IllegalTransition: it is COMPLETED.
    """
    campaign, now = standing.campaign, standing.now
    _require(campaign, etag)
    if campaign.state is CampaignState.COMPLETED:
        _refuse(campaign, "be changed", "create another one")
    old = campaign.settings.schedule
    new = _versioned(settings.schedule, old, campaign, now)
    settings = replace(settings, schedule=new)
    if settings == campaign.settings:
        return Change(campaign)
    after = changed(campaign, now, settings=settings)
    if new == old or campaign.state is CampaignState.DRAFT:
        return Change(after)
    state, gaps = campaign.schedule_state, Change(after).gaps
    if old is not None and new is not None:
        return written(standing, after, due.change(old, state, new, now))
    if old is not None:
        left = written(standing, after, due.finish(old, state, now))
        gaps, state = left.gaps, left.campaign.schedule_state
    if new is None:
        # Only its counters are looked at now.
        return Change(replace(after, schedule_state=due.ScheduleState(now, state.counters), next_due=None), gaps=gaps)
    begun = due.activate(new, now, state.counters)
    if campaign.state is CampaignState.PAUSED:
        return Change(replace(after, schedule_state=due.pause(begun.state, now), next_due=None))
    return written(standing, after, begun)


def exhaustion(campaign: Campaign) -> Exhausted | None:
    """What the campaign has used up, if anything."""
    settings = campaign.settings
    return exhausted(settings.budget, MicroUsd(campaign.usage.cost), settings.quota, campaign.produced)


def halt(standing: Standing, used_up: Exhausted) -> Change:
    """Pause or complete an ACTIVE campaign whose budget or quota is used up, as its policy says."""
    if standing.campaign.settings.exhaustion_policy is ExhaustionPolicy.COMPLETE:
        return complete(standing, note=f"{used_up.value} is used up")
    return pause(standing, reason=PauseReason[used_up.name], note=f"{used_up.value} is used up")


def counted(campaign: Campaign, unscheduled: int) -> Campaign:
    """The campaign with so many more cycles beside its schedule."""
    counters = campaign.schedule_state.counters
    more = replace(counters, unscheduled=counters.unscheduled + unscheduled)
    return replace(campaign, schedule_state=replace(campaign.schedule_state, counters=more))


def with_start(schedule: Schedule, old: Schedule | None, now: Micros) -> Schedule:
    """The schedule with a start. One that was left out (zero) is the old one's while the times recur alike, else now.

    So what is set again as it was does not change, and an interval keeps its anchor.
    """
    if schedule.start:
        return schedule
    return replace(schedule, start=old.start if old is not None and old.recurrences == schedule.recurrences else now)


def _versioned(new: Schedule | None, old: Schedule | None, campaign: Campaign, now: Micros) -> Schedule | None:
    """The new schedule under a version that none of the campaign's schedules has had."""
    if new is None:
        return None
    own = replace(new, tenant=campaign.tenant, campaign_id=campaign.campaign_id)
    own = with_start(own, old, now)
    if old is not None and replace(own, version=old.version) == old:
        return old
    # Every schedule came with a revision of the campaign, so the next revision is above all versions there were.
    return replace(own, version=old.version + 1 if old is not None else campaign.revision + 1)


def _require(campaign: Campaign, etag: str) -> None:
    if etag not in ("", etag_of(campaign)):
        raise EtagMismatch("campaign", campaign.campaign_id, etag, etag_of(campaign))


def _refuse(campaign: Campaign, verb: str, remedy: str) -> NoReturn:
    raise IllegalTransition("campaign", campaign.campaign_id, campaign.state.name, verb, remedy)
