"""The hash chain, against a vector that was computed by hand and against a second implementation."""

import hashlib
import struct

from hypothesis import given
from hypothesis import strategies as st

from heddle_core.clock import Micros
from heddle_core.ids import RunId, TenantId, ThreadId
from heddle_runtime.threads.chain import event_hash, payload_digest

ids = st.text("abcdefghijklmnopqrstuvwxyz_-0123456789", max_size=64)
numbers = st.integers(0, 2**63 - 1)
hashes = st.one_of(st.just(b""), st.binary(min_size=32, max_size=32))


def independent(previous: bytes, texts: list[str], numbers_: list[int], digest: bytes) -> bytes:
    """Read off the words of SEMANTICS 33, not off the code."""
    data = previous or bytes(32)
    for text in texts:
        data += struct.pack(">I", len(text.encode("utf-8"))) + text.encode("utf-8")
    for number in numbers_:
        data += struct.pack(">Q", number)
    return hashlib.sha256(data + digest).digest()


def test_the_chain_has_the_hash_that_was_computed_by_hand() -> None:
    # printf '\0%.0s' {1..32}; printf '\0\0\0\4acme\0\0\0\2t1\0\0\0\0'; three numbers of 8 bytes; sha256 of "payload"
    digest = payload_digest(b"payload")
    assert digest.hex() == "239f59ed55e737c77147cf55ad0c1b030b6d7ee748a7426952f9b852d5a935e5"
    first = event_hash(b"", TenantId("acme"), ThreadId("t1"), 1, RunId(""), Micros(1_700_000_000_000_000), 10, digest)
    assert first.hex() == "f3619ab0265dfd0c85178f5b79248646f38b88118da108103871a3d5908e80c3"


@given(
    st.one_of(st.just(b""), st.binary(min_size=32, max_size=32)), ids, ids, ids, numbers, numbers, numbers, st.binary()
)
def test_two_implementations_agree(
    previous: bytes, tenant: str, thread: str, run: str, sequence: int, time: int, kind: int, payload: bytes
) -> None:
    digest = hashlib.sha256(payload).digest()
    ours = event_hash(
        previous, TenantId(tenant), ThreadId(thread), sequence, RunId(run), Micros(time), kind, payload_digest(payload)
    )
    assert ours == independent(previous, [tenant, thread, run], [sequence, time, kind], digest)


def test_no_field_can_be_moved_into_its_neighbour() -> None:
    digest = payload_digest(b"")
    one = event_hash(b"", TenantId("ab"), ThreadId("c"), 1, RunId(""), Micros(0), 10, digest)
    two = event_hash(b"", TenantId("a"), ThreadId("bc"), 1, RunId(""), Micros(0), 10, digest)
    assert one != two
