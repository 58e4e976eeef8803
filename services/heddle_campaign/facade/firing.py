"""Cycles beside the schedule: by hand, for a past stretch, and for a signal. Pure decisions, as in `lifecycle`."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NoReturn, cast

from heddle_campaign.facade.lifecycle import counted
from heddle_campaign.facade.ports.decisions import Change, Fired, Standing
from heddle_campaign.facade.scheduling import new_cycle, schedule_of, skipped
from heddle_campaign.rules import backfill as beside
from heddle_campaign.rules.campaigns import Campaign
from heddle_campaign.rules.cycle_keys import CycleOrigin
from heddle_campaign.rules.cycles import Cycle, Signal
from heddle_campaign.rules.due import over
from heddle_campaign.rules.overlap import Admission, Load, admit
from heddle_campaign.rules.rotation import MOST_AGENTS
from heddle_campaign.rules.schedule import OverlapPolicy, Stretch
from heddle_campaign.rules.signals import Payload
from heddle_campaign.rules.states import CampaignState
from heddle_campaign.rules.triggers import Answer, OptedIn, SignalOutcome, answer
from heddle_campaign.rules.words import terms
from heddle_core.clock import Micros
from heddle_core.errors import IllegalTransition, invalid


def trigger(
    standing: Standing, *, roles: Sequence[str] = (), note: str = "", overlap: OverlapPolicy | None = None
) -> Change:
    """Start a cycle by hand; it is SKIPPED where the overlap policy leaves no room.

    Args:
        standing: the campaign.
        roles: whom to ask. Empty: as a scheduled cycle would choose.
        note: what the agents are told beyond the brief.
        overlap: what to do while another cycle is open. None: as the schedule says.

    Raises:
        IllegalTransition: the campaign is not ACTIVE, or has begun as many cycles as it may.
        InvalidField: a role is unknown or disabled, or there are more than 5.
    """
    campaign = standing.campaign
    if campaign.state is not CampaignState.ACTIVE:
        _refuse(campaign, "start a cycle", "activate or resume it first")
    if _is_full(campaign):
        _refuse(campaign, "start a cycle", "schedule.max_cycles have begun: raise it with UpdateCampaign")
    wanted = tuple(dict.fromkeys(roles))
    _check_roles(campaign, wanted)
    return _beside(standing, CycleOrigin.MANUAL, overlap, roles=wanted, note=note)


def backfill(standing: Standing, stretch: Stretch, overlap: OverlapPolicy = OverlapPolicy.BUFFER_ALL) -> Change:
    """Fire the scheduled times of a past stretch that have no cycle; `Standing.taken` says which have.

    Times that find no room because a thousand cycles wait are left as they were: ask again for them.

    Raises:
        IllegalTransition: the campaign is neither ACTIVE nor PAUSED.
        InvalidField: it has no schedule, or what `rules.backfill.backfill` refuses.
    """
    campaign, now = standing.campaign, standing.now
    if campaign.state not in (CampaignState.ACTIVE, CampaignState.PAUSED):
        _refuse(campaign, "be backfilled", "only an ACTIVE or PAUSED campaign is")
    schedule = campaign.settings.schedule
    if schedule is None:
        raise invalid("campaign_id", "has no schedule: there are no times to fire")
    if not schedule.recurrences:
        raise invalid("campaign_id", "has a schedule that names no times: there are none to fire")
    filled = beside.backfill(schedule, campaign.schedule_state, stretch, now, standing.taken, overlap)
    # A microsecond apart, so that the oldest goes first.
    cycles = [new_cycle(campaign, key, Micros(now + place)) for place, key in enumerate(filled.keys)]
    cancel = overlap is OverlapPolicy.CANCEL_OTHER and bool(cycles)
    if cancel:
        admitted = [*(skipped(each, now) for each in cycles[:-1]), cycles[-1]]
    else:
        admitted = list(_admitted(cycles, standing.load, overlap, now))
    fired = sum(not each.state.terminal for each in admitted)
    return Change(counted(campaign, fired), tuple(admitted), cancel_open=cancel and standing.load.busy)


def answer_signal(standing: Standing, signal: Signal) -> tuple[Answer, Change]:
    """What a campaign does with a signal, and what is written of it; `Standing.history` is that of its dedupe key.

    While another cycle is open, the schedule's overlap policy holds; but where it leaves out what is due, the cycle of
    a signal waits, unless one waits already: no later time will stand for it. What finds no room is not on record, so
    that the same signal may be reported again.
    """
    campaign = standing.campaign
    if closed := _closed(standing):
        return Answer(SignalOutcome.NOBODY, reason=closed), Change(campaign)
    settings = campaign.settings
    found = answer(
        settings.triggers,
        [
            OptedIn(each.role, frozenset(each.signal_kinds), each.weight)
            for each in settings.agents
            if not each.disabled
        ],
        standing.history,
        signal.kind,
        _payload(signal),
        signal.dedupe_key,
        terms(settings.brief, *(each.topic or each.key for each in settings.rotation.targets)),
        standing.now,
    )
    if found.outcome is not SignalOutcome.FIRED:
        return found, Change(campaign)
    overlap = schedule_of(campaign).overlap
    if overlap is OverlapPolicy.SKIP:
        overlap = OverlapPolicy.BUFFER_ONE
    change = _beside(
        standing,
        CycleOrigin.SIGNAL,
        overlap,
        roles=found.roles,
        evidence=signal,
        trigger_key=found.trigger_key,
    )
    (cycle,) = change.cycles
    if cycle.state.terminal:
        return replace(found, outcome=SignalOutcome.NO_ROOM, reason="as many wait as may"), Change(campaign)
    return found, replace(change, fired=Fired(found.trigger_key, signal.dedupe_key, cycle.cycle_id))


def _closed(standing: Standing) -> str:
    """Why the campaign takes no signal at all, for people. Empty: it does."""
    campaign, schedule = standing.campaign, standing.campaign.settings.schedule
    if campaign.state is not CampaignState.ACTIVE:
        return f"the campaign is {campaign.state.name}"
    if schedule is None:
        return ""
    if standing.moment < schedule.start or (schedule.end is not None and schedule.end <= standing.moment):
        return "it is outside the campaign's dates"
    return "the campaign has begun as many cycles as it may" if _is_full(campaign) else ""


def _is_full(campaign: Campaign) -> bool:
    """Whether a campaign without times of its own has begun as many cycles as it may."""
    schedule = campaign.settings.schedule
    return schedule is not None and not schedule.recurrences and over(schedule, campaign.schedule_state)


def _beside(standing: Standing, origin: CycleOrigin, overlap: OverlapPolicy | None, **fields: Any) -> Change:
    campaign = standing.campaign
    asked = beside.trigger(schedule_of(campaign), standing.moment, standing.load, origin, overlap)
    cycle = new_cycle(campaign, asked.key, standing.now, **fields)
    if asked.admission in (Admission.SKIP, Admission.DROP):
        return Change(campaign, (skipped(cycle, standing.now),))
    return Change(counted(campaign, 1), (cycle,), cancel_open=asked.cancel_open)


def _admitted(cycles: Sequence[Cycle], load: Load, overlap: OverlapPolicy, now: Micros) -> Iterator[Cycle]:
    for cycle in cycles:
        admission = admit(overlap, load)
        load = load.after(overlap, admission)
        if admission is Admission.SKIP:
            yield skipped(cycle, now)
        elif admission is not Admission.DROP:
            yield cycle


def _check_roles(campaign: Campaign, roles: Sequence[str]) -> None:
    known = [each.role for each in campaign.settings.agents if not each.disabled]
    if len(roles) > MOST_AGENTS:
        raise invalid("roles", f"at most {MOST_AGENTS}; these are {len(roles)}")
    for place, role in enumerate(roles):
        if role not in known:
            raise invalid(f"roles[{place}]", f"one of {', '.join(known) or 'nobody: every agent is disabled'}")


def _payload(signal: Signal) -> Payload:
    """The payload as an object; whoever took the signal has checked that it is one."""
    value = json.loads(signal.payload_json or "{}")
    return cast("Payload", value) if isinstance(value, dict) else {}


def _refuse(campaign: Campaign, verb: str, remedy: str) -> NoReturn:
    raise IllegalTransition("campaign", campaign.campaign_id, campaign.state.name, verb, remedy)
