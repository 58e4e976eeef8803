"""A run as its row tells of it, and how runs end. Values only."""

from collections.abc import Mapping
from enum import IntEnum

from heddle_core.clock import Micros
from heddle_core.ids import MessageId, RequestId, RunId, TenantId, ThreadId, WorkerId
from heddle_core.usage import NOTHING, Usage
from heddle_core.values import value
from heddle_runtime.runs.content import Actor, Parts
from heddle_runtime.runs.state import RunState
from heddle_runtime.runs.turn import AgentReference, Trigger, TurnMode
from heddle_runtime.runs.usage import Limits


class FailureReason(IntEnum):
    """Why a run gave up; the numbers are the contract's."""

    UNSPECIFIED = 0
    MODEL_UNAVAILABLE = 1
    MODEL_REFUSED = 2
    MODEL_MISCONFIGURED = 3
    STEP_LIMIT = 4
    BUDGET_EXCEEDED = 5
    DEADLINE_EXCEEDED = 6
    OUTPUT_SCHEMA_MISMATCH = 7
    TOOL_CALL_LIMIT = 8
    PLAN_REFUSED = 9
    EFFECT_IN_DOUBT = 10
    INTERNAL = 11


class CancelCause(IntEnum):
    """Who or what stopped a run; the numbers are the contract's."""

    UNSPECIFIED = 0
    REQUESTED = 1
    INTERRUPTED = 2
    ROLLED_BACK = 3
    PARENT = 4
    THREAD_DELETED = 5


class FinishReason(IntEnum):
    """Why a model stopped writing; the numbers are the contract's."""

    UNSPECIFIED = 0
    STOP = 1
    TOOL_CALLS = 2
    LENGTH = 3
    CONTENT_FILTER = 4
    CANCELLED = 5
    DEADLINE = 6
    OTHER = 7


@value
class RunFailure:
    """Why a run gave up, with words for people."""

    reason: FailureReason
    message: str


@value
class RunResult:
    """What a run answered."""

    message_id: MessageId
    parts: Parts
    structured_json: str = ""
    finish_reason: FinishReason = FinishReason.STOP
    usage: Usage = NOTHING


@value
class Run:
    """One execution of a turn, as stored."""

    tenant: TenantId
    run_id: RunId
    thread_id: ThreadId
    state: RunState
    request_id: RequestId
    actor: Actor
    agent: AgentReference
    model: str
    mode: TurnMode
    trigger: Trigger
    labels: Mapping[str, str]
    limits: Limits
    root_run_id: RunId
    create_time: Micros
    request_sequence: int
    parent_run_id: RunId = RunId("")
    depth: int = 0
    attempt: int = 0
    fence: int = 0
    owner: WorkerId = WorkerId("")
    usage: Usage = NOTHING
    result: RunResult | None = None
    failure: RunFailure | None = None
    cancel_cause: CancelCause = CancelCause.UNSPECIFIED
    cancel_sequence: int = 0
    start_time: Micros | None = None
    end_time: Micros | None = None
    not_before: Micros | None = None
    retry_of_run_id: RunId = RunId("")
    superseded_by_run_id: RunId = RunId("")
