"""Whose turn it is: the target that a cycle works on, and the agents that it asks, by who lags behind its share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from heddle_core.usage import MicroUsd

LOOK_BACK = timedelta(days=14)
"""How far back shares are counted, unless the campaign says otherwise."""
MOST_AGENTS = 5


@dataclass(frozen=True, slots=True)
class RotationTarget:
    """What cycles take turns with."""

    key: str
    weight: int = 1
    topic: str = ""
    """What the agents are told. Empty: the key."""
    platform: str = ""
    """Empty: any."""
    role: str = ""
    """Empty: any."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The target that was chosen, and why."""

    target: RotationTarget
    reason: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """An agent that a cycle may ask."""

    role: str
    weight: int = 1
    """0: never asked by a schedule."""
    platforms: frozenset[str] = frozenset()
    """Empty: all."""
    disabled: bool = False
    budget_left: MicroUsd | None = None
    """Of today. None: no bound of its own."""


def next_target(targets: Sequence[RotationTarget], worked_on: Mapping[str, int]) -> Choice | None:
    """The target that lags most behind its share; None without targets.

    Ties go to the one with fewer cycles, then to the heavier, then to the first in name.

    Args:
        targets: all of them.
        worked_on: cycles in the look-back by target key; keys that are no target any more count for nothing.
    """
    if not targets:
        return None
    counts = {each.key: worked_on.get(each.key, 0) for each in targets}
    weights, cycles = sum(max(1, each.weight) for each in targets), sum(counts.values())

    def lag(each: RotationTarget) -> int:
        # Share wanted less share had, times both sums: whole numbers, so that ties are ties.
        return max(1, each.weight) * max(1, cycles) - counts[each.key] * weights

    chosen = min(targets, key=lambda each: (-lag(each), counts[each.key], -each.weight, each.key))
    wanted = max(1, chosen.weight) / weights
    had = counts[chosen.key] / cycles if cycles else 0.0
    return Choice(chosen, f"share wanted {wanted:.0%}, had {had:.0%} of {cycles} cycles")


def choose_agents(
    candidates: Sequence[Candidate],
    asked: Mapping[str, int],
    target: RotationTarget | None = None,
    most: int = MOST_AGENTS,
) -> tuple[str, ...]:
    """The roles that a scheduled cycle asks, at most `most`; empty: the cycle is skipped, for nobody can be asked.

    Who is disabled, weighs nothing, has no budget left today or does not fit the target is left out. When there are
    more than `most`, those that were asked least for their weight come first; ties go to the heavier, then by name.

    Args:
        candidates: the campaign's agents.
        asked: cycles in the look-back that asked each role.
        target: what the cycle works on.
        most: most roles.
    """
    able = [each for each in candidates if _can_be_asked(each) and (target is None or _fits(each, target))]
    able.sort(key=lambda each: (asked.get(each.role, 0) / each.weight, -each.weight, each.role))
    return tuple(each.role for each in able[:most])


def _can_be_asked(candidate: Candidate) -> bool:
    has_budget = candidate.budget_left is None or candidate.budget_left > 0
    return not candidate.disabled and candidate.weight > 0 and has_budget


def _fits(candidate: Candidate, target: RotationTarget) -> bool:
    right_role = not target.role or target.role == candidate.role
    return right_role and (not target.platform or not candidate.platforms or target.platform in candidate.platforms)
