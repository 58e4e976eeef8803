"""How runs are stopped: marked once, with everything that hangs on them, in one transaction (SEMANTICS 15, 16)."""

import json

from heddle_core.ids import RunId, ThreadId
from heddle_runtime.facade.commands import Cancelled, CancelledRun, CancelRuns
from heddle_runtime.runs.content import Actor
from heddle_runtime.runs.run import CancelCause, Run
from heddle_runtime.runs.state import InputState, RunState, Transition, advance
from heddle_runtime.store import requests
from heddle_runtime.store.families import settle_child
from heddle_runtime.store.log import Head, LogWriter, draft
from heddle_runtime.store.run_rows import COLUMNS, find_run, get_run, run_value
from heddle_runtime.store.tombstones import no_thread
from heddle_runtime.threads.events import RunCancelled, RunCancelRequested

METHOD = "CancelRun"


def cancel_runs(writer: LogWriter, command: CancelRuns) -> Cancelled:
    """Mark the named runs and their cascading children.

    Raises:
        RunNotFound: a single run was named that the tenant does not have.
        ThreadNotFound: a thread was named that the tenant does not have.
        RequestIdReused: the request id was used for another cancel.
    """
    known = requests.find(writer.tx, command.caller, command.key)
    if known is not None:
        return _first_answer(writer, command, known)
    targets, unknown = _targets(writer, command)
    marked: list[CancelledRun] = []
    for target in targets:
        marked.extend(_mark_family(writer, target, command))
    named = targets[0].run_id if len(targets) == 1 else RunId("")
    run = get_run(writer.tx, command.caller.tenant, named) if named else None
    answer = json.dumps([[each.run_id, each.thread_id, each.cancel_sequence] for each in marked]).encode()
    requests.remember(writer.tx, command.caller, command.key, named, response=answer)
    return Cancelled(tuple(marked), run, unknown)


def _first_answer(writer: LogWriter, command: CancelRuns, known: requests.Answered) -> Cancelled:
    """What the same request was answered before: the sequences are those of then, the run is as it stands now."""
    marked = tuple(CancelledRun(RunId(run), ThreadId(thread), at) for run, thread, at in json.loads(known.response))
    run = find_run(writer.tx, command.caller.tenant, known.run_id) if known.run_id else None
    found = {each.run_id for each in marked}
    return Cancelled(marked, run, tuple(each for each in command.run_ids if each not in found))


def mark_cancelled(
    writer: LogWriter, run: Run, cause: CancelCause, actor: Actor, note: str = "", head: Head | None = None
) -> CancelledRun:
    """Mark one run. One that nobody works on and that never started ends at once; any other is settled by a worker.

    Marking again changes nothing and gives the first sequence; a run that has ended without gives zero.
    """
    if run.state.terminal or run.cancel_sequence:
        return CancelledRun(run.run_id, run.thread_id, run.cancel_sequence)
    head = head or writer.lock(run.tenant, run.thread_id)
    run = _locked(writer, run)
    if run.state.terminal or run.cancel_sequence:
        return CancelledRun(run.run_id, run.thread_id, run.cancel_sequence)
    drafts = [draft(run.run_id, RunCancelRequested(cause, actor, note))]
    sequence = head.last_sequence + 1
    state, ended = run.state, 0
    if run.state is RunState.QUEUED and run.attempt == 0:
        state, ended = advance(run.state, Transition.CANCEL), writer.tx.now
        drafts.append(draft(run.run_id, RunCancelled(cause, cause is CancelCause.ROLLED_BACK, run.usage)))
    elif run.state is RunState.WAITING:
        state = advance(run.state, Transition.WAKE)
    writer.append(head, drafts)
    writer.tx.run(
        "UPDATE runs SET state = :state, cancel_sequence = :sequence, cancel_cause = :cause, cancel_time = :now,"
        " end_time = :ended WHERE tenant = :tenant AND run_id = :run",
        state=int(state),
        sequence=sequence,
        cause=int(cause),
        now=writer.tx.now,
        ended=ended,
        tenant=run.tenant,
        run=run.run_id,
    )
    writer.tx.run(
        "UPDATE inputs SET state = :cancelled, resolve_time = :now WHERE tenant = :tenant AND run_id = :run"
        " AND state <= :pending",
        cancelled=int(InputState.CANCELLED),
        now=writer.tx.now,
        tenant=run.tenant,
        run=run.run_id,
        pending=int(InputState.PENDING),
    )
    if state.terminal:
        settle_child(writer, run, state)
    return CancelledRun(run.run_id, run.thread_id, sequence)


def _locked(writer: LogWriter, run: Run) -> Run:
    """The run as it is now that its thread is held: between the two it may have been claimed, or have ended."""
    row = writer.tx.row(
        f"SELECT {COLUMNS} FROM runs WHERE tenant = :tenant AND run_id = :run{writer.tx.row_lock}",
        tenant=run.tenant,
        run=run.run_id,
    )
    return run_value(row) if row else run


def _targets(writer: LogWriter, command: CancelRuns) -> tuple[list[Run], tuple[RunId, ...]]:
    tx, tenant = writer.tx, command.caller.tenant
    if command.turn_request_id:
        started = requests.find_turn(tx, tenant, command.caller.actor.principal, command.turn_request_id)
        if started is None:
            requests.leave_tombstone(tx, command.caller, command.turn_request_id)
            started = requests.find_turn(tx, tenant, command.caller.actor.principal, command.turn_request_id)
        if started is None:  # also just before the tombstone was left: then it would not have been
            return [], ()
        return [get_run(tx, tenant, started.run_id)], ()
    if command.thread_id:
        row = tx.row(
            "SELECT lane_run_id FROM threads WHERE tenant = :tenant AND thread_id = :thread",
            tenant=tenant,
            thread=command.thread_id,
        )
        if row is None:
            raise no_thread(tx, tenant, command.thread_id)
        return ([get_run(tx, tenant, RunId(row[0]))] if row[0] else []), ()
    if len(command.run_ids) == 1:
        return [get_run(tx, tenant, command.run_ids[0])], ()
    found = {run_id: find_run(tx, tenant, run_id) for run_id in command.run_ids}
    return [run for run in found.values() if run], tuple(run_id for run_id, run in found.items() if not run)


def _mark_family(writer: LogWriter, run: Run, command: CancelRuns) -> list[CancelledRun]:
    """Mark a run and all that cascade from it, parents first."""
    marked = [mark_cancelled(writer, run, command.cause, command.caller.actor, command.note)]
    return [*marked, *mark_children(writer, run, command.caller.actor, command.note)]


def mark_children(
    writer: LogWriter, run: Run, actor: Actor, note: str = "", head: Head | None = None
) -> list[CancelledRun]:
    """Mark all that cascades from a run, parents first, also through children that have ended.

    `head` is the caller's hold on a thread: a child there is written through it.
    """
    marked: list[CancelledRun] = []
    for child in cascading_children(writer, run):
        held = head if head is not None and head.thread_id == child.thread_id else None
        if not child.state.terminal:
            marked.append(mark_cancelled(writer, child, CancelCause.PARENT, actor, note, held))
        marked.extend(mark_children(writer, child, actor, note, head))
    return marked


def cascading_children(writer: LogWriter, run: Run) -> list[Run]:
    """Children of a run that are cancelled with it. Those that have ended may have children that have not."""
    rows = writer.tx.rows(
        f"SELECT {COLUMNS} FROM runs WHERE tenant = :tenant AND parent_run_id = :run AND cascade = 1 ORDER BY run_id",
        tenant=run.tenant,
        run=run.run_id,
    )
    return [run_value(row) for row in rows]
