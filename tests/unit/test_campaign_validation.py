"""Schedules that cannot be kept are refused, by field and with a remedy; those beside them are taken."""

from datetime import date, timedelta
from typing import Any

import pytest

from heddle_campaign.rules.backfill import backfill, trigger
from heddle_campaign.rules.cycle_keys import CycleKey, CycleOrigin, cycle_id, turn_request_id
from heddle_campaign.rules.due import activate, due, pause
from heddle_campaign.rules.overlap import Admission, Load
from heddle_campaign.rules.recurrence import Cron, Interval, Once, Rrule
from heddle_campaign.rules.schedule import DateSpan, OverlapPolicy, Stretch
from heddle_campaign.rules.validation import check
from heddle_core.clock import Micros
from heddle_core.errors import InvalidField
from heddle_core.ids import TenantId, is_id
from tests.kit.schedules import at, schedule

NOW = at("2026-01-01 00:00")

REFUSED: list[tuple[Any, dict[str, Any], str, str]] = [
    ("0 0 30 2 *", {}, "schedule.cron", "must exist in one of the months"),
    ("0 0 31 2,4,6 *", {}, "schedule.cron", "must exist in one of the months"),
    ("61 * * * *", {}, "schedule.cron", "minute must be 0 to 59"),
    ("0 24 * * *", {}, "schedule.cron", "hour must be 0 to 23"),
    ("0 0 * 13 *", {}, "schedule.cron", "month must be 1 to 12"),
    ("0 0 * * 8", {}, "schedule.cron", "day of the week must be"),
    ("* * * * * *", {}, "schedule.cron", "must have five fields"),
    ("@reboot", {}, "schedule.cron", "must have five fields"),
    ("", {}, "schedule.cron", "must have five fields"),
    ("0," * 200 + "0 * * * *", {}, "schedule.cron", "at most 256 characters"),
    ("0 9 * * *", {"time_zone": "Europe/Berln"}, "schedule.time_zone", "Europe/Berlin"),
    ("0 9 * * *", {"time_zone": "../etc/passwd"}, "schedule.time_zone", "IANA"),
    ("0 9 * * *", {"time_zone": ""}, "schedule.time_zone", "IANA"),
    ("0 9 * * *", {"end": at("2025-12-31 00:00")}, "schedule.end_time", "must be after start_time"),
    ("0 9 * * *", {"end": at("2026-01-01 08:00")}, "schedule.end_time", "lies before the first time"),
    ("0 9 * * *", {"start": Micros(0)}, "schedule.start_time", "between the years"),
    ("0 9 * * *", {"end": Micros(10**18)}, "schedule.end_time", "before the year 2200"),
    ("0 9 * * *", {"jitter": timedelta(hours=2)}, "schedule.jitter", "0 to 1 hour"),
    ("0 9 * * *", {"catch_up_window": timedelta(seconds=-1)}, "schedule.catch_up_window", "0 to 366 days"),
    ("0 9 * * *", {"max_cycles": -1}, "schedule.max_cycles", "must not be negative"),
    (Interval(timedelta(seconds=30)), {}, "schedule.interval", "1 minute"),
    (Once(()), {}, "schedule.once", "1 to 1000 times"),
    (Once((at("2025-06-01 00:00"),)), {}, "schedule.once", "names no time from now on"),
    (Rrule("FREQ=DAILY;BYHOUR=99"), {}, "schedule.rrule", "BYHOUR=99 must be 0 to 23"),
    (Rrule("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30"), {}, "schedule.rrule", "names no time"),
    (Rrule("FREQ=HOURLY;BYSECOND=0,30"), {}, "schedule.rrule", "are too near: leave at least 60 seconds"),
    (
        "0 9 * * *",
        {"excluded_dates": (DateSpan(date(2026, 1, 2), date(2026, 1, 1)),)},
        "schedule.excluded_dates[0]",
        "must end on or after its first day",
    ),
    (
        "0 9 1 1 *",
        {"excluded_ranges": (Stretch(NOW, at("2199-01-01 00:00")),)},
        "schedule.excluded_dates",
        "exclude less",
    ),
    (
        "0 9 * * *",
        {"excluded_ranges": (Stretch(NOW, NOW),)},
        "schedule.excluded_ranges[0].end_time",
        "must be after start_time",
    ),
]


@pytest.mark.parametrize(("recurrence", "changes", "field", "remedy"), REFUSED)
def test_what_cannot_be_kept_is_refused_by_field_with_a_remedy(
    recurrence: Any, changes: dict[str, Any], field: str, remedy: str
) -> None:
    with pytest.raises(InvalidField) as refused:
        check(schedule(recurrence, **changes), NOW)
    assert [each.field for each in refused.value.violations] == [field]
    assert remedy in refused.value.violations[0].remedy


@pytest.mark.parametrize(
    "recurrence",
    ["0 0 29 2 *", "0 0 31 * *", "@daily", " @Hourly", "0 0 30 2 MON", "30 2 LW * *", Interval(timedelta(minutes=1))],
)
def test_what_is_rare_or_short_is_taken(recurrence: Any) -> None:
    check(schedule(recurrence), NOW)


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(InvalidField) as refused:
        check(schedule("61 * * * *", jitter=timedelta(hours=2), max_cycles=-1), NOW)
    assert {each.field for each in refused.value.violations} == {
        "schedule.cron",
        "schedule.jitter",
        "schedule.max_cycles",
    }


def test_too_many_recurrences_are_refused() -> None:
    with pytest.raises(InvalidField, match=r"schedule\.recurrence: must be at most 16"):
        check(schedule(*(Cron("0 9 * * *"),) * 17), NOW)


def test_a_schedule_may_name_no_times_but_must_not_be_over() -> None:
    check(schedule(), NOW)
    check(schedule(end=Micros(NOW + 1)), NOW)
    with pytest.raises(InvalidField, match=r"schedule\.end_time: lies in the past"):
        check(schedule(end=at("2026-06-01 00:00")), at("2026-06-01 00:00"))


def test_a_service_may_ask_for_a_longer_distance() -> None:
    check(schedule("*/5 * * * *"), NOW)
    with pytest.raises(InvalidField, match="2026-01-01T00:00:00\\+00:00 and 2026-01-01T00:05:00"):
        check(schedule("*/5 * * * *"), NOW, timedelta(minutes=10))


def test_two_recurrences_that_come_near_each_other_are_too_frequent() -> None:
    with pytest.raises(InvalidField, match="are too near"):
        check(schedule("0 * * * *", Interval(timedelta(minutes=7)), start=at("2026-01-01 00:00") + 1), NOW)


# --- backfill and trigger -----------------------------------------------------------------------------------


def test_a_backfill_fires_the_times_of_a_stretch_that_have_no_cycle() -> None:
    hourly = schedule("0 * * * *")
    state = due(hourly, activate(hourly, NOW).state, at("2026-01-01 09:30")).state
    stretch = Stretch(at("2026-01-01 02:00"), at("2026-01-01 05:00"))
    found = backfill(hourly, state, stretch, at("2026-01-01 09:30"), {at("2026-01-01 03:00")})
    assert [each.scheduled_time for each in found.keys] == [at("2026-01-01 02:00"), at("2026-01-01 04:00")]
    assert {each.origin for each in found.keys} == {CycleOrigin.BACKFILL}
    assert found.overlap is OverlapPolicy.BUFFER_ALL


def test_a_backfill_leaves_to_the_schedule_what_it_has_not_settled() -> None:
    hourly = schedule("0 * * * *")
    state, now = activate(hourly, at("2026-01-01 02:30")).state, at("2026-01-01 09:30")
    stretch = Stretch(NOW, now)
    assert len(backfill(hourly, state, stretch, now, ()).keys) == 3
    assert len(backfill(hourly, pause(state, at("2026-01-01 02:40")), stretch, now, ()).keys) == 10


@pytest.mark.parametrize(
    ("first", "end", "remedy"),
    [
        ("2026-01-01 02:00", "2026-01-01 02:00", "must be after range.start_time"),
        ("2026-01-01 02:00", "2026-01-05 02:00", "must not lie in the future"),
        ("2026-01-01 00:00", "2026-01-01 20:00", "holds more than 1000 times"),
    ],
)
def test_a_backfill_of_a_wrong_stretch_is_refused(first: str, end: str, remedy: str) -> None:
    every = schedule("* * * * *")
    now = at("2026-01-01 23:00")
    with pytest.raises(InvalidField, match=remedy):
        backfill(every, pause(activate(every, NOW).state, NOW), Stretch(at(first), at(end)), now, ())


def test_a_trigger_goes_by_the_overlap_policy_of_the_schedule_or_its_own() -> None:
    hourly = schedule("0 * * * *")
    busy = Load(running=1)
    assert trigger(hourly, NOW, Load(), CycleOrigin.MANUAL).admission is Admission.BEGIN
    assert trigger(hourly, NOW, busy, CycleOrigin.MANUAL).admission is Admission.SKIP
    asked = trigger(hourly, NOW, busy, CycleOrigin.SIGNAL, OverlapPolicy.CANCEL_OTHER)
    assert (asked.admission, asked.cancel_open, asked.key.origin) == (Admission.BEGIN, True, CycleOrigin.SIGNAL)


def test_ids_are_the_same_for_the_same_key_and_differ_for_any_other() -> None:
    key = CycleKey(TenantId("t1"), "c1", 1, NOW, CycleOrigin.SCHEDULE)
    others = [
        CycleKey(TenantId("t1"), "c1", 1, NOW, CycleOrigin.BACKFILL),
        CycleKey(TenantId("t1"), "c1", 2, NOW, CycleOrigin.SCHEDULE),
        CycleKey(TenantId("t1"), "c2", 1, NOW, CycleOrigin.SCHEDULE),
        CycleKey(TenantId("t1c"), "1", 1, NOW, CycleOrigin.SCHEDULE),
        CycleKey(TenantId("t1"), "c1", 1, Micros(NOW + 1), CycleOrigin.SCHEDULE),
    ]
    assert cycle_id(key) == cycle_id(CycleKey(TenantId("t1"), "c1", 1, NOW, CycleOrigin.SCHEDULE))
    assert len({cycle_id(each) for each in (key, *others)}) == 6
    requests = {turn_request_id(cycle_id(key), role, attempt) for role in ("a", "b") for attempt in (1, 2)}
    assert len(requests) == 4
    assert all(is_id(each) for each in (cycle_id(key), *requests))
    # Written down, because stored rows and requests under way carry it.
    assert cycle_id(key) == "cycle_cdc21d3a52e158c8ba2366fe6d838f51"
