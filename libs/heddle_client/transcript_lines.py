"""The lines that a transcript is made of: a message, a tool call, a run. Values without behaviour."""

from collections.abc import Iterable
from enum import Enum

from heddle.common.v1.content_pb2 import ContentPart
from heddle.runtime.v1.run_pb2 import CancelCause, RunFailure, RunResult, RunState
from heddle.runtime.v1.thread_pb2 import MessageRole
from heddle.runtime.v1.tool_call_pb2 import ToolCallOutcome
from heddle_client.words import Words
from heddle_core.values import value

ENDED_STATES = frozenset({RunState.RUN_STATE_COMPLETED, RunState.RUN_STATE_FAILED, RunState.RUN_STATE_CANCELLED})
"""The states of a run after which nothing follows."""


class ToolState(Enum):
    """How far a tool call is."""

    WRITING = "the model is writing its arguments"
    REQUESTED = "the model has asked for it"
    STARTED = "it is about to be sent, or was"
    ENDED = "it has its result"


@value
class MessageLine:
    """One message, as far as it is known."""

    message_id: str
    run_id: str
    role: MessageRole.ValueType = MessageRole.MESSAGE_ROLE_ASSISTANT
    words: Words = Words()
    """The text while it is written."""
    thoughts: Words = Words()
    """The reasoning while it is written."""
    said: str | None = None
    """The final text; None while there is none."""
    thought: str | None = None
    """The recorded reasoning; None while there is none."""
    content: tuple[ContentPart, ...] = ()
    """The final content, text included. Not to be changed."""
    incomplete: bool = False
    """Whether the final text was cut short by a cancel, an interrupt or a deadline."""
    redacted: bool = False
    """Whether its words were removed from the log."""

    @property
    def settled(self) -> bool:
        """Whether a fact has told the final text: no words follow."""
        return self.said is not None

    @property
    def text(self) -> str:
        """The text to show: the final one, else what is certain so far."""
        return self.words.text if self.said is None else self.said

    @property
    def reasoning(self) -> str:
        """The reasoning to show: the recorded one, else what is certain so far."""
        return self.thoughts.text if self.thought is None else self.thought


@value
class ToolLine:
    """One tool call, as far as it is known."""

    call_id: str
    run_id: str
    message_id: str = ""
    """Message in which the model asked for it."""
    tool: str = ""
    """Name of the tool. Empty while only its arguments are being written."""
    state: ToolState = ToolState.WRITING
    words: Words = Words()
    """The arguments while they are written."""
    requested_json: str | None = None
    """The arguments as the model asked in the end; None while it writes."""
    outcome: ToolCallOutcome.ValueType = ToolCallOutcome.TOOL_CALL_OUTCOME_UNSPECIFIED
    content: tuple[ContentPart, ...] = ()
    """What the tool returned. Not to be changed."""
    fraction: float = 0.0
    """Part done, 0 to 1, as the tool last said."""
    note: str = ""
    """What is happening, as the tool last said."""

    @property
    def arguments_json(self) -> str:
        """The arguments to show: the requested ones, else what is certain so far."""
        return self.words.text if self.requested_json is None else self.requested_json


@value
class RunLine:
    """One run, as far as it is known."""

    run_id: str
    state: RunState.ValueType = RunState.RUN_STATE_UNSPECIFIED
    result: RunResult | None = None
    """Its answer; set when COMPLETED. Not to be changed."""
    failure: RunFailure | None = None
    """Why it gave up; set when FAILED. Not to be changed."""
    cancel_cause: CancelCause.ValueType = CancelCause.CANCEL_CAUSE_UNSPECIFIED
    rolled_back: bool = False
    """Whether its turn is left out of the history."""
    superseded_by_run_id: str = ""
    """Run that took its place in the history. Empty: none."""

    @property
    def ended(self) -> bool:
        """Whether nothing of the run follows."""
        return self.state in ENDED_STATES


def text_of(content: Iterable[ContentPart]) -> str:
    """The text parts of a message, joined as a stream writes them: without anything between."""
    return "".join(part.text for part in content if part.WhichOneof("part") == "text")
