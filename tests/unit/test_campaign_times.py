"""The scheduled times of a schedule: by hand where a person can check them, by laws where nobody can."""

from datetime import date, timedelta
from itertools import islice, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heddle_campaign.rules.description import describe
from heddle_campaign.rules.jitter import due_time
from heddle_campaign.rules.recurrence import Interval, MissingTime, Once, RepeatedTime, Rrule
from heddle_campaign.rules.schedule import DateSpan, Schedule, Stretch
from heddle_campaign.rules.times import between, count, first_from, preview
from heddle_core.clock import Micros
from tests.kit.schedules import DAY, HOUR, MINUTE, at, moments, schedule, schedules, text


def _locals(subject: Schedule, first: str, most: int) -> list[str]:
    return [each.local for each in preview(subject, at(first), most)]


def test_a_missing_time_is_shifted_to_the_end_of_the_gap() -> None:
    told = preview(schedule("30 2 * * *", time_zone="Europe/Berlin"), at("2026-03-28 00:00"), 3)
    assert [(each.local, each.shifted) for each in told] == [
        ("2026-03-28T02:30:00+01:00", False),
        ("2026-03-29T03:00:00+02:00", True),
        ("2026-03-30T02:30:00+02:00", False),
    ]


def test_a_missing_time_is_skipped_when_asked() -> None:
    skipping = schedule("30 2 * * *", time_zone="Europe/Berlin", missing_time=MissingTime.SKIP)
    assert _locals(skipping, "2026-03-28 00:00", 2) == ["2026-03-28T02:30:00+01:00", "2026-03-30T02:30:00+02:00"]


def test_a_shifted_time_that_meets_another_is_one_time_and_not_called_shifted() -> None:
    told = preview(schedule("0 2,3 * * *", time_zone="Europe/Berlin"), at("2026-03-29 00:00"), 2)
    assert [(each.local, each.shifted) for each in told] == [
        ("2026-03-29T03:00:00+02:00", False),
        ("2026-03-30T02:00:00+02:00", False),
    ]


@pytest.mark.parametrize(
    ("policy", "offsets"),
    [(RepeatedTime.FIRST, ["+02:00"]), (RepeatedTime.LAST, ["+01:00"]), (RepeatedTime.BOTH, ["+02:00", "+01:00"])],
)
def test_a_repeated_time_fires_at_the_passes_that_are_asked_for(policy: RepeatedTime, offsets: list[str]) -> None:
    told = preview(
        schedule("30 2 25 10 *", time_zone="Europe/Berlin", repeated_time=policy), at("2026-10-01 00:00"), len(offsets)
    )
    assert [each.local for each in told] == [f"2026-10-25T02:30:00{offset}" for offset in offsets]
    assert all(each.repeated for each in told)


def test_an_expression_with_a_star_fires_in_both_passes_and_shifts_nothing() -> None:
    hourly = schedule("15 * * * *", time_zone="Europe/Berlin", repeated_time=RepeatedTime.FIRST)
    assert count(hourly, at("2026-10-24 22:00"), at("2026-10-25 23:00")) == 25
    assert count(hourly, at("2026-03-28 23:00"), at("2026-03-29 22:00")) == 23


def test_an_interval_counts_passing_time_from_its_start() -> None:
    every = schedule(Interval(timedelta(hours=6)), time_zone="Europe/Berlin", start=at("2026-03-28 20:00"))
    assert [text(each) for each in between(every, at("2026-03-28 00:00"), at("2026-03-29 09:00"))] == [
        "2026-03-28 20:00",
        "2026-03-29 02:00",
        "2026-03-29 08:00",
    ]


def test_an_rrule_follows_the_clock_on_the_wall() -> None:
    weekly = schedule(Rrule("FREQ=WEEKLY;BYDAY=SU;BYHOUR=2;BYMINUTE=30"), time_zone="Europe/Berlin")
    assert _locals(weekly, "2026-03-22 00:00", 3) == [
        "2026-03-22T02:30:00+01:00",
        "2026-03-29T03:00:00+02:00",
        "2026-04-05T02:30:00+02:00",
    ]


def test_two_recurrences_are_united_and_a_common_time_is_one() -> None:
    both = schedule("0 9 * * *", Once((at("2026-01-02 09:00"), at("2026-01-02 10:00"))))
    assert [text(each) for each in islice(between(both, at("2026-01-02 00:00"), at("2026-01-04 00:00")), 5)] == [
        "2026-01-02 09:00",
        "2026-01-02 10:00",
        "2026-01-03 09:00",
    ]


def test_nothing_is_due_on_an_excluded_day_of_the_zone_or_in_an_excluded_stretch() -> None:
    subject = schedule(
        "0 23 * * *",
        time_zone="America/New_York",
        excluded_dates=(DateSpan(date(2026, 1, 2), date(2026, 1, 3)),),
        excluded_ranges=(Stretch(at("2026-01-06 03:00"), at("2026-01-06 04:01")),),
    )
    assert _locals(subject, "2026-01-01 12:00", 3) == [
        "2026-01-01T23:00:00-05:00",
        "2026-01-04T23:00:00-05:00",
        "2026-01-06T23:00:00-05:00",
    ]


def test_a_time_shifted_into_another_day_belongs_to_that_day() -> None:
    # Samoa had no 30 December in 2011: its nine o'clock falls on the first moment of the 31st.
    nine = schedule("0 9 * * *", time_zone="Pacific/Apia", start=at("2011-12-01 00:00"))
    assert "2011-12-31T00:00:00+14:00" in _locals(nine, "2011-12-29 00:00", 3)
    without = schedule(
        "0 9 * * *",
        time_zone="Pacific/Apia",
        start=at("2011-12-01 00:00"),
        excluded_dates=(DateSpan(date(2011, 12, 31), date(2011, 12, 31)),),
    )
    assert not [each for each in _locals(without, "2011-12-29 00:00", 3) if each.startswith("2011-12-31")]


def test_the_start_belongs_to_a_schedule_and_the_end_does_not() -> None:
    subject = schedule("0 * * * *", start=at("2026-01-01 08:00"), end=at("2026-01-01 10:00"))
    assert [text(each) for each in between(subject, Micros(0), at("2027-01-01 00:00"))] == [
        "2026-01-01 08:00",
        "2026-01-01 09:00",
    ]
    assert first_from(subject, at("2026-01-01 09:01")) is None


def test_a_year_of_minutes_is_counted_without_being_walked() -> None:
    every = schedule("* * * * *", time_zone="Europe/Berlin")
    assert count(every, at("2026-01-01 00:00"), at("2027-01-01 00:00")) == 365 * 24 * 60


@settings(max_examples=60, deadline=None)
@given(schedules(), moments, st.integers(0, 12_000))
def test_counting_agrees_with_telling_and_pieces_add_up(subject: Schedule, first: int, length: int) -> None:
    end = first + length * MINUTE
    told = list(between(subject, Micros(first), Micros(end)))
    assert told == sorted(set(told))
    assert count(subject, Micros(first), Micros(end)) == len(told)
    middle = Micros((first + end) // 2)
    assert list(between(subject, Micros(first), middle)) + list(between(subject, middle, Micros(end))) == told
    assert all(subject.start <= each and (subject.end is None or each < subject.end) for each in told)
    if told:
        assert first_from(subject, Micros(first)) == told[0]


@settings(max_examples=60, deadline=None)
@given(schedules(), moments)
def test_jitter_never_hastens_never_exceeds_its_bound_and_keeps_order(subject: Schedule, first: int) -> None:
    told = list(islice(between(subject, Micros(first), Micros(first + 5 * DAY)), 30))
    due = [due_time(subject, each) for each in told]
    width = subject.jitter // timedelta(microseconds=1)
    assert all(each <= later <= each + width for each, later in zip(told, due, strict=True))
    assert all(earlier < later for earlier, later in pairwise(due))
    assert due == [due_time(subject, each) for each in told]


def test_jitter_spreads_over_all_of_its_width() -> None:
    subject = schedule("0 * * * *", jitter=timedelta(hours=1))
    february = between(subject, at("2026-02-01 00:00"), at("2026-03-01 00:00"))
    parts = [(due_time(subject, each) - each) / HOUR for each in february]
    assert min(parts) < 0.05 < 0.95 < max(parts) < 1
    assert 0.45 < sum(parts) / len(parts) < 0.55


@pytest.mark.parametrize(
    ("subject", "told"),
    [
        (schedule("0 9 * * MON-FRI"), "At 09:00 on Monday through Friday, in UTC."),
        (
            schedule("@daily", time_zone="Europe/Berlin", repeated_time=RepeatedTime.BOTH, max_cycles=3),
            "At 00:00 every day, in Europe/Berlin, at most 3 times; a time that a clock change leaves out fires right "
            "after it, one that it repeats fires both times.",
        ),
        (
            schedule(Interval(timedelta(minutes=90)), jitter=timedelta(hours=1), end=at("2026-02-01 00:00")),
            "Every 90 minutes from 2026-01-01T00:00:00+00:00 on, in UTC, until 2026-02-01T00:00:00+00:00, up to 1 hour "
            "later.",
        ),
        (
            schedule(Once((at("2026-01-03 00:00"), at("2026-01-02 00:00"))), Rrule("FREQ=DAILY;COUNT=2")),
            "At 2026-01-02T00:00:00+00:00 and 1 times more; and As FREQ=DAILY;COUNT=2 says, in UTC.",
        ),
    ],
)
def test_a_schedule_is_told_in_a_sentence(subject: Schedule, told: str) -> None:
    assert describe(subject) == told
