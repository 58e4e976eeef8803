"""Which memories a turn is given, and why: a score made of parts that can be told, and age that fades them."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import IntEnum
from math import exp2

from heddle_campaign.rules.words import terms
from heddle_core.clock import Micros

MOST = 8
"""Most memories that a turn is given."""
HALF_LIFE = timedelta(days=30)
"""After this time a memory's freshness has halved."""
FADED = 0.05
"""Below this worth a memory may be forgotten of itself."""

_FEWEST_COMPARED = 4
"""Memories from which on it is looked which words most of them share."""
_PLATFORM, _SAME_KIND, _IMPORTANCE, _CONFIDENCE, _RECENCY, _PERFORMANCE, _TERMS = 8.0, 7.0, 3.0, 4.0, 3.0, 5.0, 3.0


class MemoryKind(IntEnum):
    """What a memory records; the numbers are the contract's."""

    OUTCOME = 1
    DECISION = 2
    WINNER = 3
    NOTE = 4


_KIND_WORTH = {MemoryKind.WINNER: 7.0, MemoryKind.DECISION: 5.0, MemoryKind.NOTE: 4.0, MemoryKind.OUTCOME: 3.0}


@dataclass(frozen=True, slots=True)
class Memory:
    """Something that a campaign has learned, as far as ranking goes."""

    memory_id: str
    kind: MemoryKind
    text: str
    learned: Micros
    platform: str = ""
    """Empty: all."""
    content_type: str = ""
    """As `video`, from `words.content_type`. Empty: any."""
    tags: tuple[str, ...] = ()
    importance: float = 0.5
    """0 to 1."""
    confidence: float = 0.5
    """0 to 1."""
    performance: float = 0.0
    """How well what it tells of did beside the campaign's other posts, 0 to 1. Zero: unknown."""
    pinned: bool = False
    last_used: Micros | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a turn is about."""

    platform: str = ""
    content_type: str = ""
    words: frozenset[str] = field(default_factory=frozenset[str])
    """From `words.terms`: of objective, topic and brief."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """A memory that is given, and why."""

    memory: Memory
    score: float
    reasons: tuple[str, ...]

    @property
    def explanation(self) -> str:
        """The reasons for people, as `pinned; same platform; recent`."""
        return "; ".join(self.reasons)


def rank(memories: Iterable[Memory], wanted: Wanted, now: Micros, most: int = MOST) -> tuple[Ranked, ...]:
    """The memories to give, best first: pinned ones before all others, then by score; ties by age, then id.

    What is about another platform than the turn's is left out, unless it is pinned. Of those that say the same, only
    the best is given. Words that stand in most memories find none.
    """
    all_known = tuple(memories)
    wanted = replace(wanted, words=wanted.words - _common(all_known))
    fitting = [each for each in all_known if each.pinned or _fits(each, wanted)]
    ranked = [_ranked(each, wanted, now) for each in fitting]
    ranked.sort(key=lambda each: (not each.memory.pinned, -each.score, -each.memory.learned, each.memory.memory_id))
    said = {each.memory.text.casefold(): each for each in reversed(ranked)}
    return tuple(each for each in ranked if said[each.memory.text.casefold()] is each)[:most]


def worth(memory: Memory, now: Micros) -> float:
    """What is left of a memory, 0 to 1: importance and confidence, faded by the time since it was learned or used.

    The more important, the slower it fades: up to four times the half-life.
    """
    return memory.importance * memory.confidence * _freshness(memory, now)


def faded(memories: Sequence[Memory], now: Micros) -> tuple[Memory, ...]:
    """The memories that may be forgotten of themselves; a pinned one never is."""
    return tuple(each for each in memories if not each.pinned and worth(each, now) < FADED)


def _common(memories: Sequence[Memory]) -> frozenset[str]:
    """Words that stand in more than half of what a campaign knows: they tell none of its memories from the others."""
    if len(memories) < _FEWEST_COMPARED:
        return frozenset()
    count = Counter(word for each in memories for word in _words(each))
    return frozenset(word for word, memories_with in count.items() if memories_with * 2 > len(memories))


def _words(memory: Memory) -> frozenset[str]:
    return terms(memory.text, *memory.tags)


def _fits(memory: Memory, wanted: Wanted) -> bool:
    return not memory.platform or not wanted.platform or memory.platform == wanted.platform


def _ranked(memory: Memory, wanted: Wanted, now: Micros) -> Ranked:
    parts = list(_parts(memory, wanted, now))
    reasons = tuple(reason for _, reason in parts if reason)
    pinned = ("pinned",) if memory.pinned else ()
    return Ranked(memory, round(sum(points for points, _ in parts), 6), pinned + reasons)


def _parts(memory: Memory, wanted: Wanted, now: Micros) -> Iterator[tuple[float, str]]:
    """The points of each part, and its reason where it is worth a word."""
    if memory.platform and memory.platform == wanted.platform:
        yield _PLATFORM, "same platform"
    if memory.content_type and memory.content_type == wanted.content_type:
        yield _SAME_KIND, "same type"
    yield _KIND_WORTH[memory.kind], memory.kind.name.lower()
    yield _IMPORTANCE * memory.importance, "important" if memory.importance >= 0.75 else ""
    yield _CONFIDENCE * memory.confidence, "sure" if memory.confidence >= 0.75 else ""
    freshness = _freshness(memory, now)
    yield _RECENCY * freshness, "recent" if freshness >= 0.75 else ""
    yield _PERFORMANCE * memory.performance, "performed well" if memory.performance >= 0.5 else ""
    shared = sorted(_words(memory) & wanted.words)
    if shared:
        yield _TERMS * min(1.0, len(shared) / 3), f"about {', '.join(shared[:3])}"


def _freshness(memory: Memory, now: Micros) -> float:
    since = max(memory.learned, memory.last_used if memory.last_used is not None else memory.learned)
    age = max(0, now - since) / (HALF_LIFE / timedelta(microseconds=1))
    return exp2(-age / (1 + 3 * memory.importance))
