"""Schedules, and when they fire, as lines and rows."""

from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.text import Text

from heddle.campaign.v1alpha1.cycle_request_pb2 import PreviewScheduleResponse
from heddle.campaign.v1alpha1.schedule_pb2 import Schedule, ScheduledTime
from heddle_cli.display.campaign_words import word
from heddle_cli.display.screen import clean
from heddle_cli.display.tables import table
from heddle_cli.display.times import when
from heddle_cli.manifests.values import span_text

_ON_THE_CLOCK = ("cron", "rrule")
"""Recurrences that clock changes concern."""
_MOST_DATES = 5


def schedule_line(schedule: Schedule) -> str:
    """As `cron 0 9 * * MON in Europe/Berlin; overlap skip`."""
    match schedule.WhichOneof("recurrence"):
        case "interval":
            told = f"every {span_text(schedule.interval.ToTimedelta())}"
        case "once":
            told = f"once at {when(schedule.once)}"
        case "cron":
            told = f"cron {schedule.cron}"
        case "rrule":
            told = f"rrule {schedule.rrule}"
        case None if schedule == Schedule():
            return "none"
        case None:
            told = "no times of its own"
    return f"{told} in {schedule.time_zone or 'UTC'}; overlap {word(schedule, 'overlap')}"


def schedule_rows(schedule: Schedule) -> Iterator[tuple[str, str]]:
    """All that it says, as rows of a sheet."""
    yield "schedule", schedule_line(schedule)
    if schedule.HasField("start_time"):
        yield "  not before", when(schedule.start_time)
    if schedule.HasField("end_time"):
        yield "  before", when(schedule.end_time)
    if schedule.max_cycles:
        yield "  at most", f"{schedule.max_cycles} cycles"
    if schedule.jitter.ToTimedelta():
        yield "  later by", f"up to {span_text(schedule.jitter.ToTimedelta())}"
    yield "  not on", _left_out(schedule)
    if schedule.HasField("catch_up_window"):
        yield "  late by", f"at most {span_text(schedule.catch_up_window.ToTimedelta())}, else missed"
    if schedule.WhichOneof("recurrence") in _ON_THE_CLOCK and schedule.time_zone not in ("", "UTC"):
        told = f"missing time {word(schedule, 'missing_time')}, repeated time {word(schedule, 'repeated_time')}"
        yield "  clock changes", told


def preview_lines(found: PreviewScheduleResponse) -> list[RenderableType]:
    """What a schedule means, and when it would fire."""
    rows = ((each.local_time, when(each.scheduled_time), _moved(each)) for each in found.times)
    empty = "It names no times from then on."
    return [Text(clean(found.description)), table(("local time", "UTC", ""), rows, empty=empty)]


def next_times(times: Sequence[ScheduledTime]) -> str:
    """The next times in the schedule's zone, on one line."""
    return ", ".join(f"{each.local_time} ({_moved(each)})" if _moved(each) else each.local_time for each in times)


def _left_out(schedule: Schedule) -> str:
    """The first days and stretches in which nothing is due, and how many more there are."""
    stretches = [f"{when(each.start_time)} to {when(each.end_time)}" for each in schedule.excluded_ranges]
    every = [*schedule.excluded_dates, *stretches]
    more = f" and {len(every) - _MOST_DATES} more" if len(every) > _MOST_DATES else ""
    return ", ".join(every[:_MOST_DATES]) + more


def _moved(time: ScheduledTime) -> str:
    if time.shifted:
        return "moved by a clock change"
    return "a clock change repeats it" if time.repeated else ""
