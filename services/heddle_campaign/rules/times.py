"""The scheduled times of a schedule: told in order, counted, and found from any moment on, without a walk to it."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from heapq import merge
from itertools import islice
from typing import Protocol, assert_never

from heddle_campaign.rules.cron import CronRule
from heddle_campaign.rules.recurrence import Cron, Interval, Once, Recurrence, Rrule
from heddle_campaign.rules.rrule import RruleRule
from heddle_campaign.rules.schedule import DateSpan, Schedule, Stretch
from heddle_campaign.rules.wall import WallTimes
from heddle_campaign.rules.zones import DAY, EPOCH, Local, changes, local_at, local_text, segments
from heddle_core.clock import Micros, micros

HORIZON = 50 * 366 * DAY
"""How far ahead the next time is looked for; a schedule without one within it counts as over."""


@dataclass(frozen=True, slots=True)
class ScheduledTime:
    """One time, with what people want to know of it."""

    at: Micros
    local: str
    """In the schedule's zone, with its offset."""
    shifted: bool
    """Whether a clock change moved it."""
    repeated: bool
    """Whether its local time exists twice."""


def between(schedule: Schedule, first: Micros, end: Micros) -> Iterator[Micros]:
    """The scheduled times from `first` on and before `end`, ascending, each once."""
    plan = _plan(schedule)
    last: Micros | None = None
    for window in _windows(schedule, plan, first, end):
        for at in merge(*(source.between(window.start, window.end) for source in plan.sources)):
            if at != last:
                yield at
            last = at


def count(schedule: Schedule, first: Micros, end: Micros) -> int:
    """How many times `between` would tell. A step a day for one recurrence; several are walked, in constant memory."""
    plan = _plan(schedule)
    if len(plan.sources) == 1:
        return sum(plan.sources[0].count(each.start, each.end) for each in _windows(schedule, plan, first, end))
    return sum(1 for _ in between(schedule, first, end))


def first_from(schedule: Schedule, at: Micros) -> Micros | None:
    """The first scheduled time at or after a moment, or None when there is none within 50 years."""
    begin = max(at, schedule.start)
    return next(between(schedule, begin, Micros(begin + HORIZON)), None)


def preview(schedule: Schedule, at: Micros, most: int) -> tuple[ScheduledTime, ...]:
    """The next times from a moment on, at most `most`, before jitter and whatever overlap and limits make of them."""
    begin = max(at, schedule.start)
    return tuple(_told(schedule, each) for each in islice(between(schedule, begin, Micros(begin + HORIZON)), most))


class _Source(Protocol):
    def between(self, first: Micros, end: Micros) -> Iterator[Micros]: ...

    def count(self, first: Micros, end: Micros) -> int: ...

    def moved(self, at: Micros) -> bool:
        """Whether one of its times is at that moment only because a clock change moved it."""
        ...


class _Steps:
    """A fixed distance, counted from an anchor."""

    def __init__(self, anchor: Micros, every: int) -> None:
        self._anchor = anchor
        self._every = every

    def between(self, first: Micros, end: Micros) -> Iterator[Micros]:
        for step in range(self._step(first), self._step(end)):
            yield Micros(self._anchor + step * self._every)

    def count(self, first: Micros, end: Micros) -> int:
        return max(0, self._step(end) - self._step(first))

    def moved(self, at: Micros) -> bool:
        return False

    def _step(self, at: Micros) -> int:
        """The first step at or after a moment."""
        return max(0, -(-(at - self._anchor) // self._every))


class _Moments:
    """Times that were named one by one."""

    def __init__(self, times: tuple[Micros, ...]) -> None:
        self._times = sorted(set(times))

    def between(self, first: Micros, end: Micros) -> Iterator[Micros]:
        return (each for each in self._times if first <= each < end)

    def count(self, first: Micros, end: Micros) -> int:
        return sum(1 for _ in self.between(first, end))

    def moved(self, at: Micros) -> bool:
        return False


@dataclass(frozen=True)
class _Plan:
    sources: tuple[_Source, ...]
    excluded: tuple[Stretch, ...]
    """Ascending; two may overlap."""


@lru_cache(maxsize=4_096)
def _plan(schedule: Schedule) -> _Plan:
    """What a schedule's texts mean; kept, because a claim loop asks for the same schedules again and again."""
    excluded = [*schedule.excluded_ranges]
    for span in schedule.excluded_dates:
        excluded.extend(_stretches_of(schedule.time_zone, span))
    return _Plan(
        tuple(_source(schedule, each) for each in schedule.recurrences),
        tuple(sorted(excluded, key=lambda each: each.start)),
    )


def _source(schedule: Schedule, recurrence: Recurrence) -> _Source:
    match recurrence:
        case Cron():
            return _wall(schedule, CronRule(recurrence.expression))
        case Rrule():
            return _wall(schedule, RruleRule(recurrence.rule, schedule.start, schedule.time_zone))
        case Interval():
            return _Steps(schedule.start, micros(recurrence.every))
        case Once():
            return _Moments(recurrence.times)
        case _:
            assert_never(recurrence)


def _wall(schedule: Schedule, rule: CronRule | RruleRule) -> WallTimes:
    return WallTimes(rule, schedule.time_zone, schedule.missing_time, schedule.repeated_time)


def _windows(schedule: Schedule, plan: _Plan, first: Micros, end: Micros) -> Iterator[Stretch]:
    """What is left of a stretch without the time before the start, after the end, and excluded."""
    first = max(first, schedule.start)
    end = end if schedule.end is None else min(end, schedule.end)
    for excluded in plan.excluded:
        if excluded.end <= first:
            continue
        if excluded.start >= end:
            break
        if first < excluded.start:
            yield Stretch(first, excluded.start)
        first = max(first, excluded.end)
    if first < end:
        yield Stretch(first, end)


def _stretches_of(zone: str, span: DateSpan) -> Iterator[Stretch]:
    """The moments whose local date lies in a span; more than one stretch where a change repeats a midnight."""
    first = Local((span.first.toordinal() - EPOCH) * DAY)
    end = Local((span.last.toordinal() + 1 - EPOCH) * DAY)
    for segment in segments(zone, Micros(first - 2 * DAY), Micros(end + 2 * DAY)):
        start = max(segment.start, first - segment.offset)
        stop = min(segment.end, end - segment.offset)
        if start < stop:
            yield Stretch(Micros(start), Micros(stop))


def _told(schedule: Schedule, at: Micros) -> ScheduledTime:
    zone = schedule.time_zone
    local = local_at(zone, at)
    near = changes(zone, Micros(at - 2 * DAY), Micros(at + 2 * DAY))
    repeated = any(each.at + each.after <= local < each.at + each.before for each in near)
    naming = [each for each in _plan(schedule).sources if each.count(at, Micros(at + 1))]
    return ScheduledTime(at, local_text(zone, at), all(each.moved(at) for each in naming), repeated)
