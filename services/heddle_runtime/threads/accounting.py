"""What events cost and which transition they make: rules that the fold and the store share. Pure."""

import heddle_runtime.threads.events as e
from heddle_core.usage import NOTHING, Usage
from heddle_runtime.runs.state import InputState, Transition

ENDS: dict[type, Transition] = {
    e.RunCompleted: Transition.COMPLETE,
    e.RunFailed: Transition.FAIL,
    e.RunCancelled: Transition.CANCEL,
}
"""Payloads that end a run, with their transitions."""

ADMITTED_AFTER_CANCEL = (
    e.ToolCallCompleted,
    e.AssistantMessageCompleted,
    e.InputResolved,
    e.RunCancelled,
    e.StepCompleted,
)
"""What a run may still write once its cancel is committed (SEMANTICS 15), and the bill of its last step."""


SPENDING = frozenset((e.StepCompleted, e.ChildFinished, e.ToolCallStarted, e.ToolCallCompleted))
"""Kinds that may add to the usage of their run."""

_ONE_CALL = Usage(tool_calls=1)


def admitted_after_cancel(payload: e.Payload) -> bool:
    """Whether a run may still write this once its cancel is committed; of answers, only that there is none."""
    if isinstance(payload, e.InputResolved):
        return payload.state is InputState.CANCELLED
    return isinstance(payload, ADMITTED_AFTER_CANCEL)


def spent(payload: e.Payload) -> Usage:
    """What an event adds to the usage of its run."""
    match payload:
        case e.StepCompleted() | e.ChildFinished():
            return payload.usage
        case e.ToolCallStarted(attempt=1):
            return _ONE_CALL
        case e.ToolCallCompleted() if payload.cost:
            return Usage(cost=payload.cost)
        case _:
            return NOTHING
