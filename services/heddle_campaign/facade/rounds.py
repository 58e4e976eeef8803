"""The campaign service's own motion: schedules are settled, due cycles claimed, and those at work looked at.

Doorbells only make it faster. A sweep finds everything, in three ordered queries, whatever the number of schedules;
so several processes share the work, and one that dies leaves nothing undone (SEMANTICS 32).
"""

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial

from heddle_campaign.facade.cycle_work import CycleWork
from heddle_campaign.facade.ports.campaigns import CampaignStore
from heddle_campaign.facade.ports.runs import RunsOf
from heddle_campaign.facade.settling import settle
from heddle_campaign.rules.cycles import Cycle, CycleTurn
from heddle_campaign.rules.queue import Bounds
from heddle_campaign.rules.states import CycleState, TurnState
from heddle_client.motion import SHORTEST, Motion, MotionSettings
from heddle_core.clock import MICROS_PER_SECOND, Clock

_BATCH = 100
"""Campaigns that are settled, and cycles that are claimed or taken, in one query."""


@dataclass(frozen=True, slots=True)
class RoundSettings:
    """How much is done at the same time."""

    motion: MotionSettings = MotionSettings()
    bounds: Bounds = Bounds()
    """Of cycles at work, over all workers."""
    settle_again: timedelta = timedelta(minutes=1)
    """After this a campaign is asked again whose schedule could not be settled."""


@dataclass(frozen=True, slots=True)
class _Key:
    tenant: str
    cycle_id: str


@dataclass(frozen=True, slots=True)
class _Threads:
    """Threads of the cycles that this worker has at work: what happens in others is none of its business."""

    keys: dict[tuple[str, str], _Key] = field(default_factory=dict[tuple[str, str], _Key])

    def note(self, key: _Key, turns: tuple[CycleTurn, ...]) -> None:
        for turn in turns:
            self.keys[key.tenant, turn.thread_id] = key

    def drop(self, key: _Key) -> None:
        for thread in [each for each, holder in self.keys.items() if holder == key]:
            del self.keys[thread]


class Rounds:
    """Moves campaigns and cycles on."""

    def __init__(
        self,
        store: CampaignStore,
        work: CycleWork,
        runs_of: RunsOf,
        clock: Clock,
        worker: str,
        settings: RoundSettings,
    ) -> None:
        """`worker` names this process among all that share the store."""
        self._store = store
        self._work = work
        self._runs_of = runs_of
        self._worker = worker
        self._clock = clock
        self._settings = settings
        self._ahead = 0
        """By how many microseconds the store's clock is ahead of this process's, as the last sweep found it."""
        self._threads = _Threads()
        self._motion = Motion[_Key](self._look, self._sweep, clock, settings.motion)

    def serving(self) -> AbstractAsyncContextManager[None]:
        """Go round until the block is left. What is under way then is left as it is on record."""
        return self._motion.serving()

    def sweep_now(self) -> None:
        """Look for what is due: a campaign or a cycle was changed, or somebody may have rung unheard."""
        self._motion.sweep_now()

    def ring_cycle(self, tenant: str, cycle_id: str) -> None:
        """Have a cycle looked at, if it is this worker's."""
        self._motion.ring(_Key(tenant, cycle_id))

    def ring_thread(self, tenant: str, thread_id: str) -> None:
        """Have the cycle looked at that has a turn in this thread, if it is this worker's."""
        key = self._threads.keys.get((tenant, thread_id))
        if key is not None:
            self._motion.ring(key)

    async def _look(self, key: _Key) -> None:
        cycle = await self._store.cycle(key.tenant, key.cycle_id)
        if cycle is not None and cycle.state is CycleState.RUNNING and cycle.owner == self._worker:
            cycle = await self._work.attend(cycle)
            if cycle.state.terminal:
                # Its place is free, and its campaign may have changed.
                self._motion.sweep_now()
        self._threads.drop(key)
        if cycle is None or cycle.state is not CycleState.RUNNING or cycle.owner != self._worker:
            self._motion.unwatch(key)
            return
        running = tuple(each for each in cycle.turns if each.state is TurnState.RUNNING)
        self._threads.note(key, running)
        for turn in running:
            self._motion.watch(key, turn.thread_id, partial(self._heads, cycle, turn))
        self._motion.note_due(cycle.look_at - self._ahead)

    async def _heads(self, cycle: Cycle, turn: CycleTurn) -> AsyncGenerator[int, None]:
        campaign = await self._store.campaign(cycle.key.tenant, cycle.key.campaign_id)
        if campaign is None:
            return
        heads = self._runs_of(campaign.creator).heads(turn.thread_id, after=turn.request_sequence)
        async with aclosing(heads):
            async for each in heads:
                yield each

    async def _sweep(self) -> float:
        """Fire what is due, and look at what it is time to look at; seconds until the next sweep."""
        settings = self._settings
        lease = self._work.lease
        settled = await self._store.settle(settle, _BATCH, settings.settle_again)
        # No more than is looked at at once: what waits here would be kept from workers that have time for it.
        room = min(_BATCH, self._motion.room)
        claimed = await self._store.claim(self._worker, room, settings.bounds, lease)
        room -= len(claimed.cycles)
        taken = await self._store.take(self._worker, room, lease)
        self._ahead = taken.now - self._clock.now()
        for cycle in (*claimed.cycles, *taken.cycles):
            self.ring_cycle(cycle.key.tenant, cycle.cycle_id)
        if max(len(settled.campaigns), len(claimed.cycles), len(taken.cycles)) >= _BATCH:
            return SHORTEST
        asked = (settled, claimed, taken) if room > len(taken.cycles) else (settled,)
        moments = [each.next_at for each in asked if each.next_at is not None]
        if not moments:
            return settings.motion.sweep_every.total_seconds()
        return (min(moments) - taken.now) / MICROS_PER_SECOND
