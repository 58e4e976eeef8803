"""Enum values of the contract as words."""

from typing import Any

from heddle.runtime.v1.input_pb2 import InputKind, InputState
from heddle.runtime.v1.run_pb2 import CancelCause, FailureReason, RunState
from heddle.runtime.v1.thread_pb2 import MessageRole, ThreadActivity, ThreadState
from heddle.runtime.v1.tool_call_pb2 import ToolCallOutcome


def run_state(value: RunState.ValueType) -> str:
    """As `completed`."""
    return _word(RunState, value, "RUN_STATE_")


def failure_reason(value: FailureReason.ValueType) -> str:
    """As `STEP_LIMIT`: these are looked up."""
    return _word(FailureReason, value, "FAILURE_REASON_").upper()


def cancel_cause(value: CancelCause.ValueType) -> str:
    """As `requested`."""
    return _word(CancelCause, value, "CANCEL_CAUSE_").replace("_", " ")


def thread_state(value: ThreadState.ValueType) -> str:
    """As `archived`."""
    return _word(ThreadState, value, "THREAD_STATE_")


def thread_activity(value: ThreadActivity.ValueType) -> str:
    """As `busy`."""
    return _word(ThreadActivity, value, "THREAD_ACTIVITY_")


def message_role(value: MessageRole.ValueType) -> str:
    """As `user`."""
    return _word(MessageRole, value, "MESSAGE_ROLE_")


def input_kind(value: InputKind.ValueType) -> str:
    """As `approval`."""
    return _word(InputKind, value, "INPUT_KIND_").replace("_", " ")


def input_state(value: InputState.ValueType) -> str:
    """As `pending`."""
    return _word(InputState, value, "INPUT_STATE_").replace("_", " ")


def outcome(value: ToolCallOutcome.ValueType) -> str:
    """As `timed out`."""
    return _word(ToolCallOutcome, value, "TOOL_CALL_OUTCOME_").replace("_", " ")


def _word(kind: Any, value: int, prefix: str) -> str:
    try:
        name: str = kind.Name(value)
    except ValueError:  # A newer server knows more of them.
        return str(value)
    return name.removeprefix(prefix).lower()
