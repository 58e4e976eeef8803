"""How a turn is accepted: one transaction from the request key to the run's first event (SEMANTICS 3-8, 16)."""

from dataclasses import replace

from heddle_core.errors import EtagMismatch, IllegalTransition, invalid
from heddle_core.ids import InputId, RunId
from heddle_core.runtime_errors import ThreadBusy, ThreadIsArchived
from heddle_core.values import value
from heddle_runtime.facade.commands import Accepted, AcceptTurn, Disposition
from heddle_runtime.runs.run import CancelCause, Run
from heddle_runtime.runs.state import InputState, RunState, Transition, advance
from heddle_runtime.runs.turn import AgentReference, ConflictPolicy, Trigger, TriggerKind, TurnMode
from heddle_runtime.runs.usage import Limits
from heddle_runtime.store import requests
from heddle_runtime.store.cancels import mark_cancelled, mark_children
from heddle_runtime.store.families import Family, admit_child, announce_child, require_parent
from heddle_runtime.store.log import Draft, Head, LogWriter, draft
from heddle_runtime.store.run_rows import get_run, insert_run
from heddle_runtime.store.thread_rows import give_title, insert_thread
from heddle_runtime.store.tombstones import no_thread
from heddle_runtime.threads.events import RunSuperseded, ThreadCreated, TurnRequested, TurnSteered
from heddle_runtime.threads.settings import ThreadSettings, ThreadStatus

_ENQUEUE = ConflictPolicy.ENQUEUE


@value
class _Lane:
    """What stands before a new turn."""

    holder: Run | None
    queued: int

    @property
    def busy(self) -> bool:
        return self.holder is not None or self.queued > 0


def accept_turn(writer: LogWriter, command: AcceptTurn) -> Accepted:
    """Take a turn onto its thread, or find the run that this request started before.

    Raises:
        RequestIdReused, RequestCancelled, ThreadNotFound, InvalidField, ThreadIsArchived, EtagMismatch, ThreadBusy,
        ParentCancelled, ParentFinished, DepthExceeded, FanOutExceeded, BudgetExceeded.
    """
    known = requests.find(writer.tx, command.caller, command.key)
    if known is not None:
        return _existing(writer, command, known.run_id)
    require_parent(writer, command)
    head, first = _thread(writer, command)
    lane = _look_at_lane(writer, head)
    policy = command.turn.conflict_policy or _ENQUEUE
    if lane.busy and policy is ConflictPolicy.REJECT:
        raise ThreadBusy(head.thread_id, lane.holder.run_id if lane.holder else "in the queue")
    if policy is ConflictPolicy.STEER and lane.holder is not None and not lane.holder.cancel_sequence:
        return _steer(writer, command, head, lane.holder)
    return _start(writer, command, head, first, lane, policy, admit_child(writer, command))


def _existing(writer: LogWriter, command: AcceptTurn, run_id: RunId) -> Accepted:
    run = get_run(writer.tx, command.caller.tenant, run_id)
    return Accepted(run, Disposition.EXISTING, _position(writer, run))


def _thread(writer: LogWriter, command: AcceptTurn) -> tuple[Head, list[Draft]]:
    head = writer.lock_if_any(command.caller.tenant, command.thread_id)
    if head is None:
        if not command.may_create:
            raise no_thread(writer.tx, command.caller.tenant, command.thread_id)
        if command.etag:
            raise invalid("etag", "leave it out: the thread is made by this turn, and has none before")
        settings = ThreadSettings(title=command.title)
        created = ThreadCreated(settings, command.caller.actor)
        head = insert_thread(writer.tx, command.caller.tenant, command.thread_id, settings, manual_title=False)
        return head, [draft(RunId(""), created)]
    if head.status is ThreadStatus.ARCHIVED:
        raise ThreadIsArchived(head.thread_id)
    if command.etag and command.etag != str(head.revision):
        raise EtagMismatch("Thread", head.thread_id, command.etag, str(head.revision))
    return head, []


def _look_at_lane(writer: LogWriter, head: Head) -> _Lane:
    holder = get_run(writer.tx, head.tenant, head.lane_run_id) if head.lane_run_id else None
    if head.last_sequence == 0:
        return _Lane(None, 0)
    row = writer.tx.row(
        "SELECT COUNT(*) FROM runs WHERE tenant = :tenant AND thread_id = :thread AND state = :queued"
        " AND run_id <> :holder",
        tenant=head.tenant,
        thread=head.thread_id,
        queued=int(RunState.QUEUED),
        holder=head.lane_run_id,
    )
    return _Lane(holder, row[0] if row else 0)


def _steer(writer: LogWriter, command: AcceptTurn, head: Head, holder: Run) -> Accepted:
    steered = TurnSteered(command.key.request_id, command.turn.message_id, command.turn.content, command.caller.actor)
    writer.append(head, [draft(holder.run_id, steered)])
    requests.remember(writer.tx, command.caller, command.key, holder.run_id, head.thread_id)
    return Accepted(holder, Disposition.STEERED)


def _start(
    writer: LogWriter,
    command: AcceptTurn,
    head: Head,
    drafts: list[Draft],
    lane: _Lane,
    policy: ConflictPolicy,
    family: Family,
) -> Accepted:
    makes_way = policy in (ConflictPolicy.INTERRUPT, ConflictPolicy.ROLLBACK) and lane.holder is not None
    if makes_way and lane.holder is not None:
        rolled_back = policy is ConflictPolicy.ROLLBACK
        cause = CancelCause.ROLLED_BACK if rolled_back else CancelCause.INTERRUPTED
        mark_cancelled(writer, lane.holder, cause, command.caller.actor, head=head)
        mark_children(writer, lane.holder, command.caller.actor, head=head)
    claimed = bool(command.worker_id) and not lane.busy and not command.turn.not_before
    if head.untitled and command.title:
        drafts.append(draft(RunId(""), give_title(writer.tx, head, command.title)))
    run = _new_run(writer, command, head, claimed, family, len(drafts))
    interrupts = lane.holder.run_id if makes_way and lane.holder else RunId("")
    drafts.append(draft(run.run_id, _requested(command, run, interrupts)))
    if command.retry_of:
        _supersede(writer, command, run)
        drafts.append(draft(run.run_id, RunSuperseded(command.retry_of)))
    if claimed:
        head.lane_run_id = run.run_id
        drafts.extend(draft(run.run_id, payload) for payload in command.beginning)
    writer.append(head, drafts)
    rank = _first_rank(writer, head) if makes_way else run.request_sequence
    insert_run(writer.tx, run, rank, family.cascades, family.granted)
    announce_child(writer, family, run)
    requests.remember(writer.tx, command.caller, command.key, run.run_id, head.thread_id)
    if claimed:
        return Accepted(run, Disposition.STARTED, claimed=True)
    return Accepted(
        run,
        Disposition.QUEUED,
        1 if makes_way else lane.queued + 1,
        _blocking_inputs(writer, lane.holder) if lane.holder else (),
    )


def _new_run(writer: LogWriter, command: AcceptTurn, head: Head, claimed: bool, family: Family, before: int) -> Run:
    turn, now = command.turn, writer.tx.now
    state = advance(RunState.QUEUED, Transition.CLAIM) if claimed else RunState.QUEUED
    return Run(
        tenant=head.tenant,
        run_id=command.run_id,
        thread_id=head.thread_id,
        state=state,
        request_id=command.key.request_id,
        actor=command.caller.actor,
        agent=turn.agent or AgentReference(""),
        model=turn.model,
        mode=turn.mode or TurnMode.ACT,
        trigger=turn.trigger or Trigger(TriggerKind.CHAT),
        labels=turn.labels,
        limits=family.bounds(turn.limits or Limits()),
        root_run_id=family.root_run_id or command.run_id,
        create_time=now,
        request_sequence=head.last_sequence + before + 1,
        parent_run_id=turn.parent.run_id if turn.parent else RunId(""),
        depth=family.depth,
        attempt=1 if claimed else 0,
        fence=1 if claimed else 0,
        owner=command.worker_id if claimed else type(command.worker_id)(""),
        start_time=now if claimed else None,
        not_before=turn.not_before,
        retry_of_run_id=command.retry_of,
    )


def _requested(command: AcceptTurn, run: Run, interrupts: RunId) -> TurnRequested:
    return TurnRequested(
        request_id=command.key.request_id,
        message_id=command.turn.message_id,
        # The limits within what the parent grants: the worker reads them here.
        turn=replace(command.turn, conflict_policy=command.turn.conflict_policy or _ENQUEUE, limits=run.limits),
        actor=command.caller.actor,
        root_run_id=run.root_run_id,
        depth=run.depth,
        retry_of_run_id=command.retry_of,
        interrupts_run_id=interrupts,
    )


def _supersede(writer: LogWriter, command: AcceptTurn, run: Run) -> None:
    old = get_run(writer.tx, run.tenant, command.retry_of)
    if not old.state.terminal:
        remedy = "wait until it has ended, or cancel it"
        raise IllegalTransition("Run", old.run_id, old.state.name, "be retried", remedy)
    if old.superseded_by_run_id:
        remedy = f"retry run {old.superseded_by_run_id}, which took its place"
        raise IllegalTransition("Run", old.run_id, "superseded", "be retried", remedy)
    writer.tx.run(
        "UPDATE runs SET superseded_by_run_id = :new WHERE tenant = :tenant AND run_id = :old",
        new=run.run_id,
        tenant=run.tenant,
        old=old.run_id,
    )


def _first_rank(writer: LogWriter, head: Head) -> int:
    row = writer.tx.row(
        "SELECT MIN(queue_rank) FROM runs WHERE tenant = :tenant AND thread_id = :thread AND state = :queued",
        tenant=head.tenant,
        thread=head.thread_id,
        queued=int(RunState.QUEUED),
    )
    return (row[0] if row and row[0] is not None else head.last_sequence) - 1


def _blocking_inputs(writer: LogWriter, holder: Run) -> tuple[InputId, ...]:
    rows = writer.tx.rows(
        "SELECT input_id FROM inputs WHERE tenant = :tenant AND run_id = :run AND state = :pending"
        " ORDER BY create_time",
        tenant=holder.tenant,
        run=holder.run_id,
        pending=int(InputState.PENDING),
    )
    return tuple(InputId(row[0]) for row in rows)


def _position(writer: LogWriter, run: Run) -> int:
    if run.state is not RunState.QUEUED:
        return 0
    row = writer.tx.row(
        "SELECT COUNT(*) FROM runs WHERE tenant = :tenant AND thread_id = :thread AND state = :queued AND queue_rank <="
        " (SELECT queue_rank FROM runs WHERE tenant = :tenant AND run_id = :run)",
        tenant=run.tenant,
        thread=run.thread_id,
        queued=int(RunState.QUEUED),
        run=run.run_id,
    )
    return row[0] if row else 0
