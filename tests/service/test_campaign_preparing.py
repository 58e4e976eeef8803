"""A campaign that knows much is prepared for in small portions: whatever else the process serves goes on meanwhile."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from heddle_campaign.facade.firing import trigger
from heddle_campaign.rules.learned import Learned
from heddle_campaign.rules.queue import Bounds
from heddle_campaign.rules.states import TurnState
from heddle_campaign.store.memories import Memories
from heddle_client.values import NewTurn
from tests.kit.campaign_desk import desk_on
from tests.kit.campaign_stores import ACME, LEASE, Campaigns, memory_of
from tests.kit.campaign_values import ARTIST, WRITER

PORTION = 8
"""Memories whose words may be split while nobody else has a turn."""


@dataclass
class Passes:
    """How often everybody has had a turn, and what was done in which of these passes."""

    count: int = 0
    split: Counter[int] = field(default_factory=Counter[int])
    prepared: Counter[int] = field(default_factory=Counter[int])

    @asynccontextmanager
    async def counted(self) -> AsyncGenerator[None]:
        async with asyncio.TaskGroup() as tasks:
            counting = tasks.create_task(self._count())
            yield
            counting.cancel()

    async def _count(self) -> None:
        while True:
            self.count += 1
            await asyncio.sleep(0)

    def prepare(self, asked: NewTurn) -> bytes:
        self.prepared[self.count] += 1
        return asked.request_id.encode()


class Text(str):
    """Notes the pass in which its words are looked for."""

    passes: Passes

    def casefold(self) -> str:
        self.passes.split[self.passes.count] += 1
        return super().casefold()


def watched(campaigns: Campaigns, passes: Passes) -> Memories:
    """The campaigns' memories, whose texts tell when they are split."""

    class Watched(Memories):
        async def known(self, tenant: str, campaign_id: str, most: int = 1_000) -> tuple[Learned, ...]:
            return tuple(map(_watched, await super().known(tenant, campaign_id, most)))

    def _watched(learned: Learned) -> Learned:
        text = Text(learned.memory.text)
        text.passes = passes
        return replace(learned, memory=replace(learned.memory, text=text))

    return Watched(campaigns.databases[0], campaigns.changes)


async def test_cycles_that_are_due_together_are_prepared_a_little_at_a_time(tmp_path: Path) -> None:
    passes = Passes()
    async with desk_on(tmp_path) as desk:
        for campaign_id in ("c1", "c2"):
            await desk.campaigns.activate(campaign_id, agents=(WRITER, ARTIST))
            known = [memory_of(f"{campaign_id}_{each}", f"fact {each}", campaign_id=campaign_id) for each in range(100)]
            await desk.campaigns.memories.learn(known)
            await desk.campaigns.store.decide(ACME, campaign_id, partial(trigger, roles=("writer", "artist")))
        work = replace(desk.work, memories=watched(desk.campaigns, passes), prepare=passes.prepare)
        cycles = (await desk.campaigns.store.claim("w1", 10, Bounds(), LEASE)).cycles
        async with passes.counted():
            done = await asyncio.gather(*map(work.attend, cycles))
    assert [turn.state for each in done for turn in each.turns] == [TurnState.RUNNING] * 4
    assert passes.split.total() >= 200
    assert max(passes.split.values()) <= PORTION
    assert max(passes.prepared.values()) == 1
