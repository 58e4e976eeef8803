"""The service's own motion: whatever is open is looked at when it is due, and at once when somebody rings.

Doorbells only make it faster. What no doorbell tells is found by the sweep, which takes what is due from the store:
so several processes share the work, and one that dies leaves nothing undone (SEMANTICS 32).
"""

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from typing import Literal

from heddle_client.motion import SHORTEST, Motion, MotionSettings
from heddle_core.clock import MICROS_PER_SECOND, Clock
from heddle_spawn.facade.attending import Attending
from heddle_spawn.facade.grouping import Grouping
from heddle_spawn.facade.ports import Recorded, RunsOf, SpawnStore
from heddle_spawn.rules.spawns import Group, Spawn
from heddle_spawn.rules.states import SpawnState

_BATCH = 256


@dataclass(frozen=True, slots=True)
class _Key:
    kind: Literal["spawn", "group"]
    tenant: str
    id: str


class Rounds:
    """Looks at children and groups."""

    def __init__(
        self,
        store: SpawnStore,
        runs_of: RunsOf,
        attending: Attending,
        grouping: Grouping,
        clock: Clock,
        settings: MotionSettings,
    ) -> None:
        self._store = store
        self._runs_of = runs_of
        self._attending = attending
        self._grouping = grouping
        self._most = settings.sweep_every.total_seconds()
        self._motion = Motion[_Key](self._look, self._take, clock, settings)
        self._recorded = 0
        self._nothing_open = False
        """What the last sweep found, unless something was recorded since: then no thread is anybody's child."""

    def serving(self) -> AbstractAsyncContextManager[None]:
        """Go round until the block is left. What is under way then is left as it is on record."""
        return self._motion.serving()

    def recorded(self, what: Recorded) -> None:
        """Have what was recorded looked at at once."""
        self._recorded += 1
        self._nothing_open = False
        if what.group is not None:
            self.ring_group(what.group.tenant, what.group.group_id)
        for each in what.spawns:
            if each.due:
                self.ring_spawn(each.tenant, each.spawn_id)

    def ring_spawn(self, tenant: str, spawn_id: str) -> None:
        """Have a child looked at."""
        self._motion.ring(_Key("spawn", tenant, spawn_id))

    def ring_group(self, tenant: str, group_id: str) -> None:
        """Have a group looked at."""
        self._motion.ring(_Key("group", tenant, group_id))

    async def ring_thread(self, tenant: str, thread_id: str) -> None:
        """Have the child of a thread looked at, if it is one's."""
        if self._nothing_open:
            return
        for spawn in await self._store.of_thread(tenant, thread_id):
            if spawn.thread_id == thread_id and not spawn.state.terminal:
                self.ring_spawn(tenant, spawn.spawn_id)

    async def forget_thread(self, tenant: str, thread_id: str) -> None:
        """Erase what is on record of a thread that was deleted."""
        for spawn in await self._store.of_thread(tenant, thread_id):
            if spawn.state.terminal:
                await self._attending.forget(spawn)
            else:
                self.ring_spawn(tenant, spawn.spawn_id)

    def sweep_now(self) -> None:
        """Look for what is due: somebody may have rung while nobody could hear."""
        self._motion.sweep_now()

    async def _look(self, key: _Key) -> None:
        if key.kind == "group":
            group = await self._store.group(key.tenant, key.id)
            if group is not None:
                after = await self._grouping.attend(group)
                self._motion.note_due(after.due)
                if after.current_stage != group.current_stage or after.revision != group.revision:
                    await self._ring_members(after)
            return
        spawn = await self._store.spawn(key.tenant, key.id)
        if spawn is None:
            return
        after = await self._attending.attend(spawn)
        self._motion.note_due(after.due)
        if after.state.terminal:
            self._motion.unwatch(key)
        elif after.thread_id:
            self._motion.watch(key, after.thread_id, partial(self._heads, after))
        if after.group_id and after.revision != spawn.revision:
            self.ring_group(after.tenant, after.group_id)

    def _heads(self, spawn: Spawn) -> AsyncGenerator[int, None]:
        return self._runs_of(spawn.origin.creator).heads(spawn.thread_id, after=spawn.cursor)

    async def _ring_members(self, group: Group) -> None:
        """Have the children looked at that a group's step has opened or stopped."""
        for each in await self._store.members(group.tenant, group.group_id):
            if not each.state.terminal and each.due and (each.stop or each.state is SpawnState.PENDING):
                self.ring_spawn(each.tenant, each.spawn_id)

    async def _take(self) -> float:
        """Look at what is due; seconds until the next sweep."""
        recorded = self._recorded
        due = await self._store.take_due(_BATCH)
        idle = due.next_at is None and not due.spawns and not due.groups
        self._nothing_open = idle and recorded == self._recorded
        for spawn in due.spawns:
            self.ring_spawn(spawn.tenant, spawn.spawn_id)
        for group in due.groups:
            self.ring_group(group.tenant, group.group_id)
        if max(len(due.spawns), len(due.groups)) == _BATCH:
            return SHORTEST
        return self._most if due.next_at is None else (due.next_at - due.now) / MICROS_PER_SECOND
