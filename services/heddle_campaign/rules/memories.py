"""Which memories a turn is given, and why: a score made of parts that can be told, and age that fades them."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import IntEnum
from itertools import chain, islice
from math import exp2
from typing import NamedTuple

from heddle_campaign.rules.words import terms
from heddle_core.clock import Micros, micros

MOST = 8
"""Most memories that a turn is given."""
HALF_LIFE = timedelta(days=30)
"""After this time a memory's freshness has halved."""
FADED = 0.05
"""Below this worth a memory may be forgotten of itself."""

_HALF_LIFE = micros(HALF_LIFE)
_FEWEST_COMPARED = 4
"""Memories from which on it is looked which words most of them share."""
_MUCH, _WELL = 0.75, 0.5
"""From which on a part of a score is worth a word; performance, and the others."""
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
class Known:
    """A memory with its words: splitting them takes longer than all else, and is done once for all turns of a cycle."""

    memory: Memory
    words: frozenset[str]
    """Those of its text and tags that a turn of the cycle is about, too."""


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


def with_words(memory: Memory, wanted: frozenset[str]) -> Known:
    """The memory, and which of the words that any turn wants are in it."""
    return Known(memory, terms(memory.text, *memory.tags) & wanted)


def rank(memories: Iterable[Known], wanted: Wanted, now: Micros, most: int = MOST) -> tuple[Ranked, ...]:
    """The memories to give, best first: pinned ones before all others, then by score; ties by age, then id.

    What is about another platform than the turn's is left out, unless it is pinned. Of those that say the same, only
    the best is given. Words that stand in most memories find none.
    """
    known = tuple(memories)
    found = [each.words & wanted.words for each in known]
    common = _common(found)
    scored = [
        _Scored(each.memory, words - common, _score(each.memory, words - common, wanted, now))
        for each, words in zip(known, found, strict=True)
        if each.memory.pinned or _fits(each.memory, wanted)
    ]
    scored.sort(key=lambda each: (not each.memory.pinned, -each.score, -each.memory.learned, each.memory.memory_id))
    best = islice(_said_once(scored), most)
    return tuple(Ranked(memory, score, tuple(_reasons(memory, about, wanted, now))) for memory, about, score in best)


def worth(memory: Memory, now: Micros) -> float:
    """What is left of a memory, 0 to 1: importance and confidence, faded by the time since it was learned or used.

    The more important, the slower it fades: up to four times the half-life.
    """
    return memory.importance * memory.confidence * _freshness(memory, now)


def faded(memories: Sequence[Memory], now: Micros) -> tuple[Memory, ...]:
    """The memories that may be forgotten of themselves; a pinned one never is."""
    return tuple(each for each in memories if not each.pinned and worth(each, now) < FADED)


class _Scored(NamedTuple):
    memory: Memory
    about: frozenset[str]
    """The words that it was found by."""
    score: float


def _common(found: Sequence[frozenset[str]]) -> frozenset[str]:
    """Words that stand in more than half of what a campaign knows: they tell none of its memories from the others."""
    if len(found) < _FEWEST_COMPARED:
        return frozenset()
    count = Counter(chain.from_iterable(found))
    return frozenset(word for word, memories_with in count.items() if memories_with * 2 > len(found))


def _fits(memory: Memory, wanted: Wanted) -> bool:
    return not memory.platform or not wanted.platform or memory.platform == wanted.platform


def _score(memory: Memory, about: frozenset[str], wanted: Wanted, now: Micros) -> float:
    points = (
        _PLATFORM * _same(memory.platform, wanted.platform)
        + _SAME_KIND * _same(memory.content_type, wanted.content_type)
        + _KIND_WORTH[memory.kind]
        + _IMPORTANCE * memory.importance
        + _CONFIDENCE * memory.confidence
        + _RECENCY * _freshness(memory, now)
        + _PERFORMANCE * memory.performance
        + _TERMS * min(1.0, len(about) / 3)
    )
    return round(points, 6)


def _said_once(scored: Iterable[_Scored]) -> Iterator[_Scored]:
    """Of those that say the same, the first."""
    said: set[str] = set()
    for each in scored:
        text = each.memory.text.casefold()
        if text not in said:
            said.add(text)
            yield each


def _reasons(memory: Memory, about: frozenset[str], wanted: Wanted, now: Micros) -> Iterator[str]:
    """The parts of a score that are worth a word."""
    if memory.pinned:
        yield "pinned"
    if _same(memory.platform, wanted.platform):
        yield "same platform"
    if _same(memory.content_type, wanted.content_type):
        yield "same type"
    yield memory.kind.name.lower()
    if memory.importance >= _MUCH:
        yield "important"
    if memory.confidence >= _MUCH:
        yield "sure"
    if _freshness(memory, now) >= _MUCH:
        yield "recent"
    if memory.performance >= _WELL:
        yield "performed well"
    if about:
        yield f"about {', '.join(sorted(about)[:3])}"


def _same(said: str, wanted: str) -> bool:
    return said != "" and said == wanted


def _freshness(memory: Memory, now: Micros) -> float:
    since = max(memory.learned, memory.last_used if memory.last_used is not None else memory.learned)
    age = max(0, now - since) / _HALF_LIFE
    return exp2(-age / (1 + 3 * memory.importance))
