"""What a schedule must be to be taken: every fault is told with its field and its remedy."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from typing import assert_never

from heddle_campaign.rules.cron import CronRule
from heddle_campaign.rules.recurrence import BadRecurrence, Cron, Interval, Once, Recurrence, Rrule
from heddle_campaign.rules.rrule import RruleRule
from heddle_campaign.rules.schedule import Schedule
from heddle_campaign.rules.times import HORIZON, between, first_from
from heddle_campaign.rules.zones import UnknownZone, check_zone, instant, local_text
from heddle_core.clock import Micros, micros
from heddle_core.errors import InvalidField
from heddle_core.faults import Violation

MINIMUM_DISTANCE = timedelta(minutes=1)
"""Shortest time between two scheduled times, unless a service is set to a longer one."""
LONGEST_JITTER = timedelta(hours=1)
LONGEST_CATCH_UP = timedelta(days=366)
LONGEST_INTERVAL = timedelta(days=3_660)
MOST_RECURRENCES = 16
MOST_DATES = 366
MOST_RANGES = 64
MOST_TIMES = 1_000
LONGEST_SPAN = 3_660
"""Days that one span of excluded dates may have."""
EARLIEST = instant(datetime(1970, 1, 2, tzinfo=UTC))
LATEST = instant(datetime(2200, 1, 1, tzinfo=UTC))
"""Times beyond these are taken for mistakes of unit."""
LOOKED_AT = 500
"""How many coming times are looked at for their distance."""


def check(schedule: Schedule, now: Micros, minimum_distance: timedelta = MINIMUM_DISTANCE) -> None:
    """Refuse a schedule that cannot be kept.

    Raises:
        InvalidField: with every field that is wrong, and what to do about it. Fields have the contract's names.
    """
    violations = [*_of_fields(schedule)]
    if not violations:
        # What follows asks for times, and so needs fields that can be understood.
        violations = [*_of_times(schedule, now, minimum_distance)]
    if violations:
        raise InvalidField(tuple(violations))


def _of_fields(schedule: Schedule) -> Iterator[Violation]:
    zone_known = True
    try:
        check_zone(schedule.time_zone)
    except UnknownZone as problem:
        zone_known = False
        yield Violation("schedule.time_zone", str(problem))
    if len(schedule.recurrences) > MOST_RECURRENCES:
        yield Violation("schedule.recurrence", f"must be at most {MOST_RECURRENCES} recurrences")
    yield from _of_bounds(schedule)
    if zone_known and EARLIEST <= schedule.start <= LATEST:
        for recurrence in schedule.recurrences:
            yield from _of_recurrence(schedule, recurrence)
    yield from _of_exclusions(schedule)


def _of_bounds(schedule: Schedule) -> Iterator[Violation]:
    if not EARLIEST <= schedule.start <= LATEST:
        yield Violation("schedule.start_time", "must lie between the years 1970 and 2200")
    if schedule.end is not None and not EARLIEST <= schedule.end <= LATEST:
        yield Violation("schedule.end_time", "must lie before the year 2200; leave it unset for no end")
    elif schedule.end is not None and schedule.end <= schedule.start:
        yield Violation("schedule.end_time", "must be after start_time")
    if not timedelta(0) <= schedule.jitter <= LONGEST_JITTER:
        yield Violation("schedule.jitter", "must be 0 to 1 hour")
    if not timedelta(0) <= schedule.catch_up_window <= LONGEST_CATCH_UP:
        yield Violation("schedule.catch_up_window", "must be 0 to 366 days")
    if schedule.max_cycles < 0:
        yield Violation("schedule.max_cycles", "must not be negative; zero means no bound")


def _of_recurrence(schedule: Schedule, recurrence: Recurrence) -> Iterator[Violation]:
    match recurrence:
        case Cron():
            yield from _of_rule("schedule.cron", lambda: CronRule(recurrence.expression))
        case Rrule():
            yield from _of_rule(
                "schedule.rrule", lambda: RruleRule(recurrence.rule, schedule.start, schedule.time_zone)
            )
        case Interval():
            if not MINIMUM_DISTANCE <= recurrence.every <= LONGEST_INTERVAL:
                yield Violation("schedule.interval", "must be 1 minute to 3,660 days")
        case Once():
            if not 1 <= len(recurrence.times) <= MOST_TIMES:
                yield Violation("schedule.once", f"must be 1 to {MOST_TIMES} times")
            if not all(EARLIEST <= each <= LATEST for each in recurrence.times):
                yield Violation("schedule.once", "must lie between the years 1970 and 2200")
        case _:
            assert_never(recurrence)


def _of_rule(field: str, read: Callable[[], object]) -> Iterator[Violation]:
    try:
        read()
    except BadRecurrence as problem:
        yield Violation(field, str(problem))


def _of_exclusions(schedule: Schedule) -> Iterator[Violation]:
    if len(schedule.excluded_dates) > MOST_DATES:
        yield Violation("schedule.excluded_dates", f"must be at most {MOST_DATES}")
    for place, span in enumerate(schedule.excluded_dates):
        if not timedelta(0) <= span.last - span.first <= timedelta(days=LONGEST_SPAN):
            yield Violation(f"schedule.excluded_dates[{place}]", "must end on or after its first day, within 10 years")
        elif not 1970 <= span.first.year <= span.last.year <= 2200:
            yield Violation(f"schedule.excluded_dates[{place}]", "must lie between the years 1970 and 2200")
    if len(schedule.excluded_ranges) > MOST_RANGES:
        yield Violation("schedule.excluded_ranges", f"must be at most {MOST_RANGES}")
    for place, stretch in enumerate(schedule.excluded_ranges):
        if stretch.end <= stretch.start:
            yield Violation(f"schedule.excluded_ranges[{place}].end_time", "must be after start_time")


def _of_times(schedule: Schedule, now: Micros, minimum_distance: timedelta) -> Iterator[Violation]:
    if not schedule.recurrences:
        if schedule.end is not None and schedule.end <= now:
            yield Violation("schedule.end_time", "lies in the past: nothing would ever begin")
        return
    first = first_from(schedule, now)
    if first is None:
        yield _empty(schedule, now)
        return
    # Jitter keeps order, so distances are judged before it.
    coming = islice(between(schedule, first, Micros(first + HORIZON)), LOOKED_AT)
    for earlier, later in pairwise(coming):
        if later - earlier < micros(minimum_distance):
            zone = schedule.time_zone
            yield Violation(
                _field_of(schedule),
                f"{local_text(zone, earlier)} and {local_text(zone, later)} are too near: "
                f"leave at least {minimum_distance.total_seconds():.0f} seconds between two times",
            )
            return


def _empty(schedule: Schedule, now: Micros) -> Violation:
    """Why nothing is left: the first thing whose absence would leave something."""
    if schedule.end is not None and schedule.end <= now:
        return Violation("schedule.end_time", "lies in the past: nothing would ever be due")
    unbounded = replace(schedule, end=None)
    if schedule.end is not None and first_from(unbounded, now) is not None:
        return Violation("schedule.end_time", "lies before the first time: nothing would ever be due")
    excludes = schedule.excluded_dates or schedule.excluded_ranges
    if excludes and first_from(replace(unbounded, excluded_dates=(), excluded_ranges=()), now) is not None:
        return Violation("schedule.excluded_dates", "leave nothing: exclude less")
    return Violation(_field_of(schedule), "names no time from now on, within 50 years: choose one that comes")


def _field_of(schedule: Schedule) -> str:
    """Where the recurrence stands in the contract, which has one."""
    match schedule.recurrences:
        case (Cron(),):
            return "schedule.cron"
        case (Interval(),):
            return "schedule.interval"
        case (Rrule(),):
            return "schedule.rrule"
        case (Once(),):
            return "schedule.once"
        case _:
            return "schedule.recurrence"
