"""Sums and bounds: what limits allow, and what is used up."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from heddle_core.usage import NOTHING, MicroUsd, Usage
from heddle_runtime.runs.usage import Exhausted, Limits, exhausted

amounts = st.integers(0, 10**12)
usages = st.builds(Usage, amounts, amounts, amounts, amounts, amounts, amounts, amounts.map(MicroUsd))
bounds = st.builds(
    Limits, amounts, amounts, amounts, amounts.map(MicroUsd), st.timedeltas(timedelta(0), timedelta(days=99)), amounts
)


@given(usages, usages, usages)
def test_usage_adds_up_in_any_order(one: Usage, two: Usage, three: Usage) -> None:
    assert (one + two) + three == one + (two + three) == three + two + one
    assert one + NOTHING == one
    assert (one + two).tokens == one.tokens + two.tokens


@given(bounds, bounds)
def test_limits_within_limits_are_the_strictest_of_both(one: Limits, two: Limits) -> None:
    both = one.within(two)
    assert both == two.within(one) == both.within(one)
    for name in ("steps", "tokens", "output_tokens_per_step", "cost", "wall_time", "tool_calls"):
        given_bounds = [bound for bound in (getattr(one, name), getattr(two, name)) if bound]
        assert getattr(both, name) == min(given_bounds, default=type(getattr(one, name))())


def test_zero_bounds_nothing() -> None:
    assert Limits(steps=3).within(Limits()) == Limits(steps=3)
    assert Limits().within(Limits(steps=3)) == Limits(steps=3)
    assert Limits(tokens=5).or_else(Limits(steps=8, tokens=9)) == Limits(steps=8, tokens=5)
    assert exhausted(Limits(), Usage(10**9, 10**9, cost=MicroUsd(10**9))) is None


def test_a_budget_is_used_up_when_nothing_is_left_and_what_children_hold_counts() -> None:
    limits = Limits(tokens=100, cost=MicroUsd(50))
    assert exhausted(limits, Usage(60, 39)) is None
    assert exhausted(limits, Usage(60, 40)) == Exhausted("tokens", "100", "100")
    assert exhausted(limits, Usage(60, 20), reserved_tokens=20) == Exhausted("tokens", "100", "100")
    assert exhausted(limits, Usage(cost=MicroUsd(49))) is None
    assert exhausted(limits, Usage(cost=MicroUsd(49)), reserved_cost=2) == Exhausted("micro-USD", "50", "51")
