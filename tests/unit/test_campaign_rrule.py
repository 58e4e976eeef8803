"""RRULE: held to python-dateutil over drawn rules, and to RFC 5545 where dateutil differs or cannot be asked."""

from datetime import UTC, datetime, timedelta
from itertools import takewhile

import pytest
from dateutil.rrule import rrulestr
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from heddle_campaign.rules.recurrence import BadRecurrence, Rrule
from heddle_campaign.rules.rrule import RruleRule
from heddle_campaign.rules.times import between, first_from
from heddle_campaign.rules.zones import DAY, instant
from heddle_core.clock import Micros
from tests.kit.schedules import at, schedule, text

RARE, OFTEN = 800, 40
"""Days from the start in which both are asked: for a rule of days or more, and of hours or minutes."""


def _ours(rule: str, start: datetime) -> list[datetime]:
    begin = instant(start.replace(tzinfo=UTC))
    subject = schedule(Rrule(rule), start=begin)
    end = Micros(begin + _span(rule) * DAY)
    return [datetime(1970, 1, 1) + timedelta(microseconds=each) for each in between(subject, begin, end)]


def _theirs(rule: str, start: datetime) -> list[datetime]:
    end = start + timedelta(days=_span(rule))
    return list(takewhile(lambda each: each < end, rrulestr(rule, dtstart=start)))


def _span(rule: str) -> int:
    return OFTEN if "FREQ=HOURLY" in rule or "FREQ=MINUTELY" in rule else RARE


def _listed(low: int, high: int, *, signed: bool = False, most: int = 3) -> st.SearchStrategy[str]:
    numbers = st.integers(low, high)
    if signed:
        numbers = st.one_of(numbers, numbers.map(lambda each: -each))
    return st.lists(numbers, min_size=1, max_size=most, unique=True).map(lambda each: ",".join(map(str, each)))


WEEKDAYS = st.sampled_from(["MO", "TU", "WE", "TH", "FR", "SA", "SU"])


@st.composite
def rules(draw: st.DrawFn) -> str:
    """Any rule that dateutil and RFC 5545 read alike, and that means something soon."""
    frequency = draw(st.sampled_from(["YEARLY", "MONTHLY", "WEEKLY", "DAILY", "HOURLY", "MINUTELY"]))
    parts = {"FREQ": frequency, "INTERVAL": str(draw(st.integers(1, 400 if frequency == "MINUTELY" else 5)))}
    optional = {"BYMONTH": _listed(1, 12, most=6), "BYHOUR": _listed(0, 23, most=6), "BYMINUTE": _listed(0, 59)}
    if frequency == "MINUTELY":
        # Steps that never meet a minute keep dateutil walking.
        del optional["BYMINUTE"], optional["BYHOUR"]
    if frequency == "HOURLY":
        del optional["BYHOUR"]
    if frequency not in ("WEEKLY", "DAILY"):
        optional["BYMONTHDAY"] = _listed(1, 28, signed=True, most=8)
    numbered = frequency in ("YEARLY", "MONTHLY") and draw(st.booleans())
    weekdays = st.lists(WEEKDAYS, min_size=1, max_size=3, unique=True)
    if numbered:
        place = st.sampled_from(["1", "2", "-1", "4", "-2"])
        optional["BYDAY"] = st.lists(st.builds(str.__add__, place, WEEKDAYS), min_size=1, max_size=3).map(",".join)
    else:
        optional["BYDAY"] = weekdays.map(",".join)
    if frequency == "YEARLY" and not numbered:
        optional["BYWEEKNO"] = _listed(1, 52, signed=True, most=5)
        optional["BYYEARDAY"] = _listed(1, 365, signed=True, most=9)
    for name in draw(st.lists(st.sampled_from(sorted(optional)), max_size=2, unique=True)):
        parts[name] = draw(optional[name])
    if frequency == "WEEKLY" or "BYWEEKNO" in parts:
        parts["WKST"] = draw(WEEKDAYS)
    if frequency in ("YEARLY", "MONTHLY") and draw(st.booleans()):
        parts["BYSETPOS"] = draw(st.sampled_from(["1", "-1", "1,-1"]))
    if draw(st.booleans()):
        parts["COUNT"] = str(draw(st.integers(1, 40)))
    return ";".join(f"{name}={value}" for name, value in parts.items())


@settings(max_examples=80, deadline=None)
@given(rules(), st.datetimes(datetime(2020, 1, 1), datetime(2029, 12, 31)))
def test_rules_mean_what_dateutil_says(rule: str, start: datetime) -> None:
    start = start.replace(microsecond=0)
    # dateutil walks to the year 9999 for a rule that means nothing, and so is asked last.
    ours = _ours(rule, start)
    assume(ours)
    assert ours == _theirs(rule, start)


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ("FREQ=MONTHLY;BYDAY=MO,-1FR;BYMONTH=1", ["01-05", "01-12", "01-19", "01-26", "01-30"]),
        ("FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1;COUNT=3", ["01-30", "02-27", "03-31"]),
        ("FREQ=YEARLY;BYMONTHDAY=13;BYDAY=FR", ["02-13", "03-13", "11-13"]),
        ("FREQ=DAILY;UNTIL=20260103", ["01-01", "01-02", "01-03"]),
        ("FREQ=DAILY;UNTIL=20260103T000000Z", ["01-01", "01-02", "01-03"]),
        ("FREQ=DAILY;UNTIL=20260102T235959Z", ["01-01", "01-02"]),
        ("RRULE:FREQ=WEEKLY;INTERVAL=2;BYDAY=TU,SU;WKST=MO;COUNT=4", ["01-04", "01-13", "01-18", "01-27"]),
        ("FREQ=WEEKLY;INTERVAL=2;BYDAY=TU,SU;WKST=SU;COUNT=4", ["01-11", "01-13", "01-25", "01-27"]),
    ],
)
def test_rules_mean_what_the_rfc_says(rule: str, told: list[str]) -> None:
    subject = schedule(Rrule(rule))
    times = between(subject, at("2026-01-01 00:00"), at("2027-01-01 00:00"))
    assert [text(each)[5:10] for each in times] == told


@pytest.mark.parametrize(
    ("rule", "remedy"),
    [
        ("", "FREQ must be one of"),
        ("FREQ=SECONDLY", "FREQ must be one of"),
        ("FREQ=DAILY;BYHOUR=24", "BYHOUR=24 must be 0 to 23"),
        ("FREQ=DAILY;BYEASTER=1", "BYEASTER is not known"),
        ("FREQ=DAILY;FREQ=DAILY", "twice"),
        ("FREQ=DAILY;COUNT", "NAME=VALUE"),
        ("FREQ=DAILY;COUNT=2;UNTIL=20270101", "exclude each other"),
        ("FREQ=DAILY;UNTIL=tomorrow", "must be a date or a time"),
        ("FREQ=WEEKLY;BYDAY=1MO", "a number goes with"),
        ("FREQ=WEEKLY;BYDAY=XX", "must end with one of"),
        ("FREQ=WEEKLY;BYMONTHDAY=1", "does not go with FREQ=WEEKLY"),
        ("FREQ=MONTHLY;BYWEEKNO=1", "FREQ=YEARLY only"),
        ("FREQ=DAILY;BYYEARDAY=1", "does not go with"),
        ("FREQ=HOURLY;BYSETPOS=1", "BYSETPOS goes with"),
        ("FREQ=DAILY;BYSETPOS=2", "BYSETPOS must be at most 1"),
        ("FREQ=DAILY;INTERVAL=0", "INTERVAL=0 must be 1 to"),
        ("FREQ=DAILY;INTERVAL=\u0663", "must be 1 to"),
        ("FREQ=DAILY;COUNT=10001", "must be 1 to 10000"),
        ("FREQ=YEARLY;BYMONTHDAY=0", "must be 1 to 31, or that below zero"),
        ("FREQ=DAILY;WKST=XX", "WKST must be one of"),
        ("FREQ=DAILY;" * 60, "at most 512 characters"),
    ],
)
def test_what_is_no_rule_is_refused_with_the_part_that_is_wrong(rule: str, remedy: str) -> None:
    with pytest.raises(BadRecurrence, match=remedy):
        RruleRule(rule, at("2026-01-01 00:00"), "UTC")


@pytest.mark.parametrize("rule", ["FREQ=MINUTELY;BYMONTH=2;BYMONTHDAY=30", "FREQ=YEARLY;BYDAY=1MO;BYMONTHDAY=9"])
def test_a_rule_that_means_nothing_ends_the_search(rule: str) -> None:
    assert first_from(schedule(Rrule(rule)), at("2026-01-01 00:00")) is None


def test_times_far_from_the_start_are_found_without_a_walk_to_them() -> None:
    minutely = schedule(Rrule("FREQ=MINUTELY;INTERVAL=7"), start=at("1990-01-01 00:00"))
    first = first_from(minutely, at("2026-01-01 00:00"))
    assert first is not None
    assert (first - at("1990-01-01 00:00")) % (7 * 60_000_000) == 0
    assert text(first) == "2026-01-01 00:00" or first - at("2026-01-01 00:00") < 7 * 60_000_000
