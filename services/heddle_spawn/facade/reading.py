"""Children and groups as they are found, waited for, watched and cancelled."""

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, replace
from datetime import timedelta

from heddle_client.values import RunView
from heddle_core.changes import Changes, Leaving, rung
from heddle_core.clock import Clock
from heddle_core.companion_errors import SpawnNotFound
from heddle_core.errors import Draining
from heddle_core.requests import Creator, RequestKey
from heddle_core.usage import Usage
from heddle_spawn.facade.ports import ListSpawns, RunsOf, SpawnStore
from heddle_spawn.rules.spawns import Group, Spawn, SpawnFailure
from heddle_spawn.rules.states import SpawnState, Stop
from heddle_spawn.rules.trees import usage_of_tree

MOST_OF_TREE = 1_000
"""Children in one answer about a tree (contract: GetSpawnTreeResponse.spawns)."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A child, or a group with its children, at one moment."""

    spawn: Spawn | None = None
    group: Group | None = None
    members: tuple[Spawn, ...] = ()

    @property
    def over(self) -> bool:
        """Whether nothing follows."""
        if self.spawn is not None:
            return self.spawn.state.terminal
        return self.group is None or self.group.state.terminal

    @property
    def over_or_waiting(self) -> bool:
        """Whether nothing follows before somebody does something."""
        return self.over or (self.spawn is not None and self.spawn.state is SpawnState.WAITING)


@dataclass(frozen=True, slots=True)
class Tree:
    """A run with everything below it."""

    root: RunView
    spawns: tuple[Spawn, ...]
    groups: tuple[Group, ...]
    usage: Usage
    truncated: bool


Ring = Callable[[str, str], None]


@dataclass(frozen=True, slots=True)
class Reading:
    """Answers about children."""

    store: SpawnStore
    runs_of: RunsOf
    changes: Changes
    clock: Clock
    ring_spawn: Ring
    ring_group: Ring
    look_every: timedelta = timedelta(seconds=10)
    """After this a waiter looks by itself: of what another process wrote, the doorbell may be lost."""

    async def get(self, tenant: str, *, spawn_id: str = "", group_id: str = "") -> Standing:
        """A child or a group. Raises SpawnNotFound, which names it."""
        if group_id:
            group = await self.store.group(tenant, group_id)
            if group is None:
                raise SpawnNotFound(group_id)
            return Standing(group=group, members=await self.store.members(tenant, group_id))
        spawn = await self.store.spawn(tenant, spawn_id)
        if spawn is None:
            raise SpawnNotFound(spawn_id)
        return Standing(spawn=spawn)

    async def page(self, command: ListSpawns) -> tuple[Spawn, ...]:
        """Children, up to one more than were asked for."""
        return await self.store.page(command)

    async def tree(self, creator: Creator, run_id: str, most_depth: int) -> Tree:
        """The tree that a run belongs to. Raises RunNotFound."""
        runs = self.runs_of(creator)
        asked = await runs.get(run_id)
        root = asked if asked.root_run_id in ("", run_id) else await runs.get(asked.root_run_id)
        found = await self.store.under_root(creator.tenant, root.run_id, MOST_OF_TREE + 1)
        below = tuple(each for each in found[:MOST_OF_TREE] if each.run_id != root.run_id)
        shown = tuple(each for each in below if not most_depth or each.origin.depth <= most_depth)
        every = await self.store.groups_of_root(creator.tenant, root.run_id, MOST_OF_TREE)
        named = {each.group_id for each in shown}
        groups = tuple(each for each in every if each.group_id in named)
        return Tree(root, shown, groups, usage_of_tree(root, below), len(found) > MOST_OF_TREE)

    async def wait(
        self, tenant: str, patience: timedelta, leaving: Leaving, *, spawn_id: str = "", group_id: str = ""
    ) -> Standing:
        """A child or group once it is over or waits, or as it stands when patience is over or the server goes away.

        Raises:
            SpawnNotFound.
        """
        until = self.clock.monotonic() + patience.total_seconds()
        with self.changes.bell(tenant, spawn_id or group_id) as bell, leaving.ringing(bell):
            while True:
                bell.clear()
                standing = await self.get(tenant, spawn_id=spawn_id, group_id=group_id)
                left = until - self.clock.monotonic()
                if standing.over_or_waiting or left <= 0 or leaving.started.is_set():
                    return standing
                await rung(bell, min(left, self.look_every.total_seconds()))

    async def watch(
        self, tenant: str, leaving: Leaving, *, spawn_id: str = "", group_id: str = ""
    ) -> AsyncGenerator[Standing]:
        """A child or group now, and again at every change, until it is over. Raises SpawnNotFound, Draining."""
        last: Standing | None = None
        with self.changes.bell(tenant, spawn_id or group_id) as bell, leaving.ringing(bell):
            while True:
                bell.clear()
                standing = await self.get(tenant, spawn_id=spawn_id, group_id=group_id)
                if standing != last:
                    yield standing
                last = standing
                if standing.over:
                    return
                if leaving.started.is_set():
                    raise Draining()
                await rung(bell, self.look_every.total_seconds())

    async def cancel(
        self, who: Creator, key: RequestKey, note: str, *, spawn_id: str = "", group_id: str = ""
    ) -> Standing:
        """Have a child or group end; one that is over stays as it is.

        Raises:
            SpawnNotFound, RequestIdReused.
        """
        tenant = who.tenant
        known = await self.store.target_of(key) is not None
        while True:
            standing = await self.get(tenant, spawn_id=spawn_id, group_id=group_id)
            if known or standing.over or await self._stopped(standing, who, note):
                break
        await self.store.remember(key, spawn_id or group_id)
        return await self.get(tenant, spawn_id=spawn_id, group_id=group_id)

    async def _stopped(self, standing: Standing, who: Creator, note: str) -> bool:
        """Mark what is to end, and ring for it; False: it has changed meanwhile."""
        words = f"{who.principal} cancelled it" + (f": {note}" if note else ".")
        spawn, group = standing.spawn, standing.group
        if spawn is not None:
            return await self._stopped_spawn(spawn, words)
        if group is not None:
            stopped = replace(group, stop=group.stop or Stop.ASKED, due=self.clock.now())
            if await self.store.save_group(group, stopped, cancelled=SpawnFailure("CANCELLED", words)) is None:
                return False
            self.ring_group(group.tenant, group.group_id)
            for each in standing.members:
                self.ring_spawn(each.tenant, each.spawn_id)
        return True

    async def _stopped_spawn(self, spawn: Spawn, words: str) -> bool:
        if spawn.stop is Stop.NONE:
            failure = SpawnFailure("CANCELLED", words)
            stopped = replace(spawn, stop=Stop.ASKED, failure=failure, due=self.clock.now())
            if await self.store.save_spawn(spawn, stopped) is None:
                return False
        self.ring_spawn(spawn.tenant, spawn.spawn_id)
        return True
