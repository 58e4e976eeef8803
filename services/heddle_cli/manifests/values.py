"""Spans, moments and money as people write them in files and on the command line."""

import re
from datetime import datetime, timedelta
from decimal import Decimal

from google.type.money_pb2 import Money

_UNITS = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
_SPAN = re.compile(r"(?:\d+[wdhms]\s*)+")
_PART = re.compile(r"(\d+)([wdhms])")
_MONEY = re.compile(r"(\d{1,15})(?:\.(\d{1,9}))?\s+([A-Z]{3})")
_NANOS = 9
_DIGITS = 15
"""More of them are too long in any unit."""
_LONGEST = 315_576_000_000
"""Seconds; google.protobuf.Duration holds no more."""


def span(text: object) -> timedelta:
    """`6h`, `1d12h`, `90s`. Raises ValueError."""
    told = text.strip() if isinstance(text, str) else ""
    if not _SPAN.fullmatch(told):
        raise ValueError(f"{text!r} is no span of time: write it as 6h, 1d12h or 90s")
    seconds = sum(int(count[:_DIGITS]) * _UNITS[unit] for count, unit in _PART.findall(told))
    if seconds > _LONGEST:
        raise ValueError(f"{text!r} is too long: 10,000 years at most")
    return timedelta(seconds=seconds)


def span_text(length: timedelta) -> str:
    """The same back: `1h30m`; `0s` for nothing, and parts of a second as `1.5s`."""
    left, told = length.total_seconds(), ""
    for unit, seconds in _UNITS.items():
        count = left if unit == "s" else left // seconds
        left -= count * seconds
        told += f"{count:g}{unit}" if count else ""
    return told or "0s"


def moment(text: object) -> datetime:
    """`2026-12-01T09:00:00+01:00`. Raises ValueError, also where it does not say its distance from UTC."""
    told = text.strip() if isinstance(text, str) else ""
    try:
        found = datetime.fromisoformat(told)
    except ValueError:
        raise ValueError(f"{text!r} is no time: write it as 2026-12-01T09:00:00+01:00") from None
    if found.tzinfo is None:
        raise ValueError(f"{text!r} does not say where: add the distance from UTC, as in {found.isoformat()}+01:00")
    return found


def money(text: object) -> Money:
    """`12.50 USD`. Raises ValueError."""
    found = _MONEY.fullmatch(text.strip()) if isinstance(text, str) else None
    if found is None:
        raise ValueError(f"{text!r} is no amount: write it with its currency, as 12.50 USD")
    units, parts, currency = found.groups()
    return Money(currency_code=currency, units=int(units), nanos=int((parts or "0").ljust(_NANOS, "0")))


def money_text(amount: Money) -> str:
    """The same back, with at least two digits behind the point."""
    whole = Decimal(amount.units) + Decimal(amount.nanos).scaleb(-_NANOS)
    digits = max(2, -int(whole.normalize().as_tuple().exponent))
    return f"{whole:.{digits}f} {amount.currency_code or 'USD'}"
