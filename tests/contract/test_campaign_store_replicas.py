"""Three replicas on one database at once: every time is fired once, every cycle is claimed once, no bound is passed."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from dataclasses import replace
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest_asyncio

from heddle_campaign.facade import lifecycle
from heddle_campaign.facade.ports.decisions import Change, Standing
from heddle_campaign.facade.settling import settle
from heddle_campaign.rules.queue import Bounds
from heddle_campaign.rules.states import CampaignState, CycleState
from heddle_campaign.rules.times import between
from heddle_campaign.store.store import Store
from heddle_core.errors import IllegalTransition
from tests.kit.campaign_stores import (
    ACME,
    AGAIN,
    ENGINES,
    LEASE,
    NOW,
    SECOND,
    Campaigns,
    adding,
    campaign_of,
    cycle_of,
    every,
)

CAMPAIGNS = 20
ROUNDS = 100
STEP = 10
"""Seconds by which the clock moves in a round; every campaign has a time in each."""


@pytest_asyncio.fixture(name="world", params=ENGINES)
async def opened(request: Any, tmp_path: Path) -> AsyncGenerator[Campaigns]:
    async with ENGINES[request.param](tmp_path, replicas=3) as world:
        yield world


async def test_three_replicas_fire_two_thousand_times_once_each_with_pauses_in_between(world: Campaigns) -> None:
    names = [f"c{number}" for number in range(CAMPAIGNS)]
    for name in names:
        await world.activate(name, schedule=every(STEP, name))
    fired: Counter[str] = Counter()

    async def round_of(store: Store) -> None:
        while (done := await store.settle(settle, 7, AGAIN)).campaigns:
            fired.update(each.cycle_id for each in done.cycles)

    async def turn(number: int, store: Store) -> None:
        """Pause or resume a campaign, whichever it takes just now."""
        for decision in (lifecycle.pause, lifecycle.resume):
            try:
                await store.decide(ACME, names[number % CAMPAIGNS], decision)
            except IllegalTransition:
                continue
            return

    for number in range(ROUNDS + 1):
        busy = [round_of(store) for store in world.stores]
        if number % 2:
            busy.append(turn(number // 5, world.stores[number % 3]))
        await asyncio.gather(*busy)
        world.clock.advance(STEP)
    for name in names:
        if (await world.campaign(name)).state is CampaignState.PAUSED:
            await world.decide(name, lifecycle.resume)

    cycles = 0
    for name in names:
        campaign = await world.campaign(name)
        assert campaign.settings.schedule is not None
        counters = campaign.schedule_state.counters
        due = sum(1 for _ in between(campaign.settings.schedule, NOW, campaign.schedule_state.cursor))
        assert counters.scheduled == due
        assert due >= ROUNDS
        written = await world.counts("cycles", name)
        assert counters.fired == written
        cycles += written
    assert fired.total() == len(fired) == cycles, "every cycle was told of by one replica"
    everything = [(await world.campaign(name)).schedule_state.counters for name in names]
    assert sum(each.paused for each in everything) > 0
    assert sum(each.scheduled for each in everything) >= CAMPAIGNS * ROUNDS


async def test_a_round_leaves_a_campaign_that_another_is_settling_and_says_when_the_next_is(world: Campaigns) -> None:
    await world.activate("c1", schedule=every(STEP))
    first, second = await asyncio.gather(*(store.settle(settle, 10, AGAIN) for store in world.stores[:2]))
    assert sorted((len(first.campaigns), len(second.campaigns))) == [0, 1]
    left = min(first, second, key=lambda each: len(each.campaigns))
    # Whoever came while it was held looks again soon; whoever came after knows when it is due.
    assert left.next_at in (NOW + SECOND, NOW + STEP * SECOND)


async def test_replicas_that_claim_at_once_pass_no_bound_and_claim_each_cycle_once(world: Campaigns) -> None:
    for name in ("c1", "c2", "c3"):
        await world.activate(name, max_concurrent_cycles=16)
        await world.add(*(cycle_of(-each, name) for each in range(1, 15)))
    bounds = Bounds(per_tenant=10)
    taken = await asyncio.gather(
        *(store.claim(f"wrk_{place}", 4, bounds, LEASE) for place, store in enumerate(world.stores * 3))
    )
    claimed = [each.cycle_id for found in taken for each in found.cycles]
    assert len(claimed) == len(set(claimed)) == 10


async def test_replicas_that_take_at_once_take_each_cycle_once(world: Campaigns) -> None:
    await world.activate("c1", max_concurrent_cycles=16)
    await world.add(*(cycle_of(-each, state=CycleState.RUNNING, look_at=NOW) for each in range(1, 13)))
    taken = await asyncio.gather(*(store.take("w", 3, LEASE) for store in world.stores * 2))
    cycles = [each.cycle_id for found in taken for each in found.cycles]
    assert len(cycles) == len(set(cycles))
    rest = await world.store.take("w", 100, LEASE)
    assert len(cycles) + len(rest.cycles) == 12


async def test_one_request_at_several_replicas_is_carried_out_once(world: Campaigns) -> None:
    create = world.key("CreateCampaign")
    made = await asyncio.gather(
        *(store.create(create, campaign_of(f"c{place}")) for place, store in enumerate(world.stores * 2))
    )
    assert [each.new for each in made].count(True) == 1
    assert len({each.campaign.campaign_id for each in made}) == 1
    name = made[0].campaign.campaign_id
    key, numbers = world.key("TriggerCampaign"), count()

    def add(standing: Standing) -> Change:
        return adding(cycle_of(next(numbers), name))(standing)

    done = await asyncio.gather(*(store.decide(ACME, name, add, key=key) for store in world.stores * 3))
    assert [each.new for each in done].count(True) == 1
    assert len({each.cycles[0].cycle_id for each in done}) == 1
    assert await world.counts("cycles", name) == 1


async def test_stops_ends_and_rounds_at_once_keep_the_counters_whole(world: Campaigns) -> None:
    await world.activate("c1", schedule=every(1), max_concurrent_cycles=16)
    world.clock.advance(30)
    while (await world.settle(settle)).cycles:
        pass
    waiting = await world.store.open_cycles(ACME, "c1")

    async def stop(place: int) -> None:
        await world.stores[place % 3].request_stop(ACME, waiting[place].cycle_id, "")

    async def end(store: Store) -> None:
        for cycle in (await store.claim("w", 5, Bounds(per_tenant=100), LEASE)).cycles:
            await store.save(cycle, replace(cycle, state=CycleState.FAILED), _fails)

    world.clock.advance(5)
    rounds = [store.settle(settle, 5, timedelta(seconds=1)) for store in world.stores]
    await asyncio.gather(*map(stop, range(20)), *map(end, world.stores), *rounds)
    campaign = await world.campaign()
    counters = campaign.schedule_state.counters
    cycles = await world.counts("cycles")
    assert counters.scheduled == cycles == 36
    never_began = "SELECT COUNT(*) FROM cycles WHERE state = 5 AND start_time = 0"
    (dropped,) = (await world.databases[0].read(lambda tx: tx.rows(never_began)))[0]
    assert counters.dropped == dropped > 0
    (failed,) = (await world.databases[0].read(lambda tx: tx.rows("SELECT COUNT(*) FROM cycles WHERE state = 4")))[0]
    assert campaign.failures_in_row == failed


def _fails(standing: Standing) -> Change:
    return Change(replace(standing.campaign, failures_in_row=standing.campaign.failures_in_row + 1))
