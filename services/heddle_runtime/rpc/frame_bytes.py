"""Frames as bytes, written without building messages: a stream sends many, and stored events are bytes already.

The bytes are those that protobuf would make of the same messages, which a test compares. Every RPC that streams
frames wraps them in its own response as field 1, so one frame serves them all.

In the formats below a tag stands before each field, `number << 3 | wire type`: 0 for a number, 2 for what has a length.
"""

from collections.abc import Iterable
from functools import lru_cache

from heddle.runtime.v1 import stream_pb2
from heddle_core.clock import MICROS_PER_SECOND
from heddle_core.ids import ThreadId
from heddle_runtime.threads.deltas import Delta
from heddle_runtime.threads.events import Event

_EVENTS, _DELTAS = b"\x12", b"\x1a"
"""Tags of the two batches in a StreamFrame."""

_SHORT = tuple(bytes((value,)) for value in range(128))
"""Numbers that take one byte, as the length of a hash does."""


def event(thread_id: ThreadId, given: Event) -> bytes:
    """A ThreadEvent: the envelope, fields 1 to 7, then the payload as it is stored."""
    return b"\x0a%b\x10%b%b\x22%b%b%b%b%b" % (
        _id(thread_id),
        _number(given.sequence),
        b"\x1a%b" % _id(given.run_id) if given.run_id else b"",
        _timestamp(given.commit_time),
        b"\x2a%b%b" % (_SHORT[len(given.previous_hash)], given.previous_hash) if given.previous_hash else b"",
        b"\x32%b%b" % (_SHORT[len(given.hash)], given.hash) if given.hash else b"",
        b"\x38\x01" if given.redacted else b"",
        given.raw,
    )


def delta(given: Delta) -> bytes:
    """A Delta, fields 1 to 10."""
    return b"".join(
        (
            b"\x0a%b" % _id(given.run_id) if given.run_id else b"",
            b"\x12%b" % _id(given.step_id) if given.step_id else b"",
            b"\x18%b" % _number(given.attempt) if given.attempt else b"",
            b"\x22%b" % _id(given.message_id) if given.message_id else b"",
            b"\x28%b" % _number(given.channel) if given.channel else b"",
            b"\x32%b" % _text(given.call_id) if given.call_id else b"",
            b"\x38%b" % _number(given.offset) if given.offset else b"",
            b"\x42%b" % _text(given.text) if given.text else b"",
            b"\x48%b" % _number(given.after_sequence) if given.after_sequence else b"",
            b"\x50\x01" if given.reset else b"",
        )
    )


def event_response(events: Iterable[bytes]) -> bytes:
    """A response with a frame of events."""
    return response(_batch(_EVENTS, events))


def delta_response(deltas: Iterable[bytes]) -> bytes:
    """A response with a frame of deltas."""
    return response(_batch(_DELTAS, deltas))


def response(frame: bytes | stream_pb2.StreamFrame) -> bytes:
    """A frame, or the bytes of one, in the response of whichever RPC streams it."""
    data = frame if isinstance(frame, bytes) else frame.SerializeToString()
    return b"\x0a%b%b" % (_number(len(data)), data)


def _batch(tag: bytes, messages: Iterable[bytes]) -> bytes:
    data = b"".join([b"\x0a%b%b" % (_number(len(each)), each) for each in messages])
    return b"%b%b%b" % (tag, _number(len(data)), data)


def _text(text: str) -> bytes:
    data = text.encode()
    return _number(len(data)) + data


_id = lru_cache(maxsize=1_024)(_text)
"""Ids come again in the next event."""


@lru_cache(maxsize=64)
def _timestamp(micros: int) -> bytes:
    """A Timestamp behind its length. Events of one commit share their time, and come together."""
    seconds, rest = divmod(micros, MICROS_PER_SECOND)
    data = b"\x08%b" % _number(seconds) if seconds else b""
    data += b"\x10%b" % _number(rest * 1_000) if rest else b""
    return _number(len(data)) + data


def _number(value: int) -> bytes:
    """A number that is not negative, seven bits at a time, the lowest first."""
    if value < 128:
        return _SHORT[value]
    parts = bytearray()
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    parts.append(value)
    return bytes(parts)
