"""What a schedule does now: the one function that the claim loop asks, and the steps of its state beside it.

A schedule's state is a cursor and counters. All times before the cursor are accounted for, each in one record; a time
is fired by moving the cursor past it in the transaction that writes the cycle under its key. That alone makes one fire
a time: a replica that read an older state finds that the cursor has moved, or that the key is taken.
"""

from dataclasses import dataclass, replace
from datetime import timedelta

from heddle_campaign.rules.jitter import due_time, slot_key
from heddle_campaign.rules.overlap import Admission, Load, admit
from heddle_campaign.rules.records import NONE, Counters, Outcome, RangeRecord, Record, SlotRecord
from heddle_campaign.rules.schedule import OverlapPolicy, Schedule
from heddle_campaign.rules.times import between, count, first_from
from heddle_core.clock import Micros, micros

MOST_SLOTS = 100
"""Most times that one decision settles one by one; the rest is due at once, for the next decision."""

IN_TIME = timedelta(minutes=1)
"""What a tick may be late by itself, as when a replica that died is taken over from: nothing is missed for less,
however short the catch-up window is. Two times are as far apart at least, so that it makes up for one time at most."""

IDLE = Load()

_OUTCOMES = {
    Admission.BEGIN: Outcome.FIRED,
    Admission.WAIT: Outcome.FIRED,
    Admission.SKIP: Outcome.SKIPPED,
    Admission.DROP: Outcome.DROPPED,
}


@dataclass(frozen=True, slots=True)
class ScheduleState:
    """How far a schedule has come."""

    cursor: Micros
    """Every time before it is accounted for, and none from it on."""
    counters: Counters = NONE
    paused_since: Micros | None = None
    ended: bool = False
    """Whether nothing will ever be due again."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What to write in one transaction, and when to ask again."""

    state: ScheduleState
    records: tuple[Record, ...] = ()
    """In the order of their times."""
    next_due: Micros | None = None
    """When to ask again; None: not before something else changes. Never ask earlier for nothing."""
    cancel_open: bool = False
    """Whether the cycles that were open before are to be cancelled."""


def activate(schedule: Schedule, now: Micros, counters: Counters = NONE) -> Decision:
    """Begin a schedule: its times fall due from now on, and those before are none of its."""
    return _next(schedule, ScheduleState(now, counters), [])


def due(schedule: Schedule, state: ScheduleState, now: Micros, load: Load = IDLE, most: int = MOST_SLOTS) -> Decision:
    """What to fire, skip and record now.

    Times that are late by more than the catch-up window, but at least `IN_TIME` (reckoned from the end of their
    jitter), are missed, as one range. The others are settled in order by the overlap policy, each with a record. What
    is due after the last cycle of `max_cycles` is dropped. While the campaign is paused nothing is decided: `resume`
    accounts for it at once.

    Args:
        schedule: the schedule, in the version that `state` belongs to.
        state: the state as stored.
        now: the database's time.
        load: the campaign's open cycles.
        most: most times to settle one by one.
    """
    if state.ended or state.paused_since is not None:
        return Decision(state)
    records: list[Record] = []
    state = _pass(schedule, state, _too_late(schedule, now), Outcome.MISSED, records)
    batch = _Batch(schedule, state.counters, load)
    for at in between(schedule, state.cursor, Micros(now + 1)):
        due_at = due_time(schedule, at)
        if batch.limit_reached:
            break
        if due_at > now or len(batch.slots) == most:
            state = ScheduleState(at, batch.counters)
            return Decision(state, (*records, *batch.slots), max(now, due_at), batch.cancel_open)
        batch.settle(at, due_at)
        state = replace(state, cursor=Micros(at + 1))
    records.extend(batch.slots)
    state = replace(state, counters=batch.counters)
    if batch.limit_reached:
        state = _pass(schedule, state, Micros(now + 1), Outcome.DROPPED, records)
    else:
        state = replace(state, cursor=max(state.cursor, Micros(now + 1)))
    return replace(_next(schedule, state, records), cancel_open=batch.cancel_open)


def pause(state: ScheduleState, now: Micros) -> ScheduleState:
    """Stop a schedule: what is due and not settled yet, and all that falls due from now on, will count as paused."""
    return state if state.ended or state.paused_since is not None else replace(state, paused_since=now)


def resume(schedule: Schedule, state: ScheduleState, now: Micros) -> Decision:
    """Go on after a pause, or account for what has passed of it: one range, however long it was.

    What was too late already when the pause began is missed, as it would have been without.
    """
    records: list[Record] = []
    state = _settled(schedule, state, now, records)
    return _next(schedule, replace(state, paused_since=None), records)


def counted(schedule: Schedule, state: ScheduleState, now: Micros) -> Counters:
    """The counters as a reader should see them: with what has passed of a pause that is not over."""
    return state.counters if state.paused_since is None else _settled(schedule, state, now, []).counters


def change(before: Schedule, state: ScheduleState, after: Schedule, now: Micros) -> Decision:
    """Go over to another version of the schedule. What the old one left unsettled is dropped, or paused in a pause."""
    records: list[Record] = []
    state = _settled(before, state, now, records)
    # A schedule that had ended has named no times since.
    state = replace(state, cursor=max(state.cursor, now), ended=False)
    if state.paused_since is not None:
        return Decision(replace(state, paused_since=now), tuple(records))
    return _next(after, state, records)


def finish(schedule: Schedule, state: ScheduleState, now: Micros) -> Decision:
    """End a schedule for good. What it left unsettled is dropped, or paused in a pause."""
    records: list[Record] = []
    state = _settled(schedule, state, now, records)
    return Decision(replace(state, paused_since=None, ended=True), tuple(records))


class _Batch:
    """The times that one decision settles one by one."""

    def __init__(self, schedule: Schedule, counters: Counters, load: Load) -> None:
        self.slots: list[SlotRecord] = []
        self.counters = counters
        self.cancel_open = False
        self._schedule = schedule
        self._open_before = load.running + load.waiting > 0
        self._load = load

    @property
    def limit_reached(self) -> bool:
        return limit_reached(self._schedule, self.counters)

    def settle(self, at: Micros, due_at: Micros) -> None:
        policy = self._schedule.overlap
        admission = admit(policy, self._load)
        if policy is OverlapPolicy.CANCEL_OTHER and self._load.busy:
            self.cancel_open = self._open_before
            self._skip_begun()
        self._load = self._load.after(policy, admission)
        outcome = _OUTCOMES[admission]
        self.counters = self.counters.plus(outcome)
        self.slots.append(SlotRecord(slot_key(self._schedule, at), outcome, admission, due_at))

    def _skip_begun(self) -> None:
        """Of several that are due together under CANCEL_OTHER, none begins only to be cancelled at once."""
        for place, slot in enumerate(self.slots):
            if slot.outcome is Outcome.FIRED:
                self.slots[place] = replace(slot, outcome=Outcome.SKIPPED, admission=Admission.SKIP)
                self.counters = self.counters.given_up(Outcome.SKIPPED)


def limit_reached(schedule: Schedule, counters: Counters) -> bool:
    """Whether as many times have fired as the schedule allows; of one that names no times, as many cycles beside it."""
    begun = counters.fired if schedule.recurrences else counters.fired + counters.unscheduled
    return 0 < schedule.max_cycles <= begun


def over(schedule: Schedule | None, state: ScheduleState) -> bool:
    """Whether nothing will ever be due again; of a schedule that names no times, whether it takes no cycle any more.

    A campaign without a schedule goes on until somebody ends it.
    """
    if schedule is None:
        return False
    return state.ended or (not schedule.recurrences and limit_reached(schedule, state.counters))


def _settled(schedule: Schedule, state: ScheduleState, now: Micros, records: list[Record]) -> ScheduleState:
    """The state with every time before now accounted for, and none of them fired."""
    if state.ended:
        return state
    paused = state.paused_since
    state = _pass(schedule, state, _too_late(schedule, now if paused is None else paused), Outcome.MISSED, records)
    return _pass(schedule, state, now, Outcome.DROPPED if paused is None else Outcome.PAUSED, records)


def _pass(
    schedule: Schedule, state: ScheduleState, end: Micros, outcome: Outcome, records: list[Record]
) -> ScheduleState:
    """The state with all times before `end` accounted for as one range, which is noted if it holds any."""
    if end <= state.cursor:
        return state
    times = count(schedule, state.cursor, end)
    if times:
        records.append(RangeRecord(outcome, schedule.version, state.cursor, end, times))
    return replace(state, cursor=end, counters=state.counters.plus(outcome, times))


def _next(schedule: Schedule, state: ScheduleState, records: list[Record]) -> Decision:
    if not schedule.recurrences:
        # One that is full has not ended: a cycle of it may yet be given up before it begins.
        ended = schedule.end is not None and schedule.end <= state.cursor
        return Decision(replace(state, ended=ended), tuple(records), None if ended else schedule.end)
    if limit_reached(schedule, state.counters):
        return Decision(replace(state, ended=True), tuple(records))
    at = first_from(schedule, state.cursor)
    if at is None:
        return Decision(replace(state, ended=True), tuple(records))
    return Decision(state, tuple(records), due_time(schedule, at))


def _too_late(schedule: Schedule, now: Micros) -> Micros:
    """The first scheduled time that may still begin now."""
    window = max(schedule.catch_up_window, IN_TIME)
    return Micros(now - micros(window + schedule.jitter))
