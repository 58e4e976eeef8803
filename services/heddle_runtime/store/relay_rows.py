"""The relay's rows: marks and what lies behind them, shards with their fences, the stream, the log's epoch."""

from collections.abc import Mapping, Sequence
from datetime import timedelta

from heddle_core.clock import Micros
from heddle_core.ids import RunId, TenantId, ThreadId, WorkerId
from heddle_core.values import value
from heddle_database.port import Transaction
from heddle_runtime.codec.facts import stored_fact
from heddle_runtime.relay.brokers import UNKNOWN, Brokers, is_other, stands_aside
from heddle_runtime.relay.ports import Fact, Facts, Mark, Standing, StreamNote, Tombstone
from heddle_runtime.relay.shards import SHARDS, fair_share
from heddle_runtime.threads.log import ThreadKey
from heddle_runtime.threads.state import NO_HASH

REWIND_PORTION = 500
"""Threads whose marks are lowered in one transaction, so that others need not wait."""

_BEHIND_KEY = "(tenant > :tenant OR (tenant = :tenant AND thread_id > :thread))"


def log_epoch(tx: Transaction) -> int:
    """The log's epoch: from 1, raised by each restore."""
    row = tx.row("SELECT epoch FROM log_epoch WHERE number = 1")
    return row[0] if row else 1


def raise_epoch(tx: Transaction) -> int:
    """Begin a new epoch, and say which: what is published from now on is told apart from what was before.

    For a restore, in its transaction: under the old epoch, sequences that the restored log has not reached yet may
    have been published with other contents. Marks are as old as the log, so everything behind them is published again.
    """
    epoch = log_epoch(tx) + 1
    tx.run(
        "INSERT INTO log_epoch (number, epoch) VALUES (1, :epoch) ON CONFLICT (number) DO UPDATE SET epoch = :epoch",
        epoch=epoch,
    )
    return epoch


# --- shards ---


def take_all_shards(tx: Transaction, worker_id: WorkerId) -> None:
    """Take every shard from whoever had it: for a database that admits no other process."""
    _make_shards(tx)
    tx.run(
        "UPDATE relay_shards SET owner = :worker, fence = fence + 1 WHERE owner <> :worker",
        worker=worker_id,
    )


def take_free_shards(tx: Transaction, worker_id: WorkerId, stream: Micros) -> None:
    """Take shards that no relay on this stream has, up to this worker's share, and give back what is beyond it.

    All are given back while somebody publishes to the stream that is noted, and this is another.
    """
    _make_shards(tx)
    rows = tx.rows(f"SELECT shard, owner FROM relay_shards ORDER BY shard{tx.row_lock}")  # one relay after the other
    tx.run(
        "INSERT INTO relay_workers (worker_id, stream) VALUES (:worker, :stream)"
        " ON CONFLICT (worker_id) DO UPDATE SET stream = :stream",
        worker=worker_id,
        stream=stream,
    )
    peers = _peers(tx, worker_id)
    together = {worker_id, *(peer for peer, its in peers.items() if not is_other(stream, its.stream))}
    mine = [shard for shard, owner in rows if owner == worker_id]
    share = 0 if _stands_aside(tx, stream, peers) else fair_share(len(together))
    for shard in mine[share:]:
        tx.run("UPDATE relay_shards SET owner = '', fence = fence + 1 WHERE shard = :shard", shard=shard)
    free = [shard for shard, owner in rows if owner not in together]
    for shard in free[: max(0, share - len(mine))]:
        tx.run(
            "UPDATE relay_shards SET owner = :worker, fence = fence + 1 WHERE shard = :shard",
            worker=worker_id,
            shard=shard,
        )
    tx.run(
        "DELETE FROM relay_workers WHERE worker_id NOT IN (SELECT worker_id FROM workers) AND worker_id <> :worker",
        worker=worker_id,
    )


def leave_shards(tx: Transaction, worker_id: WorkerId) -> None:
    """Give this worker's shards away, for the others to take at once."""
    tx.run("UPDATE relay_shards SET owner = '', fence = fence + 1 WHERE owner = :worker", worker=worker_id)
    tx.run("DELETE FROM relay_workers WHERE worker_id = :worker", worker=worker_id)


def read_standing(tx: Transaction, worker_id: WorkerId, stream: Micros) -> Standing:
    """Shards, the stream that is noted, and epoch, for a worker that has this `stream`."""
    rows = tx.rows("SELECT shard, owner, fence FROM relay_shards")
    peers = _peers(tx, worker_id)
    return Standing(
        log_epoch=log_epoch(tx),
        stream=_noted(tx),
        fences={shard: fence for shard, owner, fence in rows if owner == worker_id},
        owners={shard: WorkerId(owner) for shard, owner, _ in rows if owner not in ("", worker_id)},
        peers=frozenset(peers),
        lease_ends_in=min((timedelta(microseconds=its.lease_until - tx.now) for its in peers.values()), default=None),
        brokers=Brokers(
            {peer: its.address for peer, its in peers.items() if is_other(stream, its.stream)},
            aside=_stands_aside(tx, stream, peers),
        ),
    )


def relays_by_stream(tx: Transaction) -> Mapping[Micros, list[str]]:
    """The addresses of the runtimes that live, by the stream that the relay of each has in front of it.

    More than one: they are on several NATS. The one that is published to comes first.
    """
    noted = _noted(tx)
    found: dict[Micros, list[str]] = {}
    for its in sorted(_peers(tx).values(), key=lambda each: (each.stream, each.address)):
        if its.stream != UNKNOWN:
            found.setdefault(its.stream, []).append(its.address)
    first = noted.created if noted else UNKNOWN
    return dict(sorted(found.items(), key=lambda each: (each[0] != first, each[0])))


# --- what is published, and what is not ---


def read_backlog(tx: Transaction, after: ThreadKey | None, limit: int) -> list[tuple[ThreadKey, int]]:
    """Threads with unpublished events, by the partial index, in the order of their keys."""
    behind = f" AND {_BEHIND_KEY}" if after else ""
    rows = tx.rows(
        "SELECT tenant, thread_id, last_sequence FROM threads WHERE published_sequence < last_sequence"
        f"{behind} ORDER BY tenant, thread_id LIMIT :limit",
        limit=limit,
        **({"tenant": after[0], "thread": after[1]} if after else {}),
    )
    return [((TenantId(row[0]), ThreadId(row[1])), row[2]) for row in rows]


def read_facts(tx: Transaction, wanted: Mapping[ThreadKey, int], most_each: int, most_bytes: int) -> list[Facts]:
    """What threads have to publish; see `RelayStore.read_facts`."""
    found: list[Facts] = []
    for key, known in wanted.items():
        row = tx.row(
            "SELECT published_sequence, last_sequence FROM threads WHERE tenant = :tenant AND thread_id = :thread",
            tenant=key[0],
            thread=key[1],
        )
        if row is None or max(known, row[0]) >= row[1]:
            continue
        if most_bytes <= 0:
            found.append(Facts(key, (), more=True))
            continue
        facts = _facts(tx, key, max(known, row[0]), most_each, most_bytes)
        if facts:
            most_bytes -= sum(len(fact.payload) for fact in facts)
            found.append(Facts(key, facts, more=facts[-1].sequence < row[1]))
    return found


def write_marks(
    tx: Transaction, worker_id: WorkerId, marks: Sequence[Mark], stream: StreamNote | None
) -> frozenset[int]:
    """Raise marks, each under the fence of its shard; returns the shards whose fence is another by now."""
    rows = tx.rows(
        f"SELECT shard, fence FROM relay_shards WHERE owner = :worker ORDER BY shard{tx.row_lock}", worker=worker_id
    )
    fences: dict[int, int] = dict(rows)
    held = [mark for mark in marks if fences.get(mark.shard) == mark.fence]
    tx.many(
        "UPDATE threads SET published_sequence = :sequence"
        " WHERE tenant = :tenant AND thread_id = :thread AND published_sequence < :sequence",
        [{"tenant": mark.key[0], "thread": mark.key[1], "sequence": mark.sequence} for mark in held],
    )
    if stream is not None:
        tx.run(
            "UPDATE relay_stream SET sequence = :sequence, message_id = :message"
            " WHERE number = 1 AND created = :created AND sequence < :sequence",
            sequence=stream.sequence,
            message=stream.message_id,
            created=stream.created,
        )
    return frozenset(mark.shard for mark in marks if fences.get(mark.shard) != mark.fence)


# --- another stream ---


def rewind(tx: Transaction, since: Micros, after: ThreadKey | None) -> ThreadKey | None:
    """Lower the marks of one portion of threads below their first event of `since` or later.

    From the first portion on nobody may mark what was acknowledged before, by a stream that is gone.
    """
    if after is None:
        _void_fences(tx)
    behind = f" AND {_BEHIND_KEY}" if after else ""
    rows = tx.rows(
        "SELECT tenant, thread_id, published_sequence FROM threads WHERE update_time >= :since"
        f"{behind} ORDER BY tenant, thread_id LIMIT :limit",
        since=since,
        limit=REWIND_PORTION,
        **({"tenant": after[0], "thread": after[1]} if after else {}),
    )
    for tenant, thread_id, published in rows:
        first = tx.row(
            "SELECT sequence FROM events WHERE tenant = :tenant AND thread_id = :thread AND commit_time >= :since"
            " AND sequence <= :published ORDER BY sequence LIMIT 1",
            tenant=tenant,
            thread=thread_id,
            since=since,
            published=published,
        )
        if first is not None:
            tx.run(
                "UPDATE threads SET published_sequence = :before"
                " WHERE tenant = :tenant AND thread_id = :thread AND published_sequence > :before",
                before=first[0] - 1,
                tenant=tenant,
                thread=thread_id,
            )
    if after is None:
        tx.run("UPDATE tombstones SET published = 0 WHERE published = 1 AND delete_time >= :since", since=since)
    return (TenantId(rows[-1][0]), ThreadId(rows[-1][1])) if len(rows) == REWIND_PORTION else None


def adopt_stream(tx: Transaction, judged: StreamNote | None, created: Micros) -> bool:
    """Publish to this stream from now on; whether that is agreed. What others acknowledged of another one must not be
    marked any more.

    An old copy that was put back has the same creation time: then it is another stream as long as the note is still the
    one by which it was `judged`. If it is not, another relay has adopted the copy already. A stream of another time is
    adopted if nobody has noted a third one since, and nobody who lives has the noted one in front of it.
    """
    _lock_shards(tx)
    tx.run("INSERT INTO relay_stream (number, created) VALUES (1, 0) ON CONFLICT (number) DO NOTHING")
    noted = _noted(tx)
    assert noted is not None, "the row was made above"
    if noted.created == created:
        if noted != judged or not noted.sequence:
            return True
    elif noted.created != (judged.created if judged else UNKNOWN) or _stands_aside(tx, created, _peers(tx)):
        return False
    tx.run(
        "UPDATE relay_stream SET created = :created, sequence = 0, message_id = '' WHERE number = 1", created=created
    )
    _void_fences(tx)
    return True


# --- deleted threads ---


def read_tombstones(tx: Transaction, limit: int) -> list[Tombstone]:
    """Deletions that were not published, oldest first."""
    rows = tx.rows(
        "SELECT tenant, thread_id, last_sequence, last_hash, delete_time FROM tombstones"
        " WHERE published = 0 AND (purged = 0 OR published = 0) ORDER BY delete_time LIMIT :limit",
        limit=limit,
    )
    return [Tombstone(TenantId(row[0]), ThreadId(row[1]), row[2], row[3] or NO_HASH, Micros(row[4])) for row in rows]


def mark_deleted(tx: Transaction, tenant: TenantId, thread_id: ThreadId) -> None:
    """A thread's deletion was published."""
    tx.run(
        "UPDATE tombstones SET published = 1 WHERE tenant = :tenant AND thread_id = :thread",
        tenant=tenant,
        thread=thread_id,
    )


def _lock_shards(tx: Transaction) -> None:
    """Before any other row, and in this order, as whoever takes or marks does."""
    tx.rows(f"SELECT shard FROM relay_shards ORDER BY shard{tx.row_lock}")


def _void_fences(tx: Transaction) -> None:
    _lock_shards(tx)
    tx.run("UPDATE relay_shards SET fence = fence + 1")


@value
class _Peer:
    """Another relay whose worker's lease has not ended."""

    stream: Micros
    """When the stream that it has in front of it was made."""
    address: str
    """Of its runtime."""
    lease_until: Micros


def _peers(tx: Transaction, worker_id: WorkerId = WorkerId("")) -> Mapping[WorkerId, _Peer]:
    """The other relays whose workers' leases have not ended."""
    rows = tx.rows(
        "SELECT r.worker_id, r.stream, w.address, w.lease_until"
        " FROM relay_workers r JOIN workers w ON w.worker_id = r.worker_id"
        " WHERE w.lease_until > :now AND r.worker_id <> :worker",
        now=tx.now,
        worker=worker_id,
    )
    return {WorkerId(row[0]): _Peer(Micros(row[1]), row[2], Micros(row[3])) for row in rows}


def _noted(tx: Transaction) -> StreamNote | None:
    row = tx.row("SELECT created, sequence, message_id FROM relay_stream WHERE number = 1")
    return StreamNote(Micros(row[0]), row[1], row[2]) if row else None


def _stands_aside(tx: Transaction, stream: Micros, peers: Mapping[WorkerId, _Peer]) -> bool:
    noted = _noted(tx)
    return noted is not None and stands_aside(stream, noted.created, [its.stream for its in peers.values()])


def _make_shards(tx: Transaction) -> None:
    """The rows of all shards, at the first start on a database."""
    row = tx.row("SELECT COUNT(*) FROM relay_shards")
    if row is None or row[0] < SHARDS:
        tx.many(
            "INSERT INTO relay_shards (shard) VALUES (:shard) ON CONFLICT (shard) DO NOTHING",
            [{"shard": shard} for shard in range(SHARDS)],
        )


def _facts(tx: Transaction, key: ThreadKey, after: int, most: int, most_bytes: int) -> tuple[Fact, ...]:
    # From the event before on, for its hash.
    rows = tx.rows(
        "SELECT sequence, run_id, kind, commit_time, payload, hash, redacted FROM events"
        " WHERE tenant = :tenant AND thread_id = :thread AND sequence >= :after ORDER BY sequence LIMIT :limit",
        tenant=key[0],
        thread=key[1],
        after=after,
        limit=most + 1,
    )
    facts: list[Fact] = []
    previous = _hash_of_base(tx, key, rows[0][0] - 1) if rows and rows[0][0] > after else NO_HASH
    for sequence, run_id, kind, commit_time, payload, hash_, redacted in rows:
        if sequence > after and most_bytes > 0 and len(facts) < most:
            hashes = (previous, hash_)
            fact = stored_fact(
                key[1], sequence, RunId(run_id), kind, commit_time, payload, hashes, redacted=bool(redacted)
            )
            facts.append(fact)
            most_bytes -= len(fact.payload)
        previous = hash_
    return tuple(facts)


def _hash_of_base(tx: Transaction, key: ThreadKey, sequence: int) -> bytes:
    """The hash of an event that retention has let go: the base behind which the log begins now has it."""
    row = tx.row(
        "SELECT hash FROM snapshots WHERE tenant = :tenant AND thread_id = :thread AND sequence = :sequence",
        tenant=key[0],
        thread=key[1],
        sequence=sequence,
    )
    return row[0] if row else NO_HASH
