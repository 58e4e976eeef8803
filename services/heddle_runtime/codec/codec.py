"""Which dataclass is which message of the contract, and how events are stored and sent."""

from typing import Any, get_args

from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

import heddle_runtime.runs.content as content
import heddle_runtime.runs.inputs as inputs
import heddle_runtime.runs.run as run
import heddle_runtime.runs.turn as turn
import heddle_runtime.runs.usage as usage
import heddle_runtime.threads.events as events
import heddle_runtime.threads.settings as settings
from heddle.common.v1 import content_pb2, usage_pb2
from heddle.runtime.v1 import call_events_pb2, event_pb2, input_pb2, run_pb2, thread_pb2, tool_call_pb2, turn_pb2
from heddle_core.ids import ThreadId
from heddle_runtime.codec.mapping import MessageMapping, fill_timestamp
from heddle_runtime.threads.timeline import case_name


def part_message(part: content.Part) -> content_pb2.ContentPart:
    """A content part as its message."""
    message = content_pb2.ContentPart()
    fill_part(message, part)
    return message


def fill_part(message: content_pb2.ContentPart, part: content.Part) -> None:
    """Make an empty message that of a content part."""
    match part:
        case content.Text():
            message.text = part.text
        case content.Json():
            message.json = part.json
        case content.InlineData():
            inline = message.inline_data
            inline.media_type, inline.data, inline.name = part.media_type, part.data, part.name
            inline.SetInParent()
        case content.AssetReference():
            asset = message.asset
            asset.asset_id, asset.media_type, asset.name = part.asset_id, part.media_type, part.name
            asset.SetInParent()


def part_value(message: content_pb2.ContentPart) -> content.Part:
    """A content part from its message; an unset one is an empty text."""
    match message.WhichOneof("part"):
        case "json":
            return content.Json(message.json)
        case "inline_data":
            inline = message.inline_data
            return content.InlineData(inline.media_type, inline.data, inline.name)
        case "asset":
            return content.AssetReference(message.asset.asset_id, message.asset.media_type, message.asset.name)
        case _:
            return content.Text(message.text)


_EVENT_FIELDS = event_pb2.ThreadEvent.DESCRIPTOR.fields_by_name
_PAYLOADS: dict[str, type[Any]] = {case_name(cls): cls for cls in get_args(events.Payload) if cls is not events.Unknown}
_CASES: dict[type[Any], str] = {cls: name for name, cls in _PAYLOADS.items()}
_NUMBERS: dict[type[Any], int] = {cls: _EVENT_FIELDS[name].number for name, cls in _PAYLOADS.items()}


def _payload_class(case: str) -> type[Message]:
    descriptor = _EVENT_FIELDS[case].message_type
    assert descriptor is not None, f"payload {case} is no message"
    return GetMessageClass(descriptor)


_MESSAGES: dict[type[Any], type[Message]] = {
    content.Actor: content_pb2.Actor,
    usage.Usage: usage_pb2.Usage,
    usage.Limits: turn_pb2.Limits,
    turn.Trigger: turn_pb2.Trigger,
    turn.ParentReference: turn_pb2.ParentReference,
    turn.AgentReference: turn_pb2.AgentReference,
    turn.ResponseFormat: turn_pb2.ResponseFormat,
    turn.ContextItem: turn_pb2.ContextItem,
    turn.ClientTool: tool_call_pb2.ClientTool,
    turn.Turn: turn_pb2.Turn,
    run.RunFailure: run_pb2.RunFailure,
    run.RunResult: run_pb2.RunResult,
    inputs.InputOption: input_pb2.InputOption,
    inputs.InputAnswer: input_pb2.InputAnswer,
    inputs.InputProgress: input_pb2.InputProgress,
    inputs.InputRequest: input_pb2.InputRequest,
    settings.ThreadSettings: thread_pb2.ThreadSettings,
    events.Plan: call_events_pb2.Plan,
    events.ToolTerms: call_events_pb2.ToolTerms,
    **{cls: _payload_class(name) for cls, name in _CASES.items()},
}

MAPPING = MessageMapping(_MESSAGES, {content.Part: (fill_part, part_value)})
"""Converters for every value of the contract that the runtime keeps."""


def payload_number(payload: events.Payload) -> int:
    """The number of the payload's case in ThreadEvent: what the log stores as the kind."""
    return _NUMBERS[type(payload)]


def stored_payload(payload: events.Payload) -> bytes:
    """The payload's bytes as they are stored and hashed: a ThreadEvent in which nothing else is set."""
    message = event_pb2.ThreadEvent()
    MAPPING.fill(getattr(message, _CASES[type(payload)]), payload)
    return message.SerializeToString(deterministic=True)


def payload_value(stored: bytes) -> events.Payload:
    """The payload from its stored bytes; `Unknown` for a kind that this version does not know."""
    message = event_pb2.ThreadEvent.FromString(stored)
    case = message.WhichOneof("payload")
    if case is None:
        return events.Unknown()
    return MAPPING.decode(_PAYLOADS[case], getattr(message, case))


def event_message(thread_id: ThreadId, event: events.Event) -> event_pb2.ThreadEvent:
    """The event as clients see it: the stored payload under its envelope."""
    message = event_pb2.ThreadEvent()
    fill_event_message(message, thread_id, event)
    return message


def fill_event_message(message: event_pb2.ThreadEvent, thread_id: ThreadId, event: events.Event) -> None:
    """Make an empty message the event as clients see it: in its place, which spares a copy."""
    message.MergeFromString(event.raw)
    message.thread_id = thread_id
    message.sequence = event.sequence
    message.run_id = event.run_id
    fill_timestamp(message.commit_time, event.commit_time)
    message.previous_hash = event.previous_hash
    message.hash = event.hash
    message.redacted = event.redacted
