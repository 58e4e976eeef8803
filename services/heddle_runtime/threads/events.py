"""Every kind of fact that a thread's log can hold. Names and fields are those of the contract's ThreadEvent.

A test compares this file with the proto, field by field.
"""

from dataclasses import field
from datetime import timedelta
from enum import IntEnum

from heddle_core.clock import Micros
from heddle_core.ids import CallId, InputId, MessageId, RequestId, RunId, StepId, ThreadId, WorkerId
from heddle_core.usage import NOTHING, MicroUsd, Usage
from heddle_core.values import value
from heddle_runtime.runs.content import RUNTIME, Actor, Parts
from heddle_runtime.runs.inputs import InputAnswer, InputRequest
from heddle_runtime.runs.run import CancelCause, FinishReason, RunFailure, RunResult
from heddle_runtime.runs.state import InputState, RunState
from heddle_runtime.runs.turn import AgentReference, Turn
from heddle_runtime.runs.usage import Limits
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


@value
class ThreadCreated:
    settings: ThreadSettings
    actor: Actor


@value
class ThreadUpdated:
    settings: ThreadSettings
    changed: tuple[str, ...]
    actor: Actor = RUNTIME


@value
class ThreadArchived:
    actor: Actor


@value
class ThreadUnarchived:
    actor: Actor


@value
class ThreadForked:
    source_thread_id: ThreadId
    source_sequence: int
    source_hash: bytes
    base: bytes
    settings: ThreadSettings
    actor: Actor


@value
class MessageRedacted:
    message_id: MessageId
    sequences: tuple[int, ...]
    note: str
    actor: Actor
    title_redacted: bool = False
    """The present title was made of the message's words, and is gone with them."""


@value
class TurnRequested:
    request_id: RequestId
    message_id: MessageId
    turn: Turn
    actor: Actor
    root_run_id: RunId
    depth: int = 0
    retry_of_run_id: RunId = RunId("")
    interrupts_run_id: RunId = RunId("")


@value
class TurnSteered:
    request_id: RequestId
    message_id: MessageId
    content: Parts
    actor: Actor


@value
class RunStarted:
    attempt: int
    fence: int
    worker_id: WorkerId
    agent: AgentReference
    model: str
    tools_digest: str = ""


@value
class RunWaiting:
    input_ids: tuple[str, ...]


@value
class RunResumed:
    attempt: int
    fence: int
    worker_id: WorkerId


@value
class RunCompleted:
    result: RunResult


@value
class RunFailed:
    failure: RunFailure
    usage: Usage = NOTHING


@value
class RunCancelRequested:
    cause: CancelCause
    actor: Actor = RUNTIME
    note: str = ""


@value
class RunCancelled:
    cause: CancelCause
    rolled_back: bool = False
    usage: Usage = NOTHING


@value
class RunSuperseded:
    superseded_run_id: RunId


@value
class StepStarted:
    step_id: StepId
    number: int
    attempt: int
    message_id: MessageId
    discards_message_id: MessageId = MessageId("")
    model: str = ""


@value
class StepCompleted:
    step_id: StepId
    attempt: int
    model: str
    usage: Usage = NOTHING
    finish_reason: FinishReason = FinishReason.UNSPECIFIED
    error: str = ""


@value
class ReasoningRecorded:
    message_id: MessageId
    text: str


@value
class AssistantMessageCompleted:
    message_id: MessageId
    content: Parts
    incomplete: bool = False
    finish_reason: FinishReason = FinishReason.STOP


@value
class ToolCallRequested:
    call_id: CallId
    message_id: MessageId
    tool: str
    arguments_json: str


@value
class ToolCallStarted:
    call_id: CallId
    tool: str
    idempotency_key: str
    arguments_digest: str
    input_id: InputId
    fence: int
    attempt: int = 1
    terms: "ToolTerms | None" = None
    """None where it was written by a version that did not record it."""


@value
class ToolTerms:
    """What a tool declares of its calls, as far as it decides what is done with one whose owner is gone."""

    risk: int = 0
    """The number of its class in the contract, as it was declared; a later version may know more of them."""
    read_only: bool = False
    idempotent: bool = False
    deadline: timedelta = timedelta(0)
    price: MicroUsd = MicroUsd(0)


@value
class ToolCallProgressed:
    call_id: CallId
    fraction: float = 0.0
    message: str = ""


@value
class ToolCallCompleted:
    call_id: CallId
    outcome: ToolCallOutcome
    content: Parts = ()
    cost: MicroUsd = MicroUsd(0)
    next_actions: tuple[str, ...] = ()


@value
class InputRequested:
    input: InputRequest


@value
class InputResolved:
    input_id: InputId
    state: InputState
    answer: InputAnswer | None = None
    actor: Actor = RUNTIME


@value
class Plan:
    """A plan in Markdown, with its version from 1."""

    version: int
    text: str


@value
class PlanProposed:
    plan: Plan
    input_id: InputId


@value
class PlanRevised:
    plan: Plan
    input_id: InputId


@value
class PlanApproved:
    version: int
    actor: Actor


@value
class UiBlocksUpdated:
    operation: UiBlocksOperation
    blocks_json: tuple[str, ...] = ()


@value
class WorkUpdated:
    work_id: str
    message: str = ""
    fraction: float = 0.0


@value
class ContextCompacted:
    artifact: str
    requirements: str
    decisions: str
    log: str
    through_sequence: int


@value
class ChildSpawned:
    run_id: RunId
    thread_id: ThreadId
    agent: AgentReference
    budget: Limits | None = None


@value
class ChildFinished:
    run_id: RunId
    state: RunState
    usage: Usage = NOTHING


@value
class BudgetExceeded:
    which: str
    limit: str
    used: str


@value
class ErrorRecorded:
    reason: str
    message: str


@value
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


@value
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
