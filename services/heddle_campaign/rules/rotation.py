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
    able = [each for each in candidates if not refusal(each, target)]
    able.sort(key=lambda each: (asked.get(each.role, 0) / each.weight, -each.weight, each.role))
    return tuple(each.role for each in able[:most])


def workable(targets: Sequence[RotationTarget], candidates: Sequence[Candidate]) -> tuple[RotationTarget, ...]:
    """The targets that somebody can work on now; the others get no share, or every cycle would be spent on them."""
    return tuple(each for each in targets if any(not refusal(candidate, each) for candidate in candidates))


def refusal(candidate: Candidate, target: RotationTarget | None = None) -> str:
    """Why an agent cannot be asked to work on a target, for people: `no budget left today`. Empty: it can be."""
    if candidate.disabled:
        return "disabled"
    if candidate.weight <= 0:
        return "its weight is 0"
    if candidate.budget_left is not None and candidate.budget_left <= 0:
        return "no budget left today"
    if target is None:
        return ""
    if target.role and target.role != candidate.role:
        return f"the target is for {target.role}"
    if target.platform and candidate.platforms and target.platform not in candidate.platforms:
        return f"works for {', '.join(sorted(candidate.platforms))}, not for {target.platform}"
    return ""


def nobody(targets: Sequence[RotationTarget], candidates: Sequence[Candidate]) -> str:
    """Why nobody can be asked, for people: each agent's reason, and with targets each target's."""
    if not candidates:
        return "there is no agent"
    if not targets:
        return _refusals(candidates, None)
    return "; ".join(f"{each.key}: {_refusals(candidates, each)}" for each in targets)


def _refusals(candidates: Sequence[Candidate], target: RotationTarget | None) -> str:
    return ", ".join(f"{each.role} ({refusal(each, target)})" for each in candidates)
