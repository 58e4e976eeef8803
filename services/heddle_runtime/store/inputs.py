"""How an input is resolved: at most once, by whoever comes first, or by the clock (SEMANTICS 26, GUARANTEES P14)."""

import hashlib
from dataclasses import replace

from heddle_core.errors import invalid
from heddle_core.ids import InputId, TenantId
from heddle_core.runtime_errors import InputAlreadyResolved, InputExpired, InputNotFound
from heddle_runtime.codec.codec import MAPPING, payload_value
from heddle_runtime.facade.commands import Resolved, ResolveInput
from heddle_runtime.runs.content import RUNTIME, Actor
from heddle_runtime.runs.inputs import InputAnswer, InputDecision, InputKind, InputRequest
from heddle_runtime.runs.run import Run
from heddle_runtime.runs.state import InputState, RunState, Transition, advance
from heddle_runtime.store import requests
from heddle_runtime.store.input_rows import find_input, insert_input
from heddle_runtime.store.log import LogWriter, draft
from heddle_runtime.store.marks import PLAN_PROPOSED, PLAN_REVISED
from heddle_runtime.store.run_rows import get_run
from heddle_runtime.threads.events import InputResolved, Payload, PlanApproved, PlanProposed, PlanRevised, WorkUpdated

METHOD = "ResolveInput"


def resolve_input(writer: LogWriter, command: ResolveInput) -> Resolved:
    """Take an answer or a progress report.

    Raises:
        InputNotFound: there is no such input, or it is another tenant's.
        InputAlreadyResolved: somebody else answered first.
        InputExpired: the clock answered first.
        InvalidField: a version of a plan is approved that is not up for review.
        RequestIdReused: the request id was used for another answer.
    """
    tenant = command.caller.tenant
    asked = find_input(writer.tx, tenant, command.input_id) or command.reserved
    if asked is not None:  # from here on nobody else answers
        writer.lock_if_any(tenant, asked.thread_id)
        asked = find_input(writer.tx, tenant, command.input_id) or command.reserved
    known = requests.find(writer.tx, command.caller, command.key)
    if asked is None:
        raise InputNotFound(command.input_id)
    if known is not None:
        return Resolved(asked, get_run(writer.tx, tenant, asked.run_id))
    if command.progress is not None:
        return _report(writer, command, asked)
    answer = command.answer or InputAnswer()
    if not asked.state.open:
        return _settled_before(writer, command, asked, answer)
    if asked.expire_time and asked.expire_time <= writer.tx.now:
        raise InputExpired(asked.input_id, asked.default_state.name)
    state = _state_of(answer)
    insert_input(writer.tx, tenant, asked, InputState.RESERVED)
    run = _settle(writer, tenant, asked, state, answer, command.caller.actor)
    requests.remember(writer.tx, command.caller, command.key, run.run_id, run.thread_id)
    return Resolved(_resolved_value(asked, state, answer, command.caller.actor, writer), run)


def expire_inputs(writer: LogWriter, limit: int = 100) -> int:
    """Take the default decisions of inputs whose time is over; how many."""
    rows = writer.tx.rows(
        "SELECT tenant, input_id FROM inputs WHERE state = :pending AND expire_time > 0 AND expire_time <= :now"
        " ORDER BY expire_time LIMIT :limit",
        pending=int(InputState.PENDING),
        now=writer.tx.now,
        limit=limit,
    )
    for tenant, input_id in rows:
        asked = find_input(writer.tx, TenantId(tenant), InputId(input_id))
        if asked is not None and _still_pending(writer, TenantId(tenant), asked):
            _settle(writer, TenantId(tenant), asked, InputState.TIMED_OUT, _default_answer(asked), RUNTIME)
    return len(rows)


def _still_pending(writer: LogWriter, tenant: TenantId, asked: InputRequest) -> bool:
    """Whether nobody has answered until the thread was held; another process may be at the same work."""
    writer.lock_if_any(tenant, asked.thread_id)
    now = find_input(writer.tx, tenant, asked.input_id)
    return now is not None and now.state is InputState.PENDING


def _report(writer: LogWriter, command: ResolveInput, asked: InputRequest) -> Resolved:
    run = get_run(writer.tx, command.caller.tenant, asked.run_id)
    if not asked.state.open or run.cancel_sequence or command.progress is None:
        raise InputAlreadyResolved(asked.input_id, asked.state.name, _winner(writer, command.caller.tenant, asked))
    head = writer.lock(run.tenant, run.thread_id)
    moved = WorkUpdated(asked.input_id, command.progress.message, command.progress.fraction)
    writer.append(head, [draft(run.run_id, moved)])
    requests.remember(writer.tx, command.caller, command.key, run.run_id, run.thread_id)
    return Resolved(asked, run)


def _settled_before(writer: LogWriter, command: ResolveInput, asked: InputRequest, answer: InputAnswer) -> Resolved:
    """An exact repeat of the winning answer returns its success; any other is told who won."""
    row = writer.tx.row(
        "SELECT answer_fingerprint, winner FROM inputs WHERE tenant = :tenant AND input_id = :input",
        tenant=command.caller.tenant,
        input=asked.input_id,
    )
    fingerprint, winner = row if row else (b"", "")
    if fingerprint == _fingerprint(answer) and winner == command.caller.actor.principal:
        run = get_run(writer.tx, command.caller.tenant, asked.run_id)
        requests.remember(writer.tx, command.caller, command.key, run.run_id, run.thread_id)
        return Resolved(asked, run)
    if asked.state is InputState.TIMED_OUT:
        raise InputExpired(asked.input_id, asked.default_state.name)
    raise InputAlreadyResolved(asked.input_id, asked.state.name, winner or "the runtime")


def _settle(
    writer: LogWriter,
    tenant: TenantId,
    asked: InputRequest,
    state: InputState,
    answer: InputAnswer | None,
    actor: Actor,
) -> Run:
    head = writer.lock(tenant, asked.thread_id)
    run = get_run(writer.tx, tenant, asked.run_id)
    if run.cancel_sequence or run.state.terminal:
        raise InputAlreadyResolved(asked.input_id, InputState.CANCELLED.name, "the cancel of its run")
    payloads: list[Payload] = [InputResolved(asked.input_id, state, answer, actor)]
    if asked.kind is InputKind.PLAN and state is InputState.APPROVED:
        payloads.append(PlanApproved(_version_under_review(writer, run, answer), actor))
    resolved = _resolved_value(asked, state, answer, actor, writer)
    won = writer.tx.run(
        "UPDATE inputs SET state = :state, resolve_time = :now, winner = :winner, answer_fingerprint = :fingerprint,"
        " body = :body WHERE tenant = :tenant AND input_id = :input AND state <= :pending",
        state=int(state),
        now=writer.tx.now,
        winner=actor.principal,
        fingerprint=_fingerprint(answer) if answer else b"",
        body=MAPPING.encode(resolved).SerializeToString(),
        tenant=tenant,
        input=asked.input_id,
        pending=int(InputState.PENDING),
    )
    if won != 1:
        raise InputAlreadyResolved(asked.input_id, state.name, _winner(writer, tenant, asked))
    writer.append(head, [draft(run.run_id, payload) for payload in payloads])
    return _wake(writer, run)


def _version_under_review(writer: LogWriter, run: Run, answer: InputAnswer | None) -> int:
    """The version that an approval means: the plan that the run put forward last.

    Raises:
        InvalidField: the answer names another.
    """
    row = writer.tx.row(
        "SELECT payload FROM events WHERE tenant = :tenant AND thread_id = :thread AND run_id = :run"
        " AND kind IN (:proposed, :revised) ORDER BY sequence DESC LIMIT 1",
        tenant=run.tenant,
        thread=run.thread_id,
        run=run.run_id,
        proposed=PLAN_PROPOSED,
        revised=PLAN_REVISED,
    )
    put_forward = payload_value(row[0]) if row else None
    named = answer.plan_version if answer else 0
    version = put_forward.plan.version if isinstance(put_forward, PlanProposed | PlanRevised) else named
    if named not in (0, version):
        raise invalid("answer.plan_version", f"{version}, the version that is up for review, or zero for it")
    return version


def _wake(writer: LogWriter, run: Run) -> Run:
    if run.state is not RunState.WAITING or _pending(writer, run):
        return run
    state = advance(run.state, Transition.WAKE)
    writer.tx.run(
        "UPDATE runs SET state = :state WHERE tenant = :tenant AND run_id = :run AND state = :waiting",
        state=int(state),
        tenant=run.tenant,
        run=run.run_id,
        waiting=int(RunState.WAITING),
    )
    return replace(run, state=state)


def _pending(writer: LogWriter, run: Run) -> bool:
    row = writer.tx.row(
        "SELECT 1 FROM inputs WHERE tenant = :tenant AND run_id = :run AND state = :pending",
        tenant=run.tenant,
        run=run.run_id,
        pending=int(InputState.PENDING),
    )
    return row is not None


def _state_of(answer: InputAnswer) -> InputState:
    match answer.decision:
        case InputDecision.APPROVE:
            return InputState.APPROVED
        case InputDecision.DENY:
            return InputState.DENIED
        case InputDecision.ANSWER | InputDecision.UNSPECIFIED:
            return InputState.ANSWERED


def _default_answer(asked: InputRequest) -> InputAnswer:
    decision = InputDecision.ANSWER if asked.default_state is InputState.ANSWERED else InputDecision.DENY
    return InputAnswer(decision, json=asked.default_answer_json)


def _resolved_value(
    asked: InputRequest, state: InputState, answer: InputAnswer | None, actor: Actor, writer: LogWriter
) -> InputRequest:
    return replace(asked, state=state, answer=answer, resolved_by=actor, resolve_time=writer.tx.now)


def _winner(writer: LogWriter, tenant: TenantId, asked: InputRequest) -> str:
    row = writer.tx.row(
        "SELECT winner FROM inputs WHERE tenant = :tenant AND input_id = :input", tenant=tenant, input=asked.input_id
    )
    return (row[0] if row else "") or "the runtime"


def _fingerprint(answer: InputAnswer) -> bytes:
    encoded = MAPPING.encode(answer).SerializeToString(deterministic=True)
    return hashlib.sha256(encoded).digest()
