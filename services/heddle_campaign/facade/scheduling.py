"""What a schedule's decision makes of its campaign: cycles, gaps, when it is asked again, and its end. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from heddle_campaign.facade.ports.decisions import Change, Standing
from heddle_campaign.rules.campaigns import Campaign
from heddle_campaign.rules.cycle_keys import CycleKey
from heddle_campaign.rules.cycles import Cycle, SkipReason
from heddle_campaign.rules.due import Decision, over
from heddle_campaign.rules.records import Outcome, RangeRecord, Record, SlotRecord
from heddle_campaign.rules.schedule import Schedule
from heddle_campaign.rules.states import CampaignState, CampaignTransition, CycleState, advance_campaign
from heddle_core.clock import Micros

_NO_SCHEDULE = 0
"""Version in the keys of cycles of a campaign that has no schedule."""


def schedule_of(campaign: Campaign) -> Schedule:
    """The campaign's schedule; of one without, a schedule that names no time: it gives cycles their keys."""
    settings = campaign.settings
    return settings.schedule or Schedule(campaign.tenant, campaign.campaign_id, _NO_SCHEDULE, (), Micros(0))


def changed(campaign: Campaign, now: Micros, **fields: Any) -> Campaign:
    """The campaign with other settings or in another state: its etag changes."""
    return replace(campaign, **fields, update_time=now, revision=campaign.revision + 1)


def new_cycle(campaign: Campaign, key: CycleKey, due: Micros, **fields: Any) -> Cycle:
    """A cycle that is DUE."""
    return Cycle(key, due, campaign.settings.priority, **fields)


def skipped(cycle: Cycle, now: Micros) -> Cycle:
    """A new cycle that another one at work leaves no room for."""
    return replace(cycle, state=CycleState.SKIPPED, skip_reason=SkipReason.OVERLAP, end_time=now)


def written(standing: Standing, campaign: Campaign, decision: Decision) -> Change:
    """What is written of a schedule's decision; `campaign` is what else becomes of it."""
    active = campaign.state is CampaignState.ACTIVE
    after = replace(campaign, schedule_state=decision.state, next_due=decision.next_due if active else None)
    cycles = tuple(_cycles(after, decision.records, standing.now))
    change = Change(after, cycles, tuple(_gaps(decision.records)), decision.cancel_open)
    return completed_if_over(standing, change)


def completed_if_over(standing: Standing, change: Change) -> Change:
    """The change, and the campaign COMPLETED with it, if its schedule has ended and no cycle is open any more."""
    campaign = change.campaign
    waits = any(each.state is CycleState.DUE for each in change.cycles)
    is_open = standing.load.running + standing.load.waiting > 0
    is_over = over(campaign.settings.schedule, campaign.schedule_state)
    if campaign.state is not CampaignState.ACTIVE or not is_over or is_open or waits:
        return change
    state = advance_campaign(campaign.state, CampaignTransition.COMPLETE)
    return replace(change, campaign=changed(campaign, standing.now, state=state, next_due=None))


def _cycles(campaign: Campaign, records: Sequence[Record], now: Micros) -> Iterator[Cycle]:
    for record in records:
        if not isinstance(record, SlotRecord):
            continue
        cycle = new_cycle(campaign, record.key, record.due)
        if record.outcome is Outcome.FIRED:
            yield cycle
        elif record.outcome is Outcome.SKIPPED:
            yield skipped(cycle, now)


def _gaps(records: Sequence[Record]) -> Iterator[RangeRecord]:
    for record in records:
        if isinstance(record, RangeRecord):
            yield record
        elif record.outcome is Outcome.DROPPED:
            at = record.key.scheduled_time
            yield RangeRecord(Outcome.DROPPED, record.key.schedule_version, at, Micros(at + 1), 1)
