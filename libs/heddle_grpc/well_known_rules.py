"""Ranges of the well-known types, which protobuf itself does not hold."""

from collections.abc import Callable, Mapping
from typing import Any

from heddle_core.faults import Violation

Violations = list[Violation] | None

_NANOS = 999_999_999
_FIRST_SECOND = -62_135_596_800  # 0001-01-01T00:00:00Z, the range that timestamp.proto states.
_LAST_SECOND = 253_402_300_799  # 9999-12-31T23:59:59Z
_LONGEST_SECONDS = 315_576_000_000  # 10,000 years, the range that duration.proto states.


def _timestamp(value: Any) -> Violations:
    if _FIRST_SECOND <= value.seconds <= _LAST_SECOND and 0 <= value.nanos <= _NANOS:
        return None
    return [Violation("", "must be a time of the years 1 to 9999, with nanos of 0 to 999999999")]


def _duration(value: Any) -> Violations:
    seconds, nanos = value.seconds, value.nanos
    within = abs(seconds) <= _LONGEST_SECONDS and abs(nanos) <= _NANOS
    if within and not (seconds > 0 > nanos or seconds < 0 < nanos):
        return None
    return [Violation("", "must be within 10000 years, with nanos of the sign of seconds")]


def _money(value: Any) -> Violations:
    units, nanos, currency = value.units, value.nanos, value.currency_code
    if abs(nanos) > _NANOS or units > 0 > nanos or units < 0 < nanos:
        return [Violation("", "must have nanos within 999999999 and of the sign of units")]
    if currency and not (len(currency) == 3 and currency.isascii() and currency.isupper()):
        return [Violation(".currency_code", "must be a three-letter code of ISO 4217, as USD")]
    return None


def _refuse_any(_value: Any) -> Violations:
    return [Violation("", "is not accepted from a client: leave it out")]


WELL_KNOWN: Mapping[str, Callable[[Any], Violations]] = {
    "google.protobuf.Timestamp": _timestamp,
    "google.protobuf.Duration": _duration,
    "google.protobuf.Any": _refuse_any,
    "google.type.Money": _money,
}
"""Checks by full message name, in place of the checks by descriptor."""
