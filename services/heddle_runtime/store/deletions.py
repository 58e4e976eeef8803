"""How a thread goes: what runs is cancelled, the rows go at once, the events in portions, and a tombstone stays."""

from heddle_core.ids import RunId, TenantId, ThreadId
from heddle_core.runtime_errors import ThreadNotFound, ThreadUnfinished
from heddle_database.port import Transaction
from heddle_runtime.facade.thread_commands import DeleteThread, ThreadDeleted
from heddle_runtime.runs.content import Actor
from heddle_runtime.runs.run import CancelCause, Run
from heddle_runtime.store import requests
from heddle_runtime.store.cancels import cascading_children, mark_cancelled
from heddle_runtime.store.log import LogWriter
from heddle_runtime.store.run_queries import unfinished_runs
from heddle_runtime.store.store import Store
from heddle_runtime.store.threads import set_archived
from heddle_runtime.store.tombstones import no_thread

PORTION = 2_000
"""Events that are removed in one transaction, so that a long thread does not make others wait."""


def find_deletion(tx: Transaction, command: DeleteThread) -> ThreadDeleted | None:
    """What an earlier DeleteThread of this request has left.

    Raises:
        RequestIdReused: the request id was used for another thread.
    """
    if requests.find(tx, command.caller, command.key) is None:
        return None
    return _tombstone(tx, command.caller.tenant, command.thread_id)


def begin_deletion(writer: LogWriter, command: DeleteThread) -> tuple[RunId, ...]:
    """Archive the thread, so that it takes no more turns, and cancel its runs with their cascading children.

    Returns the runs that have not ended at once.

    Raises:
        ThreadNotFound: the tenant has no such thread.
    """
    tenant, actor = command.caller.tenant, command.caller.actor
    if not set_archived(writer, tenant, command.thread_id, archived=True, actor=actor):
        raise no_thread(writer.tx, tenant, command.thread_id)
    for run in unfinished_runs(writer.tx, tenant, command.thread_id):
        _cancel_family(writer, run, CancelCause.THREAD_DELETED, actor)
    return tuple(run.run_id for run in unfinished_runs(writer.tx, tenant, command.thread_id))


def delete_thread(writer: LogWriter, command: DeleteThread) -> ThreadDeleted:
    """Remove a thread's rows and leave its tombstone. Its events are removed by `purge`.

    Raises:
        ThreadNotFound: the tenant has no such thread.
        RequestIdReused: the request id was used for another thread.
        ThreadUnfinished: a run has not ended yet.
    """
    tenant, thread_id = command.caller.tenant, command.thread_id
    known = find_deletion(writer.tx, command)
    if known is not None:
        return known
    head = writer.lock(tenant, thread_id)
    unfinished = unfinished_runs(writer.tx, tenant, thread_id)
    if unfinished:
        raise ThreadUnfinished(thread_id, unfinished[0].run_id)
    writer.tx.run(
        "INSERT INTO tombstones (tenant, thread_id, last_sequence, last_hash, delete_time)"
        " VALUES (:tenant, :thread, :sequence, :hash, :now)",
        tenant=tenant,
        thread=thread_id,
        sequence=head.last_sequence,
        hash=head.head_hash,
        now=writer.tx.now,
    )
    for table in ("snapshots", "inputs", "runs", "threads"):
        writer.tx.run(
            f"DELETE FROM {table} WHERE tenant = :tenant AND thread_id = :thread", tenant=tenant, thread=thread_id
        )
    # The keys stay, with their fingerprints: a late repeat must not start anything anew (SEMANTICS 3).
    writer.tx.run(
        "UPDATE requests SET response = NULL WHERE tenant = :tenant AND thread_id = :thread AND thread_id <> ''",
        tenant=tenant,
        thread=thread_id,
    )
    requests.remember(writer.tx, command.caller, command.key, thread_id=thread_id)
    return ThreadDeleted(head.last_sequence, head.head_hash)


def unpurged(tx: Transaction, limit: int = 100) -> list[tuple[TenantId, ThreadId]]:
    """Deleted threads whose events have not all been removed, as after a crash."""
    rows = tx.rows(
        "SELECT tenant, thread_id FROM tombstones WHERE purged = 0 AND (purged = 0 OR published = 0)"
        " ORDER BY delete_time LIMIT :limit",
        limit=limit,
    )
    return [(TenantId(tenant), ThreadId(thread_id)) for tenant, thread_id in rows]


def purge(writer: LogWriter, tenant: TenantId, thread_id: ThreadId) -> bool:
    """Remove one portion of a deleted thread's events; whether there may be more. Living threads are safe."""
    row = writer.tx.row(
        "SELECT purged FROM tombstones WHERE tenant = :tenant AND thread_id = :thread", tenant=tenant, thread=thread_id
    )
    if row is None or row[0]:
        return False
    gone = writer.tx.run(
        "DELETE FROM events WHERE tenant = :tenant AND thread_id = :thread AND sequence <="
        " (SELECT MIN(sequence) FROM events WHERE tenant = :tenant AND thread_id = :thread) + :more",
        tenant=tenant,
        thread=thread_id,
        more=PORTION - 1,
    )
    if gone == 0:
        writer.tx.run(
            "UPDATE tombstones SET purged = 1 WHERE tenant = :tenant AND thread_id = :thread",
            tenant=tenant,
            thread=thread_id,
        )
    return gone > 0


async def purge_thread(store: Store, tenant: TenantId, thread_id: ThreadId) -> None:
    """Remove all that a deleted thread has left, portion by portion."""
    while await store.write(lambda writer: purge(writer, tenant, thread_id), thread_id, bulk=True):
        pass


def _tombstone(tx: Transaction, tenant: TenantId, thread_id: ThreadId) -> ThreadDeleted:
    row = tx.row(
        "SELECT last_sequence, last_hash FROM tombstones WHERE tenant = :tenant AND thread_id = :thread",
        tenant=tenant,
        thread=thread_id,
    )
    if row is None:
        raise ThreadNotFound(thread_id)
    return ThreadDeleted(row[0], row[1])


def _cancel_family(writer: LogWriter, run: Run, cause: CancelCause, actor: Actor) -> None:
    mark_cancelled(writer, run, cause, actor)
    for child in cascading_children(writer, run):
        _cancel_family(writer, child, CancelCause.PARENT, actor)
