"""How old events leave the log: at a boundary between runs, behind a stored base with its hash (SEMANTICS 35).

First the base is stored and the thread's first sequence raised, in one transaction: from then on readers below are
told CURSOR_TOO_OLD. Then the events go, in portions. A crash in between leaves events that nobody reads; the next
round finds them.
"""

from collections.abc import Iterable
from datetime import timedelta

from heddle_core.clock import micros
from heddle_core.ids import RunId, TenantId, ThreadId, WorkerId
from heddle_core.values import value
from heddle_database.port import Transaction
from heddle_runtime.facade.retention import Candidates, Place, RetentionPolicy
from heddle_runtime.runs.state import RunState
from heddle_runtime.store import deletions, requests
from heddle_runtime.store.log import LogWriter
from heddle_runtime.store.marks import ENDS, MESSAGE_REDACTED, TURN_REQUESTED, Mark, read_marks
from heddle_runtime.store.reads import load_fold
from heddle_runtime.store.rollout import live_fold_version
from heddle_runtime.store.store import Store
from heddle_runtime.threads.fold_codec import encode
from heddle_runtime.threads.state import FOLD_VERSION

PORTION = 1_000
"""Events that go in one transaction, so that nobody waits for long behind it."""

_UNFINISHED = f"state IN ({', '.join(str(int(state)) for state in RunState if not state.terminal)})"


@value
class Base:
    """The state with which a log is to begin."""

    tenant: TenantId
    thread_id: ThreadId
    first_sequence: int
    """The first sequence that was kept when this was read."""
    seen_sequence: int
    """Where the log ended then: words that were redacted since may be in the body."""
    sequence: int
    """Of the last event that goes."""
    hash: bytes
    body: bytes


class LogRetention:
    """Fulfils `facade.retention.RetentionStore`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def is_eldest(self, worker_id: WorkerId) -> bool:
        """Whether no other worker that lives began earlier."""
        return await self._store.read(lambda tx: _eldest(tx) == worker_id)

    async def purge_deleted(self) -> int:
        """Go on removing what deleted threads have left; of how many threads."""
        found = await self._store.read(deletions.unpurged)
        for tenant, thread_id in found:
            await deletions.purge_thread(self._store, tenant, thread_id)
        return len(found)

    async def purge_requests(self, kept_for: timedelta, most: int) -> int:
        """Forget `most` requests that made no run and no thread, and are older; how many went."""
        return await self._store.write(lambda writer: requests.purge(writer.tx, kept_for, most), bulk=True)

    async def candidates(self, policy: RetentionPolicy, after: Place, limit: int) -> Candidates:
        """Threads behind a place that may have something to trim, of the next `limit` threads."""
        return await self._store.read(lambda tx: find_candidates(tx, policy, after, limit))

    async def trim(self, policy: RetentionPolicy, tenant: TenantId, thread_id: ThreadId) -> int:
        """Trim one thread; how many events went."""
        base = await self._store.read(lambda tx: read_base_to_be(tx, policy, tenant, thread_id))
        if base is not None:
            await self._store.write(lambda writer: raise_first(writer, base), thread_id)
        gone = 0
        while portion := await self._store.write(
            lambda writer: remove_portion(writer.tx, tenant, thread_id), thread_id, bulk=True
        ):
            gone += portion
        return gone


def find_candidates(tx: Transaction, policy: RetentionPolicy, after: Place, limit: int) -> Candidates:
    """Look at the next `limit` threads in the order of their keys: which has events that may go, or had some."""
    rows = tx.rows(
        "SELECT t.tenant, t.thread_id, t.first_sequence, t.last_sequence, (SELECT e.commit_time FROM events e"
        " WHERE e.tenant = t.tenant AND e.thread_id = t.thread_id AND e.sequence = t.first_sequence),"
        " (SELECT e.sequence FROM events e WHERE e.tenant = t.tenant AND e.thread_id = t.thread_id"
        " AND e.sequence = t.first_sequence - 1) FROM threads t WHERE t.tenant > :tenant"
        " OR (t.tenant = :tenant AND t.thread_id > :thread) ORDER BY t.tenant, t.thread_id LIMIT :limit",
        tenant=after.tenant,
        thread=after.thread_id,
        limit=limit,
    )
    before = _before(tx, policy)
    found: list[tuple[TenantId, ThreadId]] = []
    for tenant, thread_id, first, last, oldest, leftover in rows:
        excess = last - first + 1 - policy.keep_events
        wanted = excess >= (policy.least if policy.keep_events else 1)
        if (wanted and oldest is not None and (before is None or oldest < before)) or leftover is not None:
            found.append((TenantId(tenant), ThreadId(thread_id)))
    ahead = Place(TenantId(rows[-1][0]), ThreadId(rows[-1][1])) if len(rows) == limit else None
    return Candidates(tuple(found), ahead)


def read_base_to_be(tx: Transaction, policy: RetentionPolicy, tenant: TenantId, thread_id: ThreadId) -> Base | None:
    """The state at the last boundary between runs up to which everything may go; None: nothing may."""
    row = tx.row(
        "SELECT first_sequence, last_sequence, published_sequence FROM threads"
        " WHERE tenant = :tenant AND thread_id = :thread",
        tenant=tenant,
        thread=thread_id,
    )
    if row is None or live_fold_version(tx) < FOLD_VERSION:
        return None  # a worker of an older version could not read the base, and the events would be gone
    first, last, published = row
    end = min(last - policy.keep_events, published if policy.published_only else last)
    end = min(end, _first_unfinished(tx, tenant, thread_id, last) - 1)
    before = _before(tx, policy)
    if before is not None:
        end = _last_before(tx, tenant, thread_id, before, first, end)
    if end < first:
        return None
    marks = read_marks(tx, tenant, thread_id, (TURN_REQUESTED, *ENDS), end, after=first - 1)
    sequence = last_boundary(marks, first, end)
    if sequence < first:
        return None
    fold = load_fold(tx, tenant, thread_id, sequence)
    return Base(tenant, thread_id, first, last, sequence, fold.head_hash, encode(fold))


def last_boundary(marks: Iterable[Mark], first: int, end: int) -> int:
    """The last sequence from `first` to `end` behind which no run is open; below `first`: there is none. Pure.

    `marks` are those of turns and of ends, in order. A run is open from its turn on, even if it only waits its turn:
    its events stay together.
    """
    boundary = first - 1
    unfinished: set[RunId] = set()
    for mark in marks:
        if not unfinished:
            boundary = max(boundary, mark.sequence - 1)
        if mark.kind == TURN_REQUESTED:
            unfinished.add(mark.run_id)
        else:
            unfinished.discard(mark.run_id)
    return boundary if unfinished else max(boundary, end)


def raise_first(writer: LogWriter, base: Base) -> bool:
    """Store the base and have the log begin behind it; whether that could be done.

    Not where another trim came first, a run is open, or words may have been redacted that the base still holds.
    """
    tx, tenant, thread_id = writer.tx, base.tenant, base.thread_id
    head = writer.lock_if_any(tenant, thread_id)
    if head is None or head.first_sequence != base.first_sequence:
        return False
    if _first_unfinished(tx, tenant, thread_id, head.last_sequence) <= base.sequence:
        return False
    if read_marks(tx, tenant, thread_id, (MESSAGE_REDACTED,), head.last_sequence, after=base.seen_sequence):
        return False
    place = {"tenant": tenant, "thread": thread_id, "sequence": base.sequence}
    tx.run(
        "INSERT INTO snapshots (tenant, thread_id, sequence, fold_version, hash, body)"
        " VALUES (:tenant, :thread, :sequence, :version, :hash, :body)"
        " ON CONFLICT (tenant, thread_id, sequence) DO UPDATE SET fold_version = :version, hash = :hash, body = :body",
        **place,
        version=FOLD_VERSION,
        hash=base.hash,
        body=base.body,
    )
    tx.run(
        "DELETE FROM snapshots WHERE tenant = :tenant AND thread_id = :thread AND sequence < :sequence",
        **place,
    )
    tx.run(
        "UPDATE threads SET first_sequence = :sequence + 1 WHERE tenant = :tenant AND thread_id = :thread",
        **place,
    )
    return True


def remove_portion(tx: Transaction, tenant: TenantId, thread_id: ThreadId) -> int:
    """Remove the oldest events that lie before the first that is kept, at most a portion; how many."""
    return tx.run(
        "DELETE FROM events WHERE tenant = :tenant AND thread_id = :thread"
        " AND sequence < (SELECT first_sequence FROM threads WHERE tenant = :tenant AND thread_id = :thread)"
        " AND sequence < (SELECT MIN(sequence) FROM events WHERE tenant = :tenant AND thread_id = :thread) + :portion",
        tenant=tenant,
        thread=thread_id,
        portion=PORTION,
    )


def _eldest(tx: Transaction) -> WorkerId | None:
    row = tx.row(
        "SELECT worker_id FROM workers WHERE lease_until > :now ORDER BY start_time, worker_id LIMIT 1", now=tx.now
    )
    return WorkerId(row[0]) if row else None


def _before(tx: Transaction, policy: RetentionPolicy) -> int | None:
    """The time before which events are old enough to go, in microseconds; None: age says nothing."""
    return tx.now - micros(policy.keep_for) if policy.keep_for else None


def _first_unfinished(tx: Transaction, tenant: TenantId, thread_id: ThreadId, last: int) -> int:
    """Where the first run that has not ended begins; behind the log's end where all have."""
    row = tx.row(
        f"SELECT MIN(request_sequence) FROM runs WHERE tenant = :tenant AND thread_id = :thread AND {_UNFINISHED}",
        tenant=tenant,
        thread=thread_id,
    )
    return row[0] if row and row[0] is not None else last + 1


def _last_before(tx: Transaction, tenant: TenantId, thread_id: ThreadId, before: int, first: int, end: int) -> int:
    """The last sequence from `first` to `end` that was committed before a time; `first - 1`: there is none.

    Found by halving, as times rise with sequences. Where a clock was set back they do not, and then an event may go
    or stay by as much.
    """
    old, young = first - 1, end + 1
    while young - old > 1:
        middle = (old + young) // 2
        row = tx.row(
            "SELECT commit_time FROM events WHERE tenant = :tenant AND thread_id = :thread AND sequence = :sequence",
            tenant=tenant,
            thread=thread_id,
            sequence=middle,
        )
        if row is not None and row[0] < before:
            old = middle
        else:
            young = middle
    return old
