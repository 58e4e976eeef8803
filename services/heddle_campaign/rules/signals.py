"""The built-in triggers: when a trend, a post or a fall is strong enough, and how strong. Pure arithmetic.

A payload is JSON from outside: a field that is missing or of another type counts as absent, and then nothing fires.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from math import isfinite
from typing import assert_never

from heddle_campaign.rules.conditions import Value, read
from heddle_campaign.rules.words import words_in

Payload = Mapping[str, Value]

OVERLAP_SCORE = 15.0
"""What each overlapping keyword adds to a trend's score."""


@dataclass(frozen=True, slots=True)
class TrendSpike:
    """Fires on kind `trend_spike`: `{trends: [{topic, virality, growth_percent, keywords}]}`, or one such object."""

    min_virality: float = 70.0
    """0 to 100."""
    min_growth_percent: float = 25.0
    keywords: tuple[str, ...] = ()
    """One of these must overlap. Empty: the words of the campaign's brief and topics."""


@dataclass(frozen=True, slots=True)
class ViralPost:
    """Fires on kind `viral_post`: `{engagement_percent}`."""

    min_engagement_percent: float = 8.0


@dataclass(frozen=True, slots=True)
class PerformanceDip:
    """Fires on kind `performance_dip`: `{change_percent, posts, window_days}`, a fall being negative."""

    min_fall_percent: float = 20.0
    window: timedelta = timedelta(days=7)
    """A report over another stretch is not comparable, and fires nothing; one that names none is taken at its word."""


@dataclass(frozen=True, slots=True)
class CustomSignal:
    """Fires on a kind of the tenant's own when a condition holds."""

    kind: str
    condition: str = ""


TriggerRule = TrendSpike | ViralPost | PerformanceDip | CustomSignal


@dataclass(frozen=True, slots=True)
class Match:
    """What a rule says of a signal."""

    fires: bool
    score: float = 0.0
    """How strongly; comparable within one kind."""
    reason: str = ""
    """For people: what fired, or what was lacking."""


def kind_of(rule: TriggerRule) -> str:
    """The kind of signal that a rule is for."""
    match rule:
        case TrendSpike():
            return "trend_spike"
        case ViralPost():
            return "viral_post"
        case PerformanceDip():
            return "performance_dip"
        case CustomSignal():
            return rule.kind
        case _:
            assert_never(rule)


def match_signal(rule: TriggerRule, payload: Payload, words: frozenset[str] = frozenset()) -> Match:
    """Whether a rule fires on a payload; `words` are those of the campaign's brief and topics, from `words.terms`.

    Raises:
        BadCondition: a custom rule's condition cannot be understood; it is refused when the campaign is set.
    """
    match rule:
        case TrendSpike():
            return _trend_spike(rule, payload, words)
        case ViralPost():
            return _viral_post(rule, payload)
        case PerformanceDip():
            return _performance_dip(rule, payload)
        case CustomSignal():
            judgement = read(rule.condition).judge(payload)
            reason = judgement.fault or ("its condition holds" if judgement.holds else "its condition does not hold")
            return Match(judgement.holds, float(judgement.holds), reason)
        case _:
            assert_never(rule)


def _trend_spike(rule: TrendSpike, payload: Payload, words: frozenset[str]) -> Match:
    wanted = frozenset(each.casefold().strip() for each in rule.keywords) or words
    strongest = Match(False, reason="no trend is strong enough and fits")
    for trend in _trends(payload):
        virality, growth = _number(trend, "virality"), _number(trend, "growth_percent")
        if virality is None or growth is None or virality < rule.min_virality or growth < rule.min_growth_percent:
            continue
        overlap = sorted(_keywords(trend) & wanted)
        score = virality + growth + OVERLAP_SCORE * len(overlap)
        if overlap and (score > strongest.score or not strongest.fires):
            reason = f"virality {virality:g}, growth {growth:g} %, overlapping {', '.join(overlap[:5])}"
            strongest = Match(True, score, reason)
    return strongest


def _viral_post(rule: ViralPost, payload: Payload) -> Match:
    engagement = _number(payload, "engagement_percent")
    if engagement is None or engagement < rule.min_engagement_percent:
        return Match(False, reason=f"engagement is below {rule.min_engagement_percent:g} %")
    return Match(True, engagement, f"engagement {engagement:g} %")


def _performance_dip(rule: PerformanceDip, payload: Payload) -> Match:
    change, posts, days = (_number(payload, each) for each in ("change_percent", "posts", "window_days"))
    if days is not None and timedelta(days=days) != rule.window:
        return Match(False, reason=f"it tells of {days:g} days, and not of {rule.window / timedelta(days=1):g}")
    if not posts or posts < 0:
        return Match(False, reason="nothing was posted, so nothing could be seen")
    if change is None or -change < rule.min_fall_percent:
        return Match(False, reason=f"it fell by less than {rule.min_fall_percent:g} %")
    return Match(True, -change, f"engagement fell by {-change:g} % with {posts:g} posts")


def _trends(payload: Payload) -> Iterator[Payload]:
    trends = payload.get("trends", payload)
    for trend in trends if isinstance(trends, Sequence) and not isinstance(trends, str) else (trends,):
        if isinstance(trend, Mapping):
            yield trend


def _keywords(trend: Payload) -> frozenset[str]:
    """What a trend is about, as it is said and word by word: who names a word that says little means it."""
    listed = trend.get("keywords")
    texts = (*(listed if isinstance(listed, Sequence) and not isinstance(listed, str) else ()), trend.get("topic"))
    whole = frozenset(each.casefold().strip() for each in texts if isinstance(each, str) and each.strip())
    return whole | words_in(*whole)


def _number(payload: Payload, name: str) -> float | None:
    value = payload.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # A whole number may be too large for a float, and days too many for a timedelta.
    return float(value) if abs(value) <= 1e9 and isfinite(value) else None
