"""What works: what the best posts have in common, reckoned from reported metrics.

A signal of kind `post_metrics` brings `{posts: [{platform, format, hour, tone, engagement, target}]}`: engagement is a
rate in percent, hour is 0 to 23 where the readers are, target is the key of the rotation target that was worked on. It
is JSON from outside: a field that is missing or of another type counts as not told, and a post without engagement does
not count at all.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, isfinite
from typing import cast

from heddle_campaign.rules.conditions import Value
from heddle_campaign.rules.extraction import MOST_TAG, kept_text, memory_id
from heddle_campaign.rules.learned import Learned
from heddle_campaign.rules.memories import Memory, MemoryKind
from heddle_campaign.rules.signals import Payload
from heddle_core.clock import Micros
from heddle_core.ids import TenantId, is_id
from heddle_core.texts import storable

KIND = "post_metrics"
"""Of the signal."""
FEWEST_POSTS = 4
"""Fewer have no quarter that could be compared."""
BEST = 0.25
"""The part of the posts, by engagement, whose traits are told; at least one post."""
DOMINANT = 0.5
"""The part of the best posts that must share a trait for it to be told."""
SURE_AT = 10
"""With so many posts a winner is half sure: confidence = posts / (posts + 10)."""

_DAYPARTS = ("night", "morning", "afternoon", "evening")
_TRAITS = ("platform", "format", "daypart", "tone")


@dataclass(frozen=True, slots=True)
class Post:
    """A post and how it did."""

    engagement: float
    """Percent."""
    traits: Mapping[str, str]
    """Of `platform`, `format`, `daypart` and `tone` those that are told; the platform as it was spelled, since it is
    compared with that of a turn, the others in lower case."""
    target: str = ""
    """Key of the rotation target that it was made for. Empty: not told."""


@dataclass(frozen=True, slots=True)
class Dominant:
    """A trait that the best posts share."""

    trait: str
    value: str
    share: float
    """Part of the best posts that have it, 0.5 to 1."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """What the best posts of a report have in common."""

    shared: tuple[Dominant, ...]
    text: str
    """For people and agents."""
    importance: float
    confidence: float
    performance: float
    measures_json: str
    """What it was reckoned from, as a JSON object."""


def posts_in(payload: Payload) -> tuple[Post, ...]:
    """The posts of a `post_metrics` payload that can be compared."""
    listed = payload.get("posts")
    posts = cast(Sequence[Value], listed) if isinstance(listed, Sequence) and not isinstance(listed, str) else ()
    return tuple(post for each in posts if isinstance(each, Mapping) and (post := _post(each)) is not None)


def pattern_of(posts: Sequence[Post]) -> Pattern | None:
    """What the best quarter has in common; None where there is too little or nothing in common.

    importance = 0.5 + half of the mean share of the traits that are told: the clearer, the more it matters.
    confidence = posts / (posts + 10). performance = 1 - mean / mean of the best: 0 where they did as all did, 0.5 where
    they did twice as well.
    """
    if len(posts) < FEWEST_POSTS:
        return None
    best = sorted(posts, key=lambda post: -post.engagement)[: ceil(len(posts) * BEST)]
    shared = tuple(each for trait in _TRAITS if (each := _dominant(trait, best)) is not None)
    mean, best_mean = _mean(posts), _mean(best)
    if not shared or best_mean <= 0:
        return None
    measures = {
        "posts": len(posts),
        "best_posts": len(best),
        "engagement_percent": round(mean, 4),
        "best_engagement_percent": round(best_mean, 4),
        **{each.trait: {"value": each.value, "share": round(each.share, 4)} for each in shared},
    }
    return Pattern(
        shared,
        kept_text(_told(shared, len(best), len(posts), best_mean, mean)),
        importance=round(0.5 + 0.5 * sum(each.share for each in shared) / len(shared), 4),
        confidence=round(len(posts) / (len(posts) + SURE_AT), 4),
        performance=round(min(1.0, max(0.0, 1 - mean / best_mean)), 4),
        measures_json=json.dumps(measures, ensure_ascii=False),
    )


def winner(pattern: Pattern, tenant: TenantId, campaign_id: str, dedupe_key: str, now: Micros) -> Learned:
    """The pattern as a campaign learns it, once a dedupe key.

    It is about a platform only if that dominates; and about no content type, since it is the memory that tells which to
    choose.
    """
    memory = Memory(
        memory_id("winner", tenant, campaign_id, dedupe_key),
        MemoryKind.WINNER,
        pattern.text,
        now,
        platform=next((each.value for each in pattern.shared if each.trait == "platform"), ""),
        tags=tuple(each.value for each in pattern.shared),
        importance=pattern.importance,
        confidence=pattern.confidence,
        performance=pattern.performance,
    )
    return Learned(tenant, campaign_id, memory, performance_json=pattern.measures_json)


def _post(fields: Mapping[str, Value]) -> Post | None:
    engagement = fields.get("engagement")
    if isinstance(engagement, bool) or not isinstance(engagement, int | float):
        return None
    # A whole number may be too large for a float.
    if not 0 <= engagement <= 1e9 or not isfinite(engagement):
        return None
    target = fields.get("target")
    return Post(float(engagement), dict(_traits(fields)), target if isinstance(target, str) and is_id(target) else "")


def _traits(fields: Mapping[str, Value]) -> Iterator[tuple[str, str]]:
    for trait in ("platform", "format", "tone"):
        said = fields.get(trait)
        if isinstance(said, str) and said.strip():
            value = storable(said).strip()[:MOST_TAG]
            yield trait, value if trait == "platform" else value.casefold()
    hour = fields.get("hour")
    if isinstance(hour, int) and not isinstance(hour, bool) and 0 <= hour < 24:
        yield "daypart", _DAYPARTS[hour // 6]


def _dominant(trait: str, best: Sequence[Post]) -> Dominant | None:
    """The most frequent value among the best; of several, the one with more engagement, then by name."""
    engagement: dict[str, float] = {}
    count = Counter[str]()
    for post in best:
        value = post.traits.get(trait)
        if value is not None:
            count[value] += 1
            engagement[value] = engagement.get(value, 0.0) + post.engagement
    if not count:
        return None
    value = min(count, key=lambda each: (-count[each], -engagement[each], each))
    share = count[value] / len(best)
    return Dominant(trait, value, share) if share >= DOMINANT else None


def _told(shared: Sequence[Dominant], best: int, posts: int, best_mean: float, mean: float) -> str:
    traits = ", ".join(f"{each.trait} {each.value} ({each.share:.0%})" for each in shared)
    return f"Works best: {traits}. The best {best} of {posts} posts had {best_mean:.1f} % engagement, all {mean:.1f} %."


def _mean(posts: Sequence[Post]) -> float:
    return sum(post.engagement for post in posts) / len(posts)
