"""An input's row: its columns, its value, and how both become each other."""

from dataclasses import replace

from heddle.runtime.v1 import input_pb2
from heddle_core.clock import Micros
from heddle_core.ids import InputId, RunId, TenantId
from heddle_database.port import Row, Transaction
from heddle_runtime.codec.codec import MAPPING
from heddle_runtime.runs.inputs import InputRequest
from heddle_runtime.runs.state import InputState

COLUMNS = "body, state, create_time, resolve_time"


def input_value(row: Row) -> InputRequest:
    """The input of a row of `COLUMNS`."""
    stored = MAPPING.decode(InputRequest, input_pb2.InputRequest.FromString(row[0]))
    return replace(
        stored,
        state=InputState(row[1]),
        create_time=Micros(row[2]),
        resolve_time=Micros(row[3]) if row[3] else None,
    )


def find_input(tx: Transaction, tenant: TenantId, input_id: InputId) -> InputRequest | None:
    """An input by its id."""
    row = tx.row(
        f"SELECT {COLUMNS} FROM inputs WHERE tenant = :tenant AND input_id = :input",
        tenant=tenant,
        input=input_id,
    )
    return input_value(row) if row else None


def insert_input(tx: Transaction, tenant: TenantId, asked: InputRequest, state: InputState) -> None:
    """Write an input's row; one that was answered before it was asked keeps its answer (SEMANTICS 26)."""
    tx.run(
        "INSERT INTO inputs (tenant, input_id, thread_id, run_id, kind, state, expire_time, create_time, body)"
        " VALUES (:tenant, :input, :thread, :run, :kind, :state, :expire, :now, :body)"
        " ON CONFLICT (tenant, input_id) DO NOTHING",
        tenant=tenant,
        input=asked.input_id,
        thread=asked.thread_id,
        run=asked.run_id,
        kind=int(asked.kind),
        state=int(state),
        expire=asked.expire_time or 0,
        now=tx.now,
        body=MAPPING.encode(asked).SerializeToString(),
    )


def close_inputs(tx: Transaction, tenant: TenantId, run_id: RunId) -> None:
    """Cancel what still waits when its run ends."""
    tx.run(
        "UPDATE inputs SET state = :cancelled, resolve_time = :now WHERE tenant = :tenant AND run_id = :run"
        " AND state <= :pending",
        cancelled=int(InputState.CANCELLED),
        now=tx.now,
        tenant=tenant,
        run=run_id,
        pending=int(InputState.PENDING),
    )
