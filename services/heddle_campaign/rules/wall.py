"""From readings of a wall clock to moments: where clock changes are decided.

Time is cut into segments of constant offset. Within one, a reading is one moment, and counting is adding up days. All
that is special happens at the edges: a gap opens a segment, a repetition takes a piece from one of its two segments.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from heddle_campaign.rules.recurrence import MissingTime, RepeatedTime
from heddle_campaign.rules.zones import DAY, Local, Segment, local_at, segments
from heddle_core.clock import Micros


class WallRule(Protocol):
    """Which readings of a wall clock are meant."""

    fixed: bool
    """Whether it names fixed times, for which clock changes need a policy; see MissingTime."""

    def on(self, day: int) -> Sequence[int]:
        """The readings on a day (counted from 1970-01-01), in microseconds since its midnight, ascending."""
        ...


class WallTimes:
    """The moments at which a clock in a zone shows what a rule means."""

    def __init__(self, rule: WallRule, zone: str, missing: MissingTime, repeated: RepeatedTime) -> None:
        self._rule = rule
        self._zone = zone
        self._missing = missing
        self._repeated = repeated

    def between(self, first: Micros, end: Micros) -> Iterator[Micros]:
        """The moments from `first` on and before `end`, ascending, each once."""
        for piece in self._pieces(first, end):
            if piece.shifted:
                yield piece.start
            for local in _within(self._rule, piece.low, piece.high):
                moment = Micros(local - piece.offset)
                if not (piece.shifted and moment == piece.start):
                    yield moment

    def count(self, first: Micros, end: Micros) -> int:
        """How many moments `between` would tell; costs a step a day, however many times a day has."""
        total = 0
        for piece in self._pieces(first, end):
            total += _count(self._rule, piece.low, piece.high)
            if piece.shifted:
                total += not _means(self._rule, Local(piece.start + piece.offset))
        return total

    def moved(self, at: Micros) -> bool:
        """Whether one of its times is at that moment only because a clock change moved it."""
        return any(piece.shifted for piece in self._pieces(at, Micros(at + 1))) and not _means(
            self._rule, local_at(self._zone, at)
        )

    def _pieces(self, first: Micros, end: Micros) -> Iterator["_Piece"]:
        for segment in segments(self._zone, first, end):
            yield self._piece(segment)

    def _piece(self, segment: Segment) -> "_Piece":
        low, high = segment.start + segment.offset, segment.end + segment.offset
        opened, closing = segment.opened, segment.closing
        shifted = False
        if self._rule.fixed:
            if opened and opened.after < opened.before and self._repeated is RepeatedTime.FIRST:
                low = max(low, opened.at + opened.before)
            if closing and closing.after < closing.before and self._repeated is RepeatedTime.LAST:
                high = min(high, closing.at + closing.after)
            if opened and opened.at == segment.start and opened.after > opened.before:
                gap = Local(opened.at + opened.before), Local(opened.at + opened.after)
                shifted = self._missing is MissingTime.SHIFT and _count(self._rule, *gap) > 0
        return _Piece(segment.start, segment.offset, Local(low), Local(high), shifted)


@dataclass(frozen=True, slots=True)
class _Piece:
    start: Micros
    offset: int
    low: Local
    high: Local
    shifted: bool
    """Whether a time from the gap before it falls on its start."""


def _within(rule: WallRule, low: Local, high: Local) -> Iterator[Local]:
    for day in range(low // DAY, -(-high // DAY)):
        times, start = rule.on(day), day * DAY
        for place in range(bisect_left(times, low - start), bisect_left(times, high - start)):
            yield Local(start + times[place])


def _count(rule: WallRule, low: Local, high: Local) -> int:
    if low >= high:
        return 0
    total = 0
    for day in range(low // DAY, -(-high // DAY)):
        times = rule.on(day)
        start = day * DAY
        if low <= start and start + DAY <= high:
            total += len(times)
        else:
            total += bisect_left(times, high - start) - bisect_left(times, low - start)
    return total


def _means(rule: WallRule, local: Local) -> bool:
    day, time = divmod(local, DAY)
    return time in rule.on(day)
