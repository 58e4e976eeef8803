"""What work consumes and how much it may: sums and bounds. Pure arithmetic."""

from dataclasses import fields
from datetime import timedelta
from typing import Any, NewType, Self

from heddle_core.values import value

MicroUsd = NewType("MicroUsd", int)
"""Money in millionths of a US dollar. Integers, because budgets are compared and summed."""


@value
class Usage:
    """Tokens, calls and money that were used. Cached tokens are part of input, reasoning tokens of output."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    reasoning_tokens: int = 0
    model_calls: int = 0
    tool_calls: int = 0
    cost: MicroUsd = MicroUsd(0)

    def __add__(self, other: Self) -> "Usage":
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cached_input_tokens + other.cached_input_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
            self.model_calls + other.model_calls,
            self.tool_calls + other.tool_calls,
            MicroUsd(self.cost + other.cost),
        )

    @property
    def tokens(self) -> int:
        """Input and output together: what a token budget counts."""
        return self.input_tokens + self.output_tokens


NOTHING = Usage()


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
