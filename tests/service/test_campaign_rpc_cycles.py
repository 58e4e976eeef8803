"""CampaignService as a client meets it: cycles, signals, previews and memories."""

import asyncio
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from heddle.campaign.v1alpha1 import campaign_pb2, cycle_pb2, schedule_pb2, signal_pb2
from heddle.campaign.v1alpha1 import campaign_service_pb2 as pb
from heddle.campaign.v1alpha1 import cycle_request_pb2 as cycle_pb
from heddle.campaign.v1alpha1 import memory_request_pb2 as memory_pb
from heddle.campaign.v1alpha1.campaign_pb2 import CampaignState
from heddle.campaign.v1alpha1.cycle_pb2 import CycleState
from heddle.campaign.v1alpha1.signal_pb2 import SignalOutcome
from heddle.runtime.v1 import agent_pb2, agent_service_pb2
from heddle.runtime.v1.agent_runtime_pb2 import GetSnapshotRequest
from heddle.runtime.v1.run_pb2 import RunState
from heddle_core.clock import SystemClock
from heddle_core.companion_errors import CampaignNotFound, CycleNotFound, MemoryNotFound
from heddle_core.errors import IllegalTransition, RequestIdReused
from tests.kit.running_campaigns import Studio, at, campaign, refusal, studio
from tests.kit.running_runtime import new_id
from tests.kit.running_spawn import served_runtime

FORMATS = ("video", "text", "text", "text")


@pytest.fixture(name="here")
async def served(tmp_path: Path) -> AsyncGenerator[Studio]:
    async with studio(tmp_path) as here:
        yield here


def custom(kind: str = "stock_low", condition: str = "", **fields: Any) -> campaign_pb2.Campaign:
    """A campaign that answers a signal of the tenant's own, and has no schedule."""
    trigger = signal_pb2.SignalTrigger(key="own", custom=signal_pb2.CustomSignal(kind=kind, condition=condition))
    agent = campaign_pb2.CampaignAgent(role="writer", agent_id="writer", signal_kinds=[kind])
    given = campaign(agents=[agent], triggers=[trigger], **fields)
    given.ClearField("schedule")
    return given


def signal(dedupe_key: str = "one", **fields: Any) -> signal_pb2.Signal:
    return signal_pb2.Signal(**{"kind": "stock_low", "dedupe_key": dedupe_key, **fields})


# --- cycles ---------------------------------------------------------------------------------------------------


async def test_a_repeated_trigger_finds_its_cycle(here: Studio) -> None:
    made = await here.active()
    first = await here.trigger(made.campaign_id, request_id="now", note="do it", roles=["writer"])
    again = await here.trigger(made.campaign_id, request_id="now", note="do it", roles=["writer"])
    assert again.cycle_id == first.cycle_id
    assert first.origin == cycle_pb2.CYCLE_ORIGIN_MANUAL
    refused = await refusal(here.trigger(made.campaign_id, roles=["nobody"]))
    assert "roles[0]" in str(refused)
    found = await here.campaigns.GetCycle(cycle_pb.GetCycleRequest(cycle_id=first.cycle_id))
    assert found.cycle.cycle_id == first.cycle_id


async def test_a_cycle_beside_another_is_left_out_as_the_overlap_policy_says(here: Studio) -> None:
    made = await here.active()
    await here.trigger(made.campaign_id)
    second = await here.trigger(made.campaign_id)
    assert second.state == CycleState.CYCLE_STATE_SKIPPED
    assert second.skip_reason == cycle_pb2.SKIP_REASON_OVERLAP
    third = await here.trigger(made.campaign_id, overlap=schedule_pb2.OVERLAP_POLICY_BUFFER_ONE)
    assert third.state == CycleState.CYCLE_STATE_DUE


async def test_a_backfill_counts_then_fires_each_past_time_once(here: Studio) -> None:
    early = campaign(schedule=schedule_pb2.Schedule(cron="0 9 * * *", start_time=at("2026-01-01T00:00:00Z")))
    made = await here.active(campaign=early)
    past = schedule_pb2.TimeRange(start_time=at("2026-02-01T00:00:00Z"), end_time=at("2026-02-04T00:00:00Z"))
    asked = cycle_pb.BackfillCampaignRequest(request_id=new_id(), campaign_id=made.campaign_id, range=past)
    asked.validate_only = True
    assert (await here.campaigns.BackfillCampaign(asked)).count == 3
    asked.validate_only = False
    filled = await here.campaigns.BackfillCampaign(asked)
    assert (filled.count, len(filled.cycle_ids)) == (3, 3)
    assert (await here.campaigns.BackfillCampaign(asked)).cycle_ids == filled.cycle_ids
    asked.request_id = new_id()
    assert (await here.campaigns.BackfillCampaign(asked)).count == 0
    asked.validate_only = True
    assert (await here.campaigns.BackfillCampaign(asked)).count == 0
    first = await here.campaigns.GetCycle(cycle_pb.GetCycleRequest(cycle_id=filled.cycle_ids[0]))
    assert first.cycle.scheduled_time == at("2026-02-01T09:00:00Z")


async def test_cycles_are_listed_in_pages_both_ways_and_by_filter(here: Studio) -> None:
    early = campaign(schedule=schedule_pb2.Schedule(cron="0 9 * * *", start_time=at("2026-01-01T00:00:00Z")))
    made = await here.active(campaign=early)
    past = schedule_pb2.TimeRange(start_time=at("2026-02-01T00:00:00Z"), end_time=at("2026-02-08T00:00:00Z"))
    asked = cycle_pb.BackfillCampaignRequest(request_id=new_id(), campaign_id=made.campaign_id, range=past)
    ids = list((await here.campaigns.BackfillCampaign(asked)).cycle_ids)

    async def listed(**fields: Any) -> list[str]:
        found: list[str] = []
        request = cycle_pb.ListCyclesRequest(campaign_id=made.campaign_id, page_size=3, **fields)
        while True:
            page = await here.campaigns.ListCycles(request)
            found += [each.cycle_id for each in page.cycles]
            request.page_token = page.next_page_token
            if not page.next_page_token:
                return found

    assert await listed() == ids[::-1]
    assert await listed(order_by="scheduled_time") == ids
    assert await listed(origins=[cycle_pb2.CYCLE_ORIGIN_SCHEDULE]) == []
    part = schedule_pb2.TimeRange(start_time=at("2026-02-02T00:00:00Z"), end_time=at("2026-02-03T00:00:00Z"))
    assert await listed(range=part) == ids[1:2]


async def test_a_cycle_that_waits_is_cancelled_at_once_and_can_be_tried_again(here: Studio) -> None:
    made = await here.active()
    await here.trigger(made.campaign_id)
    waiting = await here.trigger(made.campaign_id, overlap=schedule_pb2.OVERLAP_POLICY_BUFFER_ALL)
    cancel = cycle_pb.CancelCycleRequest(request_id=new_id(), cycle_id=waiting.cycle_id, note="no")
    cancelled = (await here.campaigns.CancelCycle(cancel)).cycle
    assert (cancelled.state, cancelled.end_note) == (CycleState.CYCLE_STATE_CANCELLED, "no")
    cancel.request_id = new_id()
    assert (await here.campaigns.CancelCycle(cancel)).cycle.state == CycleState.CYCLE_STATE_CANCELLED
    retry = cycle_pb.RetryCycleRequest(request_id=new_id(), cycle_id=waiting.cycle_id)
    again = (await here.campaigns.RetryCycle(retry)).cycle
    assert (again.state, again.retry_count) == (CycleState.CYCLE_STATE_DUE, 1)
    assert (await here.campaigns.RetryCycle(retry)).cycle.retry_count == 1
    retry.request_id = new_id()
    assert isinstance(await refusal(here.campaigns.RetryCycle(retry)), IllegalTransition)
    unknown = cycle_pb.CancelCycleRequest(request_id=new_id(), cycle_id="cycle_none")
    assert isinstance(await refusal(here.campaigns.CancelCycle(unknown)), CycleNotFound)


async def test_a_triggered_cycle_is_a_run_that_is_read_through_the_runtimes_own_snapshot(tmp_path: Path) -> None:
    scenario = 'turns:\n  - steps:\n      - text: "The news is told."\n'
    async with served_runtime(tmp_path, scenario) as (address, house), studio(tmp_path, address) as here:
        spec = agent_pb2.AgentSpec(instructions="Write.")
        await house.stubs.agents.CreateAgent(
            agent_service_pb2.CreateAgentRequest(request_id=new_id(), agent_id="writer", spec=spec)
        )
        made = await here.active()
        cycle = await here.trigger(made.campaign_id)
        ended = await here.until(cycle.cycle_id, CycleState.CYCLE_STATE_COMPLETED)
        (turn,) = ended.turns
        assert (turn.role, turn.attempt) == ("writer", 1)
        told = await house.stubs.agent_runtime.GetSnapshot(GetSnapshotRequest(thread_id=turn.thread_id))
        assert told.snapshot.thread.thread_id == turn.thread_id
        assert told.snapshot.last_assistant_message.content[0].text == "The news is told."
        assert (await house.run(turn.run_id)).state == RunState.RUN_STATE_COMPLETED
        assert (await here.get(made.campaign_id)).usage.model_calls == 1


# --- signals --------------------------------------------------------------------------------------------------


async def test_a_signal_starts_a_cycle_once_a_dedupe_key(here: Studio) -> None:
    made = await here.active(campaign=custom(condition="signal.left < 3"))
    (fired,) = await here.report(signal(payload_json='{"left": 2}'), request_id="told")
    assert fired.outcome == SignalOutcome.SIGNAL_OUTCOME_FIRED
    assert (fired.campaign_id, fired.trigger_key) == (made.campaign_id, "own")
    (again,) = await here.report(signal(payload_json='{"left": 2}'), request_id="told")
    assert again == fired
    (duplicate,) = await here.report(signal(payload_json='{"left": 2}'))
    assert duplicate.outcome == SignalOutcome.SIGNAL_OUTCOME_DUPLICATE
    assert duplicate.cycle_id == fired.cycle_id
    other = here.report(signal(payload_json='{"left": 1}'), request_id="told")
    assert isinstance(await refusal(other), RequestIdReused)
    (cooling,) = await here.report(signal("two", payload_json='{"left": 2}'))
    assert cooling.outcome == SignalOutcome.SIGNAL_OUTCOME_COOLING_DOWN
    (missed,) = await here.report(signal("three", payload_json='{"left": 5}'))
    assert missed.outcome == SignalOutcome.SIGNAL_OUTCOME_NO_MATCH


async def test_a_signal_that_finds_no_room_is_told_so_and_may_be_reported_again(here: Studio) -> None:
    given = custom()
    given.triggers[0].cool_down.FromSeconds(0)
    made = await here.active(campaign=given)
    await here.report(signal("one"))
    (waits,) = await here.report(signal("two"))
    assert waits.outcome == SignalOutcome.SIGNAL_OUTCOME_FIRED
    (refused,) = await here.report(signal("three"))
    assert (refused.outcome, refused.cycle_id) == (SignalOutcome.SIGNAL_OUTCOME_NO_ROOM, "")
    await here.campaigns.CancelCycle(cycle_pb.CancelCycleRequest(request_id=new_id(), cycle_id=waits.cycle_id))
    (again,) = await here.report(signal("three"))
    assert again.outcome == SignalOutcome.SIGNAL_OUTCOME_FIRED
    listed = await here.campaigns.ListCycles(cycle_pb.ListCyclesRequest(campaign_id=made.campaign_id))
    assert CycleState.CYCLE_STATE_SKIPPED not in [each.state for each in listed.cycles]


async def test_a_campaign_of_signals_alone_has_dates_and_is_completed_at_its_end(here: Studio) -> None:
    given = custom()
    end = Timestamp()
    end.FromMicroseconds(SystemClock().now() + 1_500_000)
    given.schedule.CopyFrom(schedule_pb2.Schedule(end_time=end))
    made = await here.active(campaign=given)
    assert made.state == CampaignState.CAMPAIGN_STATE_ACTIVE
    assert not made.HasField("next_cycle_time")
    told = await here.campaigns.PreviewSchedule(cycle_pb.PreviewScheduleRequest(campaign_id=made.campaign_id))
    assert (list(told.times), told.description[:30]) == ([], "Only TriggerCampaign and signa")
    watched = here.campaigns.WatchCampaign(pb.WatchCampaignRequest(campaign_id=made.campaign_id))
    async with asyncio.timeout(30):
        async for frame in watched:
            if frame.campaign.state == CampaignState.CAMPAIGN_STATE_COMPLETED:
                break
    (late,) = await here.report(signal())
    assert late.outcome == SignalOutcome.SIGNAL_OUTCOME_NOBODY


async def test_a_time_fires_although_nothing_may_be_caught_up(here: Studio) -> None:
    soon = Timestamp()
    soon.FromMicroseconds(SystemClock().now() + 1_000_000)
    once = schedule_pb2.Schedule(once=soon, catch_up_window=Duration())
    made = await here.active(campaign=campaign(schedule=once))
    watched = here.campaigns.WatchCampaign(pb.WatchCampaignRequest(campaign_id=made.campaign_id))
    async with asyncio.timeout(30):
        async for frame in watched:
            if frame.campaign.counters.scheduled:
                break
    assert (frame.campaign.counters.fired, frame.campaign.counters.missed) == (1, 0)


async def test_a_signal_is_offered_to_every_campaign_with_a_trigger_or_to_the_named_one_alone(here: Studio) -> None:
    one, two = await here.active(campaign=custom()), await here.create(campaign=custom())
    await here.active()
    matches = await here.report(signal())
    assert [(each.campaign_id, each.outcome) for each in matches] == [
        (one.campaign_id, SignalOutcome.SIGNAL_OUTCOME_FIRED),
        (two.campaign_id, SignalOutcome.SIGNAL_OUTCOME_NOBODY),
    ]
    (alone,) = await here.report(signal("two"), campaign_id=two.campaign_id)
    assert alone.campaign_id == two.campaign_id
    assert await here.report(signal("three", kind="other")) == []
    assert isinstance(await refusal(here.report(signal("four"), campaign_id="none")), CampaignNotFound)


# --- previews -------------------------------------------------------------------------------------------------


async def test_a_preview_tells_times_around_a_clock_change_and_what_the_schedule_means(here: Studio) -> None:
    schedule = schedule_pb2.Schedule(cron="30 2 * * *", time_zone="Europe/Berlin")
    request = cycle_pb.PreviewScheduleRequest(schedule=schedule, start_time=at("2027-03-27T00:00:00Z"), count=3)
    told = await here.campaigns.PreviewSchedule(request)
    assert [(each.local_time, each.shifted) for each in told.times] == [
        ("2027-03-27T02:30:00+01:00", False),
        ("2027-03-28T03:00:00+02:00", True),
        ("2027-03-29T02:30:00+02:00", False),
    ]
    assert "Europe/Berlin" in told.description
    made = await here.create(campaign=campaign(schedule=schedule))
    own = await here.campaigns.PreviewSchedule(cycle_pb.PreviewScheduleRequest(campaign_id=made.campaign_id))
    assert (len(own.times), own.description) == (10, told.description)


# --- goals ----------------------------------------------------------------------------------------------------


async def test_reported_metrics_move_the_goals_of_a_campaign_and_only_those(here: Studio) -> None:
    liked = {"key": "liked", "description": "Be liked", "metric": "engagement_rate", "target_value": 5}
    read = {"key": "read", "description": "Be read", "metric": "readers", "target_value": 90, "current_value": 4}
    made = await here.active(campaign=campaign(goals=[liked, read]))

    async def goals() -> tuple[str, list[float]]:
        request = pb.GetCampaignRequest(campaign_id=made.campaign_id)
        found = (await here.campaigns.GetCampaign(request)).campaign
        return found.etag, [each.current_value for each in found.goals]

    told = json.dumps({"posts": [{"engagement": 2}, {"engagement": 3}], "metrics": {"readers": 31}})
    first = signal("m1", kind="post_metrics", payload_json=told, occur_time=at("2026-02-01T00:00:00Z"))
    await here.report(first)
    etag, values = await goals()
    assert (values, etag != made.etag) == ([2.5, 31], True)
    await here.report(first)
    older = json.dumps({"metrics": {"readers": 7}})
    await here.report(
        signal("m0", kind="post_metrics", payload_json=older, occur_time=at("2026-01-01T00:00:00Z")),
        campaign_id=made.campaign_id,
    )
    assert await goals() == (etag, [2.5, 31])


# --- memories -------------------------------------------------------------------------------------------------


async def test_what_a_campaign_learns_is_listed_pinned_and_forgotten_for_good(here: Studio) -> None:
    made = await here.active()
    posts = [{"platform": "x", "format": each, "engagement": 9 if each == "video" else 1} for each in FORMATS]
    told = json.dumps({"posts": posts})
    await here.report(signal("m", kind="post_metrics", payload_json=told), campaign_id=made.campaign_id)
    request = memory_pb.ListMemoriesRequest(campaign_id=made.campaign_id)
    (memory,) = (await here.campaigns.ListMemories(request)).memories
    assert memory.text
    assert not memory.pinned
    pin = memory_pb.PinMemoryRequest(request_id=new_id(), memory_id=memory.memory_id)
    assert (await here.campaigns.PinMemory(pin)).memory.pinned
    request.pinned = False
    assert not (await here.campaigns.ListMemories(request)).memories
    unpin = memory_pb.PinMemoryRequest(request_id=new_id(), memory_id=memory.memory_id, pinned=False)
    assert not (await here.campaigns.PinMemory(unpin)).memory.pinned
    for order in ("importance", "importance desc", "last_use_time", "create_time"):
        request.order_by = order
        assert len((await here.campaigns.ListMemories(request)).memories) == 1
    forget = memory_pb.ForgetMemoryRequest(request_id=new_id(), memory_id=memory.memory_id)
    assert (await here.campaigns.ForgetMemory(forget)).memory_id == memory.memory_id
    assert (await here.campaigns.ForgetMemory(forget)).memory_id == memory.memory_id
    assert not (await here.campaigns.ListMemories(request)).memories
    assert isinstance(await refusal(here.campaigns.PinMemory(pin)), MemoryNotFound)
