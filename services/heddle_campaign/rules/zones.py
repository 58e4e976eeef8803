"""Time zones as stretches of constant offset: the only place where offsets are asked for.

Zones are read from the `tzdata` package and not from the machine, because every replica must name a scheduled time by
the same moment: a zone table that differs between two machines would fire a time twice.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from difflib import get_close_matches
from functools import lru_cache
from importlib.resources import files
from typing import NewType
from zoneinfo import ZoneInfo

from heddle_core.clock import MICROS_PER_SECOND, Micros, micros

Local = NewType("Local", int)
"""What a clock on the wall shows, in microseconds as if it were UTC."""

MINUTE = 60 * MICROS_PER_SECOND
DAY = 86_400 * MICROS_PER_SECOND
EPOCH = date(1970, 1, 1).toordinal()

_NEAR = 2 * DAY
"""How far from a change its gap or repetition can reach; the longest in tzdata is one day (Pacific/Apia, 2011)."""

_PROBE = 6 * 3_600
"""Seconds between two probes for changes; no zone of tzdata changes twice within this (tests/unit hold it to that)."""


class UnknownZone(ValueError):
    """No zone has this name; the message names the nearest."""


@dataclass(frozen=True, slots=True)
class Change:
    """A moment at which a zone's offset changes; offsets in microseconds east of UTC."""

    at: Micros
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of UTC, end excluded, in which a zone's offset is constant."""

    start: Micros
    end: Micros
    offset: int
    opened: Change | None
    """The change before it, if that is near."""
    closing: Change | None
    """The change after it, if that is near."""


def check_zone(name: str) -> None:
    """Refuse what is no zone of tzdata.

    Raises:
        UnknownZone: with the nearest names.
    """
    if name not in _names():
        nearest = get_close_matches(name, _names(), n=3, cutoff=0.6) or ["Europe/Berlin", "America/New_York", "UTC"]
        raise UnknownZone(f"no time zone is called {name!r}: use a name of the IANA database, as {', '.join(nearest)}")


def offset_at(zone: str, at: Micros) -> int:
    """The zone's offset at a moment, in microseconds east of UTC."""
    return _offset(zone, at // MICROS_PER_SECOND)


def local_at(zone: str, at: Micros) -> Local:
    """What a clock in the zone shows at a moment."""
    return Local(at + offset_at(zone, at))


def local_text(zone: str, at: Micros) -> str:
    """The moment as people of the zone write it, with its offset: `2026-03-29T03:00:00+02:00`."""
    return datetime.fromtimestamp(at // MICROS_PER_SECOND, _zone(zone)).isoformat()


def changes(zone: str, first: Micros, last: Micros) -> list[Change]:
    """Every change of the zone's offset from `first` to `last`, both included."""
    years = range(_year(first), _year(last) + 1)
    return [each for year in years for each in _changes_of(zone, year) if first <= each.at <= last]


def segments(zone: str, first: Micros, end: Micros) -> Iterator[Segment]:
    """The stretches of constant offset between two moments, in order, cut at years so that a reader can stop early."""
    start = first
    while start < end:
        stop = min(end, _start_of(_year(start) + 1))
        yield from _segments_of(zone, start, stop)
        start = stop


def instant(moment: datetime) -> Micros:
    """An aware time as Micros."""
    return Micros(micros(moment - datetime(1970, 1, 1, tzinfo=UTC)))


def _segments_of(zone: str, first: Micros, end: Micros) -> Iterator[Segment]:
    opened: Change | None = None
    start = first
    for change in changes(zone, Micros(first - _NEAR), Micros(end + _NEAR)):
        if change.at > first:
            stop = Micros(min(change.at, end))
            if start < stop:
                yield Segment(start, stop, change.before, opened, change)
            if change.at >= end:
                return
            start = change.at
        opened = change
    yield Segment(start, end, opened.after if opened else offset_at(zone, start), opened, None)


@lru_cache(maxsize=16_384)
def _changes_of(zone: str, year: int) -> tuple[Change, ...]:
    seconds, end = (_start_of(each) // MICROS_PER_SECOND for each in (year, year + 1))
    found: list[Change] = []
    # A change at the first moment of a year belongs to that year: the second before it is asked too.
    before = _offset(zone, seconds - 1)
    last = seconds - 1
    while last < end - 1:
        probe = min(last + _PROBE, end - 1)
        after = _offset(zone, probe)
        if after != before:
            found.append(Change(Micros(_first_with(zone, after, last, probe) * MICROS_PER_SECOND), before, after))
        before, last = after, probe
    return tuple(found)


def _first_with(zone: str, after: int, low: int, high: int) -> int:
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(zone, middle) == after:
            high = middle
        else:
            low = middle
    return high


def _offset(zone: str, seconds: int) -> int:
    offset = datetime.fromtimestamp(seconds, _zone(zone)).utcoffset()
    assert offset is not None
    return micros(offset)


def _year(at: Micros) -> int:
    return datetime.fromtimestamp(at // MICROS_PER_SECOND, UTC).year


def _start_of(year: int) -> Micros:
    return Micros((date(year, 1, 1).toordinal() - EPOCH) * DAY)


@lru_cache(maxsize=1_024)
def _zone(name: str) -> ZoneInfo:
    with files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as table:
        return ZoneInfo.from_file(table, key=name)


@lru_cache(maxsize=1)
def _names() -> frozenset[str]:
    return frozenset(files("tzdata").joinpath("zones").read_text().split())
