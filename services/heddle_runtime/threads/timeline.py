"""One line for people about each kind of event. Pure."""

import re
from functools import cache

import heddle_runtime.threads.events as e
from heddle_runtime.runs.content import plain_text

SUMMARY_LENGTH = 200
"""Most characters of a line (CONTRACT: TimelineEntry)."""


@cache
def case_name(kind: type) -> str:
    """The name of a payload class's case in the contract, as `tool_call_completed`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", kind.__name__).lower()


def summary(payload: e.Payload) -> str:
    """One line for people; empty where the case's name says it all."""
    return _line(payload)[:SUMMARY_LENGTH]


def _line(payload: e.Payload) -> str:
    match payload:
        case e.TurnRequested():
            return plain_text(payload.turn.content)[:SUMMARY_LENGTH]
        case e.TurnSteered() | e.AssistantMessageCompleted():
            return plain_text(payload.content)[:SUMMARY_LENGTH]
        case e.RunFailed():
            return f"{payload.failure.reason.name}: {payload.failure.message}"
        case e.StepStarted():
            return f"step {payload.number}, attempt {payload.attempt}"
        case e.StepCompleted():
            return payload.error or f"{payload.model}: {payload.usage.tokens} tokens"
        case e.ToolCallRequested() | e.ToolCallStarted():
            return payload.tool
        case e.ToolCallCompleted():
            return payload.outcome.name
        case e.ToolCallProgressed() | e.WorkUpdated() | e.ErrorRecorded():
            return payload.message
        case e.InputRequested():
            return payload.input.prompt or payload.input.tool
        case e.InputResolved():
            return payload.state.name
        case e.BudgetExceeded():
            return f"{payload.which}: {payload.used} of {payload.limit}"
        case e.ThreadUpdated():
            return ", ".join(payload.changed)
        case e.RunCancelRequested() | e.RunCancelled():
            return payload.cause.name
        case _:
            return ""
