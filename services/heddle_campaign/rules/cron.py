"""Cron expressions: which minutes of which days they name. The language is cronsim's, which is Debian's.

cronsim reads the expression and knows the days. It does not walk here: its clock changes know one policy only, and it
can neither count nor skip a year.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime

from cronsim import CronSim, CronSimError

from heddle_campaign.rules.recurrence import BadRecurrence
from heddle_campaign.rules.zones import EPOCH, MINUTE

ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
LONGEST = 256
"""Characters that an expression may have."""

_REMEDIES = {
    "Bad minute": "the minute must be 0 to 59",
    "Bad hour": "the hour must be 0 to 23",
    "Bad day-of-month": "the day of the month must be 1 to 31, L or LW, and must exist in one of the months",
    "Bad month": "the month must be 1 to 12 or JAN to DEC",
    "Bad day-of-week": "the day of the week must be 0 to 7 or SUN to SAT, as MON#2 or 5L",
}


class CronRule:
    """The readings of a wall clock that a cron expression names."""

    def __init__(self, expression: str) -> None:
        """Read an expression.

        Raises:
            BadRecurrence: it is no cron expression of five fields, or names a day that no month has.
        """
        self._cron = _read(expression)
        parts = ALIASES.get(expression.strip().lower(), expression).split()
        self.fixed = not parts[0].startswith("*") and not parts[1].startswith("*")
        self._times = tuple(
            (60 * hour + minute) * MINUTE for hour in sorted(self._cron.hours) for minute in sorted(self._cron.minutes)
        )

    def on(self, day: int) -> Sequence[int]:
        """The readings on a day (counted from 1970-01-01), in microseconds since its midnight, ascending."""
        on = date.fromordinal(EPOCH + day)
        return self._times if on.month in self._cron.months and self._cron.match_day(on) else ()


def explain(expression: str) -> str:
    """The expression in English, as `At 09:00 on Monday through Friday`."""
    return _read(expression).explain()


def _read(expression: str) -> CronSim:
    text = ALIASES.get(expression.strip().lower(), expression)
    if len(text) > LONGEST:
        raise BadRecurrence(f"the expression must have at most {LONGEST} characters")
    if len(text.split()) != 5:
        raise BadRecurrence(
            f"{expression!r} must have five fields: minute, hour, day of the month, month, day of the week"
        )
    try:
        return CronSim(text, datetime(2000, 1, 1, tzinfo=UTC))
    except CronSimError as problem:
        raise BadRecurrence(f"{expression!r}: {_REMEDIES.get(str(problem), str(problem))}") from None
