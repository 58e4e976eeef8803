"""What makes two requests ask for the same thing: a digest of what is set in them (SEMANTICS 3)."""

import hashlib
import struct
from collections.abc import Mapping
from typing import Any, cast

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

_WITHOUT_MEANING = frozenset(("request_id", "after_sequence", "wait_seconds", "validate_only", "end_on_waiting"))
"""Fields of a request that do not change what it asks for; the id is part of the key already."""


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
