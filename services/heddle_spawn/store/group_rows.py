"""Groups as rows."""

from heddle.spawn.v1alpha1 import spawn_group_pb2
from heddle_core.clock import Micros
from heddle_core.requests import Creator
from heddle_database.port import Row, Transaction
from heddle_spawn.codec import group_spec_message, group_spec_value
from heddle_spawn.rules.erasure import erased_group
from heddle_spawn.rules.spawns import Group, Origin, Waiter
from heddle_spawn.rules.states import GroupState, Stop, Told

COLUMNS = (
    "tenant, group_id, principal, acted_by, parent_run_id, parent_thread_id, root_run_id, depth, input_id, token,"
    " spec, fingerprint, create_time, deadline_at, state, stop, told, current_stage, progress, end_time, due, tries,"
    " revision"
)

_MUTABLE = ("state", "stop", "told", "current_stage", "progress", "end_time", "due", "tries")


def group_value(row: Row) -> Group:
    """A group from its row, with the columns of `COLUMNS`."""
    return Group(
        group_id=row[1],
        origin=Origin(Creator(row[0], row[2], row[3]), row[4], row[5], row[6], row[7], Waiter(row[8], row[9])),
        spec=group_spec_value(spawn_group_pb2.SpawnGroupSpec.FromString(row[10])),
        fingerprint=row[11],
        create_time=Micros(row[12]),
        deadline_at=Micros(row[13]),
        state=GroupState(row[14]),
        stop=Stop(row[15]),
        told=Told(row[16]),
        current_stage=row[17],
        progress=row[18],
        end_time=Micros(row[19]),
        due=Micros(row[20]),
        tries=row[21],
        revision=row[22],
    )


def find_group(tx: Transaction, tenant: str, group_id: str) -> Group | None:
    """A group by its id."""
    row = tx.row(
        f"SELECT {COLUMNS} FROM spawn_groups WHERE tenant = :tenant AND group_id = :group",
        tenant=tenant,
        group=group_id,
    )
    return group_value(row) if row else None


def insert_group(tx: Transaction, group: Group) -> bool:
    """Write a new group; whether nobody else has written one of its key at the same moment."""
    fixed: dict[str, object] = {
        "tenant": group.tenant,
        "group_id": group.group_id,
        "family": group.origin.family,
        "group_key": group.spec.group_key,
        "principal": group.origin.creator.principal,
        "acted_by": group.origin.creator.acted_by,
        "parent_run_id": group.origin.parent_run_id,
        "parent_thread_id": group.origin.parent_thread_id,
        "root_run_id": group.origin.root_run_id,
        "depth": group.origin.depth,
        "input_id": group.origin.waiter.input_id,
        "token": group.origin.waiter.token,
        "spec": group_spec_message(group.spec).SerializeToString(),
        "fingerprint": group.fingerprint,
        "create_time": group.create_time,
        "deadline_at": group.deadline_at,
        **_mutable(group),
    }
    values = ", ".join(f":{name}" for name in fixed)
    row = tx.row(
        f"INSERT INTO spawn_groups ({', '.join(fixed)}) VALUES ({values}) ON CONFLICT DO NOTHING RETURNING revision",
        **fixed,
    )
    return row is not None


def update_group(tx: Transaction, old: Group, new: Group) -> bool:
    """Write what may change, where the row still is as `old` says; whether it was."""
    sets = ", ".join(f"{name} = :{name}" for name in _MUTABLE)
    row = tx.row(
        f"UPDATE spawn_groups SET {sets}, revision = revision + 1 WHERE tenant = :tenant AND group_id = :group"
        " AND revision = :revision AND state = :expected RETURNING revision",
        **_mutable(new),
        tenant=old.tenant,
        group=old.group_id,
        revision=old.revision,
        expected=int(old.state),
    )
    return row is not None


def erase_group(tx: Transaction, tenant: str, group_id: str) -> None:
    """Take the words out of what a group was asked to do."""
    group = find_group(tx, tenant, group_id)
    if group is None:
        return
    tx.run(
        "UPDATE spawn_groups SET spec = :spec, progress = '' WHERE tenant = :tenant AND group_id = :group",
        spec=group_spec_message(erased_group(group.spec)).SerializeToString(),
        tenant=tenant,
        group=group_id,
    )


def ring_group(tx: Transaction, tenant: str, group_id: str) -> None:
    """Have a group looked at, if it is still at work."""
    tx.run(
        "UPDATE spawn_groups SET due = :now WHERE tenant = :tenant AND group_id = :group AND state = :running",
        now=tx.now,
        tenant=tenant,
        group=group_id,
        running=int(GroupState.RUNNING),
    )


def _mutable(group: Group) -> dict[str, object]:
    return {
        "state": int(group.state),
        "stop": int(group.stop),
        "told": int(group.told),
        "current_stage": group.current_stage,
        "progress": group.progress,
        "end_time": group.end_time,
        "due": group.due,
        "tries": group.tries,
    }
