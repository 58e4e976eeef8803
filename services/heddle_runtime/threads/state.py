"""What the events of a thread add up to: the accumulator of the fold, and its parts.

Only `threads.fold` changes these objects. Everybody else reads them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from heddle_core.clock import Micros
from heddle_core.ids import CallId, InputId, MessageId, RequestId, RunId, StepId, ThreadId
from heddle_core.usage import NOTHING, Usage
from heddle_core.values import value
from heddle_runtime.runs.content import Actor, Parts
from heddle_runtime.runs.inputs import InputAnswer, InputKind, InputRequest
from heddle_runtime.runs.run import CancelCause, FinishReason, RunFailure, RunResult
from heddle_runtime.runs.state import InputState, RunState
from heddle_runtime.runs.turn import AgentReference, ContextItem, Turn
from heddle_runtime.runs.usage import Limits
from heddle_runtime.threads.events import ContextCompacted, Plan, ToolCallOutcome, ToolTerms
from heddle_runtime.threads.settings import ThreadSettings, ThreadStatus

FOLD_VERSION = 2
"""Raised when the fold reads a new kind of event or reads an old one differently; stamped on snapshots."""

TIMELINE_LENGTH = 250
"""Lines of the timeline that a snapshot carries (CONTRACT: GetSnapshot)."""

HISTORY_MESSAGES = 100
"""Messages that the fold keeps for prompts, and as many again that no summary covers; a window is at most this."""

NO_HASH = b"\0" * 32
"""What stands before the first event of a chain."""


@value
class UserSaid:
    """A message of the user's, or of whoever started the turn."""

    message_id: MessageId
    parts: Parts
    sequence: int
    time: Micros
    redacted: bool = False
    kind: Literal["user"] = "user"


@value
class AgentSaid:
    """A message of the agent's."""

    message_id: MessageId
    parts: Parts
    sequence: int
    time: Micros
    incomplete: bool = False
    redacted: bool = False
    kind: Literal["agent"] = "agent"


@value
class Called:
    """A tool call that the model asked for in a message."""

    call_id: CallId
    message_id: MessageId
    tool: str
    arguments_json: str
    kind: Literal["call"] = "call"


@value
class Returned:
    """What came of a tool call."""

    call_id: CallId
    outcome: ToolCallOutcome
    content: Parts
    next_actions: tuple[str, ...] = ()
    kind: Literal["result"] = "result"


Entry = UserSaid | AgentSaid | Called | Returned


@dataclass(slots=True)
class Exchange:
    """What one run added to the history, in order."""

    run_id: RunId
    entries: list[Entry] = field(default_factory=list[Entry])
    context: tuple[ContextItem, ...] = ()
    inherited: bool = False
    """Whether it comes from the source of a fork: its sequences are the source's."""
    summarised: bool = False
    """Whether the thread's summary covers it."""

    @property
    def messages(self) -> Iterator[UserSaid | AgentSaid]:
        """The messages alone, in the order of the log. (Entries stand in the order in which the model meets them.)"""
        said = [each for each in self.entries if isinstance(each, UserSaid | AgentSaid)]
        return iter(sorted(said, key=lambda each: each.sequence))

    @property
    def last_sequence(self) -> int:
        """Sequence of its last message in this thread; what a fork inherits stands in its first event."""
        return 1 if self.inherited else max((each.sequence for each in self.messages), default=0)


@dataclass(slots=True)
class StepFold:
    """The model call that began last."""

    step_id: StepId
    number: int
    attempt: int
    message_id: MessageId
    completed: bool = False
    finish_reason: FinishReason = FinishReason.UNSPECIFIED
    failures: int = 0
    """Attempts at this step that ended in a fault of the model's; attempts that a crash cut short are not counted."""


@dataclass(slots=True)
class CallFold:
    """One tool call of a run. It is open until it has an outcome."""

    call_id: CallId
    message_id: MessageId
    tool: str
    arguments_json: str
    input_id: InputId = InputId("")
    """Minted with the intent, or of the approval or question that the call waits for."""
    started: bool = False
    dispatches: int = 0
    dispatch_fence: int = 0
    path: str = ""
    """`provider/name` of the tool to which it was sent; `tool` is what the model calls it."""
    terms: ToolTerms | None = None
    """What that tool promised then. Neither is known of calls that were sent by versions that did not keep it."""
    outcome: ToolCallOutcome = ToolCallOutcome.UNSPECIFIED

    @property
    def open(self) -> bool:
        """Whether it has no result yet."""
        return self.outcome is ToolCallOutcome.UNSPECIFIED


@value
class Resolution:
    """How an input was resolved."""

    kind: InputKind
    call_id: CallId
    state: InputState
    answer: InputAnswer | None
    actor: Actor


@dataclass(slots=True)
class RunFold:
    """What the events tell of one run."""

    run_id: RunId
    request_id: RequestId
    turn: Turn
    message_id: MessageId
    actor: Actor
    requested_sequence: int
    requested_time: Micros
    root_run_id: RunId
    depth: int = 0
    retry_of_run_id: RunId = RunId("")
    interrupts_run_id: RunId = RunId("")
    state: RunState = RunState.QUEUED
    attempt: int = 0
    fence: int = 0
    agent: AgentReference | None = None
    model: str = ""
    steps: int = 0
    step: StepFold | None = None
    calls: dict[CallId, CallFold] = field(default_factory=dict[CallId, CallFold])
    inputs: dict[InputId, InputRequest] = field(default_factory=dict[InputId, InputRequest])
    """Inputs that are pending."""
    resolutions: dict[InputId, Resolution] = field(default_factory=dict[InputId, Resolution])
    """Inputs that are resolved."""
    steered: list[MessageId] = field(default_factory=list[MessageId])
    """Messages that no step has read yet."""
    plan_input_id: InputId = InputId("")
    plan_approved: bool = False
    entries_planned: int = 0
    """Entries of the exchange that stand before the approval of the plan."""
    mismatches: int = 0
    """Answers that did not fit the response format."""
    mismatch: str = ""
    """Why the last answer did not fit; empty once the model has answered again."""
    usage: Usage = NOTHING
    children: dict[RunId, Limits] = field(default_factory=dict[RunId, Limits])
    """Children that have not ended, with what is reserved for each."""
    worked: int = 0
    """Microseconds at work before the present stretch."""
    working_since: Micros | None = None
    cancel_sequence: int = 0
    cancel_cause: CancelCause = CancelCause.UNSPECIFIED
    rolled_back: bool = False
    failure: RunFailure | None = None
    result: RunResult | None = None
    exchange: Exchange = field(default_factory=lambda: Exchange(RunId("")))

    @property
    def open_calls(self) -> list[CallFold]:
        """Tool calls that have no result yet, in the order of the model."""
        return [call for call in self.calls.values() if call.open]

    @property
    def open_input_ids(self) -> set[InputId]:
        """Ids on which an answer would take effect: pending ones, and those minted with an open call."""
        minted = {call.input_id for call in self.calls.values() if call.open and call.started}
        return {each for each in minted | set(self.inputs) if each and each not in self.resolutions}

    def worked_until(self, now: Micros) -> int:
        """Microseconds at work up to `now`; time spent waiting does not count (SEMANTICS 9)."""
        return self.worked + (now - self.working_since if self.working_since is not None else 0)


@value
class TimelineEntry:
    """One line of what happened."""

    sequence: int
    event: str
    run_id: RunId
    summary: str
    commit_time: Micros


@dataclass(slots=True)
class ThreadFold:
    """What the events of a thread add up to at `last_sequence`."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"ser_json_bytes": "base64", "val_json_bytes": "base64"}

    thread_id: ThreadId
    settings: ThreadSettings = field(default_factory=ThreadSettings)
    status: ThreadStatus = ThreadStatus.ACTIVE
    revision: int = 0
    context_version: int = 0
    title_is_manual: bool = False
    title_sequence: int = 0
    """Of the last event that holds the title."""
    create_time: Micros = Micros(0)
    update_time: Micros = Micros(0)
    forked_from_thread_id: ThreadId = ThreadId("")
    last_sequence: int = 0
    head_hash: bytes = NO_HASH
    runs: dict[RunId, RunFold] = field(default_factory=dict[RunId, RunFold])
    """Runs that have not ended, in the order of their turns."""
    active_run_id: RunId = RunId("")
    last_run: RunFold | None = None
    history: list[Exchange] = field(default_factory=list[Exchange])
    """Runs in the order of RunStarted (SEMANTICS 10), without those rolled back or superseded."""
    summary: ContextCompacted | None = None
    summary_sequence: int = 0
    """Of the event that holds the summary; zero: there is none."""
    plan: Plan | None = None
    approved_plan_version: int = 0
    ui_blocks: dict[str, str] = field(default_factory=dict[str, str])
    timeline: list[TimelineEntry] = field(default_factory=list[TimelineEntry])
    usage: Usage = NOTHING
    approved_tools: dict[str, str] = field(default_factory=dict[str, str])
    """Tools approved for the thread, with the schema digest that the approval binds."""

    @property
    def active_run(self) -> RunFold | None:
        """The run that holds the lane."""
        return self.runs.get(self.active_run_id)

    @property
    def queued_runs(self) -> list[RunFold]:
        """Runs that have not started, in order."""
        return [run for run in self.runs.values() if run.run_id != self.active_run_id]

    @property
    def messages(self) -> list[UserSaid | AgentSaid]:
        """The messages of the history that the fold keeps, oldest first."""
        return [message for exchange in self.history for message in exchange.messages]
