"""The hash chain of a thread (SEMANTICS 33). Pure; an outside verifier can do the same from ListEvents' raw bytes."""

import hashlib

from heddle_core.clock import Micros
from heddle_core.ids import RunId, TenantId, ThreadId
from heddle_runtime.threads.state import NO_HASH


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
    chain = hashlib.sha256(previous or NO_HASH)
    for text in (tenant, thread_id, run_id):
        data = text.encode()
        chain.update(len(data).to_bytes(4, "big"))
        chain.update(data)
    for number in (sequence, commit_time, kind):
        chain.update(number.to_bytes(8, "big"))
    chain.update(digest)
    return chain.digest()
