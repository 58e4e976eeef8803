"""The states of a run: every pair of state and transition against a table that was written by hand."""

import subprocess
import sys
from pathlib import Path

import pytest

from heddle.runtime.v1 import input_pb2, run_pb2
from heddle_core.states import NoTransition
from heddle_runtime.runs.state import InputState, RunState, Transition, advance

ROOT = Path(__file__).parents[2]

EXPECTED = """
            CLAIM     RELEASE   PARK      WAKE      COMPLETE   FAIL      CANCEL
QUEUED      RUNNING   -         -         -         -          -         CANCELLED
RUNNING     -         QUEUED    WAITING   -         COMPLETED  FAILED    CANCELLED
WAITING     -         -         -         QUEUED    -          -         CANCELLED
COMPLETED   -         -         -         -         -          -         -
FAILED      -         -         -         -         -          -         -
CANCELLED   -         -         -         -         -          -         -
"""

HEAD, *ROWS = (line.split() for line in EXPECTED.strip().splitlines())
CASES = [(row[0], transition, after) for row in ROWS for transition, after in zip(HEAD, row[1:], strict=True)]


@pytest.mark.parametrize(("state", "transition", "after"), CASES)
def test_every_state_takes_just_the_transitions_of_the_table(state: str, transition: str, after: str) -> None:
    if after == "-":
        with pytest.raises(NoTransition, match=state):
            advance(RunState[state], Transition[transition])
    else:
        assert advance(RunState[state], Transition[transition]) is RunState[after]


def test_the_table_names_every_state_and_every_transition() -> None:
    assert {state.name for state in RunState} == {row[0] for row in ROWS}
    assert {transition.name for transition in Transition} == set(HEAD)


def test_what_is_terminal_has_no_way_out() -> None:
    stuck = {row[0] for row in ROWS if set(row[1:]) == {"-"}}
    assert {state.name for state in RunState if state.terminal} == stuck


def test_states_have_the_numbers_of_the_contract() -> None:
    assert {f"RUN_STATE_{state.name}": state.value for state in RunState} == {
        name: number for name, number in run_pb2.RunState.items() if number
    }
    assert {f"INPUT_STATE_{state.name}": state.value for state in InputState} == {
        name: number for name, number in input_pb2.InputState.items() if number
    }
    assert [state.name for state in InputState if state.open] == ["RESERVED", "PENDING"]


def test_the_diagram_in_the_docs_is_that_of_the_code() -> None:
    done = subprocess.run(
        [sys.executable, ".ci/diagram.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": f"{ROOT / 'libs'}:{ROOT / 'services'}", "PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 0, done.stderr
