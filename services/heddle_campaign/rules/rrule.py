"""RRULE of RFC 5545: which readings of a wall clock a rule means, asked day by day.

python-dateutil knows RRULE too, and the tests hold this to it. It is not asked here, because it can only walk from the
first time on, and walks to the year 9999 when a rule means nothing: `FREQ=DAILY;BYSETPOS=2` keeps it busy for ten
seconds, and rules come from tenants.
"""

import calendar
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache

from heddle_campaign.rules.rrule_text import Frequency, RuleParts, read
from heddle_campaign.rules.zones import DAY, EPOCH, MINUTE, Local, local_at
from heddle_core.clock import MICROS_PER_SECOND, Micros

HORIZON_DAYS = 50 * 366
"""How far from its start the last time of a rule with COUNT is looked for."""

_HOUR = 60 * MINUTE


class RruleRule:
    """The readings of a wall clock that an RRULE means, from its start on."""

    def __init__(self, rule: str, begin: Micros, zone: str) -> None:
        """Read a rule that begins at a moment, in a zone.

        Raises:
            BadRecurrence: it is no RRULE, or one with parts that are not known here.
        """
        # Seconds are the finest that an RRULE knows.
        start = local_at(zone, Micros(begin - begin % MICROS_PER_SECOND))
        self._shape = _Shape(*_completed(read(rule), start))
        self._start = start
        self._last = self._shape.parts.last(zone)
        self.fixed = self._shape.parts.frequency <= Frequency.DAILY
        if self._shape.parts.count is not None:
            self._last = self._last_of(self._shape.parts.count)

    def on(self, day: int) -> Sequence[int]:
        """The readings on a day (counted from 1970-01-01), in microseconds since its midnight, ascending."""
        midnight = day * DAY
        if midnight + DAY <= self._start or (self._last is not None and midnight > self._last):
            return ()
        times = _times_on(self._shape, day)
        if midnight < self._start or (self._last is not None and midnight + DAY > self._last):
            end = self._last if self._last is not None else midnight + DAY
            return tuple(each for each in times if self._start <= midnight + each <= end)
        return times

    def _last_of(self, count: int) -> Local:
        first = self._start // DAY
        for day in range(first, first + HORIZON_DAYS):
            times = self.on(day)
            if len(times) >= count:
                return Local(day * DAY + times[count - 1])
            count -= len(times)
        return Local((first + HORIZON_DAYS) * DAY)


@dataclass(frozen=True, eq=False)
class _Shape:
    """A rule with what its start implies written out. Its identity is its key in caches: it has too much to compare."""

    parts: RuleParts
    first_day: int
    first_minute: int
    """Minutes from 1970-01-01 to the start, which steps of hours and minutes are counted from."""


def _completed(parts: RuleParts, start: Local) -> tuple[RuleParts, int, int]:
    day, time = divmod(start, DAY)
    on = date.fromordinal(EPOCH + day)
    implied: dict[str, tuple[int, ...]] = {}
    if not (parts.weeks or parts.year_days or parts.month_days or parts.weekdays):
        if parts.frequency is Frequency.YEARLY:
            implied["months"] = parts.months or (on.month,)
        if parts.frequency <= Frequency.MONTHLY:
            implied["month_days"] = (on.day,)
    hour, minute, second = time // _HOUR, time % _HOUR // MINUTE, time % MINUTE // MICROS_PER_SECOND
    if not parts.hours:
        implied["hours"] = (hour,) if parts.frequency < Frequency.HOURLY else tuple(range(24))
    if not parts.minutes:
        implied["minutes"] = (minute,) if parts.frequency < Frequency.MINUTELY else tuple(range(60))
    if not parts.seconds:
        implied["seconds"] = (second,)
    completed = parts.with_implied(implied)
    if parts.frequency is Frequency.WEEKLY and not parts.weekdays and not implied.get("month_days"):
        completed = completed.with_weekday(on.weekday())
    return completed, day, start // MINUTE


@lru_cache(maxsize=4_096)
def _times_on(shape: _Shape, day: int) -> tuple[int, ...]:
    parts = shape.parts
    on = date.fromordinal(EPOCH + day)
    if not _falls_in_period(shape, on, day) or not _matches(parts, on):
        return ()
    if parts.positions:
        return _chosen(shape, _period(parts, on)).get(day, ())
    if parts.frequency is Frequency.HOURLY:
        return _stepped(shape, (24 * day - shape.first_minute // 60) % parts.interval)
    if parts.frequency is Frequency.MINUTELY:
        return _stepped(shape, (1_440 * day - shape.first_minute) % parts.interval)
    return _stepped(shape, 0)


@lru_cache(maxsize=1_024)
def _stepped(shape: _Shape, phase: int) -> tuple[int, ...]:
    """The times of a day; `phase` is how many steps of hours or minutes beyond a hit its midnight lies."""
    parts = shape.parts
    return tuple(
        sorted(
            hour * _HOUR + minute * MINUTE + second * MICROS_PER_SECOND
            for hour in parts.hours
            if parts.frequency is not Frequency.HOURLY or (hour + phase) % parts.interval == 0
            for minute in parts.minutes
            if parts.frequency is not Frequency.MINUTELY or (60 * hour + minute + phase) % parts.interval == 0
            for second in parts.seconds
        )
    )


def _falls_in_period(shape: _Shape, on: date, day: int) -> bool:
    first = date.fromordinal(EPOCH + shape.first_day)
    interval = shape.parts.interval
    match shape.parts.frequency:
        case Frequency.YEARLY:
            distance = on.year - first.year
        case Frequency.MONTHLY:
            distance = 12 * (on.year - first.year) + on.month - first.month
        case Frequency.WEEKLY:
            start = shape.parts.week_start
            distance = (day - (on.weekday() - start) % 7 - shape.first_day + (first.weekday() - start) % 7) // 7
        case Frequency.DAILY:
            distance = day - shape.first_day
        case _:
            return True
    return distance % interval == 0


def _matches(parts: RuleParts, on: date) -> bool:
    return (
        (not parts.months or on.month in parts.months)
        and (not parts.weeks or _week_matches(parts, on))
        and (not parts.month_days or _counted(parts.month_days, on.day, calendar.monthrange(on.year, on.month)[1]))
        and (not parts.year_days or _counted(parts.year_days, on.timetuple().tm_yday, _length_of(on.year)))
        and (not parts.weekdays or _weekday_matches(parts, on))
    )


def _weekday_matches(parts: RuleParts, on: date) -> bool:
    for nth, weekday in parts.weekdays:
        if weekday != on.weekday():
            continue
        if nth == 0:
            return True
        if parts.frequency is Frequency.YEARLY and not parts.months:
            day, length = on.timetuple().tm_yday, _length_of(on.year)
        else:
            day, length = on.day, calendar.monthrange(on.year, on.month)[1]
        if nth == ((day - 1) // 7 + 1 if nth > 0 else -((length - day) // 7 + 1)):
            return True
    return False


def _week_matches(parts: RuleParts, on: date) -> bool:
    # The week belongs to the year that has most of its days: that of its fourth.
    begin = on - timedelta(days=(on.weekday() - parts.week_start) % 7)
    year = (begin + timedelta(days=3)).year
    first = _first_week(year, parts.week_start)
    weeks = (_first_week(year + 1, parts.week_start) - first).days // 7
    return _counted(parts.weeks, (begin - first).days // 7 + 1, weeks)


def _first_week(year: int, week_start: int) -> date:
    fourth = date(year, 1, 4)
    return fourth - timedelta(days=(fourth.weekday() - week_start) % 7)


def _counted(wanted: tuple[int, ...], number: int, length: int) -> bool:
    return number in wanted or number - length - 1 in wanted


def _length_of(year: int) -> int:
    return 366 if calendar.isleap(year) else 365


def _period(parts: RuleParts, on: date) -> tuple[int, int]:
    """First and last day of the period that BYSETPOS chooses from, both included, counted from 1970-01-01."""
    match parts.frequency:
        case Frequency.YEARLY:
            first, last = date(on.year, 1, 1), date(on.year, 12, 31)
        case Frequency.MONTHLY:
            first, last = on.replace(day=1), on.replace(day=calendar.monthrange(on.year, on.month)[1])
        case Frequency.WEEKLY:
            first = on - timedelta(days=(on.weekday() - parts.week_start) % 7)
            last = first + timedelta(days=6)
        case _:
            first = last = on
    return first.toordinal() - EPOCH, last.toordinal() - EPOCH


@lru_cache(maxsize=256)
def _chosen(shape: _Shape, period: tuple[int, int]) -> dict[int, tuple[int, ...]]:
    """What BYSETPOS takes from a period: times by day. Places are reckoned, so that no long list is made."""
    times = _stepped(shape, 0)
    days = [day for day in range(period[0], period[1] + 1) if _matches(shape.parts, date.fromordinal(EPOCH + day))]
    size = len(days) * len(times)
    places = {each - 1 if each > 0 else size + each for each in shape.parts.positions}
    chosen: dict[int, list[int]] = {}
    for place in sorted(each for each in places if 0 <= each < size):
        chosen.setdefault(days[place // len(times)], []).append(times[place % len(times)])
    return {day: tuple(each) for day, each in chosen.items()}
