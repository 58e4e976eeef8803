"""What a schedule means, in a sentence for people: beside a preview, so that a mistake is seen before it fires."""

from datetime import timedelta
from typing import assert_never

from heddle_campaign.rules.cron import explain
from heddle_campaign.rules.recurrence import Cron, Interval, MissingTime, Once, Recurrence, RepeatedTime, Rrule
from heddle_campaign.rules.schedule import Schedule
from heddle_campaign.rules.zones import local_text

_MISSING = {
    MissingTime.SHIFT: "a time that a clock change leaves out fires right after it",
    MissingTime.SKIP: "a time that a clock change leaves out does not fire",
}
_REPEATED = {
    RepeatedTime.FIRST: "one that it repeats fires the first time",
    RepeatedTime.LAST: "one that it repeats fires the second time",
    RepeatedTime.BOTH: "one that it repeats fires both times",
}


def describe(schedule: Schedule) -> str:
    """The schedule in a sentence, as `At 09:00, in Europe/Berlin, until 2026-12-31T00:00:00+01:00; ...`."""
    named = "; and ".join(_told(schedule, each) for each in schedule.recurrences)
    parts = [named or "Only TriggerCampaign and signals start cycles", f"in {schedule.time_zone}"]
    if schedule.end is not None:
        parts.append(f"until {local_text(schedule.time_zone, schedule.end)}")
    if schedule.max_cycles:
        parts.append(f"at most {schedule.max_cycles} times")
    if schedule.excluded_dates or schedule.excluded_ranges:
        parts.append(f"with {len(schedule.excluded_dates) + len(schedule.excluded_ranges)} stretches left out")
    if schedule.jitter:
        parts.append(f"up to {_span(schedule.jitter)} later")
    sentence = ", ".join(parts)
    if any(isinstance(each, Cron | Rrule) for each in schedule.recurrences) and schedule.time_zone != "UTC":
        sentence += f"; {_MISSING[schedule.missing_time]}, {_REPEATED[schedule.repeated_time]}"
    return f"{sentence}."


def _told(schedule: Schedule, recurrence: Recurrence) -> str:
    match recurrence:
        case Cron():
            return explain(recurrence.expression)
        case Interval():
            return f"Every {_span(recurrence.every)} from {local_text(schedule.time_zone, schedule.start)} on"
        case Rrule():
            return f"As {recurrence.rule} says"
        case Once():
            return f"At {local_text(schedule.time_zone, min(recurrence.times))}" + (
                f" and {len(recurrence.times) - 1} times more" if len(recurrence.times) > 1 else ""
            )
        case _:
            assert_never(recurrence)


def _span(span: timedelta) -> str:
    """`90 minutes`, `2 hours`: in the largest unit that has no rest."""
    for unit, name in ((timedelta(days=1), "day"), (timedelta(hours=1), "hour"), (timedelta(minutes=1), "minute")):
        if span % unit == timedelta(0):
            return f"{span // unit} {name}{'s' if span // unit > 1 else ''}"
    return f"{span.total_seconds():g} seconds"
