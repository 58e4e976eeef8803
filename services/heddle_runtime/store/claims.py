"""How workers take runs: leases per worker, one fence per run, one lane per thread (SEMANTICS 7, 11, 12)."""

from heddle_core.ids import RunId, TenantId, ThreadId, WorkerId
from heddle_database.port import Transaction
from heddle_runtime.runs.claim import Claim
from heddle_runtime.runs.state import RunState, Transition, advance
from heddle_runtime.threads.log import ThreadKey
from heddle_runtime.threads.state import FOLD_VERSION

_CANDIDATES = (
    "SELECT r.tenant, r.thread_id, r.run_id, r.fence FROM runs r JOIN threads t"
    " ON t.tenant = r.tenant AND t.thread_id = r.thread_id"
    " WHERE r.state = 1 AND r.not_before <= :now AND (t.lane_run_id = '' OR t.lane_run_id = r.run_id)"
)


def claim_thread(tx: Transaction, worker_id: WorkerId, tenant: TenantId, thread_id: ThreadId) -> Claim | None:
    """Take the next run of one thread, if its lane is free and there is one."""
    return _claim(tx, worker_id, tenant, thread_id, tx.row_lock)


def _claim(tx: Transaction, worker_id: WorkerId, tenant: TenantId, thread_id: ThreadId, lock: str) -> Claim | None:
    """`lock` is what keeps others from the thread; nobody need be kept away where it is empty."""
    if lock and not tx.row(
        f"SELECT 1 FROM threads WHERE tenant = :tenant AND thread_id = :thread{lock}", tenant=tenant, thread=thread_id
    ):
        return None
    row = tx.row(
        f"{_CANDIDATES} AND r.tenant = :tenant AND r.thread_id = :thread ORDER BY r.queue_rank LIMIT 1",
        now=tx.now,
        tenant=tenant,
        thread=thread_id,
    )
    return _take(tx, worker_id, row) if row else None


def claim_any(tx: Transaction, worker_id: WorkerId, limit: int) -> list[Claim]:
    """Take the next runs of any threads whose lanes are free, oldest turns first, at most `limit`."""
    rows = tx.rows(f"{_CANDIDATES} ORDER BY r.create_time, r.queue_rank LIMIT :limit", now=tx.now, limit=4 * limit)
    skip = f"{tx.row_lock} SKIP LOCKED" if tx.row_lock else ""  # whoever holds a thread may be claiming its run
    claims: list[Claim] = []
    threads: set[tuple[str, str]] = set()
    for row in rows:
        thread = (row[0], row[1])
        if thread in threads or len(claims) == limit:
            continue
        threads.add(thread)
        claim = _claim(tx, worker_id, TenantId(row[0]), ThreadId(row[1]), skip)
        if claim is not None:
            claims.append(claim)
    return claims


def renew_lease(tx: Transaction, worker_id: WorkerId, address: str, until: int) -> None:
    """Prolong a worker's lease to `until`, in microseconds of the database's clock from now."""
    tx.run(
        "INSERT INTO workers (worker_id, address, lease_until, start_time, fold_version)"
        " VALUES (:worker, :address, :until, :now, :version)"
        " ON CONFLICT (worker_id) DO UPDATE SET lease_until = :until",
        worker=worker_id,
        address=address,
        until=tx.now + until,
        now=tx.now,
        version=FOLD_VERSION,
    )


def release_worker(tx: Transaction, worker_id: WorkerId) -> None:
    """Hand over all runs of a worker and end its lease: a clean shutdown."""
    tx.run(
        "UPDATE runs SET state = :queued, attempt = attempt + 1 WHERE state = :running AND owner = :worker",
        queued=int(advance(RunState.RUNNING, Transition.RELEASE)),
        running=int(RunState.RUNNING),
        worker=worker_id,
    )
    tx.run("DELETE FROM workers WHERE worker_id = :worker", worker=worker_id)


def owned(tx: Transaction, worker_id: WorkerId) -> frozenset[Claim]:
    """What a worker holds, as the database knows it."""
    rows = tx.rows(
        "SELECT tenant, thread_id, run_id, fence, attempt FROM runs WHERE state = 2 AND owner = :worker",
        worker=worker_id,
    )
    return frozenset(
        Claim(TenantId(tenant), ThreadId(thread), RunId(run), worker_id, fence, attempt)
        for tenant, thread, run, fence, attempt in rows
    )


def cancelled(tx: Transaction, worker_id: WorkerId) -> frozenset[ThreadKey]:
    """Threads of runs that a worker holds and that are cancelled."""
    rows = tx.rows(
        "SELECT tenant, thread_id FROM runs WHERE state = 2 AND owner = :worker AND cancel_sequence > 0",
        worker=worker_id,
    )
    return frozenset((TenantId(tenant), ThreadId(thread)) for tenant, thread in rows)


def release_run(tx: Transaction, claim: Claim) -> None:
    """Hand over one run that its owner cannot go on with, unless it is somebody else's already."""
    tx.run(
        "UPDATE runs SET state = :queued, attempt = attempt + 1 WHERE tenant = :tenant AND run_id = :run"
        " AND state = :running AND fence = :fence",
        queued=int(advance(RunState.RUNNING, Transition.RELEASE)),
        tenant=claim.tenant,
        run=claim.run_id,
        running=int(RunState.RUNNING),
        fence=claim.fence,
    )


def release_lost(tx: Transaction, survivor: WorkerId | None = None) -> int:
    """Queue again the runs whose workers' leases have ended; with `survivor`, of all other workers at once.

    The latter is for a database that admits a single process: whoever holds the file lock knows that the others
    are gone (SEMANTICS 11).
    """
    alone = "" if survivor is None else " OR owner <> :survivor"
    given = {} if survivor is None else {"survivor": survivor}
    released = _requeue(
        tx,
        f"state = :running AND (owner NOT IN (SELECT worker_id FROM workers WHERE lease_until > :now){alone})",
        "attempt = attempt + 1",
        queued=int(advance(RunState.RUNNING, Transition.RELEASE)),
        running=int(RunState.RUNNING),
        now=tx.now,
        **given,
    )
    tx.run("DELETE FROM workers WHERE lease_until <= :now", now=tx.now)
    return released


def force_cancelled(tx: Transaction, grace: int) -> int:
    """Take runs from owners that did not stop them within `grace` microseconds of the cancel (SEMANTICS 15)."""
    return _requeue(
        tx,
        "state = :running AND cancel_sequence > 0 AND cancel_time < :before",
        "attempt = attempt + 1, fence = fence + 1",
        queued=int(advance(RunState.RUNNING, Transition.RELEASE)),
        running=int(RunState.RUNNING),
        before=tx.now - grace,
    )


def _requeue(tx: Transaction, condition: str, changes: str, **params: object) -> int:
    """Queue runs again, but for those that somebody is writing to at this moment: the next sweep looks again."""
    skip = f"{tx.row_lock} SKIP LOCKED" if tx.row_lock else ""
    return tx.run(
        f"UPDATE runs SET state = :queued, {changes} WHERE (tenant, run_id) IN"
        f" (SELECT tenant, run_id FROM runs WHERE {condition}{skip})",
        **params,
    )


def _take(tx: Transaction, worker_id: WorkerId, row: tuple[str, str, str, int]) -> Claim | None:
    tenant, thread, run, fence = row
    taken = tx.row(
        "UPDATE runs SET state = :running, fence = fence + 1, append_number = 0,"
        " attempt = CASE WHEN attempt = 0 THEN 1 ELSE attempt END,"
        # The grace of a cancel is for each owner: or the next one is taken the run from before it can settle it.
        " cancel_time = CASE WHEN cancel_sequence > 0 THEN :now ELSE cancel_time END,"
        " owner = :worker, start_time = CASE WHEN start_time = 0 THEN :now ELSE start_time END"
        " WHERE tenant = :tenant AND run_id = :run AND state = :queued AND fence = :fence RETURNING fence, attempt",
        running=int(advance(RunState.QUEUED, Transition.CLAIM)),
        worker=worker_id,
        now=tx.now,
        tenant=tenant,
        run=run,
        queued=int(RunState.QUEUED),
        fence=fence,
    )
    if taken is None:
        return None
    tx.run(
        "UPDATE threads SET lane_run_id = :run WHERE tenant = :tenant AND thread_id = :thread"
        " AND lane_run_id IN ('', :run)",
        run=run,
        tenant=tenant,
        thread=thread,
    )
    return Claim(TenantId(tenant), ThreadId(thread), RunId(run), worker_id, taken[0], taken[1])
