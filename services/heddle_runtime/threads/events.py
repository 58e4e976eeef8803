"""Every kind of fact that a thread's log can hold. Names and fields are those of the contract's ThreadEvent.

A test compares this file with the proto, field by field.
"""

from dataclasses import dataclass, field
from enum import IntEnum

from heddle_core.clock import Micros
from heddle_core.ids import CallId, InputId, MessageId, RequestId, RunId, StepId, ThreadId, WorkerId
from heddle_runtime.runs.content import RUNTIME, Actor, Parts
from heddle_runtime.runs.inputs import InputAnswer, InputRequest
from heddle_runtime.runs.run import CancelCause, FinishReason, RunFailure, RunResult
from heddle_runtime.runs.state import InputState, RunState
from heddle_runtime.runs.turn import AgentReference, Turn
from heddle_runtime.runs.usage import NOTHING, Limits, MicroUsd, Usage
from heddle_runtime.threads.settings import ThreadSettings


class ToolCallOutcome(IntEnum):
    """How a tool call ended; the numbers are the contract's."""

    UNSPECIFIED = 0
    OK = 1
    ERROR = 2
    DENIED = 3
    CANCELLED = 4
    TIMED_OUT = 5
    UNKNOWN = 6


class UiBlocksOperation(IntEnum):
    """How UI blocks change; the numbers are the contract's."""

    UNSPECIFIED = 0
    REPLACE = 1
    ADD = 2
    UPDATE = 3
    REMOVE = 4
    CLEAR = 5


@dataclass(frozen=True, slots=True)
class ThreadCreated:
    settings: ThreadSettings
    actor: Actor


@dataclass(frozen=True, slots=True)
class ThreadUpdated:
    settings: ThreadSettings
    changed: tuple[str, ...]
    actor: Actor = RUNTIME


@dataclass(frozen=True, slots=True)
class ThreadArchived:
    actor: Actor


@dataclass(frozen=True, slots=True)
class ThreadUnarchived:
    actor: Actor


@dataclass(frozen=True, slots=True)
class ThreadForked:
    source_thread_id: ThreadId
    source_sequence: int
    source_hash: bytes
    base: bytes
    settings: ThreadSettings
    actor: Actor


@dataclass(frozen=True, slots=True)
class MessageRedacted:
    message_id: MessageId
    sequences: tuple[int, ...]
    note: str
    actor: Actor


@dataclass(frozen=True, slots=True)
class TurnRequested:
    request_id: RequestId
    message_id: MessageId
    turn: Turn
    actor: Actor
    root_run_id: RunId
    depth: int = 0
    retry_of_run_id: RunId = RunId("")
    interrupts_run_id: RunId = RunId("")


@dataclass(frozen=True, slots=True)
class TurnSteered:
    request_id: RequestId
    message_id: MessageId
    content: Parts
    actor: Actor


@dataclass(frozen=True, slots=True)
class RunStarted:
    attempt: int
    fence: int
    worker_id: WorkerId
    agent: AgentReference
    model: str
    tools_digest: str = ""


@dataclass(frozen=True, slots=True)
class RunWaiting:
    input_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RunResumed:
    attempt: int
    fence: int
    worker_id: WorkerId


@dataclass(frozen=True, slots=True)
class RunCompleted:
    result: RunResult


@dataclass(frozen=True, slots=True)
class RunFailed:
    failure: RunFailure
    usage: Usage = NOTHING


@dataclass(frozen=True, slots=True)
class RunCancelRequested:
    cause: CancelCause
    actor: Actor = RUNTIME
    note: str = ""


@dataclass(frozen=True, slots=True)
class RunCancelled:
    cause: CancelCause
    rolled_back: bool = False
    usage: Usage = NOTHING


@dataclass(frozen=True, slots=True)
class RunSuperseded:
    superseded_run_id: RunId


@dataclass(frozen=True, slots=True)
class StepStarted:
    step_id: StepId
    number: int
    attempt: int
    message_id: MessageId
    discards_message_id: MessageId = MessageId("")
    model: str = ""


@dataclass(frozen=True, slots=True)
class StepCompleted:
    step_id: StepId
    attempt: int
    model: str
    usage: Usage = NOTHING
    finish_reason: FinishReason = FinishReason.UNSPECIFIED
    error: str = ""


@dataclass(frozen=True, slots=True)
class ReasoningRecorded:
    message_id: MessageId
    text: str


@dataclass(frozen=True, slots=True)
class AssistantMessageCompleted:
    message_id: MessageId
    content: Parts
    incomplete: bool = False
    finish_reason: FinishReason = FinishReason.STOP


@dataclass(frozen=True, slots=True)
class ToolCallRequested:
    call_id: CallId
    message_id: MessageId
    tool: str
    arguments_json: str


@dataclass(frozen=True, slots=True)
class ToolCallStarted:
    call_id: CallId
    tool: str
    idempotency_key: str
    arguments_digest: str
    input_id: InputId
    fence: int
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class ToolCallProgressed:
    call_id: CallId
    fraction: float = 0.0
    message: str = ""


@dataclass(frozen=True, slots=True)
class ToolCallCompleted:
    call_id: CallId
    outcome: ToolCallOutcome
    content: Parts = ()
    cost: MicroUsd = MicroUsd(0)
    next_actions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class InputRequested:
    input: InputRequest


@dataclass(frozen=True, slots=True)
class InputResolved:
    input_id: InputId
    state: InputState
    answer: InputAnswer | None = None
    actor: Actor = RUNTIME


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan in Markdown, with its version from 1."""

    version: int
    text: str


@dataclass(frozen=True, slots=True)
class PlanProposed:
    plan: Plan
    input_id: InputId


@dataclass(frozen=True, slots=True)
class PlanRevised:
    plan: Plan
    input_id: InputId


@dataclass(frozen=True, slots=True)
class PlanApproved:
    version: int
    actor: Actor


@dataclass(frozen=True, slots=True)
class UiBlocksUpdated:
    operation: UiBlocksOperation
    blocks_json: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class WorkUpdated:
    work_id: str
    message: str = ""
    fraction: float = 0.0


@dataclass(frozen=True, slots=True)
class ContextCompacted:
    artifact: str
    requirements: str
    decisions: str
    log: str
    through_sequence: int


@dataclass(frozen=True, slots=True)
class ChildSpawned:
    run_id: RunId
    thread_id: ThreadId
    agent: AgentReference
    budget: Limits | None = None


@dataclass(frozen=True, slots=True)
class ChildFinished:
    run_id: RunId
    state: RunState
    usage: Usage = NOTHING


@dataclass(frozen=True, slots=True)
class BudgetExceeded:
    which: str
    limit: str
    used: str


@dataclass(frozen=True, slots=True)
class ErrorRecorded:
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """A kind that this version does not know: it moves the cursor and changes nothing."""

    kind: int = 0


Payload = (
    ThreadCreated
    | ThreadUpdated
    | ThreadArchived
    | ThreadUnarchived
    | ThreadForked
    | MessageRedacted
    | TurnRequested
    | TurnSteered
    | RunStarted
    | RunWaiting
    | RunResumed
    | RunCompleted
    | RunFailed
    | RunCancelRequested
    | RunCancelled
    | RunSuperseded
    | StepStarted
    | StepCompleted
    | ReasoningRecorded
    | AssistantMessageCompleted
    | ToolCallRequested
    | ToolCallStarted
    | ToolCallProgressed
    | ToolCallCompleted
    | InputRequested
    | InputResolved
    | PlanProposed
    | PlanRevised
    | PlanApproved
    | UiBlocksUpdated
    | WorkUpdated
    | ContextCompacted
    | ChildSpawned
    | ChildFinished
    | BudgetExceeded
    | ErrorRecorded
    | Unknown
)
"""What happened: the payload of one event."""

RUN_ENDS = (RunCompleted, RunFailed, RunCancelled)
"""The payloads that end a run; exactly one of them per run."""


@dataclass(frozen=True, slots=True)
class Event:
    """One fact of a thread's log."""

    sequence: int
    """Place in the thread, from 1, gapless."""
    run_id: RunId
    """Run that it belongs to, or empty."""
    commit_time: Micros
    """When it was committed, by the database's clock."""
    payload: Payload
    hash: bytes = b""
    previous_hash: bytes = b""
    redacted: bool = False
    raw: bytes = field(default=b"", repr=False, compare=False)
    """The payload's bytes exactly as stored: what the hash covers and what streams carry."""
