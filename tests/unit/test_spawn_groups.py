"""States, fan-in and shares: what a group does next, and what its children may use."""

import itertools
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heddle_client.values import Bounds
from heddle_core.runtime_errors import BudgetExceeded
from heddle_core.states import NoTransition
from heddle_core.usage import MicroUsd, Usage
from heddle_spawn.rules import names
from heddle_spawn.rules.budgets import filled, require_left, share
from heddle_spawn.rules.fan_in import Verdict, judge
from heddle_spawn.rules.spawns import (
    FanIn,
)
from heddle_spawn.rules.states import (
    TRANSITIONS,
    Change,
    GroupState,
    SpawnState,
    Stop,
    advance,
    advance_group,
)
from tests.kit.spawn_values import C, F, P, R, X, group_of, members, run_of

# --- states ------------------------------------------------------------------------------------------------


def test_nothing_follows_a_terminal_state_and_everything_else_can_end() -> None:
    for state in SpawnState:
        ways = [change for change in Change if (state, change) in TRANSITIONS]
        assert bool(ways) is not state.terminal
        if not state.terminal:
            assert {Change.FAIL, Change.CANCEL, Change.TIME_OUT} <= set(ways)
    with pytest.raises(NoTransition, match="COMPLETED cannot change because it was cancelled"):
        advance(SpawnState.COMPLETED, Change.CANCEL)


def test_a_group_ends_once() -> None:
    assert advance_group(GroupState.RUNNING, GroupState.FAILED) is GroupState.FAILED
    with pytest.raises(NoTransition):
        advance_group(GroupState.FAILED, GroupState.COMPLETED)


def test_derived_ids_differ_where_anything_differs_and_never_else() -> None:
    tenants, families, keys = ("a", "b"), ("run_1", "@ada"), ("k", "k-1")
    made = {names.spawn_id(*each) for each in itertools.product(tenants, families, keys)}
    assert len(made) == 8
    assert names.spawn_id("a", "run_1", "k") == names.spawn_id("a", "run_1", "k")
    assert names.turn_request_id("a", "run_1", "k") != names.spawn_id("a", "run_1", "k")
    assert len(names.call_key("run_1:call_1")) <= 50


# --- fan-in ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "states", "verdict"),
    [
        ({}, (R, C, C), Verdict(0)),
        ({}, (C, C, C), Verdict(0, end=GroupState.COMPLETED)),
        ({}, (C, F, C), Verdict(0, end=GroupState.FAILED)),
        ({"fan_in": FanIn.ANY}, (R, R, F), Verdict(0)),
        ({"fan_in": FanIn.ANY}, (R, C, P), Verdict(0, Stop.NOT_NEEDED, ("spn_0-0", "spn_0-2"))),
        ({"fan_in": FanIn.ANY}, (X, C, X), Verdict(0, end=GroupState.COMPLETED)),
        ({"fan_in": FanIn.ANY}, (F, F, F), Verdict(0, end=GroupState.FAILED)),
        ({"fan_in": FanIn.FIRST_N, "fan_in_count": 2}, (C, R, R), Verdict(0)),
        ({"fan_in": FanIn.FIRST_N, "fan_in_count": 2}, (C, R, C), Verdict(0, Stop.NOT_NEEDED, ("spn_0-1",))),
        ({"fan_in": FanIn.FIRST_N, "fan_in_count": 2}, (C, F, F), Verdict(0, end=GroupState.FAILED)),
        ({"stop": Stop.ASKED}, (C, R, P), Verdict(0, Stop.ASKED, ("spn_0-1", "spn_0-2"))),
        ({"stop": Stop.ASKED}, (C, X, X), Verdict(0, Stop.ASKED, end=GroupState.CANCELLED)),
        ({"stop": Stop.DEADLINE}, (C, X, X), Verdict(0, Stop.DEADLINE, end=GroupState.FAILED)),
    ],
)
def test_a_stage_of_three_is_judged_by_its_fan_in(fields: Any, states: Any, verdict: Verdict) -> None:
    group = group_of(3, **fields)
    assert judge(group, members(group, *states)) == verdict


@pytest.mark.parametrize(
    ("fields", "states", "verdict"),
    [
        ({}, (R, C, P), Verdict(0)),
        ({}, (C, C, P), Verdict(1)),
        ({}, (C, F, P), Verdict(1)),
        ({"stop_on_failure": True}, (R, F, P), Verdict(0)),
        ({"stop_on_failure": True}, (C, F, P), Verdict(0, Stop.STAGE_FAILED, ("spn_1-0",))),
        ({"stop_on_failure": True}, (C, F, X), Verdict(0, Stop.STAGE_FAILED, end=GroupState.FAILED)),
        ({"current_stage": 1}, (C, F, R), Verdict(1)),
        ({"current_stage": 1}, (C, F, C), Verdict(1, end=GroupState.COMPLETED)),
    ],
)
def test_stages_follow_each_other(fields: Any, states: Any, verdict: Verdict) -> None:
    group = group_of(2, 1, **fields)
    assert judge(group, members(group, *states)) == verdict


def test_a_child_that_went_with_its_parent_takes_its_group_along() -> None:
    group = group_of(2)
    gone = [replace(each, stop=Stop.PARENT) for each in members(group, X, R)]
    assert judge(group, gone) == Verdict(0, Stop.PARENT, ("spn_0-1",))


@given(
    st.lists(st.sampled_from([P, R, C, F, X]), min_size=1, max_size=6),
    st.sampled_from(FanIn),
    st.integers(1, 6),
    st.booleans(),
)
def test_whatever_its_children_do_a_group_waits_stops_or_ends_and_ends_only_when_all_have(
    states: list[SpawnState], fan_in: FanIn, count: int, stops: bool
) -> None:
    first_n = min(count, len(states)) if fan_in is FanIn.FIRST_N else 0
    group = group_of(len(states), fan_in=fan_in, fan_in_count=first_n, stop_on_failure=stops)
    verdict = judge(group, members(group, *states))
    if verdict.end is not None:
        assert all(state.terminal for state in states)
        done = sum(state is C for state in states)
        assert (verdict.end is GroupState.COMPLETED) == (done >= group.spec.needed)
    if all(state.terminal for state in states):
        assert verdict.end is not None


# --- budgets ------------------------------------------------------------------------------------------------


@given(st.integers(1, 10**9), st.integers(0, 10**9), st.integers(1, 8), st.lists(st.integers(0, 10**6), max_size=8))
def test_even_shares_of_all_siblings_together_leave_one_for_the_parent(
    limit: int, used: int, siblings: int, held: list[int]
) -> None:
    parent = run_of(limits=Bounds(tokens=limit), usage=Usage(input_tokens=used))
    slice_ = share(parent, [Bounds(tokens=each) for each in held], siblings)
    left = limit - used - sum(held)
    if left >= siblings + 1:
        assert slice_.tokens * (siblings + 1) <= left
        assert slice_.tokens >= 1
    assert slice_.tokens >= 1, "zero would mean all that is left"
    assert slice_.cost_micro_usd == 0, "what is not bounded is not shared"


def test_what_was_asked_for_stands_and_the_rest_is_shared() -> None:
    even = Bounds(tokens=100, cost_micro_usd=7)
    assert filled(None, even) == even
    assert filled(Bounds(tokens=5, steps=2), even) == Bounds(steps=2, tokens=5, cost_micro_usd=7)


def test_more_than_the_parent_has_left_is_refused_before_anything_is_recorded() -> None:
    parent = run_of(limits=Bounds(tokens=100), usage=Usage(input_tokens=60))
    require_left(parent, Bounds(tokens=40))
    require_left(parent, None)
    with pytest.raises(BudgetExceeded, match="has 40 left of tokens, and 41 was asked"):
        require_left(parent, Bounds(tokens=41))
    with pytest.raises(BudgetExceeded):
        require_left(run_of(limits=Bounds(cost_micro_usd=5), usage=Usage(cost=MicroUsd(9))), None)
