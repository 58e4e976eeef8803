"""Requests, answers and frames as plain values for the journal: what the checker needs of them."""

import hashlib
from collections.abc import Iterator
from typing import Any

from google.protobuf.message import Message

from heddle.runtime.v1.agent_runtime_pb2 import (
    CancelRunResponse,
    GetSnapshotResponse,
    ResolveInputResponse,
    StartTurnResponse,
)
from heddle.runtime.v1.stream_pb2 import StreamFrame

_PARTS = ("", "thread")
"""Of a snapshot: itself, and the part of it that has the most fields."""

_NAMED = (
    "request_id",
    "thread_id",
    "source_thread_id",
    "run_id",
    "turn_request_id",
    "input_id",
    "message_id",
    "at_sequence",
    "after_sequence",
    "end_on_waiting",
)


def question_of(request: Message) -> dict[str, Any]:
    """What a request names, and a digest of all that it says beside its id."""
    told: dict[str, Any] = {}
    for field, value in request.ListFields():
        if field.name in _NAMED:
            told[field.name] = value
    copy: Any = type(request)()
    copy.CopyFrom(request)
    for name in ("request_id", "after_sequence", "end_on_waiting", "wait_seconds"):
        if name in copy.DESCRIPTOR.fields_by_name:
            copy.ClearField(name)
    turn = getattr(request, "turn", None)
    if isinstance(turn, Message):
        told["body"] = _digest(turn) + f" on {getattr(request, 'thread_id', '')}"
    else:
        told["body"] = _digest(copy)
    answer = getattr(request, "answer", None)
    if answer is not None and isinstance(answer, Message):
        told["answer"] = _digest(answer)
    return told


def answer_of(response: Message) -> dict[str, Any]:
    """What an answer promises."""
    match response:
        case StartTurnResponse():
            return {**_run(response.run), "disposition": response.disposition}
        case CancelRunResponse():
            marked = [[each.run_id, each.thread_id, each.cancel_sequence] for each in response.cancelled]
            return {"cancelled": marked}
        case ResolveInputResponse():
            return {"input_id": response.input.input_id, "state": response.input.state, **_run(response.run)}
        case GetSnapshotResponse():
            return _snapshot(response.snapshot)
        case _:
            run = getattr(response, "run", None)
            return _run(run) if isinstance(run, Message) else {}


def frame_of(frame: StreamFrame) -> dict[str, Any]:
    """A frame of a stream."""
    kind = frame.WhichOneof("frame")
    match kind:
        case "opened":
            return {"frame": kind, "head": frame.opened.head_sequence, "thread_id": frame.opened.thread_id}
        case "events":
            events = [
                [event.sequence, event.hash.hex(), event.run_id, event.WhichOneof("payload")]
                for event in frame.events.events
            ]
            return {"frame": kind, "events": events}
        case "deltas":
            deltas = [
                [each.run_id, each.message_id, each.channel, each.offset, each.text, each.reset, each.after_sequence]
                for each in frame.deltas.deltas
            ]
            return {"frame": kind, "deltas": deltas}
        case "checkpoint":
            return {"frame": kind, "sequence": frame.checkpoint.sequence, "caught_up": frame.checkpoint.caught_up}
        case "closing":
            return {"frame": kind, "reason": frame.closing.reason, "resume": frame.closing.resume_after_sequence}
        case _:
            return {"frame": "empty"}


def _run(run: Any) -> dict[str, Any]:
    return {"run_id": run.run_id, "thread_id": run.thread_id, "run_state": run.state}


def _snapshot(told: Any) -> dict[str, Any]:
    snapshot: Any = type(told)()
    snapshot.CopyFrom(told)
    snapshot.thread.ClearField("first_sequence")  # retention may raise it: the only field that no event decides
    usage = snapshot.usage
    return {
        "first": told.thread.first_sequence,
        "thread_id": snapshot.thread.thread_id,
        "sequence": snapshot.sequence,
        "hash": snapshot.hash.hex(),
        "active": [snapshot.active_run.run_id, snapshot.active_run.state],
        "queued": sorted(run.run_id for run in snapshot.queued_runs),
        "pending": sorted(each.input_id for each in snapshot.pending_inputs),
        "messages": [[each.message_id, each.role, _words(each)] for each in snapshot.messages],
        "last_said": _words(snapshot.last_assistant_message),
        "usage": [usage.input_tokens, usage.output_tokens, usage.model_calls, usage.tool_calls],
        "digest": _digest(snapshot),
        "fields": {name: value for field in _PARTS for name, value in _fields_of(snapshot, field)},
    }


def _fields_of(snapshot: Any, part: str) -> Iterator[tuple[str, str]]:
    """Digests of the fields of a part, or of the whole: which of them differs is the first thing that one asks."""
    message = getattr(snapshot, part) if part else snapshot
    for field, _ in message.ListFields():
        alone = type(message)()
        alone.CopyFrom(message)
        for other, _ in message.ListFields():
            if other.name != field.name:
                alone.ClearField(other.name)
        yield f"{part}.{field.name}", _digest(alone)[:8]


def _words(message: Any) -> str:
    return "".join(part.text or part.json for part in message.content)


def _digest(message: Message) -> str:
    return hashlib.sha256(message.SerializeToString(deterministic=True)).hexdigest()[:24]
