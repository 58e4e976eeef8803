"""What a child may use where it was not told: an even share, of which its parent keeps one. Pure."""

from collections.abc import Iterable
from dataclasses import replace

from heddle_client.values import UNBOUNDED, Bounds, RunView
from heddle_core.runtime_errors import BudgetExceeded


def share(parent: RunView, held: Iterable[Bounds], siblings: int) -> Bounds:
    """The slice of a child that starts beside `siblings - 1` others.

    Args:
        parent: as it stands now.
        held: what children that are open already hold of its budget.
        siblings: children that start together, this one included.
    """
    open_slices = tuple(held)
    return Bounds(
        tokens=_even(parent.limits.tokens, parent.usage.tokens, sum(each.tokens for each in open_slices), siblings),
        cost_micro_usd=_even(
            parent.limits.cost_micro_usd,
            parent.usage.cost,
            sum(each.cost_micro_usd for each in open_slices),
            siblings,
        ),
    )


def filled(asked: Bounds | None, even: Bounds) -> Bounds:
    """What was asked for; where a bound of the parent was left open, the even share of it."""
    if asked is None:
        return even
    return replace(
        asked,
        tokens=asked.tokens or even.tokens,
        cost_micro_usd=asked.cost_micro_usd or even.cost_micro_usd,
    )


def require_left(parent: RunView, asked: Bounds | None) -> None:
    """Refuse a slice that is more than its parent could have left. Raises BudgetExceeded."""
    wanted = asked or UNBOUNDED
    for which, limit, used, amount in (
        ("tokens", parent.limits.tokens, parent.usage.tokens, wanted.tokens),
        ("micro-USD", parent.limits.cost_micro_usd, parent.usage.cost, wanted.cost_micro_usd),
    ):
        left = max(limit - used, 0)
        if limit and (amount > left or left == 0):
            raise BudgetExceeded(parent.run_id, which, str(left), str(amount or "some"))


def _even(limit: int, used: int, held: int, siblings: int) -> int:
    """Zero where the parent is not bounded; never zero where it is, which would mean all that is left."""
    return max((limit - used - held) // (siblings + 1), 1) if limit else 0
