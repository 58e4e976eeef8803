"""Keeps the port's guarantees in one place: every adapter builds its reply here, piece by piece."""

import json
from dataclasses import dataclass, field

from heddle_core.ids import Ids, is_id
from heddle_runtime.models.port import (
    ArgumentsDelta,
    AssistantMessage,
    FinishReason,
    ModelCall,
    ModelReply,
    ModelRequest,
    ModelUsage,
    ReasoningDelta,
    TextDelta,
)


@dataclass(slots=True)
class _OpenCall:
    call_id: str
    tool: str
    fragments: list[str] = field(default_factory=list[str])


class ReplyAssembly:
    """One reply while it arrives. Each method returns the event to hand on, or None for an empty piece."""

    __slots__ = ("_calls", "_ids", "_reasoning", "_taken", "_text")

    def __init__(self, request: ModelRequest, ids: Ids) -> None:
        self._ids = ids
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._calls: dict[object, _OpenCall] = {}
        self._taken = {
            call.call_id
            for message in request.messages
            if isinstance(message, AssistantMessage)
            for call in message.calls
        }

    def add_text(self, piece: str) -> TextDelta | None:
        """The next words."""
        if not piece:
            return None
        piece = valid_unicode(piece)
        self._text.append(piece)
        return TextDelta(piece)

    def add_reasoning(self, piece: str) -> ReasoningDelta | None:
        """The next words of reasoning."""
        if not piece:
            return None
        piece = valid_unicode(piece)
        self._reasoning.append(piece)
        return ReasoningDelta(piece)

    def open_call(self, key: object, tool: str, proposed_id: str | None, fragment: str = "") -> ArgumentsDelta:
        """A call begins. `key` is the adapter's name for it, `proposed_id` the provider's, if any."""
        call = _OpenCall(self._claim(proposed_id), valid_unicode(tool))
        self._calls[key] = call
        return self._extend(call, fragment)

    def add_arguments(self, key: object, fragment: str) -> ArgumentsDelta | None:
        """The next piece of the arguments of the call `key`, which must be open."""
        return self._extend(self._calls[key], fragment) if fragment else None

    def is_open(self, key: object) -> bool:
        """Whether the call `key` has begun."""
        return key in self._calls

    def finish(self, *, finish_reason: FinishReason, usage: ModelUsage, model: str) -> ModelReply:
        """The whole. A reply with calls never says STOP: some providers do, but the loop goes by calls."""
        calls = tuple(_finished(call) for call in self._calls.values())
        if calls and finish_reason is FinishReason.STOP:
            finish_reason = FinishReason.TOOL_CALLS
        return ModelReply("".join(self._text), "".join(self._reasoning), calls, finish_reason, usage, model)

    def _claim(self, proposed: str | None) -> str:
        call_id = proposed
        while call_id is None or call_id in self._taken or not is_id(call_id):
            call_id = self._ids.new("call")
        self._taken.add(call_id)
        return call_id

    @staticmethod
    def _extend(call: _OpenCall, fragment: str) -> ArgumentsDelta:
        fragment = valid_unicode(fragment)
        call.fragments.append(fragment)
        return ArgumentsDelta(call.call_id, call.tool, fragment)


def valid_unicode(text: str) -> str:
    """`text` with U+FFFD for each lone surrogate, which no UTF-8 encoder takes."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def problem_of(arguments_json: str) -> str | None:
    """Why the text is not one JSON object; None if it is. NaN and the infinities are no JSON."""
    try:
        value = json.loads(arguments_json, parse_constant=_refuse_constant)
    except RecursionError:
        return "the arguments are nested too deeply"
    except ValueError as error:
        return f"the arguments are not valid JSON: {error}"
    if not isinstance(value, dict):
        return "the arguments must be one JSON object"
    return None


def _finished(call: _OpenCall) -> ModelCall:
    arguments = "".join(call.fragments)
    if not arguments.strip():
        return ModelCall(call.call_id, call.tool, "{}")
    return ModelCall(call.call_id, call.tool, arguments, problem_of(arguments))


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")
