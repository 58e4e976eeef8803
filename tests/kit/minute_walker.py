"""A second statement of what cron means, by brute force: every minute is looked at, and asked for its local time.

It shares nothing with the code that it judges. It does not know segments, offsets or arithmetic of days: it walks the
minutes of UTC around a change of clocks, asks the zone what the wall shows, and notes which readings it has seen twice
and which never. A set of minutes is an integer with one bit a minute, so that 200 expressions are judged in one walk.
"""

import calendar
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from importlib.resources import files
from typing import TypeVar
from zoneinfo import ZoneInfo

Field = TypeVar("Field")

MINUTE = timedelta(minutes=1)
AROUND = timedelta(hours=7)
"""How far around a change minutes are judged: all that it can touch, as times out of a gap fall on its end."""
MARGIN = timedelta(hours=4)
"""How much farther they are walked, so that the other half of a repetition is seen."""

DAYS = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]
MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]


@dataclass(frozen=True)
class ClockChange:
    """A zone's offset changes at a minute of UTC."""

    zone: str
    at: datetime
    before: timedelta
    after: timedelta


@cache
def table_of(zone: str) -> ZoneInfo:
    """The zone as the tzdata package knows it, whatever the machine has."""
    with files("tzdata").joinpath("zoneinfo", *zone.split("/")).open("rb") as table:
        return ZoneInfo.from_file(table, key=zone)


def all_zones() -> list[str]:
    """The zones of tzdata, one name for each table: links and equal tables are left out."""
    tables: dict[bytes, str] = {}
    for zone in sorted(files("tzdata").joinpath("zones").read_text().split()):
        tables.setdefault(files("tzdata").joinpath("zoneinfo", *zone.split("/")).read_bytes(), zone)
    return sorted(tables.values())


def clock_changes(zone: str, first_year: int, last_year: int) -> Iterator[ClockChange]:
    """Every change of a zone's offset, found by asking twice a day, then each minute."""
    table = table_of(zone)
    first = int(datetime(first_year, 1, 1, tzinfo=UTC).timestamp())
    end = int(datetime(last_year + 1, 1, 1, tzinfo=UTC).timestamp())
    before = _offset(table, first - 60)
    for asked in range(first, end, 12 * 3_600):
        after = _offset(table, asked)
        if after != before:
            minute = asked
            while _offset(table, minute - 60) == after:
                minute -= 60
            yield ClockChange(zone, datetime.fromtimestamp(minute, UTC), before, after)
        before = after


def _offset(table: ZoneInfo, seconds: int) -> timedelta:
    offset = datetime.fromtimestamp(seconds, table).utcoffset()
    assert offset is not None
    return offset


@dataclass(frozen=True)
class Expression:
    """A cron expression as sets of numbers; read by its own few lines."""

    text: str
    minutes: frozenset[int]
    hours: frozenset[int]
    months: frozenset[int]
    days: str
    weekdays: str

    @property
    def fixed(self) -> bool:
        """Whether neither minute nor hour begins with a star."""
        minute, hour, *_ = self.text.split()
        return not minute.startswith("*") and not hour.startswith("*")

    def has_day(self, on: date) -> bool:
        """Whether the day is meant: both day fields when one begins with a star, either when none does."""
        return on.month in self.months and _day_is_meant(self.days, self.weekdays, on)


@cache
def read(text: str) -> Expression:
    minute, hour, day, month, weekday = text.upper().split()
    return Expression(
        text, _numbers(minute, 0, 59), _numbers(hour, 0, 23), _numbers(month, 1, 12, MONTHS), day, weekday
    )


@cache
def _day_is_meant(days: str, weekdays: str, on: date) -> bool:
    in_month = any(_day_matches(part, on) for part in days.split(","))
    in_week = any(_weekday_matches(part, on) for part in weekdays.split(","))
    both = days.startswith("*") or weekdays.startswith("*")
    return (in_month and in_week) if both else (in_month or in_week)


def _numbers(field: str, low: int, high: int, names: list[str] | None = None) -> frozenset[int]:
    found: set[int] = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        first, dash, last = span.partition("-")
        if first == "*":
            start, stop = low, high
        else:
            start = _number(first, names)
            stop = _number(last, names) if dash else high if step else start
        found.update(range(start, stop + 1, int(step or 1)))
    return frozenset(found)


def _number(text: str, names: list[str] | None) -> int:
    if names and text in names:
        return names.index(text) + (names is MONTHS)
    return int(text)


def _day_matches(part: str, on: date) -> bool:
    length = calendar.monthrange(on.year, on.month)[1]
    if part == "L":
        return on.day == length
    if part == "LW":
        workdays = [day for day in range(1, length + 1) if on.replace(day=day).weekday() < 5]
        return on.day == workdays[-1]
    return on.day in _numbers(part, 1, 31)


def _weekday_matches(part: str, on: date) -> bool:
    sunday_first = on.isoweekday() % 7
    length = calendar.monthrange(on.year, on.month)[1]
    name, hash_mark, nth = part.partition("#")
    if hash_mark:
        return _number(name, DAYS) % 7 == sunday_first and (on.day + 6) // 7 == int(nth)
    if part.endswith("L"):
        return _number(part[:-1], DAYS) % 7 == sunday_first and on.day + 7 > length
    return sunday_first in {each % 7 for each in _numbers(part, 0, 7 if part != "*" else 6, DAYS)}


class Walk:
    """The minutes around a change, each with what the wall showed."""

    def __init__(self, change: ClockChange) -> None:
        table = table_of(change.zone)
        self.first = change.at - AROUND
        self.end = change.at + AROUND
        self._begin = self.first - MARGIN
        walked = int((self.end + MARGIN - self._begin) / MINUTE)
        readings = [(self._begin + place * MINUTE).astimezone(table).replace(tzinfo=None) for place in range(walked)]
        margin = int(MARGIN / MINUTE)
        self.judged = _bits(range(margin, walked - margin))
        self._existing = _Readings(dict(enumerate(readings)))
        self._known: dict[str, int] = {}
        self._gap_ends: list[tuple[int, int]] = []
        seen: dict[datetime, int] = {}
        first_of_two: set[int] = set()
        second_of_two: set[int] = set()
        missing: dict[int, datetime] = {}
        for place, reading in enumerate(readings):
            if reading in seen:
                first_of_two.add(seen[reading])
                second_of_two.add(place)
            seen[reading] = place
            if place and reading > readings[place - 1] + MINUTE:
                start = len(missing)
                skipped = readings[place - 1] + MINUTE
                while skipped < reading:
                    missing[len(missing)] = skipped
                    skipped += MINUTE
                self._gap_ends.append((_bits(range(start, len(missing))), place))
        self._missing = _Readings(missing)
        self.has_gap, self.has_repetition = bool(missing), bool(second_of_two)
        self._first_of_two, self._second_of_two = _bits(first_of_two), _bits(second_of_two)

    def fires(self, expression: Expression, missing: str, repeated: str) -> int:
        """The minutes at which an expression fires, as bits, under policies SHIFT or SKIP; FIRST, LAST or BOTH."""
        fires = self._meant(expression)
        if expression.fixed:
            if repeated == "FIRST":
                fires &= ~self._second_of_two
            if repeated == "LAST":
                fires &= ~self._first_of_two
            if missing == "SHIFT":
                fires |= self._shifted(expression)
        return fires & self.judged

    def _meant(self, expression: Expression) -> int:
        if expression.text not in self._known:
            self._known[expression.text] = self._existing.meant(expression)
        return self._known[expression.text]

    def _shifted(self, expression: Expression) -> int:
        left_out = self._missing.meant(expression) if self._gap_ends else 0
        return _bits(place for gap, place in self._gap_ends if left_out & gap)

    def bits(self, seconds: Iterable[int]) -> int:
        """Moments, in seconds since 1970, as bits. Each must be a whole minute."""
        total = 0
        begin = int(self._begin.timestamp())
        for moment in seconds:
            place, rest = divmod(moment - begin, 60)
            assert not rest, f"{moment} is no whole minute"
            total |= 1 << place
        return total & self.judged

    def moments(self, bits: int) -> list[str]:
        """Bits as times, for people."""
        return [
            (self._begin + place * MINUTE).strftime("%Y-%m-%dT%H:%MZ")
            for place in range(bits.bit_length())
            if bits >> place & 1
        ]


class _Readings:
    """Readings of a wall clock, by place, found by their fields."""

    def __init__(self, readings: dict[int, datetime]) -> None:
        self._minutes = _grouped({place: each.minute for place, each in readings.items()})
        self._hours = _grouped({place: each.hour for place, each in readings.items()})
        self._days = _grouped({place: each.date() for place, each in readings.items()})

    def meant(self, expression: Expression) -> int:
        minutes = hours = days = 0
        for minute, bits in self._minutes.items():
            minutes |= bits if minute in expression.minutes else 0
        for hour, bits in self._hours.items():
            hours |= bits if hour in expression.hours else 0
        for day, bits in self._days.items():
            days |= bits if expression.has_day(day) else 0
        return minutes & hours & days


def _grouped(fields: Mapping[int, Field]) -> dict[Field, int]:
    groups: dict[Field, int] = {}
    for place, field in fields.items():
        groups[field] = groups.get(field, 0) | 1 << place
    return groups


def _bits(places: Iterable[int]) -> int:
    total = 0
    for place in places:
        total |= 1 << place
    return total
