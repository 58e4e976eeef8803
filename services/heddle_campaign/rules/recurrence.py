"""How times can recur. Values only; what they mean stands in `cron`, `rrule` and `wall`."""

from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum

from heddle_core.clock import Micros


class MissingTime(IntEnum):
    """What becomes of a local time that a clock change leaves out; the numbers are the contract's.

    It concerns fixed times alone: a cron expression whose minute and hour both name their values (neither begins with
    `*`), and an RRULE of FREQ=DAILY or rarer. Everything else counts the time that passes: an interval, a cron
    expression with `*` in minute or hour, an RRULE of FREQ=HOURLY or MINUTELY fire at each minute that exists and
    matches, and there is nothing to shift.
    """

    SHIFT = 1
    """At the first moment after the gap, once however many times lie in the gap."""
    SKIP = 2
    """Not at all."""


class RepeatedTime(IntEnum):
    """What becomes of a local time that a clock change repeats; the numbers are the contract's.

    It concerns fixed times alone, as MissingTime says; everything else fires in both passes.
    """

    FIRST = 1
    """At the first pass."""
    LAST = 2
    """At the second pass."""
    BOTH = 3
    """At both."""


@dataclass(frozen=True, slots=True)
class Cron:
    """A cron expression of five fields in the schedule's zone, or `@hourly` to `@yearly`."""

    expression: str


@dataclass(frozen=True, slots=True)
class Interval:
    """A fixed distance of passing time, counted from the schedule's start; clock changes do not touch it."""

    every: timedelta


@dataclass(frozen=True, slots=True)
class Rrule:
    """An RRULE of RFC 5545 without its name, in the schedule's zone, beginning at the schedule's start."""

    rule: str


@dataclass(frozen=True, slots=True)
class Once:
    """One time, or some."""

    times: tuple[Micros, ...]


Recurrence = Cron | Interval | Rrule | Once


class BadRecurrence(ValueError):
    """A recurrence cannot be understood or never happens; the message says how to put it right."""
