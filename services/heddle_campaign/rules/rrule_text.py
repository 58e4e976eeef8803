"""The text of an RRULE, read part by part, so that a fault is named by its part."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import IntEnum
from typing import NoReturn

from heddle_campaign.rules.recurrence import BadRecurrence
from heddle_campaign.rules.zones import DAY, Local, instant, local_at

LONGEST = 512
"""Characters that a rule may have."""
MOST_COUNT = 10_000
"""Most times that COUNT may ask for: the last of them is looked for once, by walking."""
MOST_INTERVAL = 100_000

_WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_NAMES = "FREQ INTERVAL COUNT UNTIL WKST BYMONTH BYWEEKNO BYYEARDAY BYMONTHDAY BYDAY BYHOUR BYMINUTE BYSECOND BYSETPOS"


class Frequency(IntEnum):
    """How often a rule repeats, rarest first. SECONDLY is missing: no campaign may."""

    YEARLY = 0
    MONTHLY = 1
    WEEKLY = 2
    DAILY = 3
    HOURLY = 4
    MINUTELY = 5


@dataclass(frozen=True)
class RuleParts:
    """An RRULE in numbers; an empty tuple: the part is not given."""

    frequency: Frequency
    interval: int = 1
    count: int | None = None
    until: str = ""
    week_start: int = 0
    months: tuple[int, ...] = ()
    weeks: tuple[int, ...] = ()
    year_days: tuple[int, ...] = ()
    month_days: tuple[int, ...] = ()
    weekdays: tuple[tuple[int, int], ...] = ()
    """Which one of its period (0: each, negative: from the end), and the weekday from Monday, 0."""
    hours: tuple[int, ...] = ()
    minutes: tuple[int, ...] = ()
    seconds: tuple[int, ...] = ()
    positions: tuple[int, ...] = ()

    def with_implied(self, implied: Mapping[str, tuple[int, ...]]) -> "RuleParts":
        """The rule with parts that its start implies."""
        return replace(self, **dict(implied))  # pyright: ignore[reportArgumentType] -- the keys are its own

    def with_weekday(self, weekday: int) -> "RuleParts":
        """The rule on one day of the week."""
        return replace(self, weekdays=((0, weekday),))

    def last(self, zone: str) -> Local | None:
        """The last reading that UNTIL allows, or None. A date allows all of its day; a Z means UTC."""
        if not self.until:
            return None
        moment = instant(_until(self.until))
        if self.until.endswith("Z"):
            return local_at(zone, moment)
        return Local(moment if "T" in self.until else moment + DAY - 1)


def read(rule: str) -> RuleParts:
    """The parts of a rule.

    Raises:
        BadRecurrence: it is no RRULE, or one with parts that are not known here.
    """
    if len(rule) > LONGEST:
        raise BadRecurrence(f"the rule must have at most {LONGEST} characters")
    texts = _split(rule.strip().upper().removeprefix("RRULE:"))
    frequency = _frequency(texts)
    parts = RuleParts(
        frequency,
        interval=_one(texts, "INTERVAL", 1, MOST_INTERVAL) or 1,
        count=_one(texts, "COUNT", 1, MOST_COUNT),
        until=texts.get("UNTIL", ""),
        week_start=_week_start(texts),
        months=_several(texts, "BYMONTH", 1, 12),
        weeks=_several(texts, "BYWEEKNO", 1, 53, signed=True),
        year_days=_several(texts, "BYYEARDAY", 1, 366, signed=True),
        month_days=_several(texts, "BYMONTHDAY", 1, 31, signed=True),
        weekdays=_weekdays(texts, frequency),
        hours=_several(texts, "BYHOUR", 0, 23),
        minutes=_several(texts, "BYMINUTE", 0, 59),
        seconds=_several(texts, "BYSECOND", 0, 59),
        positions=_several(texts, "BYSETPOS", 1, 366, signed=True),
    )
    _check_together(parts)
    return parts


def _split(rule: str) -> dict[str, str]:
    texts: dict[str, str] = {}
    for part in filter(None, rule.split(";")):
        name, equals, value = part.partition("=")
        if not equals or not value:
            _refuse(f"{part!r} must be NAME=VALUE")
        if name not in _NAMES.split():
            _refuse(f"{name} is not known: use {', '.join(_NAMES.split())}")
        if name in texts:
            _refuse(f"{name} stands there twice: name it once")
        texts[name] = value
    return texts


def _frequency(texts: dict[str, str]) -> Frequency:
    name = texts.get("FREQ", "")
    if name not in Frequency.__members__:
        _refuse(f"FREQ must be one of {', '.join(Frequency.__members__)}")
    return Frequency[name]


def _check_together(parts: RuleParts) -> None:
    if parts.until:
        _until(parts.until)
    if parts.until and parts.count is not None:
        _refuse("COUNT and UNTIL exclude each other: keep one")
    if parts.weeks and parts.frequency is not Frequency.YEARLY:
        _refuse("BYWEEKNO goes with FREQ=YEARLY only")
    if parts.year_days and parts.frequency in (Frequency.MONTHLY, Frequency.WEEKLY, Frequency.DAILY):
        _refuse("BYYEARDAY does not go with FREQ=MONTHLY, WEEKLY or DAILY")
    if parts.month_days and parts.frequency is Frequency.WEEKLY:
        _refuse("BYMONTHDAY does not go with FREQ=WEEKLY")
    if parts.positions and parts.frequency > Frequency.DAILY:
        _refuse("BYSETPOS goes with FREQ=YEARLY, MONTHLY, WEEKLY or DAILY only")
    times = max(1, len(parts.hours)) * max(1, len(parts.minutes)) * max(1, len(parts.seconds))
    if parts.frequency is Frequency.DAILY and parts.positions and min(map(abs, parts.positions)) > times:
        _refuse(f"BYSETPOS must be at most {times}: a day of this rule has no more times")


def _one(texts: dict[str, str], name: str, low: int, high: int) -> int | None:
    return _number(name, texts[name], low, high) if name in texts else None


def _several(texts: dict[str, str], name: str, low: int, high: int, *, signed: bool = False) -> tuple[int, ...]:
    if name not in texts:
        return ()
    return tuple(sorted({_number(name, each, low, high, signed=signed) for each in texts[name].split(",")}))


def _number(name: str, text: str, low: int, high: int, *, signed: bool = False) -> int:
    digits = text.lstrip("+-") if signed and text[:1] in ("+", "-") else text
    if digits.isascii() and digits.isdigit() and len(digits) <= 6 and low <= int(digits) <= high:
        return int(text)
    return _refuse(f"{name}={text} must be {low} to {high}{', or that below zero to count from the end' * signed}")


def _weekdays(texts: dict[str, str], frequency: Frequency) -> tuple[tuple[int, int], ...]:
    found: set[tuple[int, int]] = set()
    for text in filter(None, texts.get("BYDAY", "").split(",")):
        place, name = text[:-2], text[-2:]
        if name not in _WEEKDAYS:
            _refuse(f"BYDAY={text} must end with one of {', '.join(_WEEKDAYS)}")
        if place and (frequency > Frequency.MONTHLY or "BYWEEKNO" in texts):
            _refuse(f"BYDAY={text}: a number goes with FREQ=MONTHLY, or YEARLY without BYWEEKNO")
        found.add((_number("BYDAY", place, 1, 53, signed=True) if place else 0, _WEEKDAYS.index(name)))
    return tuple(sorted(found))


def _week_start(texts: dict[str, str]) -> int:
    name = texts.get("WKST", "MO")
    if name not in _WEEKDAYS:
        _refuse(f"WKST must be one of {', '.join(_WEEKDAYS)}")
    return _WEEKDAYS.index(name)


def _until(text: str) -> datetime:
    for form in ("%Y%m%d", "%Y%m%dT%H%M%S", "%Y%m%dT%H%M%SZ"):
        try:
            return datetime.strptime(text, form).replace(tzinfo=UTC)
        except ValueError:
            continue
    return _refuse(f"UNTIL={text} must be a date or a time, as 20261231 or 20261231T225959Z")


def _refuse(remedy: str) -> NoReturn:
    raise BadRecurrence(remedy)
