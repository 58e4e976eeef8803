"""A schedule: when a campaign's cycles are due, and under which rules. Values only."""

from dataclasses import dataclass
from datetime import date, timedelta
from enum import IntEnum

from heddle_campaign.rules.recurrence import MissingTime, Recurrence, RepeatedTime
from heddle_core.clock import Micros
from heddle_core.ids import TenantId

START_UNSAID = Micros(0)
"""The start of a schedule that was sent without one: it begins when it is set."""


class OverlapPolicy(IntEnum):
    """What becomes of a due time while other cycles are open; the numbers are the contract's."""

    SKIP = 1
    """It is left out."""
    BUFFER_ONE = 2
    """It waits if none waits yet; else it is left out."""
    BUFFER_ALL = 3
    """It waits, behind those that wait already."""
    CANCEL_OTHER = 4
    """The open ones are cancelled, and it begins; of several that are due together only the last begins."""
    ALLOW_ALL = 5
    """It begins beside them."""


@dataclass(frozen=True, slots=True)
class DateSpan:
    """Days of the schedule's zone, both included."""

    first: date
    last: date


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of UTC, end excluded."""

    start: Micros
    end: Micros


@dataclass(frozen=True, slots=True)
class Schedule:
    """When cycles are due. Times of several recurrences are united, and a time that two name is one.

    Without any recurrence it names no times: it bounds the cycles that signals and people start, and ends with `end`
    or with the last of `max_cycles`, which then counts those.

    `start` anchors intervals and RRULEs, and no time before it is due; `end` is the first moment at which none is.
    A time that falls on an excluded day, by the zone's own calendar and after any shift, is no scheduled time at all.
    """

    tenant: TenantId
    campaign_id: str
    version: int
    recurrences: tuple[Recurrence, ...]
    start: Micros
    time_zone: str = "UTC"
    end: Micros | None = None
    jitter: timedelta = timedelta(0)
    excluded_dates: tuple[DateSpan, ...] = ()
    excluded_ranges: tuple[Stretch, ...] = ()
    missing_time: MissingTime = MissingTime.SHIFT
    repeated_time: RepeatedTime = RepeatedTime.FIRST
    overlap: OverlapPolicy = OverlapPolicy.SKIP
    catch_up_window: timedelta = timedelta(hours=1)
    max_cycles: int = 0
    """Most times that fire; where no times are named, most cycles in all. Zero: no bound."""
