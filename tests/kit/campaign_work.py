"""The campaign service's own motion beside a runtime: workers that share one database, and what is asked of them."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from heddle.runtime.v1 import agent_pb2, agent_service_pb2
from heddle.runtime.v1.run_pb2 import Run
from heddle.runtime.v1.run_service_pb2 import ListRunsRequest
from heddle_campaign.facade.cycle_work import CycleWork
from heddle_campaign.facade.firing import trigger
from heddle_campaign.facade.lifecycle import activate
from heddle_campaign.facade.ports.decisions import Decision
from heddle_campaign.facade.ports.listing import ListCycles
from heddle_campaign.facade.remembering import Remembering
from heddle_campaign.facade.rounds import Rounds, RoundSettings
from heddle_campaign.rules.campaigns import Campaign, CampaignAgent
from heddle_campaign.rules.cycles import Cycle
from heddle_campaign.store.memories import Memories
from heddle_campaign.store.store import Store
from heddle_client.motion import MotionSettings
from heddle_client.runs import prepare
from heddle_core.changes import Changes
from heddle_core.clock import SystemClock
from heddle_core.ids import TenantId
from heddle_core.requests import Creator, RequestKey
from heddle_database.migrations import migrate
from heddle_database.port import Database
from heddle_database.sqlite import SqliteDatabase
from heddle_service.door import DoorSettings, RuntimeDoor
from tests.kit.campaign_stores import MIGRATIONS, campaign_of
from tests.kit.running_runtime import House, new_id
from tests.kit.running_spawn import served_runtime

TENANT = TenantId("default")
"""Of the runtime's development identity."""
LEASE = timedelta(seconds=10)


@dataclass
class Office:
    """A runtime, the campaign service's database, and its workers."""

    house: House
    address: str
    database: Database
    changes: Changes = field(default_factory=Changes)

    @property
    def store(self) -> Store:
        return Store(self.database, self.changes)

    @property
    def memories(self) -> Memories:
        return Memories(self.database, self.changes)

    @asynccontextmanager
    async def worker(
        self, name: str = "w1", lease: timedelta = LEASE, database: Database | None = None
    ) -> AsyncGenerator[Rounds]:
        """A worker that goes round until the block is left, with connections of its own if they are given."""
        door = RuntimeDoor(DoorSettings(address=self.address), SystemClock())
        store = Store(database or self.database, self.changes)
        memories = Memories(database or self.database, self.changes)
        try:
            remembering = Remembering(door.runs_of, memories)
            work = CycleWork(store, memories, door.runs_of, prepare, remembering.remember, lease)
            settings = RoundSettings(MotionSettings(sweep_every=lease))
            rounds = Rounds(store, work, door.runs_of, SystemClock(), name, settings)
            async with rounds.serving():
                yield rounds
        finally:
            await door.close()

    async def campaign(self, campaign_id: str = "c1", **settings: Any) -> Campaign:
        """An ACTIVE campaign; its roles are named as its agents, and those exist."""
        made = replace(campaign_of(campaign_id, TENANT, **settings), creator=Creator(TENANT, "developer"))
        key = RequestKey(TENANT, "developer", "CreateCampaign", new_id(), b"")
        await self.store.create(key, made)
        return (await self.store.decide(TENANT, campaign_id, activate)).campaign

    async def agents(self, *agent_ids: str) -> tuple[CampaignAgent, ...]:
        """New agents, each with a role of its name."""
        for agent_id in agent_ids:
            spec = agent_pb2.AgentSpec(instructions="Test.", tools=["builtin/*"])
            request = agent_service_pb2.CreateAgentRequest(request_id=new_id(), agent_id=agent_id, spec=spec)
            await self.house.stubs.agents.CreateAgent(request)
        return tuple(CampaignAgent(each, each, objective=f"the part of {each}") for each in agent_ids)

    async def decide(self, decision: Decision, campaign_id: str = "c1") -> tuple[Cycle, ...]:
        """Do what a decision says; its cycles."""
        return (await self.store.decide(TENANT, campaign_id, decision)).cycles

    async def trigger(self, rounds: Rounds, campaign_id: str = "c1", **fields: Any) -> Cycle:
        """A cycle by hand."""
        (cycle,) = await self.decide(partial(trigger, **fields), campaign_id)
        rounds.sweep_now()
        return cycle

    async def reached(self, holds: Callable[[Cycle], bool], cycle: Cycle, seconds: float = 30) -> Cycle:
        """The cycle once something holds of it."""
        found = cycle
        try:
            with self.changes.bell(TENANT, cycle.key.campaign_id) as bell:
                async with asyncio.timeout(seconds):
                    while True:
                        bell.clear()
                        found = await self.store.cycle(TENANT, cycle.cycle_id) or found
                        if holds(found):
                            return found
                        await bell.wait()
        except TimeoutError:
            raise AssertionError(f"it never came to that: {found}") from None

    async def ended(self, cycle: Cycle, seconds: float = 30) -> Cycle:
        """The cycle once it is over."""
        return await self.reached(lambda each: each.state.terminal, cycle, seconds)

    async def cycles(self, campaign_id: str = "c1") -> tuple[Cycle, ...]:
        """The campaign's cycles, oldest first."""
        command = ListCycles(TENANT, campaign_id, 1_000, descending=False)
        return (await self.store.cycles(command)).cycles

    async def runs(self) -> list[Run]:
        """All runs of the runtime."""
        return list((await self.house.stubs.runs.ListRuns(ListRunsRequest(page_size=1_000))).runs)

    async def found(self, campaign_id: str = "c1") -> Campaign:
        campaign = await self.store.campaign(TENANT, campaign_id)
        assert campaign is not None
        return campaign


@asynccontextmanager
async def office(folder: Path, scenario: str, database: Database | None = None) -> AsyncGenerator[Office]:
    """A runtime whose model plays `scenario`, and a database for workers: a new SQLite unless one is given."""
    async with AsyncExitStack() as stack:
        address, house = await stack.enter_async_context(served_runtime(folder, scenario))
        if database is not None:
            yield Office(house, address, database)
            return
        database = await SqliteDatabase.open(folder / "campaign.db", clock=SystemClock())
        stack.push_async_callback(database.close)
        await migrate(database, MIGRATIONS)
        yield Office(house, address, database)
