"""What the best posts have in common, reckoned from reported metrics."""

import json
from typing import Any

import pytest

from heddle_campaign.rules.learned import Learned
from heddle_campaign.rules.memories import FADED, MemoryKind, faded, worth
from heddle_campaign.rules.winners import pattern_of, posts_in, winner
from heddle_core.clock import Micros
from heddle_core.ids import TenantId

ACME = TenantId("acme")
NOW = Micros(1_700_000_000_000_000)


def post(engagement: Any, platform: Any = "instagram", format: Any = "reel", hour: Any = 19, tone: Any = "warm") -> Any:
    return {"platform": platform, "format": format, "hour": hour, "tone": tone, "engagement": engagement}


def won(posts: list[Any], dedupe_key: str = "week-12") -> Learned | None:
    found = pattern_of(posts_in({"posts": posts}))
    return None if found is None else winner(found, ACME, "camp_1", dedupe_key, NOW)


def test_the_traits_that_the_best_quarter_shares_are_told() -> None:
    best = [post(10.0), post(9.0, tone="dry"), post(8.0, hour=20), post(7.0, platform="tiktok")]
    others = [post(1.0, platform="x", format="text", hour=8, tone="dry") for _ in range(12)]
    found = won([*others, *best])
    assert found is not None
    memory = found.memory
    assert memory.kind is MemoryKind.WINNER
    assert memory.text == (
        "Works best: platform instagram (75%), format reel (100%), daypart evening (100%), tone warm (75%)."
        " The best 4 of 16 posts had 8.5 % engagement, all 2.9 %."
    )
    assert (memory.platform, memory.content_type) == ("instagram", "")
    assert memory.tags == ("instagram", "reel", "evening", "warm")
    measures = json.loads(found.performance_json)
    assert (measures["posts"], measures["best_posts"]) == (16, 4)
    assert measures["platform"] == {"value": "instagram", "share": 0.75}
    assert found.citation is None


def test_importance_confidence_and_performance_follow_the_documented_arithmetic() -> None:
    found = won([post(4.0), post(1.0, tone="dry"), post(1.0), post(2.0)])
    assert found is not None
    assert found.memory.importance == 1.0
    assert found.memory.confidence == round(4 / 14, 4)
    assert found.memory.performance == 0.5


def test_posts_that_all_did_alike_have_no_performance_to_tell() -> None:
    found = won([post(3.0)] * 8)
    assert found is not None
    assert found.memory.performance == 0.0


def test_more_posts_make_it_surer() -> None:
    few, many = won([post(3.0)] * 4), won([post(3.0)] * 100)
    assert few is not None
    assert many is not None
    assert few.memory.confidence < 0.3 < 0.9 < many.memory.confidence


def test_a_trait_that_fewer_than_half_of_the_best_share_is_not_told() -> None:
    best = [post(9.0, platform=name) for name in ("a", "b", "c", "d")]
    found = won([*best, *(post(1.0) for _ in range(12))])
    assert found is not None
    assert found.memory.platform == ""
    assert "platform" not in found.memory.text


def test_a_tie_goes_to_the_trait_with_more_engagement() -> None:
    found = won([post(5.0, tone="dry"), post(4.0, tone="warm"), *(post(1.0) for _ in range(6))])
    assert found is not None
    assert "tone dry (50%)" in found.memory.text


@pytest.mark.parametrize(
    "posts",
    [
        [],
        [post(3.0)] * 3,
        [post(0.0)] * 8,
        [{"engagement": 3.0}] * 8,
        [post("3"), post(None), post(True), post(-1), post(1e400), post(float("nan")), post(10**400), "x", 7],
        "many",
    ],
)
def test_too_few_or_meaningless_posts_teach_nothing(posts: Any) -> None:
    assert won(posts) is None


@pytest.mark.parametrize(
    ("hour", "daypart"),
    [(0, "night"), (5, "night"), (6, "morning"), (12, "afternoon"), (18, "evening"), (23, "evening")],
)
def test_an_hour_belongs_to_a_part_of_the_day(hour: int, daypart: str) -> None:
    (read,) = posts_in({"posts": [post(1.0, hour=hour)]})
    assert read.traits["daypart"] == daypart


@pytest.mark.parametrize("hour", [24, -1, 7.5, "7", True, None])
def test_an_hour_that_is_none_is_not_told(hour: Any) -> None:
    (read,) = posts_in({"posts": [post(1.0, hour=hour)]})
    assert "daypart" not in read.traits


def test_the_same_report_gives_the_same_memory_and_another_gives_another() -> None:
    first, again, other = won([post(3.0)] * 8), won([post(4.0)] * 9), won([post(3.0)] * 8, dedupe_key="week-13")
    assert first is not None
    assert again is not None
    assert other is not None
    assert first.memory.memory_id == again.memory.memory_id != other.memory.memory_id


def test_a_winner_of_few_posts_fades_within_a_year() -> None:
    found = won([post(3.0)] * 4)
    assert found is not None
    assert worth(found.memory, NOW) > FADED
    assert faded((found.memory,), Micros(NOW + 400 * 86_400_000_000)) == (found.memory,)
