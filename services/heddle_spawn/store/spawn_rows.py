"""Children as rows: the columns that are looked at in SQL, and the contract's own message for the rest."""

import json
from collections.abc import Sequence
from dataclasses import replace

from heddle.spawn.v1alpha1 import spawn_pb2
from heddle_client.wire_times import micros_of
from heddle_core.clock import Micros
from heddle_database.port import Row, Transaction
from heddle_spawn.codec import (
    bounds_json,
    bounds_of_json,
    failure_value,
    origin_value,
    result_value,
    spawn_message,
    spec_value,
    state_value,
    usage_of,
)
from heddle_spawn.rules.spawns import Spawn, SpawnFailure
from heddle_spawn.rules.states import SpawnState, Stop, Told

COLUMNS = (
    "tenant, body, token, fingerprint, deadline_at, agent_id, allowed_tools, place, stop, told, granted, turn,"
    " seen_sequence, due, tries, revision"
)

_MUTABLE = (
    "state",
    "stop",
    "told",
    "root_run_id",
    "run_id",
    "thread_id",
    "granted",
    "seen_sequence",
    "due",
    "tries",
    "end_time",
    "deadline_at",
    "turn",
    "body",
)


def spawn_value(row: Row) -> Spawn:
    """A child from its row, with the columns of `COLUMNS`."""
    message = spawn_pb2.Spawn.FromString(row[1])
    return Spawn(
        spawn_id=message.spawn_id,
        origin=origin_value(row[0], message, row[2]),
        spec=spec_value(message.spec),
        fingerprint=row[3],
        create_time=micros_of(message.create_time),
        deadline_at=Micros(row[4]),
        agent_id=row[5],
        agent_version=message.agent_version,
        allowed_tools=tuple(json.loads(row[6])),
        group_id=message.group_id,
        stage=message.stage,
        position=row[7],
        state=state_value(message),
        stop=Stop(row[8]),
        told=Told(row[9]),
        granted=bounds_of_json(row[10]),
        turn=row[11] or b"",
        run_id=message.run_id,
        thread_id=message.thread_id,
        cursor=row[12],
        progress=message.progress,
        result=result_value(message),
        failure=failure_value(message),
        usage=usage_of(message),
        start_time=micros_of(message.start_time),
        end_time=micros_of(message.end_time),
        due=Micros(row[13]),
        tries=row[14],
        revision=row[15],
    )


def find_spawn(tx: Transaction, tenant: str, spawn_id: str) -> Spawn | None:
    """A child by its id."""
    row = tx.row(
        f"SELECT {COLUMNS} FROM spawns WHERE tenant = :tenant AND spawn_id = :spawn", tenant=tenant, spawn=spawn_id
    )
    return spawn_value(row) if row else None


def members_of(tx: Transaction, tenant: str, group_id: str) -> tuple[Spawn, ...]:
    """The children of a group, in the order of its spec."""
    rows = tx.rows(
        f"SELECT {COLUMNS} FROM spawns WHERE tenant = :tenant AND group_id = :group ORDER BY stage, place",
        tenant=tenant,
        group=group_id,
    )
    return tuple(spawn_value(row) for row in rows)


def insert_spawn(tx: Transaction, spawn: Spawn) -> bool:
    """Write a new child; whether nobody else has written one of its key at the same moment."""
    given = {
        **_mutable(spawn),
        "tenant": spawn.tenant,
        "spawn_id": spawn.spawn_id,
        "family": spawn.origin.family,
        "spawn_key": spawn.spec.spawn_key,
        "group_id": spawn.group_id,
        "agent_id": spawn.agent_id,
        "token": spawn.origin.waiter.token,
        "parent_run_id": spawn.origin.parent_run_id,
        "parent_thread_id": spawn.origin.parent_thread_id,
        "allowed_tools": json.dumps(spawn.allowed_tools),
        "stage": spawn.stage,
        "place": spawn.position,
        "depth": spawn.origin.depth,
        "create_time": spawn.create_time,
        "fingerprint": spawn.fingerprint,
    }
    values = ", ".join(f":{name}" for name in given)
    row = tx.row(
        f"INSERT INTO spawns ({', '.join(given)}) VALUES ({values}) ON CONFLICT DO NOTHING RETURNING revision",
        **given,
    )
    return row is not None


def update_spawn(tx: Transaction, old: Spawn, new: Spawn) -> bool:
    """Write what may change, where the row still is as `old` says; whether it was."""
    sets = ", ".join(f"{name} = :{name}" for name in _MUTABLE)
    row = tx.row(
        f"UPDATE spawns SET {sets}, revision = revision + 1 WHERE tenant = :tenant AND spawn_id = :spawn"
        " AND revision = :revision AND state = :expected RETURNING revision",
        **_mutable(new),
        tenant=old.tenant,
        spawn=old.spawn_id,
        revision=old.revision,
        expected=int(old.state),
    )
    return row is not None


def stop_spawns(tx: Transaction, tenant: str, spawn_ids: Sequence[str], stop: Stop) -> None:
    """Have children end that have not, for a reason; the first reason stands."""
    tx.many(
        "UPDATE spawns SET stop = :stop, due = :now, revision = revision + 1 WHERE tenant = :tenant"
        " AND spawn_id = :spawn AND state < :terminal AND stop = 0",
        [
            {
                "stop": int(stop),
                "now": tx.now,
                "tenant": tenant,
                "spawn": each,
                "terminal": int(SpawnState.COMPLETED),
            }
            for each in spawn_ids
        ],
    )


def cancel_members(tx: Transaction, tenant: str, group_id: str, failure: SpawnFailure) -> None:
    """Have every child of a group end that has not, and say why; a reason that stands already is left."""
    for each in members_of(tx, tenant, group_id):
        current: Spawn | None = each
        while current is not None and not current.state.terminal and current.stop is Stop.NONE:
            stopped = replace(current, stop=Stop.ASKED, failure=failure, due=tx.now)
            # Another process may have moved it on since it was read.
            current = None if update_spawn(tx, current, stopped) else find_spawn(tx, tenant, current.spawn_id)


def _mutable(spawn: Spawn) -> dict[str, object]:
    return {
        "state": int(spawn.state),
        "stop": int(spawn.stop),
        "told": int(spawn.told),
        "root_run_id": spawn.origin.root_run_id or spawn.run_id,
        "run_id": spawn.run_id,
        "thread_id": spawn.thread_id,
        "granted": bounds_json(spawn.granted),
        "seen_sequence": spawn.cursor,
        "due": spawn.due,
        "tries": spawn.tries,
        "end_time": spawn.end_time,
        "deadline_at": spawn.deadline_at,
        "turn": spawn.turn,
        "body": spawn_message(spawn).SerializeToString(),
    }
