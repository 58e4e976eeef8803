"""What a language model is to Heddle: the prompt, the request, the stream of events, the faults.

The only words that the tool loop and the adapters share. No provider's type passes this file.
"""

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from typing import Protocol

from heddle_core.values import value

# --- the prompt ------------------------------------------------------------------------------------------


@value
class TextPart:
    """Words of a user."""

    text: str


@value
class BinaryPart:
    """An inline image or file; at most 1 MiB, which the contract limits."""

    media_type: str
    """As `image/png`."""
    content: bytes


@value
class JsonPart:
    """Structured content, given to the model as its JSON text."""

    json: str


Part = TextPart | BinaryPart | JsonPart


@value
class ModelCall:
    """One tool call that a model asks for."""

    call_id: str
    """Of Heddle's id alphabet; unique within its reply and among the calls of the request's messages."""
    tool: str
    arguments_json: str
    """A JSON object; or, if `problem` is set, what the model wrote, to the letter."""
    problem: str | None = None
    """Why `arguments_json` is not a JSON object, in words that the model can act on; None if it is one."""


@value
class UserMessage:
    """What a person, or a program in a person's place, said."""

    parts: tuple[Part, ...]


@value
class AssistantMessage:
    """What a model said before."""

    text: str
    reasoning: str = ""
    """For the record; adapters do not send it back, since providers sign or refuse it."""
    calls: tuple[ModelCall, ...] = ()


@value
class ToolMessage:
    """The one result of an earlier call."""

    call_id: str
    tool: str
    content: str
    """Text, or JSON as text."""
    is_error: bool = False


Message = UserMessage | AssistantMessage | ToolMessage


@value
class ToolDeclaration:
    """A tool as a model is told of it."""

    name: str
    description: str
    parameters_json: str
    """A JSON schema of type object."""


@value
class ModelRequest:
    """All that one model call depends on: the same request may be sent again after a fault."""

    model: str
    """The catalogue's name, as `openai:gpt-5-mini`."""
    instructions: str
    """What is usually called the system prompt; empty for none."""
    messages: tuple[Message, ...]
    tools: tuple[ToolDeclaration, ...] = ()
    response_schema_json: str | None = None
    """A JSON schema that the reply's text must fit; adapters ask for it, the caller checks it."""
    max_output_tokens: int | None = None
    temperature: float | None = None
    """0 to 2; None for the provider's own."""
    seed: int | None = None


# --- the answer ------------------------------------------------------------------------------------------


class FinishReason(Enum):
    """Why a model stopped."""

    STOP = "stop"
    TOOL_CALLS = "tool_calls"
    LENGTH = "length"
    """The limit on output tokens was reached: the text, or the last call, is cut."""
    CONTENT_FILTER = "content_filter"
    OTHER = "other"


@value
class ModelUsage:
    """Tokens as the provider counted them; zeros if it did not say."""

    input_tokens: int = 0
    """All of the prompt, with what came from a cache."""
    output_tokens: int = 0
    """All of the answer, with the reasoning."""
    cached_input_tokens: int = 0
    """The part of `input_tokens` that was read from a cache, and is usually cheaper."""
    reasoning_tokens: int = 0
    """The part of `output_tokens` that was reasoning."""


@value
class TextDelta:
    """The next words; never empty."""

    text: str


@value
class ReasoningDelta:
    """The next words of reasoning; never empty."""

    text: str


@value
class ArgumentsDelta:
    """The next piece of a call's arguments. The first of a call may be empty: it says that the call began."""

    call_id: str
    tool: str
    fragment: str


@value
class ModelReply:
    """The whole answer, and the last event of a stream that ended well."""

    text: str
    """All text deltas, joined."""
    reasoning: str
    """All reasoning deltas, joined."""
    calls: tuple[ModelCall, ...]
    finish_reason: FinishReason
    usage: ModelUsage
    model: str
    """The model that really answered, in the provider's words (`gpt-5-mini-2026-08-07`)."""


ModelEvent = TextDelta | ReasoningDelta | ArgumentsDelta | ModelReply


# --- what can go wrong -----------------------------------------------------------------------------------


class FaultKind(Enum):
    """What the caller can do about a fault."""

    RETRYABLE = "retryable"
    """Overload, a rate limit, a cut connection, a time-out: the same request may do better later."""
    REFUSED = "refused"
    """The provider does not take this request: another try would be refused too."""
    MISCONFIGURED = "misconfigured"
    """A key, a model's name, an address or an installation is wrong: the operator must act."""


@dataclass(eq=False)
class ModelFault(Exception):
    """A model call that did not end in a reply."""

    kind: FaultKind
    message: str
    """Says what happened and what to do; holds no secrets (see `redaction`)."""
    retry_after: timedelta | None = field(default=None, kw_only=True)
    """How long the provider asked to wait, if it said."""

    def __str__(self) -> str:
        return self.message


# --- the port --------------------------------------------------------------------------------------------


class Model(Protocol):
    """Something that answers prompts. One object serves many calls at once.

    Every adapter keeps these guarantees, and `tests/contract/test_models_port.py` holds them to it:

    * a stream ends with exactly one `ModelReply`, or raises `ModelFault`, or is cancelled;
    * deltas, joined, equal the reply's text, reasoning and (where a provider sent any) arguments;
    * call ids are unique within the reply and against the request's messages: an id that the provider
      left out, repeated or spelled outside Heddle's alphabet is minted anew;
    * text is valid Unicode: lone surrogates become U+FFFD;
    * nothing is tried twice: attempts are counted, and billed, by the caller.
    """

    def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        """Ask the model. Closing the iterator, or cancelling the task that reads it, cancels the call.

        Read it and close it in one and the same task (`async with aclosing(model.stream(...))`).
        Raises `ModelFault`.
        """
        ...

    async def close(self) -> None:
        """Give back connections and processes. Open streams must have been closed."""
        ...
