"""What is counted of reported posts, which goals a report moves, and what turns are told of both."""

from dataclasses import replace
from typing import Any

import pytest

from heddle_campaign.facade.metrics import metrics_of, reported
from heddle_campaign.rules.campaigns import Campaign, Goal
from heddle_campaign.rules.cycles import Signal
from heddle_campaign.rules.prompts import week_note
from heddle_campaign.rules.reports import (
    KEPT_DAYS,
    MOST_A_DAY,
    MOST_KEYS,
    Posted,
    Reports,
    counted,
    measures_in,
    told_of,
)
from heddle_campaign.rules.winners import Post, posts_in
from heddle_core.clock import Micros
from tests.kit.campaign_stores import NOW
from tests.kit.campaign_values import active, minute, standing

DAY = 24 * 60
REACH = Goal("reach", "Be read", "readers", 90, 4)
RATE = Goal("rate", "Be liked", "engagement_rate", 5)
JUDGED = Goal("fun", "Have fun")


def after(
    campaign: Campaign,
    key: str,
    *,
    at: float = 0,
    now: float | None = None,
    posts: tuple[Post, ...] = (),
    **measures: float,
) -> Campaign:
    """The campaign once a report was counted that was measured `at` minutes after the first moment; at once."""
    metrics = metrics_of(Signal("post_metrics", "{}", key, minute(at)), {"metrics": measures}, posts, frozenset())
    return reported(standing(campaign, max(at, 0) if now is None else now), metrics=metrics).campaign


def values(campaign: Campaign) -> list[float]:
    return [each.current_value for each in campaign.settings.goals]


def test_a_report_moves_the_goals_whose_measure_it_tells_and_the_etag_with_them() -> None:
    campaign = active(goals=(REACH, RATE, JUDGED))
    moved = after(campaign, "k1", readers=30.0, other=7.0)
    assert values(moved) == [30, 0, 0]
    assert moved.revision == campaign.revision + 1
    assert values(after(moved, "k2", at=60, readers=20.0, engagement_rate=2.5)) == [20, 2.5, 0]
    assert after(campaign, "k3", other=1.0).revision == campaign.revision


def test_a_report_counts_once_and_an_older_value_moves_nothing_back() -> None:
    campaign = after(active(goals=(REACH,)), "k1", at=60, readers=30.0)
    assert after(campaign, "k1", at=90, readers=99.0) == campaign
    assert values(after(campaign, "late", at=30, now=90, readers=10.0)) == [30]
    assert values(after(campaign, "corrected", at=60, readers=31.0)) == [31]


def test_a_value_that_a_person_sets_stands_until_the_next_report() -> None:
    campaign = after(active(goals=(REACH,)), "k1", readers=30.0)
    by_hand = replace(campaign, settings=replace(campaign.settings, goals=(replace(REACH, current_value=50),)))
    assert values(after(by_hand, "k2", at=5, readers=33.0)) == [33]
    assert values(after(by_hand, "k0", at=-5, readers=3.0)) == [50]


def test_a_report_whose_clock_runs_ahead_was_measured_now_and_holds_up_none_that_comes_later() -> None:
    ahead = after(active(goals=(REACH,)), "2062", at=36 * 365 * DAY, now=10, readers=30.0)
    assert values(ahead) == [30]
    assert values(after(ahead, "k2", at=9, now=11, readers=20.0)) == [30]
    assert values(after(ahead, "k3", at=11, readers=40.0)) == [40]


def test_a_time_ahead_of_now_that_is_on_record_holds_up_no_report() -> None:
    campaign = active(goals=(REACH,))
    held = replace(campaign, reports=Reports(goals={"reach": minute(36 * 365 * DAY)}))
    assert values(after(held, "k1", at=5, readers=30.0)) == [30]


@pytest.mark.parametrize(
    ("payload", "told"),
    [
        ({}, {}),
        ({"metrics": {"readers": 3, "mood": "good", "yes": True, "": 1, "huge": 10**400}}, {"readers": 3.0}),
        ({"metrics": [1]}, {}),
        ({"metrics": {"rate": float("nan"), "low": -2.5}}, {"low": -2.5}),
    ],
)
def test_a_measure_is_a_number_by_its_name(payload: Any, told: dict[str, float]) -> None:
    assert measures_in(payload, []) == told


def test_the_engagement_rate_is_that_of_the_posts_unless_it_is_told() -> None:
    assert measures_in({}, [2.0, 5.0]) == {"engagement_rate": 3.5}
    assert measures_in({"metrics": {"engagement_rate": 9}}, [2.0, 5.0]) == {"engagement_rate": 9.0}


def test_posts_are_told_in_all_by_platform_and_by_target() -> None:
    listed = [
        {"platform": "x", "target": "shoes", "engagement": 2},
        {"platform": "x", "target": "hats", "engagement": 3},
        {"platform": "tiktok", "target": "shoes", "engagement": 7},
        {"engagement": 0, "target": "no key!"},
        {"platform": "x"},
    ]
    campaign = after(active(), "k1", posts=posts_in({"posts": listed}))
    told = week_note([], campaign.reports, NOW)
    assert told is not None
    assert told.text.splitlines() == [
        "Reported of the last 7 days: 4 posts with 3.0 % engagement on average.",
        "By platform: tiktok 1 post with 7.0 % engagement; x 2 posts with 2.5 % engagement.",
        "By target: hats 1 post with 3.0 % engagement; shoes 2 posts with 4.5 % engagement.",
    ]
    assert week_note([], Reports(), NOW) is None


def test_posts_older_than_the_week_are_let_go_and_those_of_the_future_count_for_today() -> None:
    campaign = after(active(), "k1", posts=(Post(2.0, {}),))
    later = Micros(minute((KEPT_DAYS + 1) * DAY))
    assert told_of(campaign.reports, later) == []
    again = counted(campaign.reports, {("x", ""): (1, 4.0)}, dedupe_key="k2", at=Micros(later * 2), now=later)
    assert [(each.platform, each.posts) for each in again.posted] == [("x", 1)]
    assert again.posted[0].day == later - later % (DAY * 60_000_000)
    old = counted(again, {("x", ""): (1, 4.0)}, dedupe_key="k3", at=NOW, now=later)
    assert (old.posted, len(old.keys)) == (again.posted, 3)


def test_what_is_kept_stays_small_however_much_is_reported() -> None:
    kept = Reports()
    for number in range(MOST_KEYS + 50):
        posts = {(f"p{number}", ""): (1, 1.0)}
        kept = counted(kept, posts, dedupe_key=f"k{number}", at=NOW, now=NOW)
    assert len(kept.keys) == MOST_KEYS
    assert len(kept.posted) == MOST_A_DAY + 1
    assert sum(each.posts for each in kept.posted) == MOST_KEYS + 50
    assert kept.posted[0] == Posted(kept.posted[0].day, "", "", MOST_KEYS + 50 - MOST_A_DAY, 274.0)
