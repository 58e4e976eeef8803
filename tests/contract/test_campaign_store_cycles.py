"""The campaign service's store, on every engine: cycles that are claimed, taken, saved, stopped, retried and listed."""

from collections.abc import AsyncGenerator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from heddle_campaign.facade import lifecycle
from heddle_campaign.facade.ports.decisions import Change, Standing
from heddle_campaign.facade.ports.listing import ListCycles
from heddle_campaign.facade.settling import settle
from heddle_campaign.rules.campaigns import PauseReason
from heddle_campaign.rules.cycle_keys import CycleOrigin
from heddle_campaign.rules.cycles import Cycle, CycleFailure, CycleTurn, MemoryUse, Signal, SkipReason
from heddle_campaign.rules.overlap import Load
from heddle_campaign.rules.queue import Bounds, Rate
from heddle_campaign.rules.schedule import OverlapPolicy
from heddle_campaign.rules.states import CampaignState, CycleState, TurnState
from heddle_core.clock import Micros
from heddle_core.companion_errors import CycleNotFound
from heddle_core.errors import IllegalTransition, RequestIdReused
from heddle_core.ids import TenantId
from heddle_core.usage import MicroUsd, Usage
from tests.kit.campaign_stores import ACME, ENGINES, LEASE, NOW, SECOND, Campaigns, adding, cycle_of, every

WIDE = Bounds(per_tenant=1_000)
WORKER = "wrk_1"


@pytest_asyncio.fixture(name="world", params=ENGINES)
async def opened(request: Any, tmp_path: Path) -> AsyncGenerator[Campaigns]:
    async with ENGINES[request.param](tmp_path) as world:
        yield world


def turn(role: str = "writer", **fields: Any) -> CycleTurn:
    return CycleTurn(role, f"agent_{role}", **fields)


async def claimed(world: Campaigns, most: int = 10, bounds: Bounds = WIDE) -> list[Cycle]:
    return list((await world.store.claim(WORKER, most, bounds, LEASE)).cycles)


def times(cycles: Any) -> list[int]:
    """Scheduled times, in seconds after the clock's first moment."""
    return [(each.key.scheduled_time - NOW) // SECOND for each in cycles]


async def test_a_cycle_is_kept_with_all_that_was_asked_and_all_that_became_of_it(world: Campaigns) -> None:
    await world.create()
    signal = Signal("viral_post", '{"a":"\\u0000"}', "d", NOW, "nats")
    made = cycle_of(
        0,
        origin=CycleOrigin.SIGNAL,
        due=Micros(NOW + 5),
        priority=-3,
        roles=("writer",),
        note="nül\0",
        evidence=signal,
        trigger_key="t",
    )
    (stored,) = await world.add(made)
    assert stored == made
    assert await world.cycle(made) == made
    memory = MemoryUse("mem_1", 0.75, "recent")
    begun = replace(
        made,
        state=CycleState.RUNNING,
        topic="cats",
        rotation_key="k",
        platform="tiktok",
        turns=(
            turn(prepared=b"\0\xffbytes", thread_id="thr_1", memories=(memory,), budget=MicroUsd(3)),
            turn("artist", failure=CycleFailure("MODEL_UNAVAILABLE", "no", True), next_attempt=Micros(NOW + 9)),
        ),
        budget=MicroUsd(0),
        usage=Usage(1, 2, 3, 4, 5, 6, MicroUsd(7)),
        owner=WORKER,
        look_at=Micros(NOW + 1),
        start_time=NOW,
    )
    saved = await world.store.save(made, begun)
    assert saved == replace(begun, revision=2)
    assert await world.cycle(made) == saved
    ended = replace(saved, state=CycleState.FAILED, summary="so", end_time=Micros(NOW + 3), retry_count=1)
    written = await world.store.save(saved, ended)
    assert written == replace(ended, revision=3)
    left = replace(written, turns=(replace(ended.turns[0], prepared=b""), ended.turns[1]))
    assert await world.cycle(made) == left, "nobody sends again what was prepared for an ended cycle"
    assert await world.store.cycle("other", made.cycle_id) is None


async def test_a_cycle_that_was_written_by_the_first_version_is_read(world: Campaigns) -> None:
    """What is stored is read by every later version: this text is never changed, only more of them added."""
    await world.create()
    (cycle,) = await world.add(cycle_of(0, turns=(turn(prepared=b"\0\x01"),)))
    body = (
        b'{"key":{"tenant":"acme","campaign_id":"c1","schedule_version":1,"scheduled_time":1700000000000000,"origin":1},'
        b'"due":1700000000000000,"evidence":{"kind":"k","payload_json":"{}","dedupe_key":"d","occur_time":5},'
        b'"turns":[{"role":"writer","agent_id":"agent_writer","state":1,"usage":{"input_tokens":4},"since_gone":1}]}'
    )
    await world.databases[0].write(lambda tx: tx.run("UPDATE cycles SET body = :body", body=body))
    found = await world.cycle(cycle)
    assert found.evidence == Signal("k", "{}", "d", Micros(5))
    assert found.turns == (turn(prepared=b"\0\x01", usage=Usage(4)),)
    assert found.cycle_id == cycle.cycle_id


async def test_only_the_first_of_two_who_read_the_same_cycle_writes_it(world: Campaigns) -> None:
    await world.create()
    (cycle,) = await world.add(cycle_of(0, state=CycleState.RUNNING))
    assert await world.store.save(cycle, replace(cycle, note="first")) is not None
    assert await world.store.save(cycle, replace(cycle, note="second")) is None

    def never(_: Standing) -> Change:
        raise AssertionError("nobody is asked for what was not written")

    assert await world.store.save(cycle, replace(cycle, note="third"), never) is None
    assert (await world.cycle(cycle)).note == "first"


async def test_what_an_end_means_for_the_campaign_is_written_with_it(world: Campaigns) -> None:
    await world.create()
    (cycle, _) = await world.add(cycle_of(0, state=CycleState.RUNNING), cycle_of(1))
    seen: list[Standing] = []

    def follow(standing: Standing) -> Change:
        seen.append(standing)
        return Change(replace(standing.campaign, failures_in_row=3), (cycle_of(9),))

    saved = await world.store.save(cycle, replace(cycle, state=CycleState.FAILED), follow)
    assert saved is not None
    assert seen[0].load == Load(0, 1, 1), "without the ended one"
    assert (await world.campaign()).failures_in_row == 3
    assert times(await world.store.open_cycles(ACME, "c1")) == [1, 9]


async def test_due_cycles_are_claimed_by_priority_and_age_and_wait_for_their_time(world: Campaigns) -> None:
    await world.activate(max_concurrent_cycles=16)
    later = cycle_of(60, due=Micros(NOW + 60 * SECOND))
    await world.add(cycle_of(-1), cycle_of(-3), cycle_of(-2, priority=5), later)
    first = await world.store.claim(WORKER, 2, WIDE, LEASE)
    assert times(first.cycles) == [-2, -3]
    assert first.next_at == NOW + 60 * SECOND
    cycle = first.cycles[0]
    assert (cycle.state, cycle.owner, cycle.start_time) == (CycleState.RUNNING, WORKER, NOW)
    assert cycle.look_at == NOW + 10 * SECOND
    assert cycle.revision == 2
    assert await world.cycle(cycle) == cycle
    assert times(await claimed(world)) == [-1]
    assert await claimed(world) == []
    world.clock.advance(60)
    assert await claimed(world, most=0) == []
    assert times(await claimed(world)) == [60]


async def test_no_more_cycles_begin_than_the_rate_allows_and_the_next_is_told_when(world: Campaigns) -> None:
    await world.activate(max_concurrent_cycles=16)
    await world.add(*(cycle_of(-each) for each in range(5)))
    slow = replace(WIDE, rate=Rate(2, timedelta(minutes=1)))
    first = await world.store.claim(WORKER, 10, slow, LEASE)
    assert len(first.cycles) == 2
    assert first.next_at == first.now + 30_000_000
    assert await claimed(world, bounds=slow) == []
    world.clock.advance(30)
    assert len(await claimed(world, bounds=slow)) == 1


async def test_claims_keep_to_the_bounds_of_campaign_and_tenant(world: Campaigns) -> None:
    await world.activate("one")
    await world.activate("two", max_concurrent_cycles=2)
    await world.activate("all", schedule=every(10, "all", start=Micros(NOW + 3600 * SECOND)))
    for name in ("one", "two", "all"):
        await world.add(*(cycle_of(-each, name) for each in range(1, 5)))
    found = await claimed(world, 100)
    assert sorted(each.key.campaign_id for each in found) == ["all"] * 4 + ["one"] + ["two"] * 2
    assert await claimed(world, 100) == []
    (single,) = (each for each in found if each.key.campaign_id == "one")
    await world.store.save(single, replace(single, state=CycleState.COMPLETED))
    assert await claimed(world, 100, Bounds(per_tenant=6)) == []
    assert [each.key.campaign_id for each in await claimed(world, 100, Bounds(per_tenant=7))] == ["one"]
    await world.activate("three", tenant=TenantId("other"), max_concurrent_cycles=4)
    await world.add(*(cycle_of(-each, "three", TenantId("other")) for each in range(1, 5)))
    assert len(await claimed(world, 100, Bounds(per_tenant=3))) == 3
    named = Bounds(per_tenant=100, per_campaign={(ACME, "one"): 3, (TenantId("other"), "three"): 3})
    assert [each.key.campaign_id for each in await claimed(world, 100, named)].count("three") == 0


async def test_a_named_bound_of_a_campaign_goes_before_its_own(world: Campaigns) -> None:
    await world.activate("one")
    await world.activate("two", max_concurrent_cycles=4)
    for name in ("one", "two"):
        await world.add(*(cycle_of(-each, name) for each in range(1, 5)))
    named = Bounds(per_tenant=100, per_campaign={(ACME, "one"): 3, (ACME, "two"): 1})
    found = await claimed(world, 100, named)
    assert sorted(each.key.campaign_id for each in found) == ["one"] * 3 + ["two"]


async def test_a_tenant_with_many_due_cycles_does_not_shut_out_another(world: Campaigns) -> None:
    other = TenantId("other")
    await world.activate("many", max_concurrent_cycles=16)
    await world.activate("few", tenant=other)
    await world.add(*(cycle_of(-each, "many") for each in range(1, 30)))
    await world.add(cycle_of(0, "few", other))
    assert "few" in [each.key.campaign_id for each in await claimed(world, 2)]


async def test_a_campaign_without_room_hides_none_of_its_tenants_other_cycles(world: Campaigns) -> None:
    await world.activate("full")
    await world.activate("wide", max_concurrent_cycles=2)
    await world.activate("late")
    await world.add(*(cycle_of(-each, "full", priority=9) for each in range(1, 60)))
    await world.add(*(cycle_of(-each, "wide", priority=5) for each in range(1, 60)))
    await world.add(cycle_of(0, "late"))
    assert [each.key.campaign_id for each in await claimed(world, 4)] == ["full", "wide", "wide", "late"]
    assert await claimed(world, 4) == []


async def test_cycles_of_a_paused_campaign_wait_until_it_is_resumed(world: Campaigns) -> None:
    await world.activate()
    await world.add(cycle_of(0))
    await world.decide("c1", lifecycle.pause, reason=PauseReason.MANUAL)
    assert await claimed(world) == []
    await world.decide("c1", lifecycle.resume)
    assert times(await claimed(world)) == [0]


async def test_what_waits_for_a_completed_campaign_is_still_claimed(world: Campaigns) -> None:
    await world.activate()
    await world.add(cycle_of(0))
    await world.decide("c1", lifecycle.complete)
    assert times(await claimed(world)) == [0]


async def test_cycles_are_taken_once_when_it_is_time_to_look_at_them_whoever_had_them(world: Campaigns) -> None:
    await world.activate(max_concurrent_cycles=16)
    await world.add(*(cycle_of(-each) for each in range(3)))
    held = await claimed(world)
    assert (await world.store.take("wrk_2", 10, LEASE)).cycles == ()
    world.clock.advance(10)
    taken = await world.store.take("wrk_2", 2, LEASE)
    assert len(taken.cycles) == 2
    assert taken.next_at == NOW + 10 * SECOND, "one more"
    rest = await world.store.take("wrk_2", 2, LEASE)
    assert rest.next_at == NOW + 20 * SECOND
    seen = sorted((*taken.cycles, *rest.cycles), key=lambda each: each.due)
    assert times(seen) == [-2, -1, 0]
    assert {(each.owner, each.revision, each.look_at) for each in seen} == {("wrk_2", 3, NOW + 20 * SECOND)}
    assert await world.store.save(held[0], replace(held[0], note="late")) is None, "its lease has ended"
    mine = await world.store.save(seen[0], replace(seen[0], look_at=Micros(0)))
    assert mine is not None
    world.clock.advance(100)
    assert times((await world.store.take("wrk_2", 10, LEASE)).cycles) == [-1, 0], "zero is never"


async def test_a_stop_ends_what_waits_at_once_and_asks_what_runs(world: Campaigns) -> None:
    await world.activate(schedule=every(10))
    (waiting,) = (await world.settle(settle)).cycles
    (running, ended, manual) = await world.add(
        cycle_of(1, state=CycleState.RUNNING, look_at=Micros(NOW + 99)),
        cycle_of(2, state=CycleState.SKIPPED),
        cycle_of(3, origin=CycleOrigin.MANUAL),
    )
    key = world.key("CancelCycle")
    world.clock.advance(1)
    stopped = await world.store.request_stop(ACME, waiting.cycle_id, "enough", key=key)
    assert (stopped.state, stopped.stop, stopped.stop_note) == (CycleState.CANCELLED, True, "enough")
    assert stopped.end_time == NOW + SECOND
    counters = (await world.campaign()).schedule_state.counters
    assert (counters.fired, counters.dropped, counters.scheduled) == (0, 1, 1)
    asked = await world.store.request_stop(ACME, running.cycle_id, "first")
    assert (asked.state, asked.stop, asked.look_at) == (CycleState.RUNNING, True, NOW + SECOND)
    assert (await world.store.request_stop(ACME, running.cycle_id, "second")) == asked
    assert (await world.store.request_stop(ACME, ended.cycle_id, "late")) == ended
    assert (await world.store.request_stop(ACME, manual.cycle_id, "")).state is CycleState.CANCELLED
    after = (await world.campaign()).schedule_state.counters
    assert after == replace(counters, unscheduled=-1), "none of these was a scheduled time that waits"
    assert (await world.store.request_stop(ACME, waiting.cycle_id, "other", key=key)) == stopped
    with pytest.raises(RequestIdReused):
        await world.store.request_stop(ACME, running.cycle_id, "", key=replace(key, fingerprint=b"other"))
    with pytest.raises(CycleNotFound):
        await world.store.request_stop("other", running.cycle_id, "")
    with pytest.raises(CycleNotFound):
        await world.store.request_stop(ACME, "cycle_none", "")


async def test_a_stop_of_the_last_waiting_cycle_lets_a_schedule_that_is_over_end_its_campaign(world: Campaigns) -> None:
    await world.activate(schedule=every(10, max_cycles=1))
    (cycle,) = (await world.settle(settle)).cycles
    assert (await world.campaign()).state is CampaignState.ACTIVE
    await world.store.request_stop(ACME, cycle.cycle_id, "no")
    await world.settle(settle)
    assert (await world.campaign()).state is CampaignState.COMPLETED


async def test_what_was_open_before_is_cancelled_with_a_decision_and_what_it_brings_is_not(world: Campaigns) -> None:
    await world.activate(schedule=every(10))
    world.clock.advance(10)
    assert len((await world.settle(settle)).cycles) == 2
    await claimed(world, 1)
    new = cycle_of(100, origin=CycleOrigin.MANUAL)
    await world.decide("c1", adding(new, cancel_open=True))
    running, fresh = await world.store.open_cycles(ACME, "c1")
    assert (running.state, running.stop, running.look_at) == (CycleState.RUNNING, True, NOW + 10 * SECOND)
    assert fresh == new
    counters = (await world.campaign()).schedule_state.counters
    assert (counters.fired, counters.dropped, counters.scheduled) == (1, 1, 2)
    await world.decide("c1", lifecycle.pause, note="holidays", cancel_open=True)
    (stopped, *_) = await world.store.recent_cycles(ACME, "c1", 9)
    assert (stopped.state, stopped.stop_note) == (CycleState.CANCELLED, "holidays")


async def test_an_overlap_policy_that_cancels_others_begins_the_last_and_counts_each_once(world: Campaigns) -> None:
    await world.activate(schedule=every(10, overlap=OverlapPolicy.CANCEL_OTHER))
    await world.settle(settle)
    (first,) = await claimed(world)
    world.clock.advance(10)
    await world.settle(settle)
    world.clock.advance(10)
    await world.settle(settle)
    assert (await world.cycle(first)).stop
    states = [each.state for each in (await world.store.cycles(ListCycles(ACME, "c1", 9, descending=False))).cycles]
    assert states == [CycleState.RUNNING, CycleState.CANCELLED, CycleState.DUE]
    counters = (await world.campaign()).schedule_state.counters
    assert (counters.fired, counters.dropped, counters.scheduled) == (2, 1, 3)


async def test_an_admitted_slot_that_is_left_out_has_a_row_that_says_why(world: Campaigns) -> None:
    await world.activate(schedule=every(10, overlap=OverlapPolicy.SKIP))
    await world.settle(settle)
    world.clock.advance(10)
    (left_out,) = (await world.settle(settle)).cycles
    stored = await world.cycle(left_out)
    assert (stored.state, stored.skip_reason) == (CycleState.SKIPPED, SkipReason.OVERLAP)
    assert stored.end_time == NOW + 10 * SECOND
    assert await world.store.recent_cycles(ACME, "c1", 9) == (stored,)


async def test_a_failed_cycle_is_queued_again_once_a_request_and_its_open_turns_begin_anew(world: Campaigns) -> None:
    await world.activate()
    failure = CycleFailure("INTERNAL", "no", False)
    done = turn("artist", state=TurnState.COMPLETED, thread_id="thr_2", run_id="run_2")
    (cycle,) = await world.add(
        cycle_of(
            0,
            state=CycleState.FAILED,
            start_time=NOW,
            turns=(
                turn(state=TurnState.FAILED, attempt=3, thread_id="thr_1", run_id="run_1", failure=failure),
                done,
                turn("third", next_attempt=Micros(NOW + 5)),
            ),
            summary="failed",
            usage=Usage(5),
        )
    )
    world.clock.advance(5)
    key = world.key("RetryCycle")
    again = await world.store.retry(key, cycle.cycle_id)
    assert (again.state, again.retry_count, again.due, again.end_time) == (CycleState.DUE, 1, NOW + 5 * SECOND, None)
    assert again.turns == (turn(attempt=4), done, turn("third", attempt=2))
    assert (again.summary, again.usage) == ("", Usage(5))
    assert await world.store.retry(key, cycle.cycle_id) == again
    with pytest.raises(RequestIdReused):
        await world.store.retry(replace(key, fingerprint=b"other"), cycle.cycle_id)
    with pytest.raises(IllegalTransition, match="DUE"):
        await world.store.retry(world.key("RetryCycle"), cycle.cycle_id)
    with pytest.raises(CycleNotFound):
        await world.store.retry(world.key("RetryCycle", tenant="other"), cycle.cycle_id)
    (claim,) = await claimed(world)
    assert claim.start_time == NOW + 5 * SECOND


async def test_a_time_that_was_dropped_by_a_cancel_is_fired_when_its_cycle_is_retried(world: Campaigns) -> None:
    await world.activate(schedule=every(10))
    (cycle,) = (await world.settle(settle)).cycles

    async def counts() -> tuple[int, int, int]:
        found = (await world.campaign()).schedule_state.counters
        return found.fired, found.dropped, found.scheduled

    await world.store.request_stop(ACME, cycle.cycle_id, "")
    assert await counts() == (0, 1, 1)
    await world.store.retry(world.key("RetryCycle"), cycle.cycle_id)
    assert await counts() == (1, 0, 1)
    (running,) = await claimed(world)
    failed = await world.store.save(running, replace(running, state=CycleState.FAILED))
    assert failed is not None
    await world.store.retry(world.key("RetryCycle"), cycle.cycle_id)
    await world.store.request_stop(ACME, cycle.cycle_id, "")
    assert await counts() == (1, 0, 1), "it had begun before"
