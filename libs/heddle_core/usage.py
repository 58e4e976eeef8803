"""What work consumes, in the runtime and in services that start runs: one sum, and one rule of what budgets count."""

from typing import NewType

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

    def __add__(self, other: "Usage") -> "Usage":
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
