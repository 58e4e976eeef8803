"""One line for people about each kind of event. Pure."""

import re
from collections.abc import Callable
from functools import cache
from typing import Any

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
    line = _LINES.get(type(payload))
    return line(payload)[:SUMMARY_LENGTH] if line else ""


def _turn_requested(payload: e.TurnRequested) -> str:
    return plain_text(payload.turn.content)


def _said(payload: e.TurnSteered | e.AssistantMessageCompleted) -> str:
    return plain_text(payload.content)


def _run_failed(payload: e.RunFailed) -> str:
    return f"{payload.failure.reason.name}: {payload.failure.message}"


def _step_started(payload: e.StepStarted) -> str:
    return f"step {payload.number}, attempt {payload.attempt}"


def _step_completed(payload: e.StepCompleted) -> str:
    return payload.error or f"{payload.model}: {payload.usage.tokens} tokens"


def _tool(payload: e.ToolCallRequested | e.ToolCallStarted) -> str:
    return payload.tool


def _outcome(payload: e.ToolCallCompleted) -> str:
    return payload.outcome.name


def _message(payload: e.ToolCallProgressed | e.WorkUpdated | e.ErrorRecorded) -> str:
    return payload.message


def _input_requested(payload: e.InputRequested) -> str:
    return payload.input.prompt or payload.input.tool


def _input_resolved(payload: e.InputResolved) -> str:
    return payload.state.name


def _budget_exceeded(payload: e.BudgetExceeded) -> str:
    return f"{payload.which}: {payload.used} of {payload.limit}"


def _thread_updated(payload: e.ThreadUpdated) -> str:
    return ", ".join(payload.changed)


def _cause(payload: e.RunCancelRequested | e.RunCancelled) -> str:
    return payload.cause.name


_LINES: dict[type, Callable[[Any], str]] = {
    e.TurnRequested: _turn_requested,
    e.TurnSteered: _said,
    e.AssistantMessageCompleted: _said,
    e.RunFailed: _run_failed,
    e.StepStarted: _step_started,
    e.StepCompleted: _step_completed,
    e.ToolCallRequested: _tool,
    e.ToolCallStarted: _tool,
    e.ToolCallCompleted: _outcome,
    e.ToolCallProgressed: _message,
    e.WorkUpdated: _message,
    e.ErrorRecorded: _message,
    e.InputRequested: _input_requested,
    e.InputResolved: _input_resolved,
    e.BudgetExceeded: _budget_exceeded,
    e.ThreadUpdated: _thread_updated,
    e.RunCancelRequested: _cause,
    e.RunCancelled: _cause,
}
