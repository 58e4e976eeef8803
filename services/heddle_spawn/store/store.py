"""The spawn service's store: one operation of the group commit for each thing that may happen."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TypeVar

from heddle_core.changes import Changes
from heddle_core.clock import Micros, micros
from heddle_core.errors import Conflict, InvalidField, invalid
from heddle_core.requests import RequestKey
from heddle_database.port import Database, Transaction
from heddle_database.request_rows import RequestRows
from heddle_spawn.facade.ports import Due, ListSpawns, Recorded
from heddle_spawn.rules.spawns import Group, Spawn, SpawnFailure
from heddle_spawn.rules.states import SpawnState, Stop
from heddle_spawn.store import group_rows, spawn_rows

T = TypeVar("T")

_REQUESTS = RequestRows("spawn_requests")

_AFTER_END = timedelta(days=1)
"""For which a request is known at least, once what it made is over (SEMANTICS 3)."""
_AT_REST = " AND ".join(
    f"NOT EXISTS (SELECT 1 FROM {table} w WHERE w.tenant = r.tenant AND w.{column} = r.target"
    " AND (w.end_time = 0 OR w.end_time > :ended))"
    for table, column in (("spawns", "spawn_id"), ("spawn_groups", "group_id"))
)


@dataclass(frozen=True, slots=True)
class Store:
    """Fulfils `heddle_spawn.facade.ports.SpawnStore`."""

    database: Database
    sweep_every: timedelta
    """After which what was taken and not saved is due again; at its deadline, if that comes first."""
    changes: Changes
    """Told of everything that is written."""

    async def target_of(self, key: RequestKey) -> str | None:
        """See the port."""
        return await self.database.read(lambda tx: _REQUESTS.find_target(tx, key))

    async def record(self, key: RequestKey | None, spawns: Sequence[Spawn], group: Group | None) -> Recorded:
        """See the port."""
        first = group.group_id if group is not None else spawns[0].spawn_id
        return await self.database.write(lambda tx: _record(tx, key, tuple(spawns), group), affinity=first)

    async def remember(self, key: RequestKey, target: str) -> None:
        """See the port."""
        await self.database.write(lambda tx: _REQUESTS.remember(tx, key, target))

    async def purge_requests(self, kept_for: timedelta, most: int) -> int:
        """Forget `most` requests that are older, but for those whose child or group ended less than a day ago, or has
        not ended. What they made is found by its spawn key all the same.
        """
        ended = micros(_AFTER_END)
        return await self.database.write(
            lambda tx: _REQUESTS.purge(tx, kept_for, most, _AT_REST, ended=tx.now - ended), bulk=True
        )

    async def spawn(self, tenant: str, spawn_id: str) -> Spawn | None:
        """See the port."""
        return await self.database.read(lambda tx: spawn_rows.find_spawn(tx, tenant, spawn_id))

    async def group(self, tenant: str, group_id: str) -> Group | None:
        """See the port."""
        return await self.database.read(lambda tx: group_rows.find_group(tx, tenant, group_id))

    async def members(self, tenant: str, group_id: str) -> tuple[Spawn, ...]:
        """See the port."""
        return await self.database.read(lambda tx: spawn_rows.members_of(tx, tenant, group_id))

    async def open_under(self, tenant: str, parent_run_id: str) -> tuple[Spawn, ...]:
        """See the port."""
        return await self._spawns(
            "parent_run_id = :parent AND state < :terminal",
            tenant,
            parent=parent_run_id,
            terminal=int(SpawnState.COMPLETED),
        )

    async def of_thread(self, tenant: str, thread_id: str) -> tuple[Spawn, ...]:
        """See the port."""
        of_itself = await self._spawns("thread_id = :thread AND thread_id <> ''", tenant, thread=thread_id)
        of_parent = await self._spawns(
            "parent_thread_id = :thread AND parent_thread_id <> ''", tenant, thread=thread_id
        )
        return (*of_itself, *of_parent)

    async def erase_group(self, tenant: str, group_id: str) -> None:
        """See the port."""
        await self.database.write(lambda tx: group_rows.erase_group(tx, tenant, group_id), affinity=group_id)
        self.changes.tell(tenant, group_id)

    async def under_root(self, tenant: str, root_run_id: str, most: int) -> tuple[Spawn, ...]:
        """See the port."""
        condition = "root_run_id = :root ORDER BY depth, create_time, stage, place, spawn_id LIMIT :most"
        return await self._spawns(condition, tenant, root=root_run_id, most=most)

    async def groups_of_root(self, tenant: str, root_run_id: str, most: int) -> tuple[Group, ...]:
        """See the port."""
        sql = (
            f"SELECT {group_rows.COLUMNS} FROM spawn_groups WHERE tenant = :tenant AND root_run_id = :root"
            " ORDER BY create_time, group_id LIMIT :most"
        )
        read = self.database.read
        rows = await read(lambda tx: tx.rows(sql, tenant=tenant, root=root_run_id, most=most))
        return tuple(group_rows.group_value(row) for row in rows)

    async def page(self, command: ListSpawns) -> tuple[Spawn, ...]:
        """See the port."""
        condition, parameters = _page(command)
        return await self._spawns(condition, command.tenant, **parameters)

    async def save_spawn(self, old: Spawn, new: Spawn) -> Spawn | None:
        """See the port."""

        def saved(tx: Transaction) -> bool:
            if not spawn_rows.update_spawn(tx, old, new):
                return False
            if new.group_id and new.state.terminal and not old.state.terminal:
                group_rows.ring_group(tx, new.tenant, new.group_id)
            return True

        # A group and its children have one writer, where there are several: they lock each other's rows.
        if not await self.database.write(saved, affinity=new.group_id or new.spawn_id):
            return None
        self.changes.tell(new.tenant, new.spawn_id, new.group_id)
        return replace(new, revision=old.revision + 1)

    async def save_group(
        self,
        old: Group,
        new: Group,
        *,
        stop: Stop = Stop.NONE,
        stopped: Sequence[str] = (),
        cancelled: SpawnFailure | None = None,
    ) -> Group | None:
        """See the port."""

        def saved(tx: Transaction) -> bool:
            if not group_rows.update_group(tx, old, new):
                return False
            if stopped:
                spawn_rows.stop_spawns(tx, new.tenant, stopped, stop)
            if cancelled is not None:
                spawn_rows.cancel_members(tx, new.tenant, new.group_id, cancelled)
            if new.current_stage != old.current_stage:
                _open_stage(tx, new)
            return True

        if not await self.database.write(saved, affinity=new.group_id):
            return None
        self.changes.tell(new.tenant, new.group_id, *stopped)
        return replace(new, revision=old.revision + 1)

    async def take_due(self, limit: int) -> Due:
        """See the port."""
        return await self.database.write(lambda tx: _take_due(tx, limit, micros(self.sweep_every)))

    async def _spawns(self, condition: str, tenant: str, **parameters: object) -> tuple[Spawn, ...]:
        sql = f"SELECT {spawn_rows.COLUMNS} FROM spawns WHERE tenant = :tenant AND {condition}"
        rows = await self.database.read(lambda tx: tx.rows(sql, tenant=tenant, **parameters))
        return tuple(spawn_rows.spawn_value(row) for row in rows)


def _record(tx: Transaction, key: RequestKey | None, spawns: tuple[Spawn, ...], group: Group | None) -> Recorded:
    if key is not None:
        _REQUESTS.find_target(tx, key)
    found = _found(tx, spawns, group)
    if found is None:
        alone = group is None or group_rows.insert_group(tx, group)
        if not alone or not all(spawn_rows.insert_spawn(tx, each) for each in spawns):
            raise Conflict("the same spawn key")
        found = Recorded(spawns, group)
    if key is not None:
        _REQUESTS.remember(tx, key, group.group_id if group else spawns[0].spawn_id)
    return found


def _found(tx: Transaction, spawns: tuple[Spawn, ...], group: Group | None) -> Recorded | None:
    """What stands under the keys already; None: nothing does. Raises InvalidField where it was another task."""
    if group is not None:
        known = group_rows.find_group(tx, group.tenant, group.group_id)
        if known is not None:
            if known.fingerprint != group.fingerprint:
                raise _reused("spec.group_key", known.spec.group_key, "group")
            return Recorded(spawn_rows.members_of(tx, group.tenant, group.group_id), known, new=False)
    for each in spawns:
        present = spawn_rows.find_spawn(tx, each.tenant, each.spawn_id)
        if present is None:
            continue
        if group is None and present.fingerprint == each.fingerprint and not present.group_id:
            return Recorded((present,), new=False)
        place = f"spec.stages[{each.stage}].children[{each.position}]" if group else "spec"
        raise _reused(f"{place}.spawn_key", each.spec.spawn_key, "child")
    return None


def _reused(path: str, key: str, kind: str) -> InvalidField:
    return invalid(path, f"a key of its own: {key} names a {kind} that was asked to do something else")


def _open_stage(tx: Transaction, group: Group) -> None:
    tx.run(
        "UPDATE spawns SET due = :now WHERE tenant = :tenant AND group_id = :group AND stage = :stage"
        " AND state = :pending",
        now=tx.now,
        tenant=group.tenant,
        group=group.group_id,
        stage=group.current_stage,
        pending=int(SpawnState.PENDING),
    )


def _take_due(tx: Transaction, limit: int, again: int) -> Due:
    later = tx.now + again
    spawns = tx.rows(
        _taking("spawns", "spawn_id", tx.row_lock, spawn_rows.COLUMNS), now=tx.now, later=later, limit=limit
    )
    groups = tx.rows(
        _taking("spawn_groups", "group_id", tx.row_lock, group_rows.COLUMNS), now=tx.now, later=later, limit=limit
    )
    first = [
        row[0]
        for table in ("spawns", "spawn_groups")
        if (row := tx.row(f"SELECT MIN(due) FROM {table} WHERE due > 0")) is not None and row[0]
    ]
    return Due(
        tuple(spawn_rows.spawn_value(row) for row in spawns),
        tuple(group_rows.group_value(row) for row in groups),
        Micros(min(first)) if first else None,
        tx.now,
    )


def _taking(table: str, id_column: str, row_lock: str, columns: str) -> str:
    return (
        f"UPDATE {table} SET due = CASE WHEN deadline_at > :now AND deadline_at < :later THEN deadline_at ELSE :later"
        f" END WHERE (tenant, {id_column}) IN (SELECT tenant, {id_column} FROM {table}"
        f" WHERE due > 0 AND due <= :now ORDER BY due LIMIT :limit {row_lock}) RETURNING {columns}"
    )


def _page(command: ListSpawns) -> tuple[str, dict[str, object]]:
    time = "end_time" if command.by_end else "create_time"
    conditions: list[str] = ["1 = 1"]
    parameters: dict[str, object] = {"most": command.size + 1}
    for name in ("parent_run_id", "root_run_id", "group_id", "agent_id"):
        if getattr(command, name):
            conditions.append(f"{name} = :{name}")
            parameters[name] = getattr(command, name)
    if command.states:
        conditions.append(f"state IN ({', '.join(str(int(state)) for state in command.states)})")
    if command.after is not None:
        beyond = "<" if command.newest_first else ">"
        conditions.append(f"({time}, spawn_id) {beyond} (:after_time, :after_id)")
        parameters["after_time"], parameters["after_id"] = command.after
    order = " DESC" if command.newest_first else ""
    return f"{' AND '.join(conditions)} ORDER BY {time}{order}, spawn_id{order} LIMIT :most", parameters
