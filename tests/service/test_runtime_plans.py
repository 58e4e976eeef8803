"""Plan mode over a served runtime: propose, approve, revise, refuse."""

import json
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
import pytest_asyncio

from heddle.runtime.v1 import run_pb2
from heddle.runtime.v1.input_pb2 import InputDecision
from heddle.runtime.v1.run_pb2 import RunState
from heddle.runtime.v1.turn_pb2 import ResponseFormat, TurnMode
from tests.kit.running_runtime import House, house

pytestmark = pytest.mark.timeout(60)

SCENARIO = """
turns:
  - when: {user: 'The plan is approved'}
    steps:
      - calls: [{tool: current_time, arguments: {}}]
      - text: "Carried out."
  - when: {user: 'reviewer wants'}
    steps:
      - text: "1. Better"
  - steps:
      - text: "1. Do it"
"""

SHAPE = json.dumps({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]})
COMPLETED, FAILED, WAITING = (
    RunState.RUN_STATE_COMPLETED,
    RunState.RUN_STATE_FAILED,
    RunState.RUN_STATE_WAITING,
)


@pytest_asyncio.fixture
async def here(tmp_path: Path) -> AsyncGenerator[House]:
    async with house(tmp_path, SCENARIO) as running:
        yield running


async def test_an_approved_plan_is_carried_out(here: House) -> None:
    planned = await here.start("plan it", "t1", mode=TurnMode.TURN_MODE_PLAN)
    assert planned.run.state == WAITING
    snapshot = await here.snapshot("t1")
    assert (snapshot.plan.version, snapshot.plan.text) == (1, "1. Do it")
    approve = {"decision": InputDecision.INPUT_DECISION_APPROVE, "plan_version": 1}
    await here.resolve(snapshot.pending_inputs[0].input_id, **approve)
    ended = await here.wait(planned.run.run_id)
    assert (ended.state, ended.result.parts[0].text) == (COMPLETED, "Carried out.")
    assert ended.usage.model_calls == 3
    assert (await here.snapshot("t1")).approved_plan_version == 1


async def test_a_plan_is_revised_when_the_reviewer_says_what_to_change(here: House) -> None:
    planned = await here.start("plan it", "t1", mode=TurnMode.TURN_MODE_PLAN)
    asked = (await here.pending("t1"))[0]
    await here.resolve(asked.input_id, decision=InputDecision.INPUT_DECISION_DENY, text="be better")
    await here.wait(planned.run.run_id)
    snapshot = await here.snapshot("t1")
    assert (snapshot.plan.version, snapshot.plan.text) == (2, "1. Better")
    assert (await here.kinds("t1")).count("plan_revised") == 1
    approve = {"decision": InputDecision.INPUT_DECISION_APPROVE, "plan_version": 2}
    await here.resolve(snapshot.pending_inputs[0].input_id, **approve)
    assert (await here.wait(planned.run.run_id)).state == COMPLETED


async def test_a_refused_plan_ends_the_run(here: House) -> None:
    planned = await here.start("plan it", "t1", mode=TurnMode.TURN_MODE_PLAN)
    await here.resolve((await here.pending("t1"))[0].input_id, decision=InputDecision.INPUT_DECISION_DENY)
    ended = await here.wait(planned.run.run_id)
    assert (ended.state, ended.failure.reason) == (FAILED, run_pb2.FAILURE_REASON_PLAN_REFUSED)


async def test_a_plan_need_not_have_the_shape_of_the_answer(here: House) -> None:
    shape = ResponseFormat(json_schema=SHAPE)
    planned = await here.start("plan it", "t1", mode=TurnMode.TURN_MODE_PLAN, response_format=shape)
    assert planned.run.state == WAITING
    assert "error_recorded" not in await here.kinds("t1")


async def test_a_model_that_fails_while_it_revises_a_plan_is_asked_three_times_and_no_more(tmp_path: Path) -> None:
    scenario = """
turns:
  - when: {user: 'reviewer wants'}
    steps: [{text: never, fault: {kind: retryable, message: overloaded}}]
  - steps: [{text: "1. Do it"}]
"""
    async with house(tmp_path, scenario) as running:
        planned = await running.start("plan it", "t1", mode=TurnMode.TURN_MODE_PLAN)
        asked = (await running.pending("t1"))[0]
        await running.resolve(asked.input_id, decision=InputDecision.INPUT_DECISION_DENY, text="be better")
        ended = await running.wait(planned.run.run_id)
    assert (ended.state, ended.failure.reason) == (FAILED, run_pb2.FAILURE_REASON_MODEL_UNAVAILABLE)
    assert ended.usage.model_calls == 4
