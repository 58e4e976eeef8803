"""What is listed of campaigns and cycles, on every engine: pages, orders, filters, gaps, and what was done before."""

from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest_asyncio

from heddle_campaign.facade import lifecycle
from heddle_campaign.facade.ports.decisions import Change
from heddle_campaign.facade.ports.listing import CyclePage, ListCampaigns, ListCycles, Past
from heddle_campaign.rules.budget import MicroUsd
from heddle_campaign.rules.campaigns import Campaign, CampaignAgent
from heddle_campaign.rules.cycle_keys import CycleOrigin
from heddle_campaign.rules.cycles import Cycle, CycleTurn
from heddle_campaign.rules.records import Outcome, RangeRecord
from heddle_campaign.rules.schedule import Stretch
from heddle_campaign.rules.signals import CustomSignal, ViralPost
from heddle_campaign.rules.states import CampaignState, CycleState
from heddle_campaign.rules.triggers import SignalTrigger
from heddle_client.values import Usage
from heddle_core.clock import Micros
from heddle_core.ids import TenantId
from tests.kit.campaign_stores import ACME, ENGINES, NOW, SECOND, Campaigns, cycle_of


@pytest_asyncio.fixture(name="world", params=ENGINES)
async def opened(request: Any, tmp_path: Path) -> AsyncGenerator[Campaigns]:
    async with ENGINES[request.param](tmp_path) as world:
        yield world


def turn(role: str = "writer", **fields: Any) -> CycleTurn:
    return CycleTurn(role, f"agent_{role}", **fields)


def times(cycles: Any) -> list[int]:
    """Scheduled times, in seconds after the clock's first moment."""
    return [(each.key.scheduled_time - NOW) // SECOND for each in cycles]


async def test_campaigns_are_listed_by_page_order_and_filter(world: Campaigns) -> None:
    for number in range(5):
        labels = {"team": "red", "n": str(number % 2)}
        await world.create(f"c{number}", title=f"t{number // 2}", labels=labels)
        world.clock.advance(number % 2)
    await world.create("x1", tenant=TenantId("other"))
    due = await world.decide("c3", lambda standing: Change(replace(standing.campaign, next_due=Micros(7))))
    await world.decide("c0", lifecycle.update, settings=replace(due.settings, agents=(CampaignAgent("w", "solo"),)))

    async def pages(order_by: str, value: Any, *, descending: bool) -> list[str]:
        command = ListCampaigns(ACME, 2, order_by=order_by, descending=descending)
        seen: list[str] = []
        while True:
            page = await world.store.campaigns(command)
            seen += [each.campaign_id for each in page[:2]]
            if len(page) <= 2:
                return seen
            command = replace(command, after=(value(page[1]), page[1].campaign_id))

    in_order = ["c0", "c1", "c2", "c3", "c4"]
    assert await pages("create_time", lambda each: str(each.create_time), descending=False) == in_order
    assert await pages("create_time", lambda each: str(each.create_time), descending=True) == in_order[::-1]
    by_title: list[Campaign] = [await world.campaign(each) for each in in_order]
    by_title.sort(key=lambda each: (each.settings.title, each.campaign_id))
    titles = [each.campaign_id for each in by_title]
    assert await pages("title", lambda each: each.settings.title, descending=False) == titles
    next_due = await pages("next_cycle_time", lambda each: str(each.next_due or ""), descending=False)
    assert next_due == ["c3", "c0", "c1", "c2", "c4"]

    async def listed(**filters: Any) -> list[str]:
        found = await world.store.campaigns(ListCampaigns(ACME, 9, descending=False, **filters))
        return [each.campaign_id for each in found]

    assert await listed(labels={"team": "red", "n": "1"}) == ["c0", "c1", "c3"], "c0 was given those of c3"
    assert await listed(agent_id="solo") == ["c0"]
    assert await listed(agent_id="agent_writer") == ["c1", "c2", "c3", "c4"]
    assert await listed(states=(CampaignState.ACTIVE, CampaignState.PAUSED)) == []


async def test_campaigns_are_found_by_the_kinds_of_signals_that_they_answer(world: Campaigns) -> None:
    triggers = (SignalTrigger("a", CustomSignal("weather", "heat > 1")), SignalTrigger("b", ViralPost(), disabled=True))
    await world.create("c1", triggers=triggers)
    await world.create("c2", triggers=triggers[:1])
    await world.create("c3", tenant=TenantId("other"), triggers=triggers)
    assert [each.campaign_id for each in await world.store.answering(ACME, "weather")] == ["c1", "c2"]
    assert [each.campaign_id for each in await world.store.answering(ACME, "weather", "c2")] == ["c2"]
    assert [each.campaign_id for each in await world.store.answering(ACME, "viral_post")] == ["c1"]
    assert await world.store.answering(ACME, "trend_spike") == ()
    changed = replace((await world.campaign()).settings, triggers=())
    await world.decide("c1", lifecycle.update, settings=changed)
    assert [each.campaign_id for each in await world.store.answering(ACME, "weather")] == ["c2"]


async def test_gaps_of_a_round_are_kept_with_their_counts(world: Campaigns) -> None:
    campaign = await world.create()
    gaps = tuple(
        RangeRecord(outcome, 2, Micros(10 * place), Micros(10 * place + 5), place + 1)
        for place, outcome in enumerate((Outcome.MISSED, Outcome.PAUSED, Outcome.DROPPED))
    )
    await world.decide("c1", lambda _: Change(campaign, gaps=gaps))
    assert (await world.store.cycles(ListCycles(ACME, "c1", 5, descending=False))).gaps == gaps


async def test_open_cycles_are_found_by_the_threads_of_their_turns(world: Campaigns) -> None:
    await world.create()
    (cycle, other) = await world.add(
        cycle_of(0, state=CycleState.RUNNING, turns=(turn(), turn("artist", thread_id="thr_2"))),
        cycle_of(1, state=CycleState.COMPLETED, turns=(turn(thread_id="thr_2"),)),
    )
    assert await world.store.of_thread(ACME, "thr_2") == (cycle,)
    assert await world.store.of_thread(ACME, "") == ()
    assert await world.store.of_thread("other", "thr_2") == ()
    moved = replace(cycle, turns=(replace(cycle.turns[0], thread_id="thr_1"), cycle.turns[1]))
    saved = await world.store.save(cycle, moved)
    assert await world.store.of_thread(ACME, "thr_1") == (saved,)
    assert (await world.cycle(other)).state is CycleState.COMPLETED


async def test_cycles_are_listed_by_page_and_filter_and_each_gap_stands_on_one_page(world: Campaigns) -> None:
    campaign = await world.create()
    await world.add(*(cycle_of(10 * each, origin=CycleOrigin(1 + each % 4)) for each in range(5)))
    gaps = tuple(
        RangeRecord(Outcome.PAUSED, 1, Micros(NOW + at * SECOND), Micros(NOW + (at + 4) * SECOND), 1)
        for at in (-10, 1, 20, 31, 55)
    )
    await world.decide("c1", lambda _: Change(campaign, gaps=gaps))

    async def pages(**fields: Any) -> list[CyclePage]:
        command = ListCycles(ACME, "c1", 2, **fields)
        seen: list[CyclePage] = []
        while True:
            page = await world.store.cycles(command)
            seen.append(replace(page, cycles=page.cycles[:2]))
            if len(page.cycles) <= 2:
                return seen
            command = replace(command, after=(page.cycles[1].key.scheduled_time, page.cycles[1].cycle_id))

    ascending = await pages(descending=False)
    assert [times(page.cycles) for page in ascending] == [[0, 10], [20, 30], [40]]
    assert [page.gaps for page in ascending] == [gaps[:2], gaps[2:3], gaps[3:]]
    descending = await pages()
    assert [times(page.cycles) for page in descending] == [[40, 30], [20, 10], [0]]
    assert [page.gaps for page in descending] == [gaps[:2:-1], gaps[2:3], gaps[1::-1]]
    stretch = Stretch(Micros(NOW + 2 * SECOND), Micros(NOW + 30 * SECOND))
    (within,) = await pages(stretch=stretch)
    assert times(within.cycles) == [20, 10]
    assert within.gaps == gaps[2:0:-1], "those that touch it"
    (manual,) = await pages(origins=(CycleOrigin.MANUAL, CycleOrigin.SIGNAL))
    assert (times(manual.cycles), manual.gaps) == ([30, 20], ())
    assert (await pages(states=(CycleState.FAILED,))) == [CyclePage(())]
    assert await world.store.cycles(ListCycles("other", "c1", 9)) == CyclePage(())


async def test_open_and_recent_cycles_are_told_in_order(world: Campaigns) -> None:
    await world.create()
    await world.add(cycle_of(2, state=CycleState.RUNNING), cycle_of(1))
    for number in range(3):
        world.clock.advance(1)
        await world.add(cycle_of(20 - number, state=CycleState.SKIPPED))
    assert times(await world.store.open_cycles(ACME, "c1")) == [1, 2]
    assert times(await world.store.recent_cycles(ACME, "c1", 2)) == [18, 19]


async def test_the_past_counts_targets_roles_and_money_from_the_claim_of_each_cycle(world: Campaigns) -> None:
    await world.create()

    def done(at: int, key: str, *costs: int, **fields: Any) -> Cycle:
        roles = ("writer", "artist")
        turns = tuple(turn(roles[place], usage=Usage(cost=MicroUsd(cost))) for place, cost in enumerate(costs))
        start = Micros(NOW + at * SECOND)
        given: dict[str, Any] = {"state": CycleState.COMPLETED, "start_time": start, **fields}
        return cycle_of(at, rotation_key=key, turns=turns, **given)

    await world.add(
        done(0, "old", 100),
        done(10, "a", 1, 2),
        done(20, "a", 4),
        done(30, "", 8, state=CycleState.RUNNING, budget=MicroUsd(50)),
        done(40, "b", state=CycleState.RUNNING, budget=MicroUsd(0)),
        done(50, "b", state=CycleState.RUNNING),
        cycle_of(60, rotation_key="never", state=CycleState.CANCELLED),
    )
    past = await world.store.past(ACME, "c1", since=Micros(NOW + 10 * SECOND), spent_since=Micros(NOW + 20 * SECOND))
    assert replace(past, open_slices=tuple(sorted(past.open_slices))) == Past(
        {"a": 2, "b": 2}, {"writer": 3, "artist": 1}, {"writer": MicroUsd(12)}, (MicroUsd(0), MicroUsd(50))
    )
    assert await world.store.past("other", "c1", since=Micros(0), spent_since=Micros(0)) == Past({}, {}, {}, ())
