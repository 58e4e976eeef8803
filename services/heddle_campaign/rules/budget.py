"""Money of a campaign: what is left, and how a cycle divides it among its agents. Whole numbers, nothing lost."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from heddle_core.usage import MicroUsd


@dataclass(frozen=True, slots=True)
class Share:
    """What an agent asks of a cycle's budget."""

    role: str
    weight: int = 1
    most: MicroUsd | None = None
    """What is left of its own daily budget. None: no bound of its own."""


@dataclass(frozen=True, slots=True)
class Quota:
    """How much may be made, or was made. Zero: no bound, or nothing."""

    posts: int = 0
    images: int = 0
    videos: int = 0


class Exhausted(Enum):
    """What is used up; the name is that of the contract's PauseReason."""

    BUDGET = "the budget"
    QUOTA = "a quota"


def left_for_cycle(budget: MicroUsd | None, used: MicroUsd, open_slices: Sequence[MicroUsd]) -> MicroUsd | None:
    """What a new cycle may cost: the budget without what was used and what open cycles may still use. None: no bound.

    Args:
        budget: the campaign's; None: no bound.
        used: what ended cycles have cost.
        open_slices: what each cycle at work may cost, whatever it has used of it.
    """
    if budget is None:
        return None
    return MicroUsd(max(0, budget - used - sum(open_slices)))


def exhausted(budget: MicroUsd | None, used: MicroUsd, quota: Quota, produced: Quota) -> Exhausted | None:
    """What a campaign has used up, if anything."""
    if budget is not None and used >= budget:
        return Exhausted.BUDGET
    pairs = (quota.posts, produced.posts), (quota.images, produced.images), (quota.videos, produced.videos)
    return Exhausted.QUOTA if any(0 < most <= made for most, made in pairs) else None


def split(total: MicroUsd | None, shares: Sequence[Share]) -> dict[str, MicroUsd | None]:
    """Each agent's slice of a cycle's budget: by weight, none above its own bound, in sum never above the total.

    What an agent cannot take because of its own bound goes to the others. Without a total each has its own bound.
    A weight of zero counts as one: who is asked gets something.
    """
    if total is None:
        return {each.role: each.most for each in shares}
    slices: dict[str, MicroUsd | None] = {}
    rest = int(total)
    open_shares: list[Share] = list(shares)
    while open_shares:
        weights = sum(max(1, each.weight) for each in open_shares)
        capped = [
            each for each in open_shares if each.most is not None and each.most * weights <= rest * max(1, each.weight)
        ]
        if not capped:
            break
        for each in capped:
            assert each.most is not None
            slices[each.role] = each.most
            rest -= each.most
        open_shares = [each for each in open_shares if each not in capped]
    weights = sum(max(1, each.weight) for each in open_shares)
    whole = rest
    for each in open_shares:
        slices[each.role] = MicroUsd(whole * max(1, each.weight) // weights)
        rest -= whole * max(1, each.weight) // weights
    # Rounding leaves fewer millionths than there are agents: the first get them.
    for each in open_shares[:rest]:
        slices[each.role] = MicroUsd((slices[each.role] or 0) + 1)
    return {each.role: slices[each.role] for each in shares}
