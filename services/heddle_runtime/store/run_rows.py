"""A run's row: its columns, its value, and how both become each other."""

import json
from dataclasses import asdict
from datetime import timedelta

from heddle.runtime.v1 import run_pb2
from heddle_core.clock import Micros, micros
from heddle_core.ids import PrincipalId, RequestId, RunId, TenantId, ThreadId, WorkerId
from heddle_core.runtime_errors import RunNotFound
from heddle_core.usage import MicroUsd, Usage
from heddle_database.port import Row, Transaction
from heddle_runtime.codec.codec import MAPPING
from heddle_runtime.runs.content import Actor
from heddle_runtime.runs.run import CancelCause, FailureReason, Run, RunFailure, RunResult
from heddle_runtime.runs.state import RunState
from heddle_runtime.runs.turn import AgentReference, Trigger, TriggerKind, TurnMode
from heddle_runtime.runs.usage import Limits

COLUMNS = (
    "tenant, run_id, thread_id, state, request_id, principal, acted_by, agent_id, agent_version, model, mode,"
    " trigger_kind, trigger_reference, labels, limits, root_run_id, create_time, request_sequence, parent_run_id,"
    " depth, attempt, fence, owner, input_tokens, output_tokens, cached_input_tokens, reasoning_tokens,"
    " model_calls, tool_calls, cost, result, failure_reason, failure_message, cancel_cause, cancel_sequence,"
    " start_time, end_time, not_before, retry_of_run_id, superseded_by_run_id"
)


def run_value(row: Row) -> Run:
    """The run of a row of `COLUMNS`."""
    return Run(
        tenant=TenantId(row[0]),
        run_id=RunId(row[1]),
        thread_id=ThreadId(row[2]),
        state=RunState(row[3]),
        request_id=RequestId(row[4]),
        actor=Actor(PrincipalId(row[5]), row[6]),
        agent=AgentReference(row[7], row[8]),
        model=row[9],
        mode=TurnMode(row[10]),
        trigger=Trigger(TriggerKind(row[11]), row[12]),
        labels=json.loads(row[13] or "{}"),
        limits=limits_value(row[14]),
        root_run_id=RunId(row[15]),
        create_time=Micros(row[16]),
        request_sequence=row[17],
        parent_run_id=RunId(row[18]),
        depth=row[19],
        attempt=row[20],
        fence=row[21],
        owner=WorkerId(row[22]),
        usage=Usage(row[23], row[24], row[25], row[26], row[27], row[28], MicroUsd(row[29])),
        result=MAPPING.decode(RunResult, run_pb2.RunResult.FromString(row[30])) if row[30] else None,
        failure=RunFailure(FailureReason(row[31]), row[32]) if row[31] else None,
        cancel_cause=CancelCause(row[33]),
        cancel_sequence=row[34],
        start_time=Micros(row[35]) if row[35] else None,
        end_time=Micros(row[36]) if row[36] else None,
        not_before=Micros(row[37]) if row[37] else None,
        retry_of_run_id=RunId(row[38]),
        superseded_by_run_id=RunId(row[39]),
    )


def limits_text(limits: Limits) -> str:
    """Limits as the JSON text of their column; wall time in microseconds."""
    kept = {name: value for name, value in asdict(limits).items() if value}
    if limits.wall_time:
        kept["wall_time"] = micros(limits.wall_time)
    return json.dumps(kept)


def limits_value(text: str) -> Limits:
    """Limits from the JSON text of their column."""
    kept = json.loads(text or "{}")
    if "wall_time" in kept:
        kept["wall_time"] = timedelta(microseconds=kept["wall_time"])
    return Limits(**kept)


def find_run(tx: Transaction, tenant: TenantId, run_id: RunId) -> Run | None:
    """A run by its id."""
    row = tx.row(f"SELECT {COLUMNS} FROM runs WHERE tenant = :tenant AND run_id = :run", tenant=tenant, run=run_id)
    return run_value(row) if row else None


def get_run(tx: Transaction, tenant: TenantId, run_id: RunId) -> Run:
    """A run by its id.

    Raises:
        RunNotFound: the tenant has no such run.
    """
    run = find_run(tx, tenant, run_id)
    if run is None:
        raise RunNotFound(run_id)
    return run


def insert_run(tx: Transaction, run: Run, queue_rank: int, cascades: bool, granted: Limits | None) -> None:
    """Write a new run's row."""
    tx.run(
        "INSERT INTO runs (tenant, run_id, thread_id, state, request_id, principal, acted_by, agent_id, agent_version,"
        " model, mode, trigger_kind, trigger_reference, labels, limits, root_run_id, create_time, request_sequence,"
        " parent_run_id, depth, attempt, fence, owner, start_time, not_before, retry_of_run_id, queue_rank, cascade,"
        " granted_tokens, granted_cost)"
        " VALUES (:tenant, :run, :thread, :state, :request, :principal, :acted_by, :agent, :version,"
        " :model, :mode, :trigger_kind, :trigger_reference, :labels, :limits, :root, :time, :sequence,"
        " :parent, :depth, :attempt, :fence, :owner, :start, :not_before, :retry_of, :rank, :cascade,"
        " :granted_tokens, :granted_cost)",
        tenant=run.tenant,
        run=run.run_id,
        thread=run.thread_id,
        state=int(run.state),
        request=run.request_id,
        principal=run.actor.principal,
        acted_by=run.actor.acted_by,
        agent=run.agent.agent_id,
        version=run.agent.version,
        model=run.model,
        mode=int(run.mode),
        trigger_kind=int(run.trigger.kind),
        trigger_reference=run.trigger.reference,
        labels=json.dumps(dict(run.labels)) if run.labels else "",
        limits=limits_text(run.limits),
        root=run.root_run_id,
        time=run.create_time,
        sequence=run.request_sequence,
        parent=run.parent_run_id,
        depth=run.depth,
        attempt=run.attempt,
        fence=run.fence,
        owner=run.owner,
        start=run.start_time or 0,
        not_before=run.not_before or 0,
        retry_of=run.retry_of_run_id,
        rank=queue_rank,
        cascade=int(cascades),
        granted_tokens=granted.tokens if granted else 0,
        granted_cost=granted.cost if granted else 0,
    )
