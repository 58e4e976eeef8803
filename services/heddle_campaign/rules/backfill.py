"""Cycles beside the schedule: those that a backfill fires for a past stretch, and one that is triggered now."""

from collections.abc import Collection
from dataclasses import dataclass
from itertools import islice

from heddle_campaign.rules.cycle_keys import CycleKey, CycleOrigin
from heddle_campaign.rules.due import ScheduleState
from heddle_campaign.rules.jitter import slot_key
from heddle_campaign.rules.overlap import Admission, Load, admit
from heddle_campaign.rules.schedule import OverlapPolicy, Schedule, Stretch
from heddle_campaign.rules.times import between
from heddle_core.clock import Micros
from heddle_core.errors import invalid

MOST = 1_000
"""Most cycles that one backfill makes."""


@dataclass(frozen=True, slots=True)
class Backfill:
    """What a backfill fires, oldest first. Its cycles are unscheduled: their times were accounted for before."""

    keys: tuple[CycleKey, ...]
    overlap: OverlapPolicy = OverlapPolicy.BUFFER_ALL


def backfill(
    schedule: Schedule,
    state: ScheduleState,
    stretch: Stretch,
    now: Micros,
    taken: Collection[Micros],
    overlap: OverlapPolicy = OverlapPolicy.BUFFER_ALL,
) -> Backfill:
    """The cycles for the scheduled times of a past stretch that have none.

    Times that the schedule itself has not settled yet are left to it, so that no time is fired by both.

    Args:
        schedule: the schedule, in its present version.
        state: how far it has come.
        stretch: the stretch; it must lie in the past.
        now: the database's time.
        taken: scheduled times in the stretch that have a cycle, by the schedule or an earlier backfill.
        overlap: how the cycles overlap.

    Raises:
        InvalidField: the stretch is empty, does not lie in the past, or holds more than 1,000 such times.
    """
    if stretch.end <= stretch.start:
        raise invalid("range.end_time", "must be after range.start_time")
    if stretch.end > now:
        raise invalid("range.end_time", "must not lie in the future: the schedule fires what is to come")
    settled = now if state.paused_since is not None or state.ended else min(now, state.cursor)
    untaken = (each for each in between(schedule, stretch.start, min(stretch.end, settled)) if each not in taken)
    times = tuple(islice(untaken, MOST + 1))
    if len(times) > MOST:
        raise invalid("range", f"holds more than {MOST} times without a cycle: ask for a shorter stretch")
    return Backfill(tuple(slot_key(schedule, each, CycleOrigin.BACKFILL) for each in times), overlap)


@dataclass(frozen=True, slots=True)
class Trigger:
    """A cycle that somebody asks for now, and what it does beside the open ones."""

    key: CycleKey
    admission: Admission
    cancel_open: bool


def trigger(
    schedule: Schedule, now: Micros, load: Load, origin: CycleOrigin, overlap: OverlapPolicy | None = None
) -> Trigger:
    """The cycle for now, by hand or for a signal; `overlap` unset: as the schedule says."""
    policy = schedule.overlap if overlap is None else overlap
    cancels = policy is OverlapPolicy.CANCEL_OTHER and load.busy
    return Trigger(slot_key(schedule, now, origin), admit(policy, load), cancels)
