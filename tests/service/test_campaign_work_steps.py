"""What becomes of a cycle when the runtime refuses, is away, or has gone on: a real store, and a fake runtime."""

from collections.abc import AsyncGenerator
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio

from heddle_campaign.codec.cycles import cycle_message
from heddle_campaign.facade.firing import trigger
from heddle_campaign.facade.lifecycle import update
from heddle_campaign.rules.budget import MicroUsd
from heddle_campaign.rules.campaigns import CampaignAgent, PauseReason, Rotation
from heddle_campaign.rules.cycles import Cycle, SkipReason
from heddle_campaign.rules.failures import FailurePolicy
from heddle_campaign.rules.queue import Bounds
from heddle_campaign.rules.rotation import RotationTarget
from heddle_campaign.rules.schedule import OverlapPolicy
from heddle_campaign.rules.states import CampaignState, CycleState, TurnState
from heddle_client.values import RunState
from heddle_core.errors import IllegalTransition
from heddle_core.runtime_errors import AgentNotFound, BudgetExceeded, RateLimited, RequestCancelled, RunNotFound
from heddle_core.usage import MicroUsd as Cost
from heddle_core.usage import Usage
from tests.kit.campaign_desk import Desk, away, desk_on, only
from tests.kit.campaign_stores import ACME, LEASE, SECOND
from tests.kit.campaign_values import ARTIST, WRITER


@pytest_asyncio.fixture(name="desk")
async def at_work(tmp_path: Path) -> AsyncGenerator[Desk]:
    async with desk_on(tmp_path) as desk:
        yield desk


# --- the start -------------------------------------------------------------------------------------------------


async def test_a_turn_is_on_record_before_it_is_sent_and_its_run_as_soon_as_it_is_accepted(desk: Desk) -> None:
    cycle = await desk.begin()
    desk.runs.refusals["start"] = [away()]
    waits = await desk.attend(cycle)
    assert (only(waits).state, only(waits).prepared) == (TurnState.PENDING, desk.runs.sent[0])
    started = await desk.attend(cycle)
    assert (only(started).state, only(started).run_id, only(started).thread_id) == (TurnState.RUNNING, "run_1", "thr_1")
    assert only(started).request_sequence == 2


async def test_a_turn_has_a_thread_of_its_own_that_says_what_it_is_for(desk: Desk) -> None:
    rotation = Rotation((RotationTarget("shoes"),))
    cycle = await desk.begin(labels={"team": "red"}, rotation=rotation, title="Spring sale " * 9)
    desk.runs.refusals["open_thread"] = [away()]
    waits = await desk.attend(cycle)
    assert (only(waits).state, desk.runs.sent) == (TurnState.PENDING, [])
    desk.runs.lost = [away()]
    for _ in range(2):
        cycle = await desk.attend(cycle)
    first, *repeated = desk.runs.threads
    assert repeated == [first, first]
    assert (first.thread_id, first.labels) == (only(waits).new_thread, {"team": "red"})
    assert first.title == f"{('Spring sale ' * 9)[:79]}…: shoes, writer, 2023-11-14 22:13:20"
    desk.runs.fails("run_1", "MODEL_UNAVAILABLE")
    cycle = await desk.attend(cycle)
    desk.campaigns.clock.advance(60)
    await desk.attend(cycle)
    second = desk.runs.threads[-1]
    assert second.thread_id != first.thread_id
    assert second.request_id != first.request_id
    assert second.title.endswith(", writer, 2023-11-14 22:13:20, attempt 2")


async def test_an_outcome_that_is_not_known_is_asked_again_with_the_same_bytes(desk: Desk) -> None:
    cycle = await desk.begin()
    desk.runs.lost = [away(), away()]
    for _ in range(3):
        cycle = await desk.attend(cycle)
    assert len(desk.runs.sent) == 3
    assert len(set(desk.runs.sent)) == len(desk.runs.runs) == 1
    assert (only(cycle).state, only(cycle).attempt) == (TurnState.RUNNING, 1)


async def test_a_runtime_that_is_away_is_asked_again_after_pauses_that_grow(desk: Desk) -> None:
    cycle = await desk.begin()
    desk.runs.refusals["start"] = [away() for _ in range(9)]
    pauses: list[float] = []
    for _ in range(9):
        put_off = await desk.attend(cycle)
        pauses.append((put_off.look_at - desk.campaigns.clock.now()) / SECOND)
    assert pauses == [1, 1, 1, 2, 4, 8, 10, 10, 10]
    started = await desk.attend(cycle)
    assert started.look_at == desk.campaigns.clock.now() + LEASE // timedelta(microseconds=1)


async def test_how_often_a_cycle_was_put_off_is_kept_of_the_last_ones_only(desk: Desk) -> None:
    first = await desk.begin(max_concurrent_cycles=2)
    second = await desk.next(overlap=OverlapPolicy.ALLOW_ALL)
    desk.work = replace(desk.work, most_put_off=1)
    desk.runs.refusals["start"] = [away() for _ in range(9)]

    async def pause(cycle: Cycle) -> float:
        return ((await desk.attend(cycle)).look_at - desk.campaigns.clock.now()) / SECOND

    assert [await pause(first) for _ in range(4)] == [1, 1, 1, 2]
    assert [await pause(second) for _ in range(4)] == [1, 1, 1, 2]
    assert await pause(first) == 1, "no more than one is kept"


async def test_a_runtime_that_asks_for_a_pause_gets_it(desk: Desk) -> None:
    cycle = await desk.begin()
    desk.runs.refusals["start"] = [RateLimited("ada", 30)]
    put_off = await desk.attend(cycle)
    assert put_off.look_at - desk.campaigns.clock.now() >= 2 * SECOND
    assert only(put_off).attempt == 1


async def test_a_refusal_that_names_a_wait_is_followed_by_another_attempt_at_its_time(desk: Desk) -> None:
    cycle = await desk.begin(failure_policy=FailurePolicy(initial_backoff=timedelta(seconds=100)))
    desk.runs.refusals["start"] = [BudgetExceeded("tenant", "cost", "0", "1")]
    waits = await desk.attend(cycle)
    turn = only(waits)
    assert (turn.state, turn.attempt, turn.prepared) == (TurnState.PENDING, 2, b"")
    assert turn.next_attempt == waits.look_at
    assert 80 <= (waits.look_at - desk.campaigns.clock.now()) / SECOND <= 120
    desk.campaigns.clock.advance(79)
    assert await desk.attend(waits) == waits
    desk.campaigns.clock.advance(41)
    started = await desk.attend(waits)
    assert (only(started).attempt, only(started).run_id, only(started).next_attempt) == (2, "run_1", None)
    assert len(set(desk.runs.sent)) == 2


async def test_an_agent_that_is_gone_fails_its_turn_and_pauses_the_campaign(desk: Desk) -> None:
    cycle = await desk.begin()
    desk.runs.refusals["start"] = [AgentNotFound("agent_writer")]
    ended = await desk.attend(cycle)
    assert ended.state is CycleState.FAILED
    campaign = await desk.campaigns.campaign()
    assert (campaign.state, campaign.pause_reason) == (CampaignState.PAUSED, PauseReason.AGENT_MISSING)


async def test_a_start_that_somebody_cancelled_ends_as_cancelled(desk: Desk) -> None:
    cycle = await desk.begin()
    desk.runs.refusals["start"] = [RequestCancelled("req")]
    ended = await desk.attend(cycle)
    assert (ended.state, only(ended).state) == (CycleState.CANCELLED, TurnState.CANCELLED)


# --- the run ---------------------------------------------------------------------------------------------------


async def test_a_run_that_waits_is_looked_at_again_and_nothing_is_written(desk: Desk) -> None:
    started = await desk.attend(await desk.begin())
    desk.runs.goes_on("run_1", state=RunState.WAITING)
    assert await desk.attend(started) == started


@pytest.mark.parametrize(
    ("reason", "attempts"),
    [("MODEL_UNAVAILABLE", 3), ("INTERNAL", 3), ("DEADLINE_EXCEEDED", 3), ("MODEL_REFUSED", 1), ("STEP_LIMIT", 1)],
)
async def test_only_what_may_pass_is_tried_again_and_only_so_often(desk: Desk, reason: str, attempts: int) -> None:
    cycle = await desk.attend(await desk.begin())
    for number in range(1, attempts + 1):
        assert only(cycle).attempt == number
        desk.runs.fails(only(cycle).run_id, reason, usage=Usage(cost=Cost(5)))
        cycle = await desk.attend(cycle)
        if number < attempts:
            desk.campaigns.clock.advance(3_600)
            cycle = await desk.attend(cycle)
    assert cycle.state is CycleState.FAILED
    failure = only(cycle).failure
    assert failure is not None
    assert (failure.reason, failure.message, failure.of_run) == (reason, "it broke", True)
    assert cycle.usage.cost == 5 * attempts
    assert (await desk.campaigns.campaign()).usage == cycle.usage


async def test_a_cycle_is_completed_when_one_of_its_turns_is(desk: Desk) -> None:
    cycle = await desk.attend(await desk.begin(agents=(WRITER, ARTIST)))
    desk.runs.ends(cycle.turns[0].run_id, "A line.")
    still = await desk.attend(cycle)
    assert still.state is CycleState.RUNNING
    desk.runs.fails(cycle.turns[1].run_id, "MODEL_REFUSED")
    ended = await desk.attend(cycle)
    assert ended.state is CycleState.COMPLETED
    assert ended.summary.splitlines() == [
        f"{cycle.turns[0].role}: A line.",
        f"{cycle.turns[1].role} failed: it broke",
    ]


async def test_a_run_whose_thread_was_deleted_fails_its_turn(desk: Desk) -> None:
    cycle = await desk.attend(await desk.begin())
    desk.runs.refusals["get"] = [RunNotFound("run_1")]
    ended = await desk.attend(cycle)
    failure = only(ended).failure
    assert failure is not None
    assert (ended.state, failure.reason) == (CycleState.FAILED, "RUN_NOT_FOUND")


async def test_earlier_attempts_use_up_the_budget_of_a_turn(desk: Desk) -> None:
    cycle = await desk.attend(await desk.begin(budget=MicroUsd(100)))
    desk.runs.fails("run_1", "MODEL_UNAVAILABLE", usage=Usage(cost=Cost(100)))
    cycle = await desk.attend(cycle)
    desk.campaigns.clock.advance(60)
    ended = await desk.attend(cycle)
    failure = only(ended).failure
    assert failure is not None
    assert (ended.state, failure.reason, len(desk.runs.runs)) == (CycleState.FAILED, "BUDGET_EXCEEDED", 1)


async def test_a_cycle_that_uses_up_the_budget_pauses_the_campaign(desk: Desk) -> None:
    cycle = await desk.attend(await desk.begin(budget=MicroUsd(100)))
    assert only(cycle).budget == 100
    desk.runs.ends("run_1", cost=100)
    ended = await desk.attend(cycle)
    assert ended.state is CycleState.COMPLETED
    campaign = await desk.campaigns.campaign()
    assert (campaign.state, campaign.pause_reason) == (CampaignState.PAUSED, PauseReason.BUDGET)
    assert campaign.usage.cost == 100


async def test_a_cycle_that_finds_nothing_left_is_skipped_and_pauses_the_campaign(desk: Desk) -> None:
    campaign = await desk.campaigns.activate(agents=(WRITER,))
    cycle = await desk.next()
    desk.runs.ends("run_1")
    await desk.attend(cycle)
    desk.runs.ends("run_1", cost=70)
    await desk.attend(cycle)
    waiting = await desk.next()
    lowered = replace(campaign.settings, budget=MicroUsd(70))
    await desk.campaigns.decide("c1", update, settings=lowered)
    skipped = await desk.attend(waiting)
    assert (skipped.state, skipped.skip_reason) == (CycleState.SKIPPED, SkipReason.EXHAUSTED)
    paused = await desk.campaigns.campaign()
    assert (paused.state, paused.pause_reason) == (CampaignState.PAUSED, PauseReason.BUDGET)
    assert paused.schedule_state.counters.unscheduled == 1
    assert desk.runs.sent == desk.runs.sent[:1]


async def test_cycles_go_on_with_another_target_while_one_has_nobody_to_work_on_it(desk: Desk) -> None:
    targets = (RotationTarget("films", role="film", weight=9), RotationTarget("shoes", role="writer"))
    away_today = CampaignAgent("film", "agent_film", disabled=True)
    await desk.campaigns.activate(agents=(WRITER, away_today), rotation=Rotation(targets))
    for number in range(3):
        begun = await desk.attend(await desk.next())
        assert (begun.state, begun.rotation_key) == (CycleState.RUNNING, "shoes")
        desk.runs.ends(f"run_{number + 1}")
        assert (await desk.attend(begun)).state is CycleState.COMPLETED


async def test_a_cycle_with_nobody_to_ask_is_kept_with_the_reason(desk: Desk) -> None:
    campaign = await desk.campaigns.activate(agents=(WRITER,))
    waiting = await desk.next()
    nobody = replace(campaign.settings, agents=(replace(WRITER, disabled=True),))
    await desk.campaigns.decide("c1", update, settings=nobody)
    skipped = await desk.attend(waiting)
    assert (skipped.state, skipped.skip_reason) == (CycleState.SKIPPED, SkipReason.NO_AGENT)
    assert cycle_message(skipped).end_note == "nobody can be asked: writer (disabled)"


async def test_a_cycle_goes_on_with_the_settings_that_it_began_with(desk: Desk) -> None:
    policy = FailurePolicy(max_attempts=2, initial_backoff=timedelta(seconds=10))
    cycle = await desk.begin(brief="Sell wool.", labels={"team": "a"}, failure_policy=policy)
    cycle = await desk.attend(cycle)
    began = (await desk.campaigns.campaign()).settings
    later = replace(
        began, brief="Sell silk.", labels={"team": "b"}, failure_policy=FailurePolicy(max_attempts=1), agents=(ARTIST,)
    )
    await desk.campaigns.decide("c1", update, settings=later)
    desk.runs.fails("run_1", "INTERNAL")
    waits = await desk.attend(cycle)
    assert (only(waits).attempt, only(waits).state) == (2, TurnState.PENDING)
    desk.campaigns.clock.advance(60)
    await desk.attend(waits)
    first, second = desk.prepared
    assert (second.labels, second.agent_id) == (first.labels, first.agent_id)
    assert second.content == first.content
    desk.runs.fails("run_2", "INTERNAL")
    assert (await desk.attend(waits)).state is CycleState.FAILED
    begun = await desk.attend(await desk.next())
    assert (only(begun).role, desk.prepared[-1].labels) == ("artist", {"team": "b"})


async def test_a_retried_cycle_goes_by_the_settings_of_its_new_beginning(desk: Desk) -> None:
    cycle = await desk.begin(labels={"team": "a"}, failure_policy=FailurePolicy(max_attempts=1))
    cycle = await desk.attend(cycle)
    desk.runs.fails("run_1", "INTERNAL")
    assert (await desk.attend(cycle)).state is CycleState.FAILED
    assert (await desk.campaigns.cycle(cycle)).settings is None
    settings = (await desk.campaigns.campaign()).settings
    await desk.campaigns.decide("c1", update, settings=replace(settings, labels={"team": "b"}))
    await desk.campaigns.store.retry(desk.campaigns.key(), cycle.cycle_id)
    (again,) = (await desk.campaigns.store.claim("w1", 10, Bounds(), LEASE)).cycles
    await desk.attend(again)
    assert [each.labels for each in desk.prepared] == [{"team": "a"}, {"team": "b"}]


# --- the stop --------------------------------------------------------------------------------------------------


async def test_a_cycle_that_is_stopped_before_it_was_planned_asks_nobody(desk: Desk) -> None:
    cycle = await desk.begin()
    await desk.stop(cycle)
    ended = await desk.attend(cycle)
    assert (ended.state, ended.turns, desk.runs.asked) == (CycleState.CANCELLED, (), [])


@pytest.mark.parametrize("arrived", [True, False])
async def test_a_stop_finds_the_run_of_a_start_whose_outcome_is_not_known(desk: Desk, arrived: bool) -> None:
    cycle = await desk.begin()
    if arrived:
        desk.runs.lost = [away()]
    else:
        desk.runs.refusals["start"] = [away()]
    cycle = await desk.attend(cycle)
    await desk.stop(cycle)
    ended = await desk.attend(cycle)
    assert (ended.state, only(ended).state) == (CycleState.CANCELLED, TurnState.CANCELLED)
    assert only(ended).run_id == ("run_1" if arrived else "")
    assert "cancel_start" in desk.runs.asked
    assert len(desk.runs.sent) == 1


async def test_an_answer_counts_that_came_before_the_stop(desk: Desk) -> None:
    cycle = await desk.attend(await desk.begin())
    desk.runs.ends("run_1")
    await desk.stop(cycle)
    assert (await desk.attend(cycle)).state is CycleState.COMPLETED


async def test_a_turn_that_fails_while_it_is_stopped_is_not_tried_again(desk: Desk) -> None:
    cycle = await desk.attend(await desk.begin())
    desk.runs.fails("run_1", "MODEL_UNAVAILABLE")
    await desk.stop(cycle)
    ended = await desk.attend(cycle)
    assert (ended.state, only(ended).state, only(ended).attempt) == (CycleState.CANCELLED, TurnState.FAILED, 1)


# --- the end ---------------------------------------------------------------------------------------------------


async def test_what_a_turn_teaches_is_learned_before_its_cycle_has_ended(desk: Desk) -> None:
    cycle = await desk.attend(await desk.begin())
    desk.runs.ends("run_1")
    desk.unlearned.append(away())
    waits = await desk.attend(cycle)
    assert waits.state is CycleState.RUNNING
    ended = await desk.attend(cycle)
    assert ended.state is CycleState.COMPLETED
    assert desk.learned == [("run_1", CycleState.RUNNING)]


async def test_a_cycle_ends_although_nothing_can_be_learned_from_it(desk: Desk) -> None:
    cycle = await desk.attend(await desk.begin())
    desk.runs.ends("run_1")
    desk.unlearned.append(IllegalTransition("run", "run_1", "QUEUED", "be learned from", "wait"))
    assert (await desk.attend(cycle)).state is CycleState.COMPLETED


async def test_a_retried_cycle_adds_to_its_campaign_only_what_it_used_since(desk: Desk) -> None:
    cycle = await desk.attend(await desk.begin())
    desk.runs.fails("run_1", "MODEL_REFUSED", usage=Usage(cost=Cost(30)))
    await desk.attend(cycle)
    await desk.campaigns.store.retry(desk.campaigns.key("RetryCycle"), cycle.cycle_id)
    (again,) = (await desk.campaigns.store.claim("w1", 10, Bounds(), LEASE)).cycles
    await desk.attend(again)
    desk.runs.ends("run_2", cost=12)
    ended = await desk.attend(again)
    assert (ended.state, ended.usage.cost) == (CycleState.COMPLETED, 42)
    assert (await desk.campaigns.campaign()).usage.cost == 42


async def test_what_another_worker_has_written_meanwhile_stands(desk: Desk) -> None:
    cycle = await desk.begin()
    desk.campaigns.clock.advance(11)
    (taken,) = (await desk.campaigns.store.take("w2", 10, LEASE)).cycles
    assert await desk.work.attend(cycle) == taken
    assert desk.runs.sent == []


async def test_a_waiting_cycle_begins_when_the_one_before_it_has_ended(desk: Desk) -> None:
    cycle = await desk.attend(await desk.begin())
    second = (await desk.campaigns.store.decide(ACME, "c1", partial(trigger, overlap=OverlapPolicy.BUFFER_ALL))).cycles[
        0
    ]
    assert (await desk.campaigns.store.claim("w1", 10, Bounds(), LEASE)).cycles == ()
    desk.runs.ends("run_1")
    await desk.attend(cycle)
    (claimed,) = (await desk.campaigns.store.claim("w1", 10, Bounds(), LEASE)).cycles
    assert claimed.cycle_id == second.cycle_id
