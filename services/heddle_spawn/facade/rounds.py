"""The service's own motion: whatever is open is looked at when it is due, and at once when somebody rings.

Doorbells only make it faster. What no doorbell tells is found by the sweep, which takes what is due from the store:
so several processes share the work, and one that dies leaves nothing undone (SEMANTICS 32).
"""

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

from heddle_core.clock import MICROS_PER_SECOND, Clock
from heddle_core.faults import HeddleError
from heddle_core.log_lines import LogLines
from heddle_spawn.facade.attending import Attending
from heddle_spawn.facade.grouping import Grouping
from heddle_spawn.facade.ports import Recorded, RunsOf, SpawnStore
from heddle_spawn.rules.spawns import Group, Spawn
from heddle_spawn.rules.states import SpawnState

_BATCH = 256
_SHORTEST = 0.01
"""Seconds between two sweeps at least, however much is due."""

_NEVER = 1 << 62

_log = LogLines(__name__)


@dataclass(frozen=True, slots=True)
class RoundSettings:
    """How much is done at the same time."""

    sweep_every: timedelta = timedelta(seconds=10)
    at_once: int = 64
    """Children and groups that are looked at side by side."""
    most_watched: int = 256
    """Threads of open children that are watched live; the others are found by doorbells and sweeps."""


@dataclass(frozen=True, slots=True)
class _Key:
    kind: Literal["spawn", "group"]
    tenant: str
    id: str


@dataclass(slots=True)
class _Motion:
    """What is under way while the service runs."""

    slots: asyncio.Semaphore
    tasks: set[asyncio.Task[None]] = field(default_factory=set["asyncio.Task[None]"])
    busy: set[_Key] = field(default_factory=set[_Key])
    again: set[_Key] = field(default_factory=set[_Key])
    watching: dict[_Key, asyncio.Task[None]] = field(default_factory=dict[_Key, "asyncio.Task[None]"])

    def begin(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Start a task that ends with the service at the latest."""
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task


class Rounds:
    """Looks at children and groups."""

    def __init__(
        self,
        store: SpawnStore,
        runs_of: RunsOf,
        attending: Attending,
        grouping: Grouping,
        clock: Clock,
        settings: RoundSettings,
    ) -> None:
        self._store = store
        self._runs_of = runs_of
        self._attending = attending
        self._grouping = grouping
        self._clock = clock
        self._settings = settings
        self._motion: _Motion | None = None
        self._wake = asyncio.Event()
        self._wake_at = 0
        self._recorded = 0
        self._nothing_open = False
        """What the last sweep found, unless something was recorded since: then no thread is anybody's child."""

    @asynccontextmanager
    async def serving(self) -> AsyncGenerator[None]:
        """Go round until the block is left. What is under way then is left as it is on record."""
        motion = self._motion = _Motion(asyncio.Semaphore(self._settings.at_once))
        motion.begin(self._sweep())
        try:
            yield
        finally:
            self._motion = None
            while motion.tasks:
                for task in motion.tasks:
                    task.cancel()
                await asyncio.wait(motion.tasks)

    def recorded(self, what: Recorded) -> None:
        """Have what was recorded looked at at once."""
        self._recorded += 1
        self._nothing_open = False
        if what.group is not None:
            self._ring(_Key("group", what.group.tenant, what.group.group_id))
        for each in what.spawns:
            if each.due:
                self.ring_spawn(each.tenant, each.spawn_id)

    def ring_spawn(self, tenant: str, spawn_id: str) -> None:
        """Have a child looked at."""
        self._ring(_Key("spawn", tenant, spawn_id))

    def ring_group(self, tenant: str, group_id: str) -> None:
        """Have a group looked at."""
        self._ring(_Key("group", tenant, group_id))

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
        self._wake.set()

    def _ring(self, key: _Key) -> None:
        motion = self._motion
        if motion is None:
            return
        if key in motion.busy:
            motion.again.add(key)
            return
        motion.busy.add(key)
        motion.begin(self._look(motion, key))

    async def _look(self, motion: _Motion, key: _Key) -> None:
        try:
            async with motion.slots:
                while True:
                    motion.again.discard(key)
                    await self._look_once(key)
                    if key not in motion.again:
                        return
        except HeddleError as error:
            _log.warning("looked at in vain", kind=key.kind, id=key.id, reason=error.reason, problem=str(error))
        except Exception:
            # One that cannot be looked at must not stop the others; it stays due.
            _log.exception("looking failed", kind=key.kind, id=key.id)
        finally:
            motion.busy.discard(key)
            motion.again.discard(key)

    async def _look_once(self, key: _Key) -> None:
        if key.kind == "group":
            group = await self._store.group(key.tenant, key.id)
            if group is not None:
                after = await self._grouping.attend(group)
                self._note_due(after.due)
                if after.current_stage != group.current_stage or after.revision != group.revision:
                    await self._ring_members(after)
            return
        spawn = await self._store.spawn(key.tenant, key.id)
        if spawn is None:
            return
        after = await self._attending.attend(spawn)
        self._note_due(after.due)
        self._watch(key, after)
        if after.group_id and after.revision != spawn.revision:
            self.ring_group(after.tenant, after.group_id)

    async def _ring_members(self, group: Group) -> None:
        """Have the children looked at that a group's step has opened or stopped."""
        for each in await self._store.members(group.tenant, group.group_id):
            if not each.state.terminal and each.due and (each.stop or each.state is SpawnState.PENDING):
                self.ring_spawn(each.tenant, each.spawn_id)

    def _note_due(self, due: int) -> None:
        if due and due < self._wake_at:
            self._wake.set()

    # --- the sweep ----------------------------------------------------------------------------------------

    async def _sweep(self) -> None:
        while True:
            self._wake.clear()
            self._wake_at = _NEVER  # what becomes due while the store is asked wakes at once
            pause = await self._take()
            self._wake_at = self._clock.now() + round(pause * MICROS_PER_SECOND)
            try:
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def _take(self) -> float:
        """Look at what is due; seconds until the next sweep."""
        most = self._settings.sweep_every.total_seconds()
        recorded = self._recorded
        try:
            due = await self._store.take_due(_BATCH)
        except HeddleError as error:
            _log.warning("nothing can be taken from the store", reason=error.reason, problem=str(error))
            return min(most, 1.0)
        except Exception:
            # A sweep that ends would leave everything undone.
            _log.exception("the sweep failed")
            return min(most, 1.0)
        idle = due.next_at is None and not due.spawns and not due.groups
        self._nothing_open = idle and recorded == self._recorded
        for spawn in due.spawns:
            self.ring_spawn(spawn.tenant, spawn.spawn_id)
        for group in due.groups:
            self.ring_group(group.tenant, group.group_id)
        if max(len(due.spawns), len(due.groups)) == _BATCH:
            return _SHORTEST
        if due.next_at is None:
            return most
        return min(max((due.next_at - due.now) / MICROS_PER_SECOND, _SHORTEST), most)

    # --- watching -----------------------------------------------------------------------------------------

    def _watch(self, key: _Key, spawn: Spawn) -> None:
        motion = self._motion
        if motion is None:
            return
        watcher = motion.watching.get(key)
        if spawn.state.terminal:
            if watcher is not None:
                watcher.cancel()
        elif watcher is None and spawn.thread_id and len(motion.watching) < self._settings.most_watched:
            motion.watching[key] = motion.begin(self._listen(motion, key, spawn))

    async def _listen(self, motion: _Motion, key: _Key, spawn: Spawn) -> None:
        heads = self._runs_of(spawn.origin.creator).heads(spawn.thread_id, after=spawn.cursor)
        try:
            async for _ in heads:
                self._ring(key)
        except HeddleError as error:
            # The sweep goes on without it, and watches again.
            _log.info("a thread is not watched any more", thread=spawn.thread_id, reason=error.reason)
        finally:
            motion.watching.pop(key, None)
            await heads.aclose()
