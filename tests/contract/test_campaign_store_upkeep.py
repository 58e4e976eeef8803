"""The campaign service's store, on every engine: requests that nobody repeats any more are let go."""

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
import pytest_asyncio

from heddle_campaign.rules.cycle_keys import CycleOrigin
from heddle_campaign.rules.states import CycleState
from heddle_campaign.store.store import Store
from heddle_core.clock import Micros
from heddle_core.companion_errors import CampaignNotFound
from heddle_database.housekeeping import Housekeeping
from heddle_database.port import Database, Transaction
from tests.kit.campaign_stores import ACME, ENGINES, Campaigns, adding, campaign_of, cycle_of, on_sqlite

WEEK = timedelta(days=7)
DAY = 86_400


@pytest_asyncio.fixture(name="world", params=ENGINES)
async def opened(request: Any, tmp_path: Path) -> AsyncGenerator[Campaigns]:
    async with ENGINES[request.param](tmp_path) as world:
        yield world


async def requests(world: Campaigns) -> list[str]:
    """The ids of the requests that are known."""
    rows = await world.databases[0].read(lambda tx: tx.rows("SELECT request_id FROM campaign_requests"))
    return sorted(row[0] for row in rows)


async def test_a_request_is_known_for_its_time_and_then_let_go(world: Campaigns) -> None:
    key = world.key("ReportSignal", "told")
    await world.store.remember(key, '[["c1",1,"t","",0.5]]')
    world.clock.advance(7 * DAY)
    assert await world.store.purge_requests(WEEK, 100) == 0
    assert await world.store.target_of(key) is not None
    world.clock.advance(1)
    assert await world.store.purge_requests(WEEK, 100) == 1
    assert await world.store.target_of(key) is None


async def test_what_made_a_campaign_is_known_for_good(world: Campaigns) -> None:
    key = world.key("CreateCampaign", "made")
    await world.store.create(key, campaign_of())
    await world.store.remember(world.key("PauseCampaign", "paused"), "c1")
    world.clock.advance(400 * DAY)
    assert await world.store.purge_requests(WEEK, 100) == 1
    again = await world.store.create(key, campaign_of("c2"))
    assert (again.campaign.campaign_id, again.new) == ("c1", False)
    await world.store.delete(world.key("DeleteCampaign", "gone"), "c1", etag="")
    world.clock.advance(400 * DAY)
    assert await world.store.purge_requests(WEEK, 100) == 1
    assert await requests(world) == ["made"]
    with pytest.raises(CampaignNotFound):
        await world.store.create(key, campaign_of("c2"))


@dataclass
class Explaining:
    """A database that carries out nothing that is to be written, and notes how it would be found."""

    database: Database
    plan: list[str] = field(default_factory=list[str])

    async def write(self, operation: Callable[[Transaction], int], **_: object) -> int:
        return await self.database.read(lambda tx: operation(cast(Transaction, Explained(tx, self.plan))))


@dataclass
class Explained:
    tx: Transaction
    plan: list[str]
    row_lock = ""

    @property
    def now(self) -> Micros:
        return self.tx.now

    def run(self, sql: str, /, **params: object) -> int:
        self.plan += [row[3] for row in self.tx.rows(f"EXPLAIN QUERY PLAN {sql}", **params)]
        return 0


async def test_a_round_reads_none_of_the_requests_that_stay_for_good(tmp_path: Path) -> None:
    async with on_sqlite(tmp_path) as world:
        explaining = Explaining(world.databases[0])
        assert await Store(cast(Database, explaining), world.changes).purge_requests(WEEK, 100) == 0
        assert "SEARCH r USING INDEX campaign_requests_passing (create_time<?)" in explaining.plan


async def test_what_started_a_cycle_is_known_until_a_day_after_its_end(world: Campaigns) -> None:
    await world.create()
    cycle = cycle_of(origin=CycleOrigin.MANUAL)
    key = world.key("TriggerCampaign", "now")
    written = (await world.store.decide(ACME, "c1", adding(cycle), key=key)).cycles[0]
    assert len(cycle.cycle_id) == 38, "by this the store finds it in what the request has made"
    world.clock.advance(400 * DAY)
    assert await world.store.purge_requests(WEEK, 100) == 0
    running = replace(written, state=CycleState.RUNNING, start_time=(await world.store.now()))
    saved = await world.store.save(written, running)
    assert saved is not None
    ended = replace(saved, state=CycleState.COMPLETED, end_time=await world.store.now())
    assert await world.store.save(saved, ended) is not None
    world.clock.advance(DAY - 1)
    assert await world.store.purge_requests(WEEK, 100) == 0
    world.clock.advance(1)
    assert await world.store.purge_requests(WEEK, 100) == 1
    assert await requests(world) == ["req_1"], "that of the campaign"


async def test_many_old_requests_go_in_bounded_batches_and_the_oldest_first(world: Campaigns) -> None:
    for number in range(7):
        await world.store.remember(world.key("PinMemory", f"r{number}"), "m")
        world.clock.advance(1)
    world.clock.advance(7 * DAY - 2)
    assert await world.store.purge_requests(WEEK, 2) == 2
    assert await requests(world) == [f"r{number}" for number in range(2, 7)]
    asked: list[int] = []

    async def purge(most: int) -> int:
        asked.append(most)
        return await world.store.purge_requests(WEEK, most)

    assert await Housekeeping(purge, batch=2).round() == 3
    assert asked == [2, 2]
    assert await requests(world) == ["r5", "r6"], "these are not old enough"
