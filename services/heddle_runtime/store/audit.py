"""Whether all that a database says of a thread agrees: its log, and the rows that follow from it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from heddle_core.ids import RunId, TenantId, ThreadId
from heddle_core.runtime_errors import ChainBroken
from heddle_core.values import value
from heddle_database.port import Row, Transaction
from heddle_runtime.runs.state import InputState, RunState
from heddle_runtime.store import verification
from heddle_runtime.store.marks import ENDS, RUN_CANCELLED, RUN_COMPLETED, RUN_FAILED, TURN_REQUESTED
from heddle_runtime.store.thread_rows import get_thread
from heddle_runtime.threads.state import ThreadFold

_ENDED_AS = {
    RUN_COMPLETED: RunState.COMPLETED,
    RUN_FAILED: RunState.FAILED,
    RUN_CANCELLED: RunState.CANCELLED,
}


@value
class ThreadAudit:
    """What was found in one thread."""

    events: int
    snapshots: int
    redacted: int
    problems: tuple[str, ...]


@dataclass(slots=True)
class _RunTally:
    """What the log says of one run."""

    requested: int = 0
    ended: int = 0
    """Sequence of the end; zero: it has not ended."""
    ended_as: RunState | None = None


@dataclass(slots=True)
class _Tally:
    """What the log says of the runs of one thread."""

    runs: dict[RunId, _RunTally] = field(default_factory=dict[RunId, _RunTally])
    problems: list[str] = field(default_factory=list[str])

    def add(self, sequence: int, run_id: str, kind: int) -> None:
        if not run_id:
            return
        run = self.runs.setdefault(RunId(run_id), _RunTally())
        if run.ended:
            ending = "a second end" if kind in ENDS else "an event"
            self.problems.append(f"run {run_id} has {ending} at {sequence}, behind its end at {run.ended}")
        elif kind == TURN_REQUESTED:
            run.requested = sequence
        elif not run.requested:
            self.problems.append(f"run {run_id} has event {sequence} before its turn")
        if kind in ENDS and not run.ended:
            run.ended, run.ended_as = sequence, _ENDED_AS[kind]


def threads_from(tx: Transaction, tenant: str, thread_id: str, limit: int) -> list[tuple[TenantId, ThreadId]]:
    """The next threads behind a place, in the order of their keys."""
    rows = tx.rows(
        "SELECT tenant, thread_id FROM threads WHERE tenant > :tenant OR (tenant = :tenant AND thread_id > :thread)"
        " ORDER BY tenant, thread_id LIMIT :limit",
        tenant=tenant,
        thread=thread_id,
        limit=limit,
    )
    return [(TenantId(row[0]), ThreadId(row[1])) for row in rows]


def events_kept(tx: Transaction) -> int:
    """How many events all threads keep together."""
    row = tx.row("SELECT CAST(COALESCE(SUM(last_sequence - first_sequence + 1), 0) AS BIGINT) FROM threads")
    return row[0] if row else 0


def audit_thread(tx: Transaction, tenant: TenantId, thread_id: ThreadId) -> ThreadAudit:
    """Verify a thread's chain, fold it, and compare its rows with both. Memory is bounded by a page and the fold.

    Raises:
        ThreadNotFound: the tenant has no such thread.
    """
    verifier = verification.begin(tx, tenant, thread_id)
    tally = _Tally()
    problems: list[str] = []
    try:
        while not verifier.done:
            for sequence, run_id, kind in verification.advance(tx, verifier):
                tally.add(sequence, run_id, kind)
        verifier.finish()
        verification.verify_fork(tx, verifier)
    except ChainBroken as broken:
        problems.append(f"at {broken.sequence}: {broken.problem}")
    else:
        problems += tally.problems
        problems += _thread_problems(tx, tenant, thread_id, verifier.fold)
        problems += _run_problems(tx, tenant, thread_id, tally)
    return ThreadAudit(verifier.events, verifier.snapshots, len(verifier.redacted), tuple(problems))


def orphans(tx: Transaction, after: tuple[str, str], limit: int) -> tuple[list[str], tuple[str, str] | None]:
    """Threads behind a place that have events and are neither there nor being deleted, of the next `limit` ones.

    Found by leaping from thread to thread along the key. Returns the place to go on from; None at the end.
    """
    problems: list[str] = []
    for _ in range(limit):
        row = tx.row(
            "SELECT tenant, thread_id FROM events WHERE (tenant, thread_id) > (:tenant, :thread)"
            " ORDER BY tenant, thread_id LIMIT 1",
            tenant=after[0],
            thread=after[1],
        )
        if row is None:
            return problems, None
        after = (row[0], row[1])
        named = {"tenant": row[0], "thread": row[1]}
        alive = tx.row("SELECT 1 FROM threads WHERE tenant = :tenant AND thread_id = :thread", **named)
        going = tx.row("SELECT purged FROM tombstones WHERE tenant = :tenant AND thread_id = :thread", **named)
        if alive and going:
            problems.append(f"thread {row[1]} of {row[0]} is there although it was deleted")
        elif not alive and (going is None or going[0]):
            problems.append(f"thread {row[1]} of {row[0]} has events, and is neither there nor being deleted")
    return problems, after


def _thread_problems(tx: Transaction, tenant: TenantId, thread_id: ThreadId, fold: ThreadFold) -> Iterator[str]:
    """Where the thread's row differs from the fold."""
    row = get_thread(tx, tenant, thread_id)
    for name, told, held in (
        ("settings", row.settings, fold.settings),
        ("status", row.status, fold.status),
        ("revision", row.revision, fold.revision),
        ("context version", row.context_version, fold.context_version),
    ):
        if told != held:
            yield f"the row's {name} is not what the log comes to"
    if fold.active_run_id and row.lane_run_id != fold.active_run_id:
        yield f"run {fold.active_run_id} is at work, and the lane is held by {row.lane_run_id or 'nobody'}"
    beyond = tx.row(
        "SELECT MAX(e.sequence), t.published_sequence FROM threads t JOIN events e ON e.tenant = t.tenant"
        " AND e.thread_id = t.thread_id WHERE t.tenant = :tenant AND t.thread_id = :thread"
        " GROUP BY t.published_sequence",
        tenant=tenant,
        thread=thread_id,
    )
    if beyond is not None and beyond[0] > row.last_sequence:
        yield f"there are events up to {beyond[0]}, behind the end of the log at {row.last_sequence}"
    if beyond is not None and beyond[1] > row.last_sequence:
        yield f"events up to {beyond[1]} are marked as published, behind the end of the log at {row.last_sequence}"


def _run_problems(tx: Transaction, tenant: TenantId, thread_id: ThreadId, tally: _Tally) -> Iterator[str]:
    """Where the rows of runs and inputs differ from the log."""
    rows = tx.rows(
        "SELECT r.run_id, r.state, r.request_sequence, t.lane_run_id, t.first_sequence FROM runs r JOIN threads t"
        " ON t.tenant = r.tenant AND t.thread_id = r.thread_id WHERE r.tenant = :tenant AND r.thread_id = :thread",
        tenant=tenant,
        thread=thread_id,
    )
    seen = {RunId(row[0]) for row in rows}
    for run_id in tally.runs:
        if run_id not in seen:
            yield f"run {run_id} is in the log and has no row"
    for row in rows:
        yield from _one_run(row, tally)
    asked = tx.rows(
        "SELECT i.input_id, i.run_id FROM inputs i LEFT JOIN runs r ON r.tenant = i.tenant AND r.run_id = i.run_id"
        " WHERE i.tenant = :tenant AND i.thread_id = :thread AND i.state = :pending"
        f" AND (r.state IS NULL OR r.state IN ({_states(state for state in RunState if state.terminal)}))",
        tenant=tenant,
        thread=thread_id,
        pending=int(InputState.PENDING),
    )
    for input_id, run_id in asked:
        yield f"input {input_id} waits for an answer, and its run {run_id} has ended"


def _one_run(row: Row, tally: _Tally) -> Iterator[str]:
    run_id, state, requested, lane, first = RunId(row[0]), RunState(row[1]), row[2], row[3], row[4]
    told = tally.runs.get(run_id)
    if told is None:
        if requested >= first:
            yield f"run {run_id} has a row and no turn in the log"
        elif not state.terminal:
            yield f"run {run_id} is {state.name}, and its turn is no longer kept"
        return
    if told.requested != requested:
        yield f"the row of run {run_id} has its turn at {requested}, the log at {told.requested}"
    if told.ended_as is not None and told.ended_as is not state:
        yield f"run {run_id} ended as {told.ended_as.name} in the log, and its row says {state.name}"
    if told.ended_as is None and state.terminal:
        yield f"run {run_id} is {state.name} in its row, and the log has no end of it"
    if state in (RunState.RUNNING, RunState.WAITING) and lane != run_id:
        yield f"run {run_id} is {state.name}, and the lane is held by {lane or 'nobody'}"
    if state.terminal and lane == run_id:
        yield f"run {run_id} is {state.name} and still holds the lane"


def _states(states: Iterable[RunState]) -> str:
    return ", ".join(str(int(state)) for state in states)
