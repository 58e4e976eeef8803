"""How children get in: checked against their parent and its tree, recorded under their key, then rung for."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from heddle_client.values import UNBOUNDED, Cause, Json, NewTurn, Note, RunView, Text
from heddle_core.clock import MICROS_PER_SECOND, Clock, Micros
from heddle_core.errors import Conflict, InvalidField
from heddle_core.requests import Creator, RequestKey
from heddle_spawn.facade.ports import Recorded, Runs, RunsOf, SpawnStore
from heddle_spawn.rules import names
from heddle_spawn.rules.budgets import require_left
from heddle_spawn.rules.checks import (
    TreeBounds,
    check_cycle,
    check_group,
    check_parent,
    check_spec,
    granted_tools,
    worker_of,
)
from heddle_spawn.rules.spawns import NOBODY, Group, GroupSpec, Origin, Spawn, SpawnSpec, Waiter, WantedAsset
from heddle_spawn.rules.states import Told


@dataclass(frozen=True, slots=True)
class Wish:
    """Who wants children, under which run, and who waits for them."""

    creator: Creator
    fingerprint: bytes
    """Of the spec as it came: what makes a repeat under the same key the same."""
    parent_run_id: str = ""
    waiter: Waiter = NOBODY
    key: RequestKey | None = None
    """Of the RPC; a tool call has its own key in the spec."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where new children stand."""

    origin: Origin
    parent: RunView | None = None
    line: tuple[RunView, ...] = ()
    """The parent, then its ancestors."""
    tools: tuple[str, ...] = ()
    """That the parent has, as `provider/name`."""


Ring = Callable[[Recorded], None]
"""Have what was recorded looked at now."""


@dataclass(frozen=True, slots=True)
class Spawning:
    """Takes children and groups."""

    store: SpawnStore
    runs_of: RunsOf
    clock: Clock
    ring: Ring
    bounds: TreeBounds = TreeBounds()
    assets: Mapping[WantedAsset, str] = field(default_factory=dict[WantedAsset, str])
    """Which agent makes which kind of asset."""

    async def spawn_agent(self, wish: Wish, spec: SpawnSpec, *, dry_run: bool = False) -> Spawn:
        """Record one child, which starts at once; or find the one of that key.

        Raises:
            InvalidField: a field of the spec, a reused key, a cycle, a tool that the parent lacks.
            AgentNotFound, ModelNotFound, RunNotFound, NotServed, ParentCancelled, ParentFinished, DepthExceeded,
            FanOutExceeded, BudgetExceeded, RequestIdReused.
        """
        check_spec(spec)
        family = Origin(wish.creator, wish.parent_run_id).family
        spawn_id = names.spawn_id(wish.creator.tenant, family, spec.spawn_key)
        known = await self.store.spawn(wish.creator.tenant, spawn_id)
        if known is None:
            place = await self._place(wish, 1)
            spawn = await self._spawn(wish, place, spec, spawn_id)
        else:
            spawn = replace(known, fingerprint=wish.fingerprint, group_id="")
        if dry_run:
            return replace(spawn, spawn_id="")
        return (await self._record(wish, [spawn], None)).spawns[0]

    async def spawn_group(
        self, wish: Wish, spec: GroupSpec, *, dry_run: bool = False
    ) -> tuple[Group, tuple[Spawn, ...]]:
        """Record a group, whose first stage starts at once; or find the one of that key. Raises as `spawn_agent`."""
        check_group(spec, self.bounds)
        tenant = wish.creator.tenant
        family = Origin(wish.creator, wish.parent_run_id).family
        group_id = names.group_id(tenant, family, spec.group_key)
        known = await self.store.group(tenant, group_id)
        if known is not None and dry_run:
            return replace(known, group_id=""), await self.store.members(tenant, group_id)
        if known is not None:
            recorded = await self._record(wish, [], replace(known, fingerprint=wish.fingerprint))
            return known, recorded.spawns
        place = await self._place(wish, len(spec.stages[0]))
        now = self.clock.now()
        group = Group(
            group_id=group_id,
            origin=place.origin,
            spec=spec,
            fingerprint=wish.fingerprint,
            create_time=now,
            deadline_at=_after(now, spec.time),
            told=_told(wish),
            due=now,
        )
        alone = replace(wish, waiter=NOBODY)
        nobodys = replace(place, origin=replace(place.origin, waiter=NOBODY))
        spawns: list[Spawn] = []
        for number, stage in enumerate(spec.stages):
            for position, child in enumerate(stage):
                child_id = names.spawn_id(tenant, family, child.spawn_key)
                path = f"spec.stages[{number}].children[{position}]"
                spawn = await self._spawn(alone, nobodys, child, child_id, path)
                placed = replace(spawn, group_id=group_id, stage=number, position=position)
                waits = placed if number == 0 else replace(placed, due=Micros(0))
                spawns.append(replace(waits, deadline_at=group.deadline_at) if number else waits)
        if dry_run:
            return replace(group, group_id=""), tuple(replace(each, spawn_id="") for each in spawns)
        recorded = await self._record(wish, spawns, group)
        return recorded.group or group, recorded.spawns

    async def _record(self, wish: Wish, spawns: Sequence[Spawn], group: Group | None) -> Recorded:
        try:
            recorded = await self.store.record(wish.key, spawns, group)
        except Conflict:  # the other one is committed by now, and is found
            recorded = await self.store.record(wish.key, spawns, group)
        self.ring(recorded)
        return recorded

    async def _place(self, wish: Wish, more: int) -> _Place:
        if not wish.parent_run_id:
            return _Place(Origin(wish.creator, waiter=wish.waiter))
        runs = self.runs_of(wish.creator)
        parent = await runs.get(wish.parent_run_id)
        open_children = len(await runs.open_children(parent.run_id))
        check_parent(parent, open_children, more, self.bounds)
        line = [parent]
        while line[-1].parent_run_id:
            line.append(await runs.get(line[-1].parent_run_id))
        origin = Origin(
            creator=wish.creator,
            parent_run_id=parent.run_id,
            parent_thread_id=parent.thread_id,
            root_run_id=parent.root_run_id or parent.run_id,
            depth=parent.depth + 1,
            waiter=wish.waiter,
        )
        return _Place(origin, parent, tuple(line), await _tools_of(runs, parent))

    async def _spawn(self, wish: Wish, place: _Place, spec: SpawnSpec, spawn_id: str, path: str = "spec") -> Spawn:
        agent_id = worker_of(spec, self.assets)
        if place.parent is not None:
            check_cycle(agent_id, place.line, self.bounds, path)
            require_left(place.parent, spec.budget)
        allowed = granted_tools(spec.tools, place.tools, path) if place.parent is not None else spec.tools
        try:
            would = await self.runs_of(wish.creator).forecast(turn_of(spec, agent_id, request_id=spawn_id))
        except InvalidField as error:
            raise _in_terms_of_the_spec(error, path) from error
        now = self.clock.now()
        return Spawn(
            spawn_id=spawn_id,
            origin=place.origin,
            spec=spec,
            fingerprint=wish.fingerprint,
            create_time=now,
            deadline_at=_after(now, spec.deadline),
            agent_id=would.agent_id,
            agent_version=would.agent_version,
            allowed_tools=allowed,
            told=_told(wish),
            due=now,
        )


def turn_of(spec: SpawnSpec, agent_id: str, *, request_id: str) -> NewTurn:
    """The turn that a spec asks for, without what its place in the tree adds."""
    return NewTurn(
        request_id=request_id,
        content=spec.task,
        agent_id=agent_id,
        agent_version=spec.agent_version,
        context=_notes(spec),
        model=spec.model,
        json_schema=spec.result_schema_json,
        labels=spec.labels,
        limits=spec.budget or UNBOUNDED,
        cause=Cause.SPAWN,
    )


async def _tools_of(runs: Runs, run: RunView) -> tuple[str, ...]:
    """The tools that a run may use itself: a child is never given more (a grant only shrinks)."""
    allowed = await runs.tools_allowed(run)
    probe = NewTurn(
        request_id=names.request_id(run.run_id, "tools"),
        content=(Text("tools"),),
        agent_id=run.agent_id,
        agent_version=run.agent_version,
        allowed_tools=allowed,
    )
    return (await runs.forecast(probe)).tool_paths


_FIELDS = {
    "turn.content": "task",
    "turn.response_format.json_schema": "result_schema_json",
    "turn.limits": "budget",
    "turn.model": "model",
}
"""What the runtime calls the fields of a spec."""


def _in_terms_of_the_spec(error: InvalidField, path: str) -> InvalidField:
    """The runtime's refusal with the caller's own names of the fields."""

    def named(field: str) -> str:
        for theirs, ours in _FIELDS.items():
            if field.startswith(theirs):
                return f"{path}.{ours}{field.removeprefix(theirs)}"
        return field

    return InvalidField(tuple(replace(each, field=named(each.field)) for each in error.violations))


def _notes(spec: SpawnSpec) -> tuple[Note, ...]:
    said: Sequence[str] = [
        part.text if isinstance(part, Text) else part.json for part in spec.context if isinstance(part, Text | Json)
    ]
    return tuple(Note(f"context-{number}", text, source="parent") for number, text in enumerate(said, start=1))


def _told(wish: Wish) -> Told:
    return Told.NOT_YET if wish.waiter.input_id else Told.NOBODY_WAITS


def _after(now: Micros, span: timedelta) -> Micros:
    return Micros(now + round(span.total_seconds() * MICROS_PER_SECOND))
