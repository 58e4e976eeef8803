"""What every servicer asks of a request first: who sends it, and what makes it the same request again."""

import asyncio
import hashlib
import struct
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, cast

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from heddle_core.errors import invalid
from heddle_core.failpoints import failpoint
from heddle_core.ids import RequestId
from heddle_grpc import calls
from heddle_runtime.facade.commands import Caller, RequestKey
from heddle_runtime.runs.content import Actor

START_TURN = "StartTurn"

_SAME_METHOD = {"StartStreamingTurn": START_TURN}
"""Methods that start the same thing, and so share their keys."""

_TO_ANSWER = 0.5
"""Seconds of a call's deadline that are kept for reading once more, and for the way back."""

_WITHOUT_MEANING = frozenset(("request_id", "after_sequence", "wait_seconds", "validate_only", "end_on_waiting"))
"""Fields of a request that do not change what it asks for (SEMANTICS 3); the id is part of the key already."""


def caller(_context: object = None) -> Caller:
    """Who makes the call that is being served. Raises LookupError outside of a call.

    Handlers pass their context to say which call they mean; the identity itself stands in the call's own variable.
    """
    identity = calls.current().identity
    return Caller(identity.tenant, Actor(identity.principal, identity.acted_by))


def patience(wait_seconds: int) -> timedelta:
    """How long a call may be held that asks for `wait_seconds`: a little less than its deadline leaves.

    Raises:
        InvalidField: it asks for less than nothing, or for more than 60 s.
    """
    if not 0 <= wait_seconds <= 60:
        raise invalid("wait_seconds", "0 to 60")
    deadline = calls.current().deadline
    if deadline is None:
        return timedelta(seconds=wait_seconds)
    left = deadline - asyncio.get_running_loop().time() - _TO_ANSWER
    return timedelta(seconds=max(0.0, min(float(wait_seconds), left)))


def request_key(method: str, request: Message) -> RequestKey:
    """What makes `request`, sent to the RPC `method` by its short name, the same request as another."""
    named: Any = request
    failpoint("request_decoded")
    return RequestKey(_SAME_METHOD.get(method, method), RequestId(named.request_id), fingerprint(request))


def fingerprint(request: Message) -> bytes:
    """SHA-256 over a canonical form of what is set in `request`, without the fields that do not change its meaning.

    Not over serialized bytes, whose order is the library's own affair; and by names instead of numbers, so that two
    requests that ask for the same through different RPCs are the same.
    """
    digest = hashlib.sha256()
    for descriptor, value in _set_fields(request):
        if descriptor.name not in _WITHOUT_MEANING:
            digest.update(_field(descriptor, value))
    return digest.digest()


def _set_fields(message: Message) -> list[tuple[FieldDescriptor, Any]]:
    return sorted(message.ListFields(), key=lambda each: each[0].name)


def _field(descriptor: FieldDescriptor, value: Any) -> bytes:
    return _text(descriptor.name) + _framed(_value_of(descriptor, value))


def _value_of(descriptor: FieldDescriptor, value: Any) -> bytes:
    entry = descriptor.message_type
    if entry is not None and entry.GetOptions().map_entry:
        given = cast("Mapping[Any, Any]", value)
        single = entry.fields_by_name["value"]
        return b"".join(_text(str(key)) + _framed(_single(single, given[key])) for key in sorted(given, key=str))
    if descriptor.is_repeated:
        return b"".join(_framed(_single(descriptor, each)) for each in value)
    return _single(descriptor, value)


def _single(descriptor: FieldDescriptor, value: Any) -> bytes:
    match value:
        case Message():
            return b"".join(_field(inner, each) for inner, each in _set_fields(value))
        case bool():
            return b"\1" if value else b"\0"
        case int():
            return value.to_bytes(9, "big", signed=True)
        case float():
            return struct.pack(">d", value)
        case str():
            return value.encode()
        case _:
            return cast("bytes", value)


def _text(text: str) -> bytes:
    return _framed(text.encode())


def _framed(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data
