"""Every field of a child's spec does something: what was asked for is what its run was given, and is held to."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from heddle.common.v1.content_pb2 import ContentPart
from heddle.runtime.v1 import agent_service_pb2
from heddle.runtime.v1.agent_pb2 import AgentSpec
from heddle.runtime.v1.run_pb2 import RunState
from heddle.spawn.v1alpha1 import spawn_service_pb2 as pb
from heddle.spawn.v1alpha1.spawn_group_pb2 import SpawnGroupSpec, SpawnStage
from heddle.spawn.v1alpha1.spawn_pb2 import BudgetSlice, SpawnState
from tests.kit.running_runtime import new_id, payloads
from tests.kit.running_spawn import Family, child_spec, family

SCENARIO = """
turns:
  - when: {user: "hang"}
    steps:
      - text: "I begin"
        fault: {kind: hang, after_deltas: 1}
  - when: {user: "mine"}
    steps:
      - calls: [{tool: delegate, arguments: {}}]
      - text: "It was {{tool.delegate}}."
  - when: {user: "busy"}
    steps:
      - calls: [{tool: current_time, arguments: {}}]
      - calls: [{tool: current_time, arguments: {}}]
      - text: "It is late."
  - steps:
      - text: "{{user}} is done"
"""


@pytest.fixture(name="here")
async def served(tmp_path: Path) -> AsyncGenerator[Family]:
    async with family(tmp_path, SCENARIO) as here:
        yield here


async def test_labels_version_and_model_are_those_of_the_childs_run(here: Family) -> None:
    newer = agent_service_pb2.UpdateAgentRequest(
        request_id=new_id(),
        agent_id="worker",
        spec=AgentSpec(instructions="Newer."),
        update_mask=FieldMask(paths=["instructions"]),
    )
    assert (await here.house.stubs.agents.UpdateAgent(newer)).agent.version == 2
    spec = child_spec("k", agent_version=1, model="scripted:hello", labels={"team": "red"})
    child = await here.spawn(spec, wait_seconds=20)
    run = await here.house.run(child.run_id)
    assert (child.agent_version, run.agent.version) == (1, 1)
    assert run.model == "scripted:hello"
    assert dict(run.labels) == {"team": "red"}
    assert child.result.content[0].text != "work is done"
    newest = await here.spawn(child_spec("newest"), wait_seconds=20)
    assert (newest.agent_version, newest.result.content[0].text) == (2, "work is done")


@pytest.mark.parametrize(
    ("slice_", "reason"), [(BudgetSlice(steps=2), "STEP_LIMIT"), (BudgetSlice(tool_calls=1), "TOOL_CALL_LIMIT")]
)
async def test_a_child_is_held_to_the_steps_and_calls_of_its_slice(
    here: Family, slice_: BudgetSlice, reason: str
) -> None:
    child = await here.spawn(child_spec("k", "busy", budget=slice_), wait_seconds=20)
    assert (child.state, child.failure.reason) == (SpawnState.SPAWN_STATE_FAILED, reason)
    free = await here.spawn(child_spec("free", "busy"), wait_seconds=20)
    assert free.result.content[0].text == "It is late."
    assert free.result.tool_calls == 2


async def test_context_is_given_as_data_in_its_order(here: Family) -> None:
    parts = [ContentPart(text="They are light."), ContentPart(json='{"price": 80}')]
    child = await here.spawn(child_spec("k", context=parts), wait_seconds=20)
    (asked,) = payloads(await here.house.events(child.thread_id), "turn_requested")
    assert [(item.text, item.source) for item in asked.turn.context] == [
        ("They are light.", "parent"),
        ('{"price": 80}', "parent"),
    ]


DELEGATE = {"name": "delegate", "description": "Has it done elsewhere.", "parameters_json": '{"type": "object"}'}


async def test_a_client_has_a_child_answer_what_its_parent_waits_for(here: Family) -> None:
    started = await here.lead("mine", client_tools=[DELEGATE])
    assert started.state == RunState.RUN_STATE_WAITING
    (asked,) = await here.house.pending(started.thread_id)
    child = await here.spawn(child_spec("k"), parent_run_id=started.run_id, parent_input_id=asked.input_id)
    assert child.parent_input_id == asked.input_id
    run = await here.ended(started.run_id)
    assert '"result":"work is done"' in run.result.parts[0].text


async def test_a_tree_is_told_down_to_the_depth_that_is_asked_for(here: Family) -> None:
    parent = await here.parent()
    child = await here.spawn(child_spec("k", "hang"), parent_run_id=parent)
    (started,) = await here.started(parent)
    group = SpawnGroupSpec(group_key="g", stages=[SpawnStage(children=[child_spec("k", "hang", agent="second")])])
    below = await here.group(group, parent_run_id=started.run_id)
    both = [child.spawn_id, below.spawns[0].spawn_id]
    for depth, spawns, groups in ((0, both, [below.group_id]), (1, both[:1], []), (2, both, [below.group_id])):
        tree = await here.spawns.GetSpawnTree(pb.GetSpawnTreeRequest(run_id=parent, max_depth=depth))
        assert [each.spawn_id for each in tree.spawns] == spawns, depth
        assert [each.group_id for each in tree.groups] == groups, depth


async def test_who_cancels_a_group_and_why_stands_on_its_children(here: Family) -> None:
    spec = SpawnGroupSpec(
        group_key="g",
        stages=[
            SpawnStage(children=[child_spec("a", "hang"), child_spec("b", "hang", agent="second")]),
            SpawnStage(children=[child_spec("c")]),
        ],
    )
    group = await here.group(spec)
    await here.cancel(group_id=group.group_id, note="sold out")
    settled = await here.settled(group_id=group.group_id)
    assert {each.failure.message for each in settled.spawns} == {"developer cancelled it: sold out"}
    assert {each.failure.reason for each in settled.spawns} == {"CANCELLED"}
