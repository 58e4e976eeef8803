"""The only place where events are written: sequence numbers and the hash chain under the thread's row lock."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from heddle_core.ids import RunId, TenantId, ThreadId
from heddle_core.usage import MicroUsd, Usage
from heddle_core.values import value
from heddle_database.port import Transaction
from heddle_runtime.codec.codec import payload_number, payload_value, stored_payload
from heddle_runtime.store.rollout import INTRODUCED, require_readable
from heddle_runtime.store.tombstones import no_thread
from heddle_runtime.threads.accounting import spent
from heddle_runtime.threads.chain import event_hash, payload_digest
from heddle_runtime.threads.events import Event, Payload
from heddle_runtime.threads.log import Committed
from heddle_runtime.threads.settings import ThreadStatus
from heddle_runtime.threads.state import NO_HASH


@value
class Draft:
    """An event that has no place yet, with its bytes made beforehand, outside the writer."""

    run_id: RunId
    payload: Payload
    raw: bytes
    kind: int


def draft(run_id: RunId, payload: Payload) -> Draft:
    """Encode a payload for the log."""
    return Draft(run_id, payload, stored_payload(payload), payload_number(payload))


@dataclass(slots=True)
class Head:
    """A thread's row, locked: where its log ends and what it is doing."""

    tenant: TenantId
    thread_id: ThreadId
    last_sequence: int
    head_hash: bytes
    lane_run_id: RunId
    status: ThreadStatus
    revision: int
    first_sequence: int
    untitled: bool = False
    """Whether the runtime may give it a title: it has none, and nobody wanted it so."""


@dataclass(slots=True)
class LogWriter:
    """Appends of one operation. What was appended is handed to followers once it is committed."""

    tx: Transaction
    committed: list[Committed] = field(default_factory=list[Committed])

    def lock(self, tenant: TenantId, thread_id: ThreadId) -> Head:
        """Read a thread's head and keep others from moving it until the commit.

        Raises:
            ThreadNotFound: the tenant has no such thread.
        """
        head = self.lock_if_any(tenant, thread_id)
        if head is None:
            raise no_thread(self.tx, tenant, thread_id)
        return head

    def lock_if_any(self, tenant: TenantId, thread_id: ThreadId) -> Head | None:
        """As `lock`, or None where there is no such thread."""
        row = self.tx.row(
            "SELECT last_sequence, head_hash, lane_run_id, status, revision, first_sequence,"
            " CASE WHEN title = '' AND title_is_manual = 0 THEN 1 ELSE 0 END FROM threads"
            f" WHERE tenant = :tenant AND thread_id = :thread{self.tx.row_lock}",
            tenant=tenant,
            thread=thread_id,
        )
        if row is None:
            return None
        lane, status = RunId(row[2]), ThreadStatus(row[3])
        return Head(tenant, thread_id, row[0], row[1], lane, status, row[4], row[5], bool(row[6]))

    def append(self, head: Head, drafts: Sequence[Draft]) -> tuple[Event, ...]:
        """Give the drafts their places behind the thread's head, in order, and move the head."""
        if INTRODUCED:
            require_readable(self.tx, [each.kind for each in drafts])
        now = self.tx.now
        events: list[Event] = []
        rows: list[dict[str, object]] = []
        for each in drafts:
            sequence = head.last_sequence + 1
            digest = payload_digest(each.raw)
            previous = head.head_hash or NO_HASH
            head.head_hash = event_hash(
                previous, head.tenant, head.thread_id, sequence, each.run_id, now, each.kind, digest
            )
            head.last_sequence = sequence
            rows.append(
                {
                    "tenant": head.tenant,
                    "thread": head.thread_id,
                    "sequence": sequence,
                    "run": each.run_id,
                    "kind": each.kind,
                    "time": now,
                    "payload": each.raw,
                    "digest": digest,
                    "hash": head.head_hash,
                }
            )
            events.append(Event(sequence, each.run_id, now, each.payload, head.head_hash, previous, raw=each.raw))
        self.tx.many(
            "INSERT INTO events (tenant, thread_id, sequence, run_id, kind, commit_time, payload, digest, hash)"
            " VALUES (:tenant, :thread, :sequence, :run, :kind, :time, :payload, :digest, :hash)",
            rows,
        )
        self.tx.run(
            "UPDATE threads SET last_sequence = :sequence, head_hash = :hash, lane_run_id = :lane, update_time = :time"
            " WHERE tenant = :tenant AND thread_id = :thread",
            sequence=head.last_sequence,
            hash=head.head_hash,
            lane=head.lane_run_id,
            time=now,
            tenant=head.tenant,
            thread=head.thread_id,
        )
        written = tuple(events)
        self.committed.append(Committed(head.tenant, head.thread_id, written))
        return written


EVENT_COLUMNS = "sequence, run_id, commit_time, payload, hash, redacted"


def read_events(
    tx: Transaction,
    tenant: TenantId,
    thread_id: ThreadId,
    after: int,
    limit: int,
    run_id: RunId = RunId(""),
) -> tuple[Event, ...]:
    """Events after a sequence, oldest first, at most `limit`; of one run, if it is named."""
    of_run = " AND run_id = :run" if run_id else ""
    rows = tx.rows(
        f"SELECT {EVENT_COLUMNS}, COALESCE((SELECT p.hash FROM events p WHERE p.tenant = e.tenant"
        " AND p.thread_id = e.thread_id AND p.sequence = e.sequence - 1), (SELECT s.hash FROM snapshots s"
        " WHERE s.tenant = e.tenant AND s.thread_id = e.thread_id AND s.sequence = e.sequence - 1))"
        " FROM events e WHERE tenant = :tenant AND thread_id = :thread AND sequence > :after"
        f"{of_run} ORDER BY sequence LIMIT :limit",
        tenant=tenant,
        thread=thread_id,
        after=after,
        limit=limit,
        **({"run": run_id} if run_id else {}),
    )
    return tuple(
        Event(
            sequence=row[0],
            run_id=RunId(row[1]),
            commit_time=row[2],
            payload=payload_value(row[3]),
            hash=row[4],
            previous_hash=row[6] or NO_HASH,
            redacted=bool(row[5]),
            raw=row[3],
        )
        for row in rows
    )


def total_spent(payloads: Iterable[Payload]) -> Usage:
    """What a run's row has to be charged with for these payloads."""
    total = Usage(cost=MicroUsd(0))
    for payload in payloads:
        total += spent(payload)
    return total
