"""The campaign service's store, on every engine: requests that nobody repeats any more are let go."""

from collections.abc import AsyncGenerator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest_asyncio

from heddle_campaign.rules.cycle_keys import CycleOrigin
from heddle_campaign.rules.states import CycleState
from heddle_database.housekeeping import Housekeeping
from tests.kit.campaign_stores import ACME, ENGINES, Campaigns, adding, campaign_of, cycle_of

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


async def test_what_made_a_campaign_is_known_as_long_as_the_campaign_is_there(world: Campaigns) -> None:
    key = world.key("CreateCampaign", "made")
    await world.store.create(key, campaign_of())
    await world.store.remember(world.key("PauseCampaign", "paused"), "c1")
    world.clock.advance(400 * DAY)
    assert await world.store.purge_requests(WEEK, 100) == 1
    again = await world.store.create(key, campaign_of("c2"))
    assert (again.campaign.campaign_id, again.new) == ("c1", False)
    await world.store.delete(world.key("DeleteCampaign", "gone"), "c1", etag="")
    assert await world.store.purge_requests(WEEK, 100) == 1
    assert await requests(world) == ["gone"]


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
