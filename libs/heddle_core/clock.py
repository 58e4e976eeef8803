"""The only way to the time of day: given as a port, so that rules can be tested without waiting."""

import time
from datetime import timedelta
from typing import NewType, Protocol

Micros = NewType("Micros", int)
"""Microseconds since the Unix epoch, UTC. Integers, because times are compared and stored."""

MICROS_PER_SECOND = 1_000_000

_MICROSECOND = timedelta(microseconds=1)


def micros(span: timedelta) -> int:
    """How long `span` is in microseconds: exactly, as it keeps them itself."""
    return span // _MICROSECOND


class Clock(Protocol):
    """What tells the time."""

    def now(self) -> Micros:
        """The wall clock; may jump. For records, never for measuring."""
        ...

    def monotonic(self) -> float:
        """Seconds that never run backwards, from an arbitrary start. For deadlines and leases."""
        ...


class SystemClock:
    """The clock of the machine."""

    def now(self) -> Micros:
        return Micros(time.time_ns() // 1_000)

    def monotonic(self) -> float:
        return time.monotonic()


class ManualClock:
    """A clock that moves only when told: for tests of expiry, leases and deadlines."""

    def __init__(self, now: int = 1_700_000_000 * MICROS_PER_SECOND) -> None:
        self._now = now
        self._elapsed = 0.0

    def now(self) -> Micros:
        return Micros(self._now)

    def monotonic(self) -> float:
        return self._elapsed

    def advance(self, seconds: float) -> None:
        """Move both readings forward by `seconds`."""
        self._now += round(seconds * MICROS_PER_SECOND)
        self._elapsed += seconds
