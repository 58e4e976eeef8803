"""The states of campaigns, cycles and turns: every pair of state and transition against tables written by hand."""

from collections.abc import Callable
from enum import Enum
from typing import Any

import pytest

from heddle.campaign.v1alpha1 import campaign_pb2, cycle_pb2, schedule_pb2
from heddle_campaign.rules.cycle_keys import CycleOrigin
from heddle_campaign.rules.recurrence import MissingTime, RepeatedTime
from heddle_campaign.rules.schedule import OverlapPolicy
from heddle_campaign.rules.states import (
    CampaignState,
    CampaignTransition,
    CycleState,
    CycleTransition,
    TurnState,
    TurnTransition,
    advance_campaign,
    advance_cycle,
    advance_turn,
    cycle_end,
)
from heddle_core.states import NoTransition

CAMPAIGN = """
            ACTIVATE  PAUSE   RESUME  COMPLETE
DRAFT       ACTIVE    -       -       -
ACTIVE      -         PAUSED  -       COMPLETED
PAUSED      -         -       ACTIVE  COMPLETED
COMPLETED   -         -       -       -
"""
CYCLE = """
            CLAIM    TAKE_OVER  COMPLETE   FAIL    CANCEL     SKIP     RETRY
DUE         RUNNING  -          -          -       CANCELLED  SKIPPED  -
RUNNING     -        RUNNING    COMPLETED  FAILED  CANCELLED  SKIPPED  -
COMPLETED   -        -          -          -       -          -        -
FAILED      -        -          -          -       -          -        DUE
CANCELLED   -        -          -          -       -          -        DUE
SKIPPED     -        -          -          -       -          -        -
"""
TURN = """
            ACCEPT   COMPLETE   TRY_AGAIN  FAIL    CANCEL     RETRY
PENDING     RUNNING  -          PENDING    FAILED  CANCELLED  -
RUNNING     -        COMPLETED  PENDING    FAILED  CANCELLED  -
COMPLETED   -        -          -          -       -          -
FAILED      -        -          -          -       -          PENDING
CANCELLED   -        -          -          -       -          PENDING
"""
TABLES: list[tuple[str, type[Enum], type[Enum], Callable[..., Enum]]] = [
    (CAMPAIGN, CampaignState, CampaignTransition, advance_campaign),
    (CYCLE, CycleState, CycleTransition, advance_cycle),
    (TURN, TurnState, TurnTransition, advance_turn),
]


@pytest.mark.parametrize(("table", "states", "transitions", "advance"), TABLES)
def test_every_state_takes_just_the_transitions_of_its_table(
    table: str, states: type[Enum], transitions: type[Enum], advance: Callable[..., Enum]
) -> None:
    head, *rows = (line.split() for line in table.strip().splitlines())
    assert {each.name for each in states} == {row[0] for row in rows}
    assert {each.name for each in transitions} == set(head)
    for state, *cells in rows:
        for transition, after in zip(head, cells, strict=True):
            if after == "-":
                with pytest.raises(NoTransition, match=state):
                    advance(states[state], transitions[transition])
            else:
                assert advance(states[state], transitions[transition]) is states[after]


@pytest.mark.parametrize(
    ("turns", "told"),
    [
        ((TurnState.COMPLETED, TurnState.RUNNING), None),
        ((TurnState.FAILED, TurnState.PENDING), None),
        ((TurnState.COMPLETED, TurnState.FAILED, TurnState.CANCELLED), CycleTransition.COMPLETE),
        ((TurnState.FAILED, TurnState.CANCELLED), CycleTransition.FAIL),
        ((TurnState.CANCELLED, TurnState.CANCELLED), CycleTransition.CANCEL),
        ((), CycleTransition.FAIL),
    ],
)
def test_a_cycle_ends_as_its_turns_do(turns: tuple[TurnState, ...], told: CycleTransition | None) -> None:
    assert cycle_end(turns) is told


@pytest.mark.parametrize(
    ("ours", "theirs", "prefix"),
    [
        (CampaignState, campaign_pb2.CampaignState, "CAMPAIGN_STATE_"),
        (CycleState, cycle_pb2.CycleState, "CYCLE_STATE_"),
        (TurnState, cycle_pb2.CycleTurnState, "CYCLE_TURN_STATE_"),
        (CycleOrigin, cycle_pb2.CycleOrigin, "CYCLE_ORIGIN_"),
        (OverlapPolicy, schedule_pb2.OverlapPolicy, "OVERLAP_POLICY_"),
        (MissingTime, schedule_pb2.MissingTimePolicy, "MISSING_TIME_POLICY_"),
        (RepeatedTime, schedule_pb2.RepeatedTimePolicy, "REPEATED_TIME_POLICY_"),
    ],
)
def test_numbers_are_those_of_the_contract(ours: Any, theirs: Any, prefix: str) -> None:
    assert {f"{prefix}{each.name}": each.value for each in ours} == {
        name: number for name, number in theirs.items() if number
    }
