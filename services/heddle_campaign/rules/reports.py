"""What was reported from outside of a campaign's posts and measures, as far as later turns are told of it.

Posts are summed up by day, platform and target, so that what a campaign keeps stays small however much is reported. A
signal of kind `post_metrics` brings measures beside the posts that `winners` reads: `{posts: [...], metrics: {NAME:
number}}`. It is JSON from outside: what is missing or of another type counts as not told.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from heddle_campaign.rules.conditions import Value
from heddle_campaign.rules.signals import Payload
from heddle_core.clock import Micros

ENGAGEMENT_RATE = "engagement_rate"
"""The measure that a report's posts tell by themselves: their mean engagement, in percent."""
KEPT_DAYS = 7
"""Whole days before today whose posts are kept."""
MOST_A_DAY = 32
"""Pairs of platform and target of a day; what further ones report is summed up without their names."""
MOST_KEYS = 256
"""Dedupe keys that are known again; a report behind so many others counts anew."""

Place = tuple[str, str]
"""Platform and target; empty where none was told."""
Tally = tuple[int, float]
"""A number of posts, and the engagement of all of them together, in percent."""

_NONE: Tally = (0, 0.0)
_LARGEST = 1e15
_DAY = 86_400_000_000


@dataclass(frozen=True, slots=True)
class Posted:
    """The posts of a day for one platform and target."""

    day: Micros
    """Its first moment, in UTC."""
    platform: str
    target: str
    """Key of a rotation target. Empty: none was told."""
    posts: int
    engagement: float
    """Of all of them together, in percent: divide by `posts`."""


@dataclass(frozen=True, slots=True)
class Reports:
    """What a campaign was told of its posts and goals."""

    posted: tuple[Posted, ...] = ()
    goals: Mapping[str, Micros] = field(default_factory=dict[str, Micros])
    """When the value was measured that a report set last, by the goal's key."""
    keys: tuple[str, ...] = ()
    """Of the dedupe keys that were counted, the newest last; shortened."""


def known(reports: Reports, dedupe_key: str) -> bool:
    """Whether this report was counted before."""
    return _short(dedupe_key) in reports.keys


def summed(posts: Iterable[tuple[str, str, float]]) -> Mapping[Place, Tally]:
    """Posts, given as platform, target and engagement in percent, by platform and target."""
    found: dict[Place, Tally] = {}
    for platform, target, engagement in posts:
        number, together = found.get((platform, target), _NONE)
        found[platform, target] = number + 1, together + engagement
    return found


def counted(reports: Reports, posts: Mapping[Place, Tally], *, dedupe_key: str, at: Micros, now: Micros) -> Reports:
    """The reports with one more.

    What is older than `KEPT_DAYS` is let go; a report from the future counts for today.
    """
    day, first = _day_of(min(at, now)), _day_of(now) - KEPT_DAYS * _DAY
    kept = {(each.day, each.platform, each.target): (each.posts, each.engagement) for each in reports.posted}
    kept = {place: tally for place, tally in kept.items() if place[0] >= first}
    room = MOST_A_DAY - sum(place[0] == day for place in kept)
    for (platform, target), (number, engagement) in posts.items() if day >= first else ():
        place = day, platform, target
        if place not in kept:
            place = place if room > 0 else (day, "", "")
            room -= 1
        before, together = kept.get(place, _NONE)
        kept[place] = before + number, together + engagement
    posted = tuple(Posted(*place, *kept[place]) for place in sorted(kept))
    return replace(reports, posted=posted, keys=(*reports.keys, _short(dedupe_key))[-MOST_KEYS:])


def measures_in(payload: Payload, engagements: Sequence[float]) -> Mapping[str, float]:
    """The measures of a payload by their names; `engagement_rate` is reckoned of the posts if it is not told."""
    told = payload.get("metrics")
    found = {} if not engagements else {ENGAGEMENT_RATE: round(sum(engagements) / len(engagements), 4)}
    if isinstance(told, Mapping):
        measures = ((name, _measure(each)) for name, each in told.items())
        found |= {name: each for name, each in measures if name and each is not None}
    return found


def told_of(reports: Reports, now: Micros) -> list[str]:
    """Lines for agents about what was reported of the last 7 days: in all, by platform, by target. Empty: nothing."""
    since = _day_of(now) - KEPT_DAYS * _DAY
    posted = [each for each in reports.posted if each.day >= since]
    if not posted:
        return []
    lines = [f"Reported of the last 7 days: {_together(posted)} on average."]
    lines += _by("platform", [(each.platform, each) for each in posted])
    lines += _by("target", [(each.target, each) for each in posted])
    return lines


def _by(part: str, posted: Sequence[tuple[str, Posted]]) -> list[str]:
    names = sorted({name for name, _ in posted} - {""})
    told = [f"{name} {_together([each for of, each in posted if of == name])}" for name in names]
    return [f"By {part}: {'; '.join(told)}."] if told else []


def _together(posted: Sequence[Posted]) -> str:
    posts = sum(each.posts for each in posted)
    mean = sum(each.engagement for each in posted) / posts
    return f"{posts} post{'s' if posts != 1 else ''} with {mean:.1f} % engagement"


def _measure(said: Value) -> float | None:
    if isinstance(said, bool) or not isinstance(said, int | float):
        return None
    # A whole number may be too large for a float; whatever is no number is within no bound.
    return float(said) if abs(said) <= _LARGEST else None


def _day_of(at: Micros) -> Micros:
    return Micros(at - at % _DAY)


def _short(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:16]
