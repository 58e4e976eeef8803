"""What a tick over all schedules costs the campaign service's store: with none due, and with a hundred.

    PYTHONPATH=. python bench/schedules.py [--campaigns 100000] [--due 100] [--ticks 20] [--json]
        [--engine sqlite|postgres]

Fills one database with ACTIVE campaigns, each with an interval of its own phase, so that a second of the clock makes
the same number of them due. The clock is moved by hand, and each tick is one `settle` with the service's own decision:
claim, decide, write a cycle for each, commit. What is told is its wall time and the processor time of this process.
PostgreSQL is that of the tests' wheel, with fsync, on this machine.
"""

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import processes

if TYPE_CHECKING:
    from heddle_campaign.store.store import Store
    from heddle_core.clock import ManualClock
    from heddle_database.port import Database

MOST = 1_000
"""Campaigns that a tick settles at most."""
BATCH = 1_000
"""Campaigns that are written at a time to fill the database."""


@dataclass
class Ticks:
    """Ticks of one kind."""

    wall_ms: list[float] = field(default_factory=list[float])
    processor_ms: list[float] = field(default_factory=list[float])
    cycles: int = 0

    async def add(self, store: "Store") -> None:
        """One more."""
        from heddle_campaign.facade.settling import settle

        wall, processor = time.perf_counter(), time.process_time()
        done = await store.settle(settle, MOST, timedelta(seconds=30))
        self.processor_ms.append((time.process_time() - processor) * 1e3)
        self.wall_ms.append((time.perf_counter() - wall) * 1e3)
        self.cycles += len(done.cycles)

    @property
    def figures(self) -> dict[str, float]:
        """Median and worst, in milliseconds, and what was fired in all."""
        return {
            "median_ms": median(self.wall_ms),
            "worst_ms": max(self.wall_ms),
            "processor_ms": median(self.processor_ms),
            "cycles": self.cycles,
        }


async def measure(engine: str, campaigns: int, due: int, ticks: int) -> dict[str, Any]:
    """Fill, then tick."""
    from heddle_campaign.store.store import Store
    from heddle_core.changes import Changes
    from heddle_core.clock import ManualClock

    clock = ManualClock()
    with tempfile.TemporaryDirectory() as folder:
        async with opened(engine, Path(folder), clock) as database:
            began = time.perf_counter()
            await fill(database, clock, campaigns, due)
            filled = time.perf_counter() - began
            store, none, some = Store(database, Changes()), Ticks(), Ticks()
            for _ in range(ticks):
                await none.add(store)
            for _ in range(ticks):
                clock.advance(1)
                await some.add(store)
            if (some.cycles, none.cycles) != (ticks * due, 0):
                raise processes.Failed(f"{some.cycles} cycles were fired instead of {ticks * due}")
    return {
        "engine": engine,
        "campaigns": campaigns,
        "due": due,
        "ticks": ticks,
        "fill_s": filled,
        "none_due": none.figures,
        "some_due": some.figures,
    }


async def fill(database: "Database", clock: "ManualClock", campaigns: int, due: int) -> None:
    """Write the campaigns: `due` of them fall due in each second from now on, and again when all have been."""
    from heddle_campaign.rules import due as schedules
    from heddle_campaign.rules.campaigns import Campaign, CampaignAgent, CampaignSettings
    from heddle_campaign.rules.recurrence import Interval
    from heddle_campaign.rules.schedule import OverlapPolicy, Schedule
    from heddle_campaign.rules.states import CampaignState
    from heddle_campaign.store.campaign_rows import insert_campaign
    from heddle_core.clock import MICROS_PER_SECOND, Micros
    from heddle_core.ids import TenantId
    from heddle_core.requests import Creator
    from heddle_database.port import Transaction

    now, interval = clock.now(), Interval(timedelta(seconds=max(3_600, campaigns // due + 1)))

    def campaign(number: int) -> Campaign:
        tenant, name = TenantId(f"tenant_{number % 50}"), f"cmp_{number:08}"
        start = Micros(now + (1 + number // due) * MICROS_PER_SECOND)
        schedule = Schedule(tenant, name, 1, (interval,), start, overlap=OverlapPolicy.ALLOW_ALL)
        begun = schedules.activate(schedule, now)
        agent = CampaignAgent("writer", "agent_writer", objective="Write what the brief asks for. " * 8)
        settings = CampaignSettings(f"Campaign {number}", "A brief of some length. " * 20, (agent,), schedule)
        creator = Creator(tenant, "bench")
        return Campaign(tenant, name, settings, creator, CampaignState.ACTIVE, begun.state, begun.next_due)

    def write(numbers: range, tx: Transaction) -> None:
        for number in numbers:
            insert_campaign(tx, campaign(number))

    for first in range(0, campaigns, BATCH):
        numbers = range(first, min(first + BATCH, campaigns))
        await database.write(lambda tx, numbers=numbers: write(numbers, tx), bulk=True)


@asynccontextmanager
async def opened(engine: str, folder: Path, clock: "ManualClock") -> AsyncGenerator["Database"]:
    """An empty database with the service's tables."""
    from heddle_campaign.wiring import MIGRATIONS
    from heddle_database.migrations import migrate
    from heddle_database.postgres import PostgresDatabase
    from heddle_database.sqlite import SqliteDatabase

    if engine == "postgres":
        from tests.kit.postgres import PostgresServer

        server = PostgresServer()
        try:
            server.start()
            database: Database = await PostgresDatabase.open(server.url(), clock=clock)
            await migrate(database, MIGRATIONS)
            yield database
            await database.close()
        finally:
            server.remove()
    else:
        database = await SqliteDatabase.open(folder / "campaign.db", clock=clock)
        await migrate(database, MIGRATIONS)
        yield database
        await database.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--campaigns", type=int, default=100_000)
    parser.add_argument("--due", type=int, default=100, help="campaigns that are due in a tick")
    parser.add_argument("--ticks", type=int, default=20, help="of each kind")
    parser.add_argument("--engine", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.campaigns < arguments.due * arguments.ticks:
        parser.error("too few --campaigns for so many --ticks with so many --due")
    processes.use_sources()
    found = asyncio.run(measure(arguments.engine, arguments.campaigns, arguments.due, arguments.ticks))
    if arguments.json:
        print(json.dumps(found))
        return
    print(f"{found['campaigns']:,} schedules on {found['engine']}, written in {found['fill_s']:.1f} s")
    for name, number in (("none_due", 0), ("some_due", found["due"])):
        each = found[name]
        print(
            f"a tick with {number:4} due: {each['median_ms']:7.2f} ms, worst {each['worst_ms']:7.2f} ms,"
            f" processor {each['processor_ms']:7.2f} ms"
        )


if __name__ == "__main__":
    main()
