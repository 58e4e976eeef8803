"""Cron at clock changes against the minute walker: a drawn part of what `make schedules` runs in full."""

import random
from datetime import timedelta
from itertools import product

import pytest

from heddle_campaign.rules import zones
from heddle_campaign.rules.cron import CronRule
from heddle_campaign.rules.recurrence import MissingTime, RepeatedTime
from heddle_campaign.rules.wall import WallTimes
from tests.kit.cron_expressions import FOR_OTHERS, HAND_WRITTEN, expressions
from tests.kit.minute_walker import ClockChange, Walk, all_zones, clock_changes, read
from tests.kit.schedule_oracle import FIRST_YEAR, LAST_YEAR, PAGE, POLICIES, compare
from tests.kit.schedule_page import reason_of
from tests.kit.schedules import at, text

SEED = 20260329
DRAWN = 6
"""Changes that are drawn; `make schedules` takes all 2,836."""

# What is special about each: an hour at night; half an hour; a whole day left out; offsets below zero in winter time;
# a change at midnight; changes in the middle of Ramadan; a change of three hours; a year with four changes.
SPECIAL = [
    ("Europe/Berlin", 2026),
    ("Australia/Lord_Howe", 2026),
    ("Pacific/Apia", 2011),
    ("America/Havana", 2026),
    ("Africa/Casablanca", 2026),
    ("Antarctica/Casey", 2010),
    ("Africa/Cairo", 2014),
]


@pytest.fixture(scope="module")
def changes() -> list[ClockChange]:
    return [each for zone, year in SPECIAL for each in clock_changes(zone, year, year)]


def test_hand_written_expressions_agree_with_the_walker_at_special_changes(changes: list[ClockChange]) -> None:
    findings = compare(changes, HAND_WRITTEN, thorough=True)
    assert not findings.faults
    assert findings.comparisons > 300 * len(changes) >= 300 * 15


def test_all_two_hundred_expressions_agree_with_the_walker_at_drawn_changes_under_all_policies() -> None:
    draw, drawn = random.Random(SEED), list[ClockChange]()
    zones_left = iter(draw.sample(all_zones(), 100))
    while len(drawn) < DRAWN:
        year = draw.randint(FIRST_YEAR, LAST_YEAR)
        drawn += draw.sample(found, 1) if (found := list(clock_changes(next(zones_left), year, year))) else []
    texts = expressions()
    findings = compare(drawn, texts, thorough=True)
    assert not findings.faults, f"seed {SEED}"
    fixed = sum(read(each).fixed for each in texts)
    assert (len(set(texts)), len(POLICIES)) == (200, 6)
    assert findings.comparisons == DRAWN * (fixed * len(POLICIES) + len(texts) - fixed)


def test_where_other_libraries_differ_the_page_gives_a_reason(changes: list[ClockChange]) -> None:
    findings = compare(changes, FOR_OTHERS, thorough=False, others=True)
    assert not findings.unexplained()
    assert all(asked > 200 for asked in findings.asked.values())
    told = PAGE.read_text()
    met = {reason for each in findings.differences if (reason := reason_of(each)) is not None}
    assert {library for library, *_ in met} == {"cronsim", "croniter"}
    for library, _, what, why in met:
        assert f"### {library} {what}\n\n{why}\n" in told


def test_the_walker_notices_a_policy_that_is_not_kept(changes: list[ClockChange]) -> None:
    walk = Walk(changes[0])
    times = WallTimes(CronRule("30 2 * * *"), changes[0].zone, MissingTime.SKIP, RepeatedTime.FIRST)
    told = walk.bits(each // 1_000_000 for each in times.between(zones.instant(walk.first), zones.instant(walk.end)))
    agreeing = {
        (missing, repeated)
        for missing, repeated in product(("SHIFT", "SKIP"), ("FIRST", "LAST", "BOTH"))
        if walk.fires(read("30 2 * * *"), missing, repeated) == told
    }
    assert agreeing == {("SKIP", "FIRST"), ("SKIP", "LAST"), ("SKIP", "BOTH")}


def test_changes_are_found_where_the_walker_finds_them() -> None:
    for zone, year in [*SPECIAL, ("Asia/Kolkata", 2026), ("UTC", 2026)]:
        walked = [(zones.instant(each.at), each.before, each.after) for each in clock_changes(zone, year, year)]
        found = zones.changes(zone, at(f"{year}-01-01 00:00"), at(f"{year}-12-31 23:59"))
        microsecond = timedelta(microseconds=1)
        assert [(each.at, each.before * microsecond, each.after * microsecond) for each in found] == walked


def test_a_zone_that_leaves_out_a_day_has_no_such_day() -> None:
    (gap,) = (each for each in zones.changes("Pacific/Apia", at("2011-12-01 00:00"), at("2011-12-31 23:59")))
    assert text(gap.at) == "2011-12-30 10:00"
    assert zones.local_text("Pacific/Apia", gap.at) == "2011-12-31T00:00:00+14:00"
