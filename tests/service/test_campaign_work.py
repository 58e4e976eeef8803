"""Cycles from end to end: the service's motion on a real store, with a real runtime whose model plays a scenario."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

from heddle.common.v1.content_pb2 import ContentPart
from heddle.runtime.v1 import turn_pb2
from heddle.runtime.v1.run_pb2 import RunState
from heddle_campaign.facade.lifecycle import resume, update
from heddle_campaign.rules.budget import Quota
from heddle_campaign.rules.campaigns import PauseReason
from heddle_campaign.rules.cycle_keys import CycleOrigin
from heddle_campaign.rules.cycles import Cycle
from heddle_campaign.rules.failures import FailurePolicy
from heddle_campaign.rules.memories import MemoryKind
from heddle_campaign.rules.recurrence import Once
from heddle_campaign.rules.schedule import OverlapPolicy, Schedule
from heddle_campaign.rules.states import CampaignState, CycleState, TurnState
from heddle_core.clock import MICROS_PER_SECOND, Micros
from heddle_core.requests import RequestKey
from tests.kit.campaign_stores import on_postgres
from tests.kit.campaign_work import TENANT, Office, office
from tests.kit.running_runtime import new_id, payloads

SHOES = """
turns:
  - when: {user: "part of writer"}
    steps: [{text: "A line about shoes.\\nDecision: post in the morning."}]
  - when: {user: "part of artist"}
    steps: [{text: "A picture of shoes."}]
"""


async def test_a_trigger_starts_a_run_in_a_thread_of_its_own_and_the_cycle_is_completed(tmp_path: Path) -> None:
    async with office(tmp_path, SHOES) as here, here.worker() as rounds:
        await here.campaign(agents=await here.agents("writer"), brief="Sell shoes.", labels={"team": "red"})
        cycle = await here.ended(await here.trigger(rounds, note="hurry"))
        assert cycle.state is CycleState.COMPLETED, cycle
        assert cycle.summary == "writer: A line about shoes. Decision: post in the morning."
        (turn,) = cycle.turns
        assert (turn.state, turn.attempt) == (TurnState.COMPLETED, 1)
        run = await here.house.run(turn.run_id)
        assert run.state == RunState.RUN_STATE_COMPLETED
        assert run.request_sequence == turn.request_sequence
        assert turn.usage.model_calls == cycle.usage.model_calls == 1
        (asked,) = payloads(await here.house.events(turn.thread_id), "turn_requested")
        assert asked.turn.trigger.kind == turn_pb2.TRIGGER_KIND_CAMPAIGN
        assert asked.turn.trigger.reference == cycle.cycle_id
        assert dict(asked.turn.labels) == {"team": "red"}
        for said in ("Sell shoes.", "the part of writer", "hurry"):
            assert said in asked.turn.content[0].text
        await here.house.verify(turn.thread_id)
        campaign = await here.found()
        assert campaign.usage == cycle.usage
        assert campaign.last_cycle_time == cycle.start_time


async def test_what_a_cycle_decided_is_given_to_the_next_one_until_it_is_forgotten(tmp_path: Path) -> None:
    async with office(tmp_path, SHOES) as here, here.worker() as rounds:
        await here.campaign(agents=await here.agents("writer"))
        await here.ended(await here.trigger(rounds))
        learned = await here.memories.known(TENANT, "c1")
        (decision,) = [each for each in learned if each.memory.kind is MemoryKind.DECISION]
        second = await here.ended(await here.trigger(rounds))
        assert decision.memory.memory_id in [each.memory_id for each in second.turns[0].memories]
        (asked,) = payloads(await here.house.events(second.turns[0].thread_id), "turn_requested")
        given = {each.item_id: each for each in asked.turn.context}
        assert "post in the morning" in given[decision.memory.memory_id].text
        assert given[decision.memory.memory_id].kind == "memory"
        used = await here.memories.memory(TENANT, decision.memory.memory_id)
        assert used is not None
        assert used.memory.last_used is not None
        key = RequestKey(TENANT, "developer", "ForgetMemory", new_id(), b"")
        await here.memories.forget(key, decision.memory.memory_id)
        third = await here.ended(await here.trigger(rounds))
        assert decision.memory.memory_id not in [each.memory_id for each in third.turns[0].memories]


async def test_two_agents_work_side_by_side_each_in_its_thread(tmp_path: Path) -> None:
    async with office(tmp_path, SHOES) as here, here.worker() as rounds:
        await here.campaign(agents=await here.agents("writer", "artist"))
        cycle = await here.ended(await here.trigger(rounds))
        assert cycle.state is CycleState.COMPLETED
        assert {each.role: each.state for each in cycle.turns} == {
            "writer": TurnState.COMPLETED,
            "artist": TurnState.COMPLETED,
        }
        assert len({each.thread_id for each in cycle.turns}) == 2
        assert "artist: A picture of shoes." in cycle.summary


FAILING = """
turns:
  - when: {user: "part of writer"}
    steps:
      - text: "A line."
        fault: {kind: retryable, times: 3}
  - when: {user: "part of artist"}
    steps:
      - fault: {kind: refused, message: "not this"}
"""
QUICK = FailurePolicy(initial_backoff=timedelta(milliseconds=20))


async def test_a_turn_is_tried_again_in_a_new_thread_after_a_failure_that_may_pass(tmp_path: Path) -> None:
    async with office(tmp_path, FAILING) as here, here.worker() as rounds:
        await here.campaign(agents=await here.agents("writer"), failure_policy=QUICK)
        cycle = await here.ended(await here.trigger(rounds))
        assert cycle.state is CycleState.COMPLETED, cycle
        (turn,) = cycle.turns
        assert (turn.attempt, turn.failure, turn.next_attempt) == (2, None, None)
        runs = await here.runs()
        assert sorted(each.state for each in runs) == [RunState.RUN_STATE_COMPLETED, RunState.RUN_STATE_FAILED]
        assert len({each.thread_id for each in runs}) == 2


async def test_a_failure_that_does_not_pass_fails_the_cycle_and_the_third_pauses_the_campaign(tmp_path: Path) -> None:
    async with office(tmp_path, FAILING) as here, here.worker() as rounds:
        await here.campaign(agents=await here.agents("artist"), failure_policy=QUICK)
        for _ in range(3):
            cycle = await here.ended(await here.trigger(rounds))
            assert cycle.state is CycleState.FAILED
            (turn,) = cycle.turns
            assert turn.attempt == 1
            assert turn.failure is not None
            assert (turn.failure.reason, turn.failure.retryable) == ("MODEL_REFUSED", False)
        campaign = await here.found()
        assert (campaign.state, campaign.pause_reason) == (CampaignState.PAUSED, PauseReason.FAILURES)
        assert campaign.failures_in_row == 3


async def test_a_failed_cycle_that_is_retried_begins_its_turn_anew(tmp_path: Path) -> None:
    scenario = FAILING.replace("refused", "misconfigured").replace('message: "not this"', "times: 1")
    async with office(tmp_path, scenario) as here, here.worker() as rounds:
        await here.campaign(agents=await here.agents("artist"))
        cycle = await here.ended(await here.trigger(rounds))
        assert cycle.state is CycleState.FAILED
        key = RequestKey(TENANT, "developer", "RetryCycle", new_id(), b"")
        again = await here.store.retry(key, cycle.cycle_id)
        rounds.sweep_now()
        cycle = await here.ended(again)
        assert cycle.state is CycleState.COMPLETED, cycle
        assert (cycle.retry_count, cycle.turns[0].attempt) == (1, 2)
        assert (await here.found()).usage == cycle.usage


SLOW = """
turns:
  - when: {user: "part of writer"}
    steps:
      - text: "I begin"
        fault: {kind: hang, after_deltas: 1}
  - steps: [{text: "Done."}]
"""


def at_work(cycle: Cycle) -> bool:
    return bool(cycle.turns) and all(each.run_id for each in cycle.turns)


SLOW_REST = """
  - steps: [{text: "I begin", fault: {kind: hang, after_deltas: 1}}]
"""


async def test_a_cycle_that_is_cancelled_stops_its_runs(tmp_path: Path) -> None:
    async with office(tmp_path, SLOW) as here, here.worker() as rounds:
        await here.campaign(agents=await here.agents("writer"))
        cycle = await here.reached(at_work, await here.trigger(rounds))
        await here.store.request_stop(TENANT, cycle.cycle_id, "not now")
        rounds.ring_cycle(TENANT, cycle.cycle_id)
        cycle = await here.ended(cycle)
        assert (cycle.state, cycle.turns[0].state) == (CycleState.CANCELLED, TurnState.CANCELLED)
        assert (await here.house.run(cycle.turns[0].run_id)).state == RunState.RUN_STATE_CANCELLED
        assert (await here.found()).failures_in_row == 0


async def test_a_later_cycle_takes_the_place_of_the_one_at_work_where_the_policy_says_so(tmp_path: Path) -> None:
    async with office(tmp_path, SLOW) as here, here.worker() as rounds:
        await here.campaign(agents=await here.agents("writer", "other"))
        first = await here.reached(at_work, await here.trigger(rounds, roles=("writer",)))
        second = await here.trigger(rounds, roles=("other",), overlap=OverlapPolicy.CANCEL_OTHER)
        assert (await here.ended(second)).state is CycleState.COMPLETED
        assert (await here.ended(first)).state is CycleState.CANCELLED


async def test_a_cycle_whose_worker_is_gone_is_ended_by_another_with_the_same_run(tmp_path: Path) -> None:
    async with office(tmp_path, SLOW) as here:
        await here.campaign(agents=await here.agents("writer"))
        lease = timedelta(milliseconds=300)
        async with here.worker("w1", lease) as rounds:
            cycle = await here.reached(at_work, await here.trigger(rounds))
        async with here.worker("w2", lease):
            await here.house.cancel(cycle.turns[0].run_id)
            ended = await here.ended(cycle)
        assert (cycle.owner, ended.owner) == ("w1", "w2")
        assert ended.turns[0].run_id == cycle.turns[0].run_id
        assert ended.state is CycleState.CANCELLED
        assert len(await here.runs()) == 1


async def test_workers_side_by_side_start_one_run_a_turn(tmp_path: Path) -> None:
    async with office(tmp_path, SHOES) as here, here.worker("w1") as one, here.worker("w2") as two:
        await here.campaign(agents=await here.agents("writer"), max_concurrent_cycles=4)
        cycles = [await here.trigger(one, overlap=OverlapPolicy.BUFFER_ALL) for _ in range(8)]
        two.sweep_now()
        ended = [await here.ended(each) for each in cycles]
        assert {each.state for each in ended} == {CycleState.COMPLETED}
        assert len(await here.runs()) == 8


async def test_workers_of_two_processes_share_a_postgresql_and_one_ends_what_the_other_left(tmp_path: Path) -> None:
    async with (
        on_postgres(tmp_path, replicas=2) as campaigns,
        office(tmp_path, SHOES + SLOW_REST, campaigns.databases[0]) as here,
        here.worker("w2", database=campaigns.databases[1]) as two,
    ):
        await here.campaign(agents=await here.agents("writer", "slow"), max_concurrent_cycles=5)
        async with here.worker("w1") as one:
            asked = partial(here.trigger, one, overlap=OverlapPolicy.BUFFER_ALL)
            slow = await here.reached(at_work, await asked(roles=("slow",)))
            for cycle in [await asked(roles=("writer",)) for _ in range(6)]:
                two.sweep_now()
                assert (await here.ended(cycle)).state is CycleState.COMPLETED
        await here.house.cancel(slow.turns[0].run_id)
        campaigns.clock.advance(11)
        two.sweep_now()
        ended = await here.ended(slow)
        assert (ended.state, ended.owner) == (CycleState.CANCELLED, "w2")
        assert len(await here.runs()) == 7


WAITING = """
turns:
  - when: {user: "part of writer"}
    steps:
      - calls: [{tool: ask_user, arguments: {question: "Which?"}}]
      - text: "You said {{tool.ask_user}}."
"""


async def test_a_turn_that_waits_for_an_answer_keeps_its_cycle_at_work(tmp_path: Path) -> None:
    async with office(tmp_path, WAITING) as here, here.worker() as rounds:
        await here.campaign(agents=await here.agents("writer"))
        cycle = await here.reached(at_work, await here.trigger(rounds))
        (turn,) = cycle.turns
        assert (await here.house.wait(turn.run_id)).state == RunState.RUN_STATE_WAITING
        rounds.ring_thread(TENANT, turn.thread_id)
        looked = await here.store.cycle(TENANT, cycle.cycle_id)
        assert looked is not None
        assert looked.state is CycleState.RUNNING
        (question,) = await here.house.pending(turn.thread_id)
        await here.house.resolve(question.input_id, content=[ContentPart(text="red")])
        ended = await here.ended(cycle)
        assert (ended.state, ended.summary) == (CycleState.COMPLETED, "writer: You said red.")


MADE = """
steps: [{text: "Two drafts.\\nMade: 2 posts, 1 image"}]
"""


async def test_a_quota_that_is_reached_pauses_the_campaign(tmp_path: Path) -> None:
    async with office(tmp_path, MADE) as here, here.worker() as rounds:
        await here.campaign(agents=await here.agents("writer"), quota=Quota(posts=3))
        for posts in (2, 4):
            assert (await here.ended(await here.trigger(rounds))).state is CycleState.COMPLETED
            assert (await here.found()).produced == Quota(posts=posts, images=posts // 2)
        campaign = await here.found()
        assert (campaign.state, campaign.pause_reason) == (CampaignState.PAUSED, PauseReason.QUOTA)


async def test_an_archived_agent_pauses_the_campaign_until_it_has_another(tmp_path: Path) -> None:
    async with office(tmp_path, SHOES) as here, here.worker() as rounds:
        (agent,) = await here.agents("writer")
        campaign = await here.campaign(agents=(agent,))
        gone = replace(campaign.settings, agents=(replace(agent, agent_id="nobody"),))
        await here.decide(partial(update, settings=gone))
        cycle = await here.ended(await here.trigger(rounds))
        assert cycle.state is CycleState.FAILED
        paused = await here.found()
        assert (paused.state, paused.pause_reason) == (CampaignState.PAUSED, PauseReason.AGENT_MISSING)
        await here.decide(partial(update, settings=campaign.settings))
        await here.decide(resume)
        assert (await here.ended(await here.trigger(rounds))).state is CycleState.COMPLETED


async def test_a_schedule_fires_on_time_and_its_campaign_is_completed_after_the_last(tmp_path: Path) -> None:
    async with office(tmp_path, SHOES) as here, here.worker() as rounds:
        agents = await here.agents("writer")
        at = Micros(await here.store.now() + MICROS_PER_SECOND // 2)
        once = Schedule(TENANT, "c1", 1, (Once((at,)),), at)
        campaign = await here.campaign(agents=agents, schedule=once)
        assert campaign.next_due == at
        rounds.sweep_now()
        (cycle,) = await fired(here)
        assert (cycle.key.scheduled_time, cycle.key.origin) == (at, CycleOrigin.SCHEDULE)
        ended = await here.ended(cycle)
        assert ended.state is CycleState.COMPLETED
        assert ended.start_time is not None
        assert 0 <= ended.start_time - at < MICROS_PER_SECOND
        campaign = await here.found()
        assert campaign.state is CampaignState.COMPLETED
        assert campaign.schedule_state.counters.fired == 1


async def fired(here: Office) -> tuple[Cycle, ...]:
    """The campaign's cycles, once it has one."""
    with here.changes.bell(TENANT, "c1") as bell:
        async with asyncio.timeout(20):
            while not (cycles := await here.cycles()):
                bell.clear()
                await bell.wait()
    return cycles
