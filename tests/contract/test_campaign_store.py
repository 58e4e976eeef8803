"""The campaign service's store, on every engine: campaigns, requests, decisions, rounds over what is due, lists."""

from collections.abc import AsyncGenerator
from dataclasses import replace
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from heddle_campaign.facade import lifecycle
from heddle_campaign.facade.ports.decisions import Asked, Change, Fired, Standing
from heddle_campaign.facade.settling import settle
from heddle_campaign.rules.budget import Quota
from heddle_campaign.rules.campaigns import (
    CampaignAgent,
    ExhaustionPolicy,
    Goal,
    PauseReason,
    Rotation,
)
from heddle_campaign.rules.cycle_keys import CycleOrigin
from heddle_campaign.rules.cycles import Cycle
from heddle_campaign.rules.failures import FailurePolicy
from heddle_campaign.rules.overlap import Load
from heddle_campaign.rules.records import Outcome
from heddle_campaign.rules.recurrence import Cron, Interval, Once, Rrule
from heddle_campaign.rules.rotation import RotationTarget
from heddle_campaign.rules.schedule import DateSpan, OverlapPolicy, Stretch
from heddle_campaign.rules.signals import CustomSignal, PerformanceDip, TrendSpike, ViralPost
from heddle_campaign.rules.states import CampaignState, CycleState
from heddle_campaign.rules.triggers import SignalTrigger
from heddle_core.clock import Micros
from heddle_core.companion_errors import CampaignNotFound
from heddle_core.errors import EtagMismatch, IllegalTransition, RequestIdReused
from heddle_core.usage import MicroUsd, Usage
from tests.kit.campaign_stores import (
    ACME,
    AGAIN,
    ENGINES,
    NOW,
    SECOND,
    Campaigns,
    adding,
    campaign_of,
    cycle_of,
    every,
)
from tests.kit.log_capture import capture_logs

SIGNALS = (TrendSpike(keywords=("cats",)), ViralPost(), PerformanceDip(), CustomSignal("weather", "heat > 30"))
FULL: dict[str, Any] = {
    "brief": "sell ünbreakable cups",
    "agents": (CampaignAgent("w", "agent_w", 3, "write", 2, MicroUsd(5), ("trend_spike",), ("tiktok",), True),),
    "schedule": every(
        60,
        recurrences=(
            Cron("*/5 * * * *"),
            Rrule("FREQ=DAILY"),
            Interval(timedelta(days=400, microseconds=7)),
            Once((NOW,)),
        ),
        end=Micros(NOW + 1),
        jitter=timedelta(seconds=1.5),
        excluded_dates=(DateSpan(date(2026, 1, 1), date(2026, 2, 3)),),
        excluded_ranges=(Stretch(Micros(1), Micros(2)),),
    ),
    "rotation": Rotation((RotationTarget("k", 2, "topic", "tiktok", "w"),), timedelta(days=3)),
    "triggers": tuple(SignalTrigger(f"t{place}", rule, 1) for place, rule in enumerate(SIGNALS)),
    "goals": (Goal("g", "more", "posts", 2.5, 0.5, Micros(NOW)),),
    "quota": Quota(1, 2, 3),
    "budget": MicroUsd(9),
    "exhaustion_policy": ExhaustionPolicy.COMPLETE,
    "failure_policy": FailurePolicy(1, 2, 3, timedelta(minutes=1)),
    "priority": -4,
    "max_concurrent_cycles": 7,
    "max_agents_per_cycle": 2,
    "labels": {"a": "b", "c": ""},
}


@pytest_asyncio.fixture(name="world", params=ENGINES)
async def opened(request: Any, tmp_path: Path) -> AsyncGenerator[Campaigns]:
    async with ENGINES[request.param](tmp_path) as world:
        yield world


async def test_a_campaign_is_kept_with_all_that_was_asked_and_all_that_became_of_it(world: Campaigns) -> None:
    made = await world.create(**FULL)
    assert made == replace(campaign_of(**FULL), create_time=NOW, update_time=NOW)
    assert await world.campaign() == made
    standing = replace(
        made,
        state=CampaignState.PAUSED,
        next_due=Micros(NOW + 9),
        pause_reason=PauseReason.QUOTA,
        pause_note="enough",
        failures_in_row=2,
        usage=Usage(1, 2, 3, 4, 5, 6, MicroUsd(7)),
        produced=Quota(3, 2, 1),
        last_cycle_time=Micros(NOW + 2),
        schedule_state=replace(
            made.schedule_state,
            counters=made.schedule_state.counters.plus(Outcome.PAUSED, 3),
            paused_since=NOW,
            ended=True,
        ),
        update_time=Micros(NOW + 3),
        revision=2,
    )
    world.clock.advance(1)
    assert await world.decide("c1", lambda _: Change(standing)) == standing
    assert await world.campaign() == standing
    assert await world.store.campaign("other", "c1") is None
    assert await world.store.now() == NOW + SECOND


async def test_a_campaign_that_was_written_by_the_first_version_is_read(world: Campaigns) -> None:
    """What is stored is read by every later version: this text is never changed, only more of them added."""
    await world.create()
    body = (
        b'{"tenant":"acme","campaign_id":"c1","settings":{"title":"old","agents":[{"role":"w","agent_id":"a"}],'
        b'"schedule":{"tenant":"acme","campaign_id":"c1","version":2,"recurrences":[{"expression":"0 9 * * *"},'
        b'{"every":"P1DT1S"},{"rule":"FREQ=DAILY"},{"times":[5]}],"start":7,"overlap":3,"catch_up_window":"PT2H"},'
        b'"triggers":[{"key":"v","rule":{"min_engagement_percent":9.0}},{"key":"d","rule":{"min_fall_percent":20.0,'
        b'"window":"P7D"}}],"since_gone":true},"creator":{"tenant":"acme","principal":"ada","acted_by":""},"state":2,'
        b'"schedule_state":{"cursor":3,"counters":{"fired":4}}}'
    )
    await world.databases[0].write(lambda tx: tx.run("UPDATE campaigns SET body = :body", body=body))
    found = await world.campaign()
    assert found.settings.schedule is not None
    assert found.settings.schedule.recurrences == (
        Cron("0 9 * * *"),
        Interval(timedelta(days=1, seconds=1)),
        Rrule("FREQ=DAILY"),
        Once((Micros(5),)),
    )
    assert found.settings.schedule.overlap is OverlapPolicy.BUFFER_ALL
    assert [each.rule for each in found.settings.triggers] == [ViralPost(9.0), PerformanceDip()]
    assert (found.state, found.schedule_state.counters.fired) == (CampaignState.ACTIVE, 4)


async def test_a_request_creates_one_campaign_and_another_body_is_refused(world: Campaigns) -> None:
    key = world.key("CreateCampaign")
    first = await world.store.create(key, campaign_of("c1"))
    world.clock.advance(1)
    again = await world.store.create(key, campaign_of("c2"))
    assert (first.new, again.new) == (True, False)
    assert again.campaign == first.campaign
    assert await world.store.campaign(ACME, "c2") is None
    with pytest.raises(RequestIdReused):
        await world.store.create(replace(key, fingerprint=b"other"), campaign_of("c3"))
    assert (await world.store.create(replace(key, principal="bob"), campaign_of("c4"))).new


async def test_a_decision_is_carried_out_once_a_request_and_a_repeat_finds_what_it_made(world: Campaigns) -> None:
    await world.create()
    key = world.key("BackfillCampaign")
    made = await world.store.decide(ACME, "c1", adding(cycle_of(0), cycle_of(1)), key=key)
    (written, other) = made.cycles
    stopped = await world.store.request_stop(ACME, other.cycle_id, "no")
    again = await world.store.decide(ACME, "c1", adding(cycle_of(2)), key=key)
    assert not again.new
    assert again.cycles == (written, stopped), "as they stand now"
    assert await world.counts("cycles") == 2
    with pytest.raises(RequestIdReused):
        await world.store.decide(ACME, "c1", adding(cycle_of(3)), key=replace(key, fingerprint=b"other"))
    await world.store.remember(key, "c1")
    signal = world.key("ReportSignal")
    assert await world.store.target_of(signal) is None
    await world.store.remember(signal, "what was answered")
    assert await world.store.target_of(signal) == "what was answered"
    with pytest.raises(RequestIdReused):
        await world.store.remember(replace(key, fingerprint=b"other"), "c1")


async def test_a_decision_that_refuses_writes_nothing_and_takes_no_request_id(world: Campaigns) -> None:
    campaign = await world.create()
    key = world.key("ActivateCampaign")
    with pytest.raises(EtagMismatch):
        await world.store.decide(ACME, "c1", partial(lifecycle.activate, etag="9"), key=key)
    assert await world.campaign() == campaign
    assert (await world.store.decide(ACME, "c1", lifecycle.activate, key=key)).new
    with pytest.raises(CampaignNotFound):
        await world.store.decide(ACME, "c9", lifecycle.activate)
    with pytest.raises(CampaignNotFound):
        await world.store.decide("other", "c1", lifecycle.activate)


async def test_a_decision_is_told_of_load_time_taken_times_and_what_triggers_did(world: Campaigns) -> None:
    await world.create(max_concurrent_cycles=5, triggers=(SignalTrigger("t", ViralPost()),))
    await world.add(
        cycle_of(0),
        cycle_of(1, state=CycleState.RUNNING),
        cycle_of(2, state=CycleState.RUNNING),
        cycle_of(3, state=CycleState.SKIPPED),
        cycle_of(4, origin=CycleOrigin.BACKFILL),
        cycle_of(9, origin=CycleOrigin.MANUAL, state=CycleState.SKIPPED),
    )
    signalled = cycle_of(5, origin=CycleOrigin.SIGNAL)
    fired = Fired("t", "storm", signalled.cycle_id)
    await world.store.decide(ACME, "c1", adding(signalled, fired=fired))
    seen: list[Standing] = []

    def look(standing: Standing) -> Change:
        seen.append(standing)
        return Change(standing.campaign)

    stretch = Stretch(Micros(NOW + 1 * SECOND), Micros(NOW + 5 * SECOND))
    await world.store.decide(ACME, "c1", look, asked=Asked(stretch, "storm"))
    (told,) = seen
    assert told.load == Load(2, 3, 5)
    assert told.now == NOW
    assert told.moment == NOW + 9 * SECOND + 1, "the key of a cycle by hand must be free"
    assert told.taken == {Micros(NOW + each * SECOND) for each in (1, 2, 3, 4)}
    assert told.history.last_fired == {"t": NOW}
    assert told.history.dedupe_keys == {"storm": NOW}
    assert told.started == signalled.cycle_id
    world.clock.advance(60)
    await world.store.decide(ACME, "c1", look, asked=Asked(dedupe_key="calm"))
    assert (seen[-1].moment, seen[-1].history.dedupe_keys, seen[-1].started) == (NOW + 60 * SECOND, {}, "")
    assert seen[-1].history.last_fired == {"t": NOW}


async def test_a_cycle_whose_key_is_taken_is_left_as_it_stands(world: Campaigns) -> None:
    await world.create()
    (first,) = await world.add(cycle_of(0, note="first"))
    assert [each.note for each in await world.add(cycle_of(0, note="second"), cycle_of(1, note="new"))] == ["new"]
    assert await world.cycle(first) == first


async def test_a_year_of_pause_costs_one_row_and_the_counters_add_up(world: Campaigns) -> None:
    await world.activate(schedule=every(60))
    await world.decide("c1", lifecycle.pause)
    world.clock.advance(365 * 86_400)
    assert (await world.settle(settle)).campaigns == (), "nothing is due in a pause"
    resumed = await world.decide("c1", lifecycle.resume)
    minutes = 365 * 24 * 60
    assert resumed.schedule_state.counters.paused == minutes
    assert resumed.schedule_state.counters.scheduled == minutes
    assert await world.counts("cycle_gaps") == 1
    assert await world.counts("cycles") == 0


async def test_a_round_settles_what_is_due_oldest_first_and_says_when_the_next_is(world: Campaigns) -> None:
    for number, seconds in enumerate((30, 10, 20, 100)):
        await world.activate(f"c{number}", schedule=every(seconds, f"c{number}", start=Micros(NOW + seconds * SECOND)))
    await world.create("draft", schedule=every(1, "draft"))
    none = await world.settle(settle)
    assert (none.campaigns, none.cycles, none.next_at) == ((), (), NOW + 10 * SECOND)
    world.clock.advance(30)
    first = await world.settle(settle, most=2)
    assert [each.campaign_id for each in first.campaigns] == ["c1", "c2"]
    assert first.now == NOW + 30 * SECOND
    assert first.next_at == NOW + 30 * SECOND, "one more is due"
    second = await world.settle(settle, most=2)
    assert [each.campaign_id for each in second.campaigns] == ["c0"]
    assert second.next_at == NOW + 40 * SECOND
    assert len(first.cycles) + len(second.cycles) == 5
    assert [await world.cycle(each) for each in first.cycles] == list(first.cycles)


async def test_a_campaign_that_cannot_be_settled_is_put_off_and_stops_no_other(world: Campaigns) -> None:
    for name in ("bad", "broken", "good"):
        await world.activate(name, schedule=every(10, name))
    sql = "UPDATE campaigns SET body = :body WHERE campaign_id = 'broken'"
    await world.databases[0].write(lambda tx: tx.run(sql, body=b"{}"))

    def decide(standing: Standing) -> Change:
        if standing.campaign.campaign_id == "bad":
            raise ZeroDivisionError("no rule for that")
        return settle(standing)

    with capture_logs() as lines:
        done = await world.settle(decide)
    assert [each.campaign_id for each in done.campaigns] == ["good"]
    assert sorted(line["campaign_id"] for line in lines) == ["bad", "broken"]
    assert (await world.campaign("bad")).next_due == NOW + AGAIN / timedelta(microseconds=1)
    assert (await world.settle(decide)).campaigns == ()
    world.clock.advance(AGAIN.total_seconds())
    assert [each.campaign_id for each in (await world.settle(settle)).campaigns] == ["good", "bad"]


async def test_the_load_of_a_round_counts_what_runs_and_what_waits(world: Campaigns) -> None:
    await world.activate("c1", schedule=every(10), max_concurrent_cycles=4)
    await world.activate("c2", schedule=every(10, "c2"))
    await world.add(
        cycle_of(-1, state=CycleState.RUNNING), cycle_of(-2), cycle_of(-3), cycle_of(-4, origin=CycleOrigin.MANUAL)
    )
    seen: dict[str, Standing] = {}

    def look(standing: Standing) -> Change:
        seen[standing.campaign.campaign_id] = standing
        return settle(standing)

    await world.settle(look)
    assert seen["c1"].load == Load(1, 3, 4)
    assert seen["c2"].load == Load(0, 0, 1)
    assert (seen["c1"].moment, seen["c2"].moment) == (NOW, NOW)


async def test_each_of_many_that_are_due_at_one_moment_is_told_its_own_load(world: Campaigns) -> None:
    for number in range(5):
        name = f"c{number}"
        await world.activate(name, schedule=every(10, name))
        await world.add(*(cycle_of(-1 - each, name) for each in range(number + 1)))
    seen: dict[str, int] = {}

    def look(standing: Standing) -> Change:
        assert standing.campaign.campaign_id not in seen
        seen[standing.campaign.campaign_id] = standing.load.waiting
        return settle(standing)

    while (await world.settle(look, most=2)).campaigns:
        pass
    assert seen == {f"c{number}": number + 1 for number in range(5)}


async def test_a_campaign_that_rests_is_removed_with_all_that_is_its_own(world: Campaigns) -> None:
    await world.activate(labels={"a": "b"}, triggers=FULL["triggers"], schedule=every(10))
    await world.create("c2", labels={"a": "b"})
    key = world.key("DeleteCampaign")
    with pytest.raises(IllegalTransition, match="ACTIVE"):
        await world.store.delete(key, "c1", etag="")
    await world.decide("c1", lifecycle.pause)
    (running,) = await world.add(cycle_of(0, state=CycleState.RUNNING))
    with pytest.raises(IllegalTransition, match="at work"):
        await world.store.delete(key, "c1", etag="")
    await world.store.save(running, replace(running, state=CycleState.COMPLETED))
    with pytest.raises(EtagMismatch):
        await world.store.delete(key, "c1", etag="1")
    campaign = await world.campaign()
    await world.store.delete(key, "c1", etag=str(campaign.revision))
    await world.store.delete(key, "c1", etag="")
    for table in ("campaigns", "campaign_agents", "campaign_labels", "campaign_signal_kinds", "cycles", "cycle_turns"):
        assert await world.counts(table) == 0, table
    assert await world.counts("campaign_labels", "c2") == 1
    with pytest.raises(CampaignNotFound):
        await world.store.delete(world.key(), "c1", etag="")
    with pytest.raises(RequestIdReused):
        await world.store.delete(replace(key, fingerprint=b"other"), "c2", etag="")


async def test_whoever_watches_is_told_of_every_change(world: Campaigns) -> None:
    await world.activate(schedule=every(10))
    with world.changes.bell(ACME, "c1") as bell:

        async def rings(what: Any) -> Any:
            bell.clear()
            result = await what
            assert bell.is_set()
            return result

        settled = await rings(world.settle(settle))
        cycle: Cycle = settled.cycles[0]
        saved = await rings(world.store.save(cycle, replace(cycle, note="x")))
        await rings(world.store.request_stop(ACME, saved.cycle_id, "no"))
        await rings(world.store.retry(world.key("RetryCycle"), saved.cycle_id))
        await rings(world.decide("c1", lifecycle.pause))
