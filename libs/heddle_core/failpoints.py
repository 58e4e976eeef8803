"""Named places at which a process may be told to die, to stop, to end or to dawdle: for the fault suite alone.

Inert unless the process was armed, as `python -m heddle_runtime` is by HEDDLE_FAILPOINT=mid_stream:kill:3. A place
that is inert costs the test of an empty dict, so it may stand on a hot path.
"""

import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass

VARIABLE = "HEDDLE_FAILPOINT"
"""The environment variable that says what to arm: `name:action:nth[,name:action:nth...]`."""

POINTS: Mapping[str, str] = {
    "request_decoded": "a request that changes something was decoded and checked, and nothing is written yet",
    "committed_unanswered": "a turn is committed, and its client has heard nothing",
    "lease_taken": "a run was claimed, and its worker has done nothing for it",
    "before_model": "a step is on record, and the model has not been asked",
    "mid_stream": "some of the model's words have been shown, and more are to come",
    "model_done": "the model has answered, and nothing of it is on record",
    "intent_committed": "a tool call is on record as sent, and has not been sent",
    "tool_done": "a tool has answered, and its result is not on record",
    "result_committed": "a tool's result is on record, and the run has not gone on",
    "input_requested": "a run has asked for an input and waits, and nobody was told",
    "input_resolved": "an answer is committed, and whoever gave it has heard nothing",
    "cancel_committed": "a cancel is committed, and whoever asked for it has heard nothing",
    "terminal_committed": "a run's end is committed, and its worker has not let go of it",
    "published_unmarked": "events were published, and that they were is not on record",
    "snapshot": "a fold is about to be stored, or was stored this moment",
    "migration": "the schema is about to be changed, or was changed this moment",
    "drain": "the worker was told to stop and hands over its runs",
    "spawn_unanswered": "a child or group is on record, and whoever asked for it has heard nothing",
    "child_fixed": "the turn of a child is on record, and has not been sent",
    "child_made": "the turn of a child was accepted, and its run is not on record",
    "child_done": "the run of a child has ended, and its end is not on record",
    "child_end_recorded": "the end of a child is on record, and its parent was not told",
    "stage_opened": "a group has gone on or stopped children, and none of them was looked at",
    "group_end_recorded": "the end of a group is on record, and its parent was not told",
    "parent_told": "a parent was told, and that it was is not on record",
}
"""Every place, and what is true when it is reached."""

ACTIONS = ("kill", "stop", "exit", "delay")
"""SIGKILL or SIGSTOP to this very process, exit code 77 without any clean-up, or so many milliseconds of sleep."""

EXIT_CODE = 77


@dataclass(slots=True)
class _Charge:
    """What happens at a place; `left` counts down to the pass at which it does."""

    action: str
    left: int
    milliseconds: int = 0


# What this process was told at its start; a process has one, as it has one environment.
_charges: dict[str, _Charge] = {}


def failpoint(name: str) -> None:
    """Be killed, stopped or delayed here, if this process was told so.

    Raises:
        KeyError: in an armed process, for a name that is not in POINTS.
    """
    if _charges:
        _pass(name)


def armed() -> bool:
    """Whether this process was told to break anywhere: for callers that have to look which place they are at."""
    return bool(_charges)


def arm(told: str) -> None:
    """Do from now on as `told`, in the form of HEDDLE_FAILPOINT; empty: nothing at all.

    `name:kill:3` acts at the third pass, `name:kill` at the first; `name:delay:250` sleeps 250 ms at every pass.

    Raises:
        ValueError: an unknown name or action, or no number where one must stand.
    """
    charges = dict(_charge(each) for each in told.split(",") if each)
    _charges.clear()
    _charges.update(charges)


def _charge(told: str) -> tuple[str, _Charge]:
    name, _, rest = told.partition(":")
    action, _, number = rest.partition(":")
    if name not in POINTS or action not in ACTIONS:
        raise ValueError(f"{VARIABLE}: {told!r} is not name:action:nth with a known name and one of {ACTIONS}")
    if action == "delay":
        return name, _Charge(action, 0, int(number))
    return name, _Charge(action, int(number or 1))


def _pass(name: str) -> None:
    if name not in POINTS:
        raise KeyError(name)
    charge = _charges.get(name)
    if charge is None:
        return
    if charge.action == "delay":
        time.sleep(charge.milliseconds / 1_000)
        return
    charge.left -= 1
    if charge.left == 0:
        _act(charge.action)


def _act(action: str) -> None:
    match action:
        case "exit":
            sys.stderr.flush()
            os._exit(EXIT_CODE)
        case "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        case _:
            os.kill(os.getpid(), signal.SIGKILL)
