"""The campaign service's store, on every engine: what signals have started, for dedupe keys and cool-downs."""

from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest_asyncio

from heddle_campaign.facade.ports.decisions import Asked, Change, Fired, Standing
from heddle_campaign.rules.cycle_keys import CycleOrigin
from heddle_campaign.rules.queue import Bounds
from heddle_campaign.rules.signals import ViralPost
from heddle_campaign.rules.states import CycleState
from heddle_campaign.rules.triggers import SignalTrigger
from heddle_core.clock import Micros
from tests.kit.campaign_stores import ACME, ENGINES, LEASE, NOW, SECOND, Campaigns, adding, cycle_of


@pytest_asyncio.fixture(name="world", params=ENGINES)
async def opened(request: Any, tmp_path: Path) -> AsyncGenerator[Campaigns]:
    async with ENGINES[request.param](tmp_path) as world:
        yield world


async def test_a_signal_whose_cycle_a_guard_leaves_out_has_started_none(world: Campaigns) -> None:
    await world.activate(triggers=(SignalTrigger("t", ViralPost()),))
    left_out, worked = cycle_of(1, origin=CycleOrigin.SIGNAL), cycle_of(2, origin=CycleOrigin.SIGNAL)
    for cycle, key in ((left_out, "storm"), (worked, "calm")):
        await world.store.decide(ACME, "c1", adding(cycle, fired=Fired("t", key, cycle.cycle_id)))
        world.clock.advance(60)
    seen: list[Standing] = []

    def look(standing: Standing) -> Change:
        seen.append(standing)
        return Change(standing.campaign)

    for cycle in (await world.store.claim("w1", 2, Bounds(per_campaign={(ACME, "c1"): 2}), LEASE)).cycles:
        skipped = cycle.cycle_id == left_out.cycle_id
        ended = replace(cycle, state=CycleState.SKIPPED if skipped else CycleState.COMPLETED, look_at=Micros(0))
        await world.store.save(cycle, ended, look)
    seen.clear()
    for key in ("storm", "calm"):
        await world.store.decide(ACME, "c1", look, asked=Asked(dedupe_key=key))
    assert [each.history.dedupe_keys for each in seen] == [{}, {"calm": NOW + 60 * SECOND}]
    assert [each.started for each in seen] == ["", worked.cycle_id]
    assert seen[0].history.last_fired == {"t": NOW + 60 * SECOND}


async def test_firings_are_kept_for_thirty_days_and_each_triggers_last_one_longer(world: Campaigns) -> None:
    await world.create(triggers=(SignalTrigger("a", ViralPost()), SignalTrigger("b", ViralPost())))
    for number, (key, days) in enumerate((("a", 0), ("a", 20), ("b", 0), ("a", 15))):
        world.clock.advance(days * 86_400)
        cycle = cycle_of(number, origin=CycleOrigin.SIGNAL)
        await world.store.decide(ACME, "c1", adding(cycle, fired=Fired(key, f"d{number}", cycle.cycle_id)))
    seen: list[Standing] = []

    def look(standing: Standing) -> Change:
        seen.append(standing)
        return Change(standing.campaign)

    for key in ("d0", "d1", "d2"):
        await world.store.decide(ACME, "c1", look, asked=Asked(dedupe_key=key))
    day = 86_400 * SECOND
    assert [each.history.dedupe_keys for each in seen] == [{}, {"d1": NOW + 20 * day}, {"d2": NOW + 20 * day}]
    assert seen[0].history.last_fired == {"a": NOW + 35 * day, "b": NOW + 20 * day}
    assert await world.counts("signal_firings") == 3
