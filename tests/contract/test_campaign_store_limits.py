"""The campaign service's store, on every engine: as many cycles as a schedule without times may begin, and no fewer."""

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from heddle_campaign.facade.firing import trigger
from heddle_campaign.facade.settling import settle
from heddle_campaign.rules.cycle_keys import CycleOrigin
from heddle_campaign.rules.cycles import Cycle
from heddle_campaign.rules.states import CampaignState, CycleState
from heddle_core.errors import IllegalTransition
from tests.kit.campaign_stores import ACME, ENGINES, Campaigns, every


@pytest_asyncio.fixture(name="world", params=ENGINES)
async def opened(request: Any, tmp_path: Path) -> AsyncGenerator[Campaigns]:
    async with ENGINES[request.param](tmp_path) as world:
        yield world


async def triggered(world: Campaigns) -> Cycle:
    (cycle,) = (await world.store.decide(ACME, "c1", trigger)).cycles
    assert (cycle.state, cycle.key.origin) == (CycleState.DUE, CycleOrigin.MANUAL)
    return cycle


async def begun(world: Campaigns) -> int:
    return (await world.campaign()).schedule_state.counters.unscheduled


async def test_a_cycle_that_is_cancelled_before_it_began_leaves_its_place_to_another(world: Campaigns) -> None:
    await world.activate(schedule=every(10, recurrences=(), max_cycles=1))
    first = await triggered(world)
    with pytest.raises(IllegalTransition, match="max_cycles have begun"):
        await triggered(world)
    await world.store.request_stop(ACME, first.cycle_id, "not this one")
    assert await begun(world) == 0
    await world.settle(settle)
    assert (await world.campaign()).state is CampaignState.ACTIVE
    await triggered(world)
    assert await begun(world) == 1
    await world.store.retry(world.key("RetryCycle"), first.cycle_id)
    assert await begun(world) == 2
