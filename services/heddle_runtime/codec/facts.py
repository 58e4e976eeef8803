"""Events as they are published: the stored bytes of the payload, unread, behind their envelope.

Two encoded messages one after the other are one message with the fields of both, so that a payload need not be decoded
to be sent on. What comes out is byte for byte what encoding the whole would give.
"""

from heddle.runtime.v1.event_pb2 import ThreadEvent
from heddle_bus.events import DELETED
from heddle_core.clock import Micros
from heddle_core.ids import RunId, ThreadId
from heddle_runtime.codec.mapping import fill_timestamp
from heddle_runtime.relay.ports import Fact, Tombstone
from heddle_runtime.threads.events import Event

_UNKNOWN = "Unknown"
_KINDS = {
    field.number: field.message_type.name
    for field in ThreadEvent.DESCRIPTOR.oneofs_by_name["payload"].fields
    if field.message_type is not None
}


def event_fact(thread_id: ThreadId, event: Event) -> Fact:
    """An event that was just committed."""
    kind = type(event.payload).__name__
    envelope = _envelope(thread_id, event.sequence, event.commit_time, event.previous_hash)
    envelope.run_id, envelope.hash, envelope.redacted = event.run_id, event.hash, event.redacted
    return Fact(event.sequence, kind, event.commit_time, envelope.SerializeToString() + event.raw)


def stored_fact(
    thread_id: ThreadId,
    sequence: int,
    run_id: RunId,
    kind: int,
    commit_time: Micros,
    payload: bytes,
    hashes: tuple[bytes, bytes],
    *,
    redacted: bool,
) -> Fact:
    """An event as it is stored; `hashes` are that of the event before and its own."""
    envelope = _envelope(thread_id, sequence, commit_time, hashes[0])
    envelope.run_id, envelope.hash, envelope.redacted = run_id, hashes[1], redacted
    return Fact(sequence, kind_name(kind), commit_time, envelope.SerializeToString() + payload)


def tombstone_fact(tombstone: Tombstone) -> Fact:
    """That a thread was deleted: an envelope without a payload behind its last event, whose hash it carries."""
    sequence = tombstone.last_sequence + 1
    envelope = _envelope(tombstone.thread_id, sequence, tombstone.delete_time, tombstone.last_hash)
    return Fact(sequence, DELETED, tombstone.delete_time, envelope.SerializeToString())


def kind_name(number: int) -> str:
    """The name of a payload's message by its number in ThreadEvent."""
    return _KINDS.get(number, _UNKNOWN)


def _envelope(thread_id: ThreadId, sequence: int, commit_time: Micros, previous_hash: bytes) -> ThreadEvent:
    envelope = ThreadEvent(thread_id=thread_id, sequence=sequence, previous_hash=previous_hash)
    fill_timestamp(envelope.commit_time, commit_time)
    return envelope
