"""How much work may consume: bounds, and when one is used up. Pure arithmetic."""

from dataclasses import fields
from datetime import timedelta
from typing import Any, Self

from heddle_core.usage import MicroUsd, Usage
from heddle_core.values import value


@value
class Limits:
    """Upper bounds of one run. Zero means: not bounded here."""

    steps: int = 0
    tokens: int = 0
    output_tokens_per_step: int = 0
    cost: MicroUsd = MicroUsd(0)
    wall_time: timedelta = timedelta(0)
    tool_calls: int = 0

    def within(self, outer: Self) -> "Limits":
        """The strictest of both, bound by bound."""
        chosen = {each.name: _stricter(getattr(self, each.name), getattr(outer, each.name)) for each in fields(self)}
        return Limits(**chosen)

    def or_else(self, defaults: Self) -> "Limits":
        """These bounds, and `defaults` where nothing is bounded here."""
        chosen = {each.name: getattr(self, each.name) or getattr(defaults, each.name) for each in fields(self)}
        return Limits(**chosen)


@value
class Exhausted:
    """A bound that is used up, with both figures in the bound's unit."""

    which: str
    limit: str
    used: str


def exhausted(limits: Limits, usage: Usage, reserved_tokens: int = 0, reserved_cost: int = 0) -> Exhausted | None:
    """The first of tokens and cost that leaves nothing to spend, checked before a model call is made.

    What is reserved for children counts as spent (SEMANTICS 29).
    """
    tokens, cost = usage.tokens + reserved_tokens, usage.cost + reserved_cost
    if limits.tokens and tokens >= limits.tokens:
        return Exhausted("tokens", str(limits.tokens), str(tokens))
    if limits.cost and cost >= limits.cost:
        return Exhausted("micro-USD", str(limits.cost), str(cost))
    return None


def _stricter(one: Any, other: Any) -> Any:
    if not one or not other:
        return one or other
    return min(one, other)
