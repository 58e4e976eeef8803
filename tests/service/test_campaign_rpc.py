"""CampaignService as a client meets it: campaigns that are made, changed, copied, moved, listed and watched."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.money_pb2 import Money

from heddle.campaign.v1alpha1 import campaign_pb2, schedule_pb2, signal_pb2
from heddle.campaign.v1alpha1 import campaign_service_pb2 as pb
from heddle.campaign.v1alpha1 import cycle_request_pb2 as cycle_pb
from heddle.campaign.v1alpha1.campaign_pb2 import CampaignState, PauseReason
from heddle.campaign.v1alpha1.cycle_pb2 import CycleState
from heddle_core.companion_errors import CampaignNotFound, CycleNotFound
from heddle_core.errors import EtagMismatch, IllegalTransition, InvalidField, RequestIdReused
from heddle_core.faults import StatusCode
from heddle_grpc.identity import ACT_AS_KEY
from tests.kit.running_campaigns import Studio, at, campaign, refusal, studio
from tests.kit.running_runtime import new_id

ELSEWHERE = ((ACT_AS_KEY, "other/eve"),)


@pytest.fixture(name="here")
async def served(tmp_path: Path) -> AsyncGenerator[Studio]:
    async with studio(tmp_path) as here:
        yield here


# --- create, read, change -------------------------------------------------------------------------------------


async def test_a_new_campaign_is_a_draft_with_its_defaults_told(here: Studio) -> None:
    made = await here.create()
    assert made.state == CampaignState.CAMPAIGN_STATE_DRAFT
    assert (made.schedule.version, made.schedule.time_zone) == (1, "UTC")
    assert (made.agents[0].weight, made.max_concurrent_cycles, made.failure_policy.pause_after) == (1, 1, 3)
    assert made.creator.principal == "developer"
    assert await here.get(made.campaign_id) == made


async def test_everything_that_is_set_comes_back(here: Studio) -> None:
    given = campaign(
        schedule=schedule_pb2.Schedule(
            rrule="FREQ=WEEKLY;BYDAY=MO;BYHOUR=9;BYMINUTE=0;BYSECOND=0",
            time_zone="Europe/Berlin",
            start_time=at("2026-01-01T00:00:00Z"),
            end_time=at("2199-01-01T00:00:00Z"),
            jitter=Duration(seconds=60),
            excluded_dates=["2027-12-25"],
            excluded_ranges=[{"start_time": at("2027-07-01T00:00:00Z"), "end_time": at("2027-08-01T00:00:00Z")}],
            missing_time=schedule_pb2.MISSING_TIME_POLICY_SKIP,
            repeated_time=schedule_pb2.REPEATED_TIME_POLICY_BOTH,
            overlap=schedule_pb2.OVERLAP_POLICY_BUFFER_ALL,
            catch_up_window=Duration(seconds=0),
            max_cycles=7,
        ),
        rotation={"targets": [{"key": "a", "topic": "A", "weight": 2, "role": "writer"}], "look_back": {"seconds": 60}},
        triggers=[
            {"key": "trend", "trend_spike": {"min_virality": 0, "keywords": ["wool"]}, "max_agents": 1},
            {"key": "viral", "viral_post": {"min_engagement_percent": 3}, "cool_down": {"seconds": 0}},
            {"key": "dip", "performance_dip": {"min_fall_percent": 1, "window": {"seconds": 86_400}}},
            {"key": "own", "custom": {"kind": "stock_low", "condition": "signal.left < 3"}, "disabled": True},
        ],
        goals=[{"key": "g", "description": "Reach it", "metric": "m", "target_value": 5, "due_time": {"seconds": 9}}],
        quota={"posts": 3},
        budget=Money(currency_code="USD", units=12, nanos=500_000_000),
        exhaustion_policy=campaign_pb2.EXHAUSTION_POLICY_COMPLETE,
        failure_policy={"pause_after": 2, "max_attempts": 1, "initial_backoff": {"seconds": 1}},
        priority=-5,
        max_concurrent_cycles=2,
        max_agents_per_cycle=3,
        labels={"team": "a"},
    )
    given.agents[0].weight = 0
    given.agents[0].daily_budget.CopyFrom(Money(currency_code="USD", units=1))
    made = await here.create(campaign=given)
    for name in (
        "agents",
        "goals",
        "quota",
        "budget",
        "exhaustion_policy",
        "priority",
        "labels",
        "max_agents_per_cycle",
    ):
        assert getattr(made, name) == getattr(given, name), name
    given.schedule.version = 1
    assert made.schedule == given.schedule
    assert made.rotation == given.rotation
    assert [each.WhichOneof("condition") for each in made.triggers] == [
        "trend_spike",
        "viral_post",
        "performance_dip",
        "custom",
    ]
    assert made.triggers[0].trend_spike.min_virality == 0
    assert made.triggers[3] == signal_pb2.SignalTrigger(
        key="own", custom=given.triggers[3].custom, disabled=True, max_agents=2, cool_down={"seconds": 21_600}
    )


async def test_the_same_request_makes_one_campaign_and_another_body_is_refused(here: Studio) -> None:
    first = await here.create(request_id="one")
    assert (await here.create(request_id="one")).campaign_id == first.campaign_id
    refused = await refusal(here.create(request_id="one", campaign=campaign(title="Other")))
    assert isinstance(refused, RequestIdReused)
    assert len((await here.campaigns.ListCampaigns(pb.ListCampaignsRequest())).campaigns) == 1


async def test_checking_alone_creates_and_changes_nothing(here: Studio) -> None:
    checked = await here.create(validate_only=True)
    assert (checked.campaign_id, checked.title) == ("", "News")
    assert not (await here.campaigns.ListCampaigns(pb.ListCampaignsRequest())).campaigns
    made = await here.create()
    made.title = "Else"
    assert (await here.update(made, "title", validate_only=True)).title == "Else"
    assert (await here.get(made.campaign_id)).title == "News"


async def test_an_update_changes_what_its_mask_names_and_no_more(here: Studio) -> None:
    made = await here.create()
    given = campaign_pb2.Campaign(campaign_id=made.campaign_id, priority=7, title="never", state=2)
    changed = await here.update(given, "priority")
    assert (changed.priority, changed.title, changed.state) == (7, "News", CampaignState.CAMPAIGN_STATE_DRAFT)
    assert changed.etag != made.etag
    assert changed.schedule == made.schedule


async def test_what_is_set_again_as_it_was_keeps_its_schedule_and_a_change_raises_its_version(here: Studio) -> None:
    made = await here.create()
    again = await here.update(
        campaign_pb2.Campaign(campaign_id=made.campaign_id, schedule={"cron": "0 9 * * *"}), "schedule"
    )
    assert (again.schedule, again.etag) == (made.schedule, made.etag)
    other = await here.update(
        campaign_pb2.Campaign(campaign_id=made.campaign_id, schedule={"cron": "0 8 * * *"}), "schedule"
    )
    assert other.schedule.version == 2
    none = await here.update(campaign_pb2.Campaign(campaign_id=made.campaign_id), "schedule")
    assert not none.HasField("schedule")


async def test_an_old_etag_changes_nothing(here: Studio) -> None:
    made = await here.create()
    changed = await here.update(
        campaign_pb2.Campaign(campaign_id=made.campaign_id, priority=1), "priority", etag=made.etag
    )
    late = here.update(campaign_pb2.Campaign(campaign_id=made.campaign_id, priority=2), "priority", etag=made.etag)
    refused = await refusal(late)
    assert isinstance(refused, EtagMismatch)
    assert refused.current == changed.etag
    assert isinstance(await refusal(here.activate(made.campaign_id, etag=made.etag)), EtagMismatch)
    gone = pb.DeleteCampaignRequest(request_id=new_id(), campaign_id=made.campaign_id, etag=made.etag)
    assert isinstance(await refusal(here.campaigns.DeleteCampaign(gone)), EtagMismatch)
    assert (await here.get(made.campaign_id)).priority == 1


async def test_a_schedule_whose_time_has_come_does_not_stand_in_the_way_of_other_changes(here: Studio) -> None:
    soon = Timestamp()
    soon.GetCurrentTime()
    once = schedule_pb2.Schedule(once=Timestamp(seconds=soon.seconds + 2))
    made = await here.create(campaign=campaign(schedule=once), request_id="soon")
    beside = await here.active(campaign=campaign(schedule=once))
    async with asyncio.timeout(30):
        async for frame in here.campaigns.WatchCampaign(pb.WatchCampaignRequest(campaign_id=beside.campaign_id)):
            if frame.open_cycles:
                break
    changed = await here.update(campaign_pb2.Campaign(campaign_id=made.campaign_id, priority=1), "priority")
    assert changed.priority == 1
    again = await here.create(campaign=campaign(schedule=once), request_id="soon")
    assert again.campaign_id == made.campaign_id
    assert isinstance(await refusal(here.activate(made.campaign_id)), InvalidField)


# --- templates ------------------------------------------------------------------------------------------------


async def test_templates_are_listed_in_pages_and_each_can_be_copied(here: Studio) -> None:
    names: list[str] = []
    token = ""
    while True:
        request = pb.ListCampaignTemplatesRequest(page_size=1, page_token=token)
        page = await here.campaigns.ListCampaignTemplates(request)
        for each in page.campaign_templates:
            names.append(each.template_id)
            assert all(agent.disabled for agent in each.campaign.agents)
            title = campaign_pb2.Campaign(title=f"My {each.template_id}")
            made = await here.create(campaign=title, template_id=each.template_id)
            assert made.title == f"My {each.template_id}"
            assert made.brief == each.campaign.brief
            assert made.agents == each.campaign.agents
        token = page.next_page_token
        if not token:
            break
    assert names == sorted(names)
    assert "creator-studio" in names
    back = await here.campaigns.ListCampaignTemplates(pb.ListCampaignTemplatesRequest(order_by="template_id desc"))
    assert [each.template_id for each in back.campaign_templates] == names[::-1]


async def test_what_a_copy_says_itself_goes_before_its_template(here: Studio) -> None:
    own = campaign_pb2.Campaign(title="Mine", schedule={"cron": "0 7 * * *"}, agents=[{"role": "a", "agent_id": "a"}])
    made = await here.create(campaign=own, template_id="weekly-report")
    assert (made.schedule.cron, len(made.agents)) == ("0 7 * * *", 1)
    assert made.brief
    refused = await refusal(here.create(template_id="none-such"))
    assert "template_id" in str(refused)


async def test_a_campaign_whose_agents_are_all_disabled_is_not_activated(here: Studio) -> None:
    made = await here.create(campaign=campaign_pb2.Campaign(title="Mine"), template_id="creator-studio")
    refused = await refusal(here.activate(made.campaign_id))
    assert isinstance(refused, IllegalTransition)
    assert "agent" in str(refused)


# --- states ---------------------------------------------------------------------------------------------------


async def test_a_campaign_goes_through_its_states(here: Studio) -> None:
    made = await here.create()
    active = await here.activate(made.campaign_id)
    assert active.state == CampaignState.CAMPAIGN_STATE_ACTIVE
    assert active.HasField("next_cycle_time")
    paused = await here.pause(made.campaign_id, note="holiday")
    assert (paused.state, paused.pause_note) == (CampaignState.CAMPAIGN_STATE_PAUSED, "holiday")
    assert paused.pause_reason == PauseReason.PAUSE_REASON_MANUAL
    assert not paused.HasField("next_cycle_time")
    again = await here.pause(made.campaign_id, note="again")
    assert (again.pause_note, again.etag) == ("holiday", paused.etag)
    resume = pb.ResumeCampaignRequest(request_id=new_id(), campaign_id=made.campaign_id)
    resumed = (await here.campaigns.ResumeCampaign(resume)).campaign
    assert resumed.state == CampaignState.CAMPAIGN_STATE_ACTIVE
    complete = pb.CompleteCampaignRequest(request_id=new_id(), campaign_id=made.campaign_id)
    assert (await here.campaigns.CompleteCampaign(complete)).campaign.state == CampaignState.CAMPAIGN_STATE_COMPLETED
    refused = await refusal(here.activate(made.campaign_id))
    assert isinstance(refused, IllegalTransition)
    assert refused.status is StatusCode.FAILED_PRECONDITION


async def test_a_repeated_activation_is_answered_as_the_first_and_starts_one_cycle(here: Studio) -> None:
    made = await here.create()
    first = await here.activate(made.campaign_id, request_id="go", start_now=True)
    again = await here.activate(made.campaign_id, request_id="go", start_now=True)
    assert (first.state, again.state) == (CampaignState.CAMPAIGN_STATE_ACTIVE,) * 2
    assert again.counters.unscheduled == 1
    other = here.activate(made.campaign_id, request_id="go")
    assert isinstance(await refusal(other), RequestIdReused)


async def test_an_active_campaign_is_not_deleted_and_a_deleted_one_is_gone_with_its_cycles(here: Studio) -> None:
    made = await here.create()
    await here.activate(made.campaign_id)
    request = pb.DeleteCampaignRequest(request_id="gone", campaign_id=made.campaign_id)
    assert isinstance(await refusal(here.campaigns.DeleteCampaign(request)), IllegalTransition)
    cycle = await here.trigger(made.campaign_id)
    await here.pause(made.campaign_id, cancel_cycles=True)
    await here.until(cycle.cycle_id, CycleState.CYCLE_STATE_CANCELLED)
    assert (await here.campaigns.DeleteCampaign(request)).campaign_id == made.campaign_id
    assert (await here.campaigns.DeleteCampaign(request)).campaign_id == made.campaign_id
    assert isinstance(await refusal(here.get(made.campaign_id)), CampaignNotFound)
    gone = here.campaigns.GetCycle(cycle_pb.GetCycleRequest(cycle_id=cycle.cycle_id))
    assert isinstance(await refusal(gone), CycleNotFound)


# --- lists ----------------------------------------------------------------------------------------------------


async def test_campaigns_are_listed_in_every_order_and_by_every_filter(here: Studio) -> None:
    made = [await here.create(campaign=campaign(title=title, labels={"n": title})) for title in ("b", "c", "a")]
    await here.activate(made[1].campaign_id)

    async def listed(**fields: Any) -> list[str]:
        request, found = pb.ListCampaignsRequest(page_size=2, **fields), ""
        while True:
            page = await here.campaigns.ListCampaigns(request)
            found += "".join(each.title for each in page.campaigns)
            request.page_token = page.next_page_token
            if not page.next_page_token:
                return list(found)

    assert await listed() == ["a", "c", "b"]
    assert await listed(order_by="create_time") == ["b", "c", "a"]
    assert await listed(order_by="title") == ["a", "b", "c"]
    assert await listed(order_by="title  desc") == ["c", "b", "a"]
    assert (await listed(order_by="next_cycle_time"))[0] == "c"
    assert await listed(states=[CampaignState.CAMPAIGN_STATE_ACTIVE]) == ["c"]
    assert await listed(agent_id="writer", labels={"n": "a"}) == ["a"]
    assert await listed(agent_id="nobody") == []


async def test_a_token_of_another_list_is_refused(here: Studio) -> None:
    for title in ("a", "b"):
        await here.create(campaign=campaign(title=title))
    page = await here.campaigns.ListCampaigns(pb.ListCampaignsRequest(page_size=1))
    foreign = pb.ListCampaignsRequest(page_size=1, page_token=page.next_page_token, order_by="title")
    assert "page_token" in str(await refusal(here.campaigns.ListCampaigns(foreign)))


# --- watching -------------------------------------------------------------------------------------------------


async def test_a_watcher_sees_the_whole_first_then_each_change_and_the_end(tmp_path: Path) -> None:
    async with studio(tmp_path, cycles_per_tenant=1) as here:
        # It has the only place: nobody works on the cycle that is watched, so cancelling it needs no runtime.
        busy = await here.trigger((await here.active()).campaign_id)
        await here.until(busy.cycle_id, CycleState.CYCLE_STATE_RUNNING)
        made = await here.create()
        watched = here.campaigns.WatchCampaign(pb.WatchCampaignRequest(campaign_id=made.campaign_id))
        async with asyncio.timeout(30):
            first = await anext(aiter(watched))
            assert first.campaign == made
            await here.activate(made.campaign_id)
            assert (await anext(aiter(watched))).campaign.state == CampaignState.CAMPAIGN_STATE_ACTIVE
            cycle = await here.trigger(made.campaign_id)
            seen = await anext(aiter(watched))
            assert [each.cycle_id for each in seen.open_cycles] == [cycle.cycle_id]
            await here.pause(made.campaign_id, cancel_cycles=True)
            await here.until(cycle.cycle_id, CycleState.CYCLE_STATE_CANCELLED)
            gone = pb.DeleteCampaignRequest(request_id=new_id(), campaign_id=made.campaign_id)
            await here.campaigns.DeleteCampaign(gone)
            last = [frame async for frame in watched]
        assert last[-1].campaign.state == CampaignState.CAMPAIGN_STATE_PAUSED


# --- other tenants --------------------------------------------------------------------------------------------


async def test_what_is_another_tenants_is_unknown(here: Studio) -> None:
    made = await here.active()
    cycle = await here.trigger(made.campaign_id)
    calls = (
        here.campaigns.GetCampaign(pb.GetCampaignRequest(campaign_id=made.campaign_id), metadata=ELSEWHERE),
        here.campaigns.GetCycle(cycle_pb.GetCycleRequest(cycle_id=cycle.cycle_id), metadata=ELSEWHERE),
        here.campaigns.ListCycles(cycle_pb.ListCyclesRequest(campaign_id=made.campaign_id), metadata=ELSEWHERE),
    )
    for call in calls:
        assert (await refusal(call)).status is StatusCode.NOT_FOUND
    listed = await here.campaigns.ListCampaigns(pb.ListCampaignsRequest(), metadata=ELSEWHERE)
    assert not listed.campaigns
