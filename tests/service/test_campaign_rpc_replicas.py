"""CampaignService on two replicas that share a PostgreSQL: whichever a client asks, the answer is the same."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from heddle.campaign.v1alpha1 import campaign_pb2, schedule_pb2
from heddle.campaign.v1alpha1 import campaign_service_pb2 as pb
from heddle.campaign.v1alpha1 import cycle_request_pb2 as cycle_pb
from heddle.campaign.v1alpha1.campaign_pb2 import CampaignState
from heddle.campaign.v1alpha1.signal_pb2 import SignalOutcome
from heddle_core.errors import EtagMismatch, IllegalTransition, RequestIdReused
from tests.kit.postgres import shared_server
from tests.kit.running_campaigns import Studio, at, campaign, refusal, studio
from tests.kit.running_runtime import new_id

Pair = tuple[Studio, Studio]


@pytest.fixture(name="pair")
async def replicas(tmp_path: Path) -> AsyncGenerator[Pair]:
    server = shared_server()
    name = await server.create()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(server.drop, name)
        one, two = [
            await stack.enter_async_context(studio(tmp_path / str(number), database=server.url(name)))
            for number in range(2)
        ]
        yield one, two


async def test_one_request_that_reaches_both_makes_one_campaign_and_one_cycle(pair: Pair) -> None:
    made = await asyncio.gather(*(each.create(request_id="one") for each in pair))
    assert made[0].campaign_id == made[1].campaign_id
    campaign_id = made[0].campaign_id
    active = await asyncio.gather(*(each.activate(campaign_id, request_id="go", start_now=True) for each in pair))
    assert {each.state for each in active} == {CampaignState.CAMPAIGN_STATE_ACTIVE}
    assert (await pair[0].get(campaign_id)).counters.unscheduled == 1
    overlap = schedule_pb2.OVERLAP_POLICY_BUFFER_ALL
    cycles = await asyncio.gather(*(each.trigger(campaign_id, request_id="now", overlap=overlap) for each in pair))
    assert cycles[0].cycle_id == cycles[1].cycle_id
    other = pair[1].trigger(campaign_id, request_id="now", note="else")
    assert isinstance(await refusal(other), RequestIdReused)


async def test_of_two_changes_by_the_same_etag_one_wins(pair: Pair) -> None:
    made = await pair[0].create()
    changes = [
        each.update(campaign_pb2.Campaign(campaign_id=made.campaign_id, priority=number), "priority", etag=made.etag)
        for number, each in enumerate(pair, 1)
    ]
    done = await asyncio.gather(*changes, return_exceptions=True)
    (lost,) = [each for each in done if isinstance(each, BaseException)]
    assert isinstance(lost, EtagMismatch)
    (won,) = [each for each in done if not isinstance(each, BaseException)]
    assert await pair[0].get(made.campaign_id) == await pair[1].get(made.campaign_id) == won


async def test_a_signal_that_both_report_starts_one_cycle(pair: Pair) -> None:
    agent = campaign_pb2.CampaignAgent(role="writer", agent_id="writer", signal_kinds=["stock_low"])
    given = campaign(agents=[agent], triggers=[{"key": "own", "custom": {"kind": "stock_low"}}])
    await pair[0].active(campaign=given)
    signal = {"kind": "stock_low", "dedupe_key": "once"}
    told = await asyncio.gather(*(each.report(signal) for each in pair))
    outcomes = sorted(matches[0].outcome for matches in told)
    assert outcomes == [SignalOutcome.SIGNAL_OUTCOME_FIRED, SignalOutcome.SIGNAL_OUTCOME_DUPLICATE]
    assert len({matches[0].cycle_id for matches in told}) == 1


async def test_a_watcher_of_one_sees_what_the_other_changes(pair: Pair) -> None:
    made = await pair[0].create()
    watched = pair[1].campaigns.WatchCampaign(pb.WatchCampaignRequest(campaign_id=made.campaign_id))
    async with asyncio.timeout(30):
        assert (await anext(aiter(watched))).campaign == made
        await pair[0].activate(made.campaign_id)
        assert (await anext(aiter(watched))).campaign.state == CampaignState.CAMPAIGN_STATE_ACTIVE
        await pair[0].pause(made.campaign_id)
        assert (await anext(aiter(watched))).campaign.state == CampaignState.CAMPAIGN_STATE_PAUSED
        gone = pb.DeleteCampaignRequest(request_id=new_id(), campaign_id=made.campaign_id)
        await pair[0].campaigns.DeleteCampaign(gone)
        assert [frame async for frame in watched] == []


async def test_a_list_that_one_begins_the_other_goes_on_with(pair: Pair) -> None:
    for title in ("b", "A", "c", "Ä", "a"):
        await pair[0].create(campaign=campaign(title=title, labels={"n": "1"}))
    for order in ("create_time", "title", "title desc", "next_cycle_time desc"):
        whole = await pair[0].campaigns.ListCampaigns(pb.ListCampaignsRequest(order_by=order, labels={"n": "1"}))
        request = pb.ListCampaignsRequest(order_by=order, labels={"n": "1"}, page_size=1)
        found: list[Any] = []
        for number in range(5):
            page = await pair[number % 2].campaigns.ListCampaigns(request)
            found += page.campaigns
            request.page_token = page.next_page_token
        assert not request.page_token
        assert found == list(whole.campaigns), order


async def test_a_backfill_and_a_pause_hold_on_postgres_too(pair: Pair) -> None:
    early = campaign(schedule=schedule_pb2.Schedule(cron="0 9 * * *", start_time=at("2026-01-01T00:00:00Z")))
    made = await pair[0].active(campaign=early)
    past = schedule_pb2.TimeRange(start_time=at("2026-02-01T00:00:00Z"), end_time=at("2026-02-04T00:00:00Z"))
    asked = cycle_pb.BackfillCampaignRequest(request_id="fill", campaign_id=made.campaign_id, range=past)
    one, two = await asyncio.gather(*(each.campaigns.BackfillCampaign(asked) for each in pair))
    assert one == two
    assert one.count == 3
    paused = await pair[1].pause(made.campaign_id)
    assert paused.state == CampaignState.CAMPAIGN_STATE_PAUSED
    assert isinstance(await refusal(pair[0].trigger(made.campaign_id)), IllegalTransition)
