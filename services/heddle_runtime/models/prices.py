"""What models cost, in whole millionths of a US dollar: money is never a float here.

The built-in table was taken from the data of the package genai-prices 0.2.3 (read 2026-11-23), which cites
the providers' own price pages. Models whose price depends on the prompt's length are left out, because one
number would be wrong for them; whoever uses them, or has other terms, configures the price.
"""

import re

from heddle_core.values import value
from heddle_runtime.models.port import ModelUsage

BUILT_IN_SOURCE = "built-in table, from genai-prices 0.2.3 as of 2026-11-23"

_PER = 1_000_000

_DATED = re.compile(r"[-@](?:20\d{6}|20\d\d-\d\d-\d\d|latest)$")


@value
class Price:
    """Millionths of a US dollar for a million tokens: 2_500_000 is $2.50."""

    input: int
    output: int
    cached_input: int | None = None
    """For input tokens read from a cache; as `input`, if None."""

    def cost_of(self, usage: ModelUsage) -> int:
        """Millionths of a US dollar for one call, rounded up, so that no call is free by rounding."""
        cached = min(usage.cached_input_tokens, usage.input_tokens)
        cached_price = self.input if self.cached_input is None else self.cached_input
        total = (usage.input_tokens - cached) * self.input + cached * cached_price
        return -(-(total + usage.output_tokens * self.output) // _PER)


FREE = Price(0, 0)


@value
class KnownModel:
    """A line of the built-in table."""

    price: Price
    context_window: int
    """Tokens."""


def _line(window: int, dollars: float, cached: float, output: float) -> KnownModel:
    return KnownModel(Price(round(dollars * _PER), round(output * _PER), round(cached * _PER)), window)


KNOWN: dict[str, KnownModel] = {
    "openai:gpt-5": _line(400_000, 1.25, 0.125, 10),
    "openai:gpt-5-mini": _line(400_000, 0.25, 0.025, 2),
    "openai:gpt-5-nano": _line(400_000, 0.05, 0.005, 0.4),
    "openai:gpt-5.1": _line(400_000, 1.25, 0.125, 10),
    "openai:gpt-5.2": _line(400_000, 1.75, 0.175, 14),
    "openai:gpt-5.4-mini": _line(400_000, 0.75, 0.075, 4.5),
    "openai:gpt-4.1": _line(1_000_000, 2, 0.5, 8),
    "openai:gpt-4.1-mini": _line(1_000_000, 0.4, 0.1, 1.6),
    "openai:gpt-4o": _line(128_000, 2.5, 1.25, 10),
    "openai:gpt-4o-mini": _line(128_000, 0.15, 0.075, 0.6),
    "anthropic:claude-opus-5": _line(1_000_000, 5, 0.5, 25),
    "anthropic:claude-opus-4-5": _line(200_000, 5, 0.5, 25),
    "anthropic:claude-sonnet-5-5": _line(1_000_000, 2, 0.1, 10),
    "anthropic:claude-sonnet-5": _line(1_000_000, 2, 0.2, 10),
    "anthropic:claude-sonnet-4-5": _line(200_000, 3, 0.3, 15),
    "anthropic:claude-haiku-4-5": _line(200_000, 1, 0.1, 5),
    "google:gemini-3.5-flash": _line(1_000_000, 1.5, 0.15, 9),
    "google:gemini-2.5-flash": _line(1_048_576, 0.3, 0.03, 2.5),
    "google:gemini-2.5-flash-lite": _line(1_000_000, 0.1, 0.01, 0.4),
}


def undated(name: str) -> str:
    """`name` without the date that providers add to the model that answered (`gpt-5-mini-2026-08-07`)."""
    return _DATED.sub("", name)
