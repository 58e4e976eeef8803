"""Schedules for tests: moments by their text, a schedule with everything plain, and hypothesis strategies."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from heddle_campaign.rules.recurrence import Cron, Interval, MissingTime, Once, RepeatedTime, Rrule
from heddle_campaign.rules.schedule import DateSpan, OverlapPolicy, Schedule, Stretch
from heddle_campaign.rules.zones import instant
from heddle_core.clock import Micros
from heddle_core.ids import TenantId

MINUTE = 60_000_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR


def at(text: str) -> Micros:
    """A moment of UTC, as `2026-03-29 01:00`."""
    return instant(datetime.fromisoformat(text).replace(tzinfo=UTC))


def schedule(*recurrences: Any, **changes: Any) -> Schedule:
    """A schedule that begins with 2026, in UTC; a text is a cron expression."""
    named = tuple(Cron(each) if isinstance(each, str) else each for each in recurrences)
    given = {"start": at("2026-01-01 00:00"), **changes}
    return Schedule(TenantId("t1"), "c1", 1, named, **given)


def text(moment: int) -> str:
    """A moment of UTC as text."""
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=moment)).strftime("%Y-%m-%d %H:%M")


ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "Asia/Kolkata")
CRONS = ("*/30 * * * *", "0 * * * *", "30 2 * * *", "0 9 * * 1-5", "15,45 1-3 * * *", "0 12 1 * *", "0-59/20 2 * * 0")
RULES = ("FREQ=DAILY;BYHOUR=2,9;BYMINUTE=30", "FREQ=HOURLY;INTERVAL=5", "FREQ=WEEKLY;BYDAY=SU,WE;BYHOUR=1")

_first, _last = at("2026-03-20 00:00") // MINUTE, at("2026-04-10 00:00") // MINUTE
moments = st.integers(_first, _last).map(lambda each: each * MINUTE)

recurrences = st.one_of(
    st.sampled_from(CRONS).map(Cron),
    st.sampled_from(RULES).map(Rrule),
    st.integers(7, 3_000).map(lambda each: Interval(timedelta(minutes=each))),
    st.lists(moments, min_size=1, max_size=5).map(lambda each: Once(tuple(Micros(one) for one in each))),
)

_days = st.integers(0, 20).map(lambda each: date(2026, 3, 20) + timedelta(days=each))


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    """Any schedule whose times lie around the clock changes of spring 2026."""
    first, length = draw(moments), draw(st.integers(1, 3_000))
    day = draw(_days)
    return schedule(
        *draw(st.lists(recurrences, min_size=1, max_size=2)),
        time_zone=draw(st.sampled_from(ZONES)),
        start=Micros(draw(moments)),
        end=draw(st.one_of(st.none(), st.just(at("2026-04-08 07:00")))),
        jitter=timedelta(minutes=draw(st.sampled_from([0, 0, 5, 60]))),
        excluded_dates=draw(st.sampled_from([(), (DateSpan(day, day + timedelta(days=1)),)])),
        excluded_ranges=draw(st.sampled_from([(), (Stretch(Micros(first), Micros(first + length * MINUTE)),)])),
        missing_time=draw(st.sampled_from(MissingTime)),
        repeated_time=draw(st.sampled_from(RepeatedTime)),
        overlap=draw(st.sampled_from(OverlapPolicy)),
        catch_up_window=timedelta(minutes=draw(st.sampled_from([0, 10, 60, 5_000]))),
        max_cycles=draw(st.sampled_from([0, 0, 3, 20])),
    )
