"""The hash chain of a thread (SEMANTICS 33). Pure; an outside verifier can do the same from ListEvents' raw bytes."""

import hashlib
import struct

from heddle_core.clock import Micros
from heddle_core.ids import RunId, TenantId, ThreadId
from heddle_runtime.threads.state import NO_HASH

_NUMBERS = struct.Struct(">QQQ")


def payload_digest(raw: bytes) -> bytes:
    """SHA-256 of a payload's bytes as they were first stored. A redaction replaces the bytes and keeps this."""
    return hashlib.sha256(raw).digest()


def event_hash(
    previous: bytes,
    tenant: TenantId,
    thread_id: ThreadId,
    sequence: int,
    run_id: RunId,
    commit_time: Micros,
    kind: int,
    digest: bytes,
) -> bytes:
    """SHA-256 over the previous hash, the envelope's fields and the payload's digest.

    Texts are UTF-8, each behind its length as 4 bytes; numbers are 8 bytes, all big-endian.
    """
    envelope = b"".join([_sized(tenant), _sized(thread_id), _sized(run_id)])
    numbers = _NUMBERS.pack(sequence, commit_time, kind)
    return hashlib.sha256(b"".join((previous or NO_HASH, envelope, numbers, digest))).digest()


def _sized(text: str) -> bytes:
    data = text.encode()
    return len(data).to_bytes(4, "big") + data
