"""Whether a thread's log is what it was: numbers, hash chain, payload digests, and snapshots against the fold."""

from dataclasses import dataclass, field

from heddle_core.clock import Micros
from heddle_core.ids import RunId, TenantId, ThreadId
from heddle_core.runtime_errors import ChainBroken
from heddle_database.port import Row, Transaction
from heddle_runtime.codec.codec import payload_number, payload_value
from heddle_runtime.facade.thread_commands import ThreadVerified
from heddle_runtime.store.tombstones import no_thread
from heddle_runtime.threads.chain import event_hash, payload_digest
from heddle_runtime.threads.events import Event, ThreadForked, Unknown
from heddle_runtime.threads.fold import apply
from heddle_runtime.threads.fold_codec import decode, encode
from heddle_runtime.threads.state import FOLD_VERSION, NO_HASH, ThreadFold

PAGE = 500
"""Events that are verified in one read."""


@dataclass(slots=True)
class Verifier:
    """The state of a verification, from the first event that is kept on."""

    tenant: TenantId
    thread_id: ThreadId
    last_sequence: int
    """Where the log ended when the verification began."""
    head_hash: bytes
    fold: ThreadFold
    previous: bytes = NO_HASH
    events: int = 0
    snapshots: int = 0
    redacted: list[int] = field(default_factory=list[int])

    @property
    def done(self) -> bool:
        """Whether all events were looked at."""
        return self.fold.last_sequence >= self.last_sequence

    @property
    def result(self) -> ThreadVerified:
        """What was verified."""
        return ThreadVerified(self.events, self.last_sequence, self.head_hash, self.snapshots, tuple(self.redacted))

    def check(self, row: Row) -> None:
        """Verify one event and fold it.

        Raises:
            ChainBroken: it is not what was written, or one is missing before it.
        """
        sequence, run_id, time, stored, digest, hash_, redacted, kind = row
        expected = self.fold.last_sequence + 1
        if sequence != expected:
            raise self.broken(expected, f"event {sequence} stands in its place")
        if redacted:
            self.redacted.append(sequence)
        elif payload_digest(stored) != digest:
            raise self.broken(sequence, "its payload was changed")
        chained = event_hash(
            self.previous, self.tenant, self.thread_id, sequence, RunId(run_id), Micros(time), kind, digest
        )
        if chained != hash_:
            raise self.broken(sequence, "its hash does not follow from the event before")
        payload = payload_value(stored)
        if not isinstance(payload, Unknown) and payload_number(payload) != kind:
            raise self.broken(sequence, "its payload is of another kind")
        event = Event(sequence, RunId(run_id), Micros(time), payload, hash_, self.previous, bool(redacted))
        try:
            apply(self.fold, event)
        except Exception as problem:  # whatever the fold trips over: the chain holds, and what it tells cannot be
            raise self.broken(sequence, f"it does not fit what came before it: {problem!r}") from problem
        self.previous = hash_
        self.events += 1

    def compare(self, sequence: int, hash_: bytes, body: bytes) -> None:
        """Compare a stored snapshot with the fold, which stands at its sequence.

        Raises:
            ChainBroken: they differ.
        """
        if hash_ != self.previous:
            raise self.broken(sequence, "a snapshot carries another hash")
        if encode(decode(body, self.thread_id)) != encode(self.fold):
            raise self.broken(sequence, "a snapshot is not the fold of the events")
        self.snapshots += 1

    def finish(self) -> None:
        """Compare the end of the chain with the thread's row.

        Raises:
            ChainBroken: they differ.
        """
        if self.previous != self.head_hash:
            raise self.broken(self.last_sequence, "the thread's row carries another hash")

    def broken(self, sequence: int, problem: str) -> ChainBroken:
        """The error for an event that does not verify."""
        return ChainBroken(self.thread_id, sequence, problem)


def begin(tx: Transaction, tenant: TenantId, thread_id: ThreadId) -> Verifier:
    """Start at the first event that is kept, or at the base that retention has left.

    Raises:
        ThreadNotFound: the tenant has no such thread.
        ChainBroken: the base is missing.
    """
    row = tx.row(
        "SELECT last_sequence, head_hash, first_sequence FROM threads WHERE tenant = :tenant AND thread_id = :thread",
        tenant=tenant,
        thread=thread_id,
    )
    if row is None:
        raise no_thread(tx, tenant, thread_id)
    last, head_hash, first = row
    verifier = Verifier(tenant, thread_id, last, head_hash, ThreadFold(thread_id))
    if first > 1:
        base = tx.row(
            "SELECT hash, body FROM snapshots WHERE tenant = :tenant AND thread_id = :thread AND sequence = :sequence",
            tenant=tenant,
            thread=thread_id,
            sequence=first - 1,
        )
        if base is None:
            raise verifier.broken(first - 1, "the base that retention left is missing")
        verifier.previous, verifier.fold = base[0], decode(base[1], thread_id)
    return verifier


def advance(tx: Transaction, verifier: Verifier) -> list[Row]:
    """Verify the next page of events, and the snapshots that belong to it; returns sequence, run and kind of each.

    Raises:
        ChainBroken: something is not what was written.
    """
    after = verifier.fold.last_sequence
    place = {"tenant": verifier.tenant, "thread": verifier.thread_id, "after": after}
    rows = tx.rows(
        "SELECT sequence, run_id, commit_time, payload, digest, hash, redacted, kind FROM events"
        " WHERE tenant = :tenant AND thread_id = :thread AND sequence > :after AND sequence <= :last"
        " ORDER BY sequence LIMIT :limit",
        **place,
        last=verifier.last_sequence,
        limit=PAGE,
    )
    if not rows:
        raise verifier.broken(after + 1, "it is missing")
    stored = tx.rows(
        "SELECT sequence, hash, body FROM snapshots WHERE tenant = :tenant AND thread_id = :thread"
        " AND sequence > :after AND sequence <= :last AND fold_version = :version",
        **place,
        last=rows[-1][0],
        version=FOLD_VERSION,
    )
    snapshots = {row[0]: row for row in stored}
    for row in rows:
        verifier.check(row)
        if row[0] in snapshots:
            verifier.compare(*snapshots[row[0]])
    return [(row[0], row[1], row[7]) for row in rows]


def verify_fork(tx: Transaction, verifier: Verifier) -> None:
    """Compare what a fork says of its source with the source, where that still has it.

    Raises:
        ChainBroken: the source's event has another hash.
    """
    row = tx.row(
        "SELECT payload FROM events WHERE tenant = :tenant AND thread_id = :thread AND sequence = 1",
        tenant=verifier.tenant,
        thread=verifier.thread_id,
    )
    forked = payload_value(row[0]) if row else None
    if not isinstance(forked, ThreadForked):
        return
    source = tx.row(
        "SELECT hash FROM events WHERE tenant = :tenant AND thread_id = :thread AND sequence = :sequence",
        tenant=verifier.tenant,
        thread=forked.source_thread_id,
        sequence=forked.source_sequence,
    )
    if source is not None and source[0] != forked.source_hash:
        raise verifier.broken(1, f"its source {forked.source_thread_id} has another hash where it was forked")
