"""The campaign service's stores on a database of each engine, several on one, with a clock that is moved by hand."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from heddle_campaign.facade.lifecycle import activate
from heddle_campaign.facade.ports.decisions import Change, Decision, Settled, Standing
from heddle_campaign.rules.campaigns import Campaign, CampaignAgent, CampaignSettings
from heddle_campaign.rules.cycle_keys import CycleKey, CycleOrigin
from heddle_campaign.rules.cycles import Cycle
from heddle_campaign.rules.due import ScheduleState
from heddle_campaign.rules.learned import Learned
from heddle_campaign.rules.memories import Memory, MemoryKind
from heddle_campaign.rules.recurrence import Interval
from heddle_campaign.rules.schedule import OverlapPolicy, Schedule
from heddle_campaign.rules.states import CampaignState
from heddle_campaign.store.memories import Memories
from heddle_campaign.store.store import Store
from heddle_campaign.wiring import MIGRATIONS
from heddle_core.changes import Changes
from heddle_core.clock import ManualClock, Micros
from heddle_core.ids import TenantId
from heddle_core.requests import Creator, RequestKey
from heddle_database.migrations import migrate
from heddle_database.port import Database
from heddle_database.postgres import PostgresDatabase
from heddle_database.sqlite import SqliteDatabase
from tests.kit.postgres import shared_server

ACME = TenantId("acme")
ADA = Creator(ACME, "ada")
SECOND = 1_000_000
NOW = ManualClock().now()
AGAIN = timedelta(seconds=30)
LEASE = timedelta(seconds=10)
AGENTS = (CampaignAgent("writer", "agent_writer"), CampaignAgent("artist", "agent_artist"))


@dataclass
class Campaigns:
    """Stores of replicas that share one database, and what is said to them."""

    stores: tuple[Store, ...]
    databases: tuple[Database, ...]
    clock: ManualClock
    count: int = 0
    changes: Changes = field(default_factory=Changes)

    @property
    def store(self) -> Store:
        return self.stores[0]

    @property
    def memories(self) -> Memories:
        return Memories(self.databases[0], self.changes)

    def key(self, method: str = "M", request_id: str = "", **fields: Any) -> RequestKey:
        """A new request's key, or that of a named one."""
        self.count += 1
        return replace(RequestKey(ACME, "ada", method, request_id or f"req_{self.count}", b"body"), **fields)

    async def create(self, campaign_id: str = "c1", **fields: Any) -> Campaign:
        """A DRAFT campaign."""
        return (await self.store.create(self.key("CreateCampaign"), campaign_of(campaign_id, **fields))).campaign

    async def activate(self, campaign_id: str = "c1", **fields: Any) -> Campaign:
        """A campaign that is ACTIVE."""
        made = await self.create(campaign_id, **fields)
        return await self.decide(campaign_id, activate, tenant=made.tenant)

    async def decide(self, campaign_id: str, decision: Any, *, tenant: str = ACME, **named: Any) -> Campaign:
        """Do what a decision says; the campaign then."""
        return (await self.store.decide(tenant, campaign_id, partial(decision, **named))).campaign

    async def settle(self, decision: Decision, most: int = 100) -> Settled:
        return await self.store.settle(decision, most, AGAIN)

    async def campaign(self, campaign_id: str = "c1", tenant: str = ACME) -> Campaign:
        found = await self.store.campaign(tenant, campaign_id)
        assert found is not None
        return found

    async def cycle(self, cycle: Cycle) -> Cycle:
        """A cycle as it stands now."""
        found = await self.store.cycle(cycle.key.tenant, cycle.cycle_id)
        assert found is not None
        return found

    async def add(self, *cycles: Cycle) -> tuple[Cycle, ...]:
        """Write cycles of one campaign."""
        key = cycles[0].key
        return (await self.store.decide(key.tenant, key.campaign_id, adding(*cycles))).cycles

    async def counts(self, table: str, campaign_id: str = "c1") -> int:
        """How many rows a campaign has in a table."""
        sql = f"SELECT COUNT(*) FROM {table} WHERE campaign_id = :campaign"
        rows = await self.databases[0].read(lambda tx: tx.rows(sql, campaign=campaign_id))
        return rows[0][0]


def adding(*cycles: Cycle, **fields: Any) -> Decision:
    """A decision that only adds cycles, and whatever else is named."""

    def add(standing: Standing) -> Change:
        return Change(standing.campaign, cycles, **fields)

    return add


def every(seconds: float, campaign_id: str = "c1", tenant: TenantId = ACME, **fields: Any) -> Schedule:
    """A schedule with a fixed interval, counted from the clock's first moment."""
    given: dict[str, Any] = {"start": NOW, "overlap": OverlapPolicy.ALLOW_ALL, **fields}
    given = {"recurrences": (Interval(timedelta(seconds=seconds)),), **given}
    return Schedule(tenant, campaign_id, 1, **given)


def campaign_of(campaign_id: str = "c1", tenant: TenantId = ACME, **settings: Any) -> Campaign:
    """A DRAFT campaign that was not stored yet."""
    given: dict[str, Any] = {"title": "spring", "agents": AGENTS, **settings}
    creator = replace(ADA, tenant=tenant)
    return Campaign(tenant, campaign_id, CampaignSettings(**given), creator, CampaignState.DRAFT, ScheduleState(NOW))


def cycle_of(at: int = 0, campaign_id: str = "c1", tenant: TenantId = ACME, **fields: Any) -> Cycle:
    """A DUE cycle, `at` seconds after the clock's first moment."""
    origin = fields.pop("origin", CycleOrigin.SCHEDULE)
    moment = Micros(NOW + at * SECOND)
    given: dict[str, Any] = {"due": moment, **fields}
    return Cycle(CycleKey(tenant, campaign_id, 1, moment, origin), **given)


def memory_of(memory_id: str, text: str = "dogs sell", at: int = 0, **fields: Any) -> Learned:
    """A memory, learned `at` seconds after the clock's first moment."""
    own = {
        name: fields.pop(name) for name in ("tenant", "campaign_id", "citation", "performance_json") if name in fields
    }
    memory = Memory(memory_id, fields.pop("kind", MemoryKind.NOTE), text, Micros(NOW + at * SECOND), **fields)
    given: dict[str, Any] = {"tenant": ACME, "campaign_id": "c1", **own}
    return Learned(memory=memory, **given)


@asynccontextmanager
async def on_sqlite(folder: Path, replicas: int = 1) -> AsyncGenerator[Campaigns]:
    """Replicas in one process, as SQLite has it."""
    clock = ManualClock()
    database = await SqliteDatabase.open(folder / "campaign.db", clock=clock)
    try:
        await migrate(database, MIGRATIONS)
        yield _campaigns((database,) * replicas, clock)
    finally:
        await database.close()


@asynccontextmanager
async def on_postgres(folder: Path, replicas: int = 1) -> AsyncGenerator[Campaigns]:
    """Replicas that each have connections of their own."""
    server = shared_server()
    clock = ManualClock()
    name = await server.create(await server.template("campaign", _migrated))
    async with AsyncExitStack() as stack:
        stack.push_async_callback(server.drop, name)
        databases: list[Database] = []
        for _ in range(replicas):
            databases.append(await PostgresDatabase.open(server.url(name), clock=clock))
            stack.push_async_callback(databases[-1].close)
        yield _campaigns(tuple(databases), clock)


def _campaigns(databases: tuple[Database, ...], clock: ManualClock) -> Campaigns:
    changes = Changes()
    return Campaigns(tuple(Store(each, changes) for each in databases), databases, clock, changes=changes)


async def _migrated(url: str) -> None:
    database = await PostgresDatabase.open(url)
    await migrate(database, MIGRATIONS)
    await database.close()


ENGINES = {"sqlite": on_sqlite, "postgres": on_postgres}
"""Every engine that the suites run on."""
