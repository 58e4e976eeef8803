"""Delegation from end to end: models that call the tools, children in threads of their own, parents that wait."""

import json
from pathlib import Path
from typing import Any

from heddle.runtime.v1.run_pb2 import Run, RunState
from heddle.runtime.v1.tool_call_pb2 import ToolCallOutcome
from heddle.runtime.v1.turn_pb2 import AgentReference, Limits
from heddle.spawn.v1alpha1.spawn_group_pb2 import SpawnGroupState
from heddle.spawn.v1alpha1.spawn_pb2 import CancelPolicy, SpawnState, WantedAsset
from heddle.spawn.v1alpha1.spawn_service_pb2 import GetSpawnRequest, GetSpawnTreeRequest
from tests.kit.running_runtime import payloads
from tests.kit.running_spawn import LEAD, child_spec, family


def told_by(run: Run) -> Any:
    """What the parent's model repeated of its tool's result."""
    return json.loads(run.result.parts[0].text.removeprefix("[ERROR] "))


ONE = """
turns:
  - when: {user: "delegate"}
    steps:
      - text: "I ask a worker. "
        calls:
          - tool: spawn_agent
            arguments: {agent: worker, task: "Write a line about shoes.", context: ["They are light."]}
      - text: "It said: {{tool.spawn_agent field result}} ({{tool.spawn_agent field state}})"
  - steps:
      - text: "Light as a feather."
"""


async def test_a_parent_waits_for_its_child_and_reads_its_result(tmp_path: Path) -> None:
    async with family(tmp_path, ONE) as here:
        run = await here.delegated("delegate this")
        assert run.state == RunState.RUN_STATE_COMPLETED
        assert run.result.parts[0].text == "It said: Light as a feather. (COMPLETED)"
        (child,) = await here.children(run.run_id)
        assert child.state == SpawnState.SPAWN_STATE_COMPLETED
        assert child.thread_id not in ("", run.thread_id)
        assert (child.depth, child.root_run_id, child.parent_thread_id) == (1, run.run_id, run.thread_id)
        assert child.result.content[0].text == "Light as a feather."
        events = await here.house.events(run.thread_id)
        (spawned,) = payloads(events, "child_spawned")
        assert spawned.run_id == child.run_id
        waiting = payloads(events, "run_waiting")
        assert len(waiting) <= 1
        (done,) = payloads(events, "tool_call_completed")
        assert json.loads(done.content[0].json)["spawn_id"] == child.spawn_id
        await here.house.verify(run.thread_id)
        await here.house.verify(child.thread_id)


TWO = """
turns:
  - when: {user: "delegate"}
    steps:
      - calls:
          - tool: spawn_agent
            arguments: {agent: worker, task: "left"}
          - tool: spawn_agent
            arguments: {agent: second, task: "right"}
      - text: "Both: {{tool.spawn_agent field result}}"
  - steps:
      - text: "{{user}} is done"
"""


async def test_two_calls_of_one_step_start_two_children_and_the_step_waits_for_both(tmp_path: Path) -> None:
    async with family(tmp_path, TWO) as here:
        run = await here.delegated()
        assert run.result.parts[0].text == "Both: right is done"
        children = await here.children(run.run_id)
        assert [child.spec.agent_id for child in children] == ["worker", "second"]
        assert {child.state for child in children} == {SpawnState.SPAWN_STATE_COMPLETED}
        results = payloads(await here.house.events(run.thread_id), "tool_call_completed")
        assert sorted(json.loads(each.content[0].json)["result"] for each in results) == [
            "left is done",
            "right is done",
        ]


def group(arguments: str, more: str = "") -> str:
    """A scenario whose parent calls spawn_group once, and whose children say what they are told."""
    return f"""
turns:
  - when: {{user: "delegate"}}
    steps:
      - calls:
          - tool: spawn_group
            arguments: {arguments}
      - text: "{{{{tool.spawn_group}}}}"
{more}
  - when: {{user: "hang"}}
    steps:
      - text: "I begin"
        fault: {{kind: hang, after_deltas: 1}}
  - when: {{user: "fail"}}
    steps:
      - fault: {{kind: refused}}
  - steps:
      - text: "{{{{user}}}} is done"
"""


async def test_the_children_of_a_group_are_told_in_the_order_in_which_they_were_asked_for(tmp_path: Path) -> None:
    children = "[{agent: worker, task: one}, {agent: second, task: two}, {agent: third, task: three}]"
    async with family(tmp_path, group(f"{{children: {children}}}")) as here:
        run = await here.delegated()
        told = told_by(run)
        assert told["state"] == "COMPLETED"
        assert [each["result"] for each in told["children"]] == ["one is done", "two is done", "three is done"]
        assert all(each["usage"]["tokens"] > 0 for each in told["children"])
        done = payloads(await here.house.events(run.thread_id), "child_finished")
        assert len(done) == 3


async def test_a_stage_begins_when_the_one_before_has_ended_and_is_told_its_results(tmp_path: Path) -> None:
    stages = "[[{agent: worker, task: one}, {agent: second, task: two}], [{agent: third, task: sum}]]"
    async with family(tmp_path, group(f"{{stages: {stages}}}")) as here:
        run = await here.delegated()
        told = told_by(run)
        assert [each["agent"] for each in told["children"]] == ["worker", "second", "third"]
        one, two, last = await here.children(run.run_id)
        assert last.start_time.ToMicroseconds() >= max(each.end_time.ToMicroseconds() for each in (one, two))
        (asked,) = payloads(await here.house.events(last.thread_id), "turn_requested")
        assert [(item.kind, item.text) for item in asked.turn.context] == [
            ("result", "one is done"),
            ("result", "two is done"),
        ]


async def test_any_one_child_is_enough_and_the_others_are_cancelled(tmp_path: Path) -> None:
    children = "[{agent: worker, task: hang}, {agent: second, task: quick}, {agent: third, task: hang}]"
    async with family(tmp_path, group(f"{{children: {children}, wait_for: any}}")) as here:
        run = await here.delegated()
        told = told_by(run)
        assert told["state"] == "COMPLETED"
        assert [each["state"] for each in told["children"]] == ["CANCELLED", "COMPLETED", "CANCELLED"]
        assert told["children"][0]["failure"]["reason"] == "NOT_NEEDED"
        assert all(each.state >= RunState.RUN_STATE_COMPLETED for each in await here.runs_under(run.run_id))


async def test_the_first_two_of_three_are_enough(tmp_path: Path) -> None:
    children = "[{agent: worker, task: a}, {agent: second, task: hang}, {agent: third, task: c}]"
    async with family(tmp_path, group(f"{{children: {children}, wait_for: first, count: 2}}")) as here:
        run = await here.delegated()
        told = told_by(run)
        assert [each["state"] for each in told["children"]] == ["COMPLETED", "CANCELLED", "COMPLETED"]


async def test_a_failed_stage_ends_a_group_that_was_to_stop_then(tmp_path: Path) -> None:
    stages = "[[{agent: worker, task: fail}, {agent: second, task: b}], [{agent: third, task: c}]]"
    async with family(tmp_path, group(f"{{stages: {stages}, stop_on_failure: true}}")) as here:
        run = await here.delegated()
        told = told_by(run)
        assert told["state"] == "FAILED"
        assert [each["state"] for each in told["children"]] == ["FAILED", "COMPLETED", "CANCELLED"]
        assert told["children"][0]["failure"]["reason"] == "MODEL_REFUSED"
        assert told["children"][2]["failure"]["reason"] == "STAGE_FAILED"
        (done,) = payloads(await here.house.events(run.thread_id), "tool_call_completed")
        assert done.outcome == ToolCallOutcome.TOOL_CALL_OUTCOME_ERROR
        assert len(await here.runs_under(run.run_id)) == 2


# --- ends that nobody wished for ---------------------------------------------------------------------------


HANGS = """
turns:
  - when: {user: "delegate"}
    steps:
      - calls:
          - tool: spawn_agent
            arguments: {agent: worker, task: "hang", deadline_seconds: DEADLINE}
      - text: "{{tool.spawn_agent}}"
  - steps:
      - text: "I begin"
        fault: {kind: hang, after_deltas: 1}
"""


def hangs(deadline: int = 3600) -> str:
    return HANGS.replace("DEADLINE", str(deadline))


async def test_a_cancelled_parent_takes_its_child_with_it_and_the_record_says_so(tmp_path: Path) -> None:
    async with family(tmp_path, hangs()) as here:
        run = await here.lead("delegate")
        (child,) = await here.started(run.run_id)
        answer = await here.house.cancel(run.run_id)
        assert {each.run_id for each in answer.cancelled} == {run.run_id, child.run_id}
        child = await here.settled(spawn_id=child.spawn_id)
        assert child.state == SpawnState.SPAWN_STATE_CANCELLED
        assert child.failure.reason == "PARENT_CANCELLED"
        assert (await here.ended(run.run_id)).state == RunState.RUN_STATE_CANCELLED


async def test_a_cancelled_child_ends_and_its_parent_goes_on(tmp_path: Path) -> None:
    async with family(tmp_path, hangs()) as here:
        run = await here.lead("delegate")
        (child,) = await here.started(run.run_id)
        await here.cancel(spawn_id=child.spawn_id, note="changed my mind")
        child = await here.settled(spawn_id=child.spawn_id)
        assert (child.state, child.failure.reason) == (SpawnState.SPAWN_STATE_CANCELLED, "CANCELLED")
        assert child.failure.message == "developer cancelled it: changed my mind"
        run = await here.ended(run.run_id)
        assert told_by(run)["state"] == "CANCELLED"
        assert told_by(run)["failure"]["reason"] == "CANCELLED"


async def test_a_child_that_takes_too_long_is_stopped_and_its_parent_told(tmp_path: Path) -> None:
    async with family(tmp_path, hangs(1)) as here:
        run = await here.delegated()
        assert told_by(run)["state"] == "TIMED_OUT"
        assert told_by(run)["failure"]["reason"] == "DEADLINE_PASSED"
        (child,) = await here.runs_under(run.run_id)
        assert child.state == RunState.RUN_STATE_CANCELLED


async def test_a_cancelled_group_ends_all_its_children_and_starts_no_more(tmp_path: Path) -> None:
    stages = "[[{agent: worker, task: hang}, {agent: second, task: hang}], [{agent: third, task: c}]]"
    async with family(tmp_path, group(f"{{stages: {stages}}}")) as here:
        run = await here.lead("delegate")
        child = (await here.started(run.run_id, 2))[0]
        await here.cancel(group_id=child.group_id)
        settled = await here.settled(group_id=child.group_id)
        assert settled.state == SpawnGroupState.SPAWN_GROUP_STATE_CANCELLED
        assert {each.state for each in settled.spawns} == {SpawnState.SPAWN_STATE_CANCELLED}
        assert len(await here.runs_under(run.run_id)) == 2
        assert (await here.ended(run.run_id)).state == RunState.RUN_STATE_COMPLETED


async def test_an_abandoned_child_outlives_its_parent(tmp_path: Path) -> None:
    async with family(tmp_path, hangs()) as here:
        parent = (await here.house.start("begin", wait=0, agent=AgentReference(agent_id=LEAD))).run
        spec = child_spec("k", "hang", cancel_policy=CancelPolicy.CANCEL_POLICY_ABANDON)
        child = await here.spawn(spec, parent_run_id=parent.run_id)
        await here.started(parent.run_id)
        await here.house.cancel(parent.run_id)
        assert (await here.ended(parent.run_id)).state == RunState.RUN_STATE_CANCELLED
        standing = (await here.spawns.GetSpawn(GetSpawnRequest(spawn_id=child.spawn_id))).spawn
        assert standing.state == SpawnState.SPAWN_STATE_RUNNING
        await here.cancel(spawn_id=child.spawn_id)
        assert (await here.settled(spawn_id=child.spawn_id)).state == SpawnState.SPAWN_STATE_CANCELLED


# --- what the parent sees meanwhile ------------------------------------------------------------------------


ASKS = """
turns:
  - when: {user: "delegate"}
    steps:
      - calls:
          - tool: spawn_agent
            arguments: {agent: worker, task: "Find out the colour."}
      - text: "{{tool.spawn_agent field result}}"
  - steps:
      - calls:
          - tool: ask_user
            arguments: {question: "Which colour?"}
      - text: "It is {{tool.ask_user}}."
"""


async def test_a_child_that_waits_shows_so_and_its_progress_stands_in_its_parents_events(tmp_path: Path) -> None:
    async with family(tmp_path, ASKS) as here:
        run = await here.lead("delegate")
        child = await here.reaching(run.run_id, SpawnState.SPAWN_STATE_WAITING)
        assert child.progress == "waits: Which colour?"
        (asked,) = await here.house.pending(child.thread_id)
        await here.house.resolve(asked.input_id, text="red")
        run = await here.ended(run.run_id)
        assert run.result.parts[0].text == "It is red."
        reports = payloads(await here.house.events(run.thread_id), "work_updated")
        assert "worker: waits: Which colour?" in [each.message for each in reports]
        assert {each.work_id for each in reports} == {child.parent_input_id}
        assert (await here.settled(spawn_id=child.spawn_id)).state == SpawnState.SPAWN_STATE_COMPLETED


# --- bounds of the tree ------------------------------------------------------------------------------------


def deep(names: list[str]) -> str:
    """A scenario in which each level delegates to the next of `names`."""
    turns = [
        f"""
  - when: {{user: "level {number}"}}
    steps:
      - calls:
          - tool: spawn_agent
            arguments: {{agent: {name}, task: "level {number + 1}"}}
      - text: "{{{{tool.spawn_agent}}}}"
"""
        for number, name in enumerate(names)
    ]
    return "turns:\n" + "".join(turns) + "  - steps:\n      - text: bottom\n"


async def test_a_fourth_level_is_refused_with_a_remedy_that_the_model_reads(tmp_path: Path) -> None:
    names = ["worker", "second", "third", "fourth"]
    async with family(tmp_path, deep(names), agents=names) as here:
        run = await here.delegated("level 0")
        assert "DEPTH_EXCEEDED" in run.result.parts[0].text
        assert "let the parent do this itself" in run.result.parts[0].text
        tree = await here.spawns.GetSpawnTree(GetSpawnTreeRequest(run_id=run.run_id))
        assert [(each.depth, each.spec.agent_id) for each in tree.spawns] == [
            (1, "worker"),
            (2, "second"),
            (3, "third"),
        ]
        assert tree.root_run_id == run.run_id
        assert tree.usage.model_calls == 2 * 4
        deepest = tree.spawns[-1]
        again = await here.spawns.GetSpawnTree(GetSpawnTreeRequest(run_id=deepest.run_id))
        assert again == tree


async def test_an_agent_that_would_delegate_to_itself_over_others_is_refused(tmp_path: Path) -> None:
    async with family(tmp_path, deep(["worker", "second", "worker"])) as here:
        run = await here.delegated("level 0")
        assert "lead > worker > second > worker" in run.result.parts[0].text


async def test_more_children_than_the_bound_are_refused_as_a_group(tmp_path: Path) -> None:
    children = ", ".join("{agent: worker, task: a}" for _ in range(9))
    async with family(tmp_path, group(f"{{children: [{children}]}}")) as here:
        run = await here.delegated()
        told = told_by(run)
        assert told["error"] == "INVALID_FIELD"
        assert "1 to 8 children" in told["message"]
        assert await here.runs_under(run.run_id) == []


async def test_children_share_what_their_parent_has_left_and_the_tree_stays_within_it(tmp_path: Path) -> None:
    children = "[{agent: worker, task: a}, {agent: second, task: b}]"
    async with family(tmp_path, group(f"{{children: {children}}}"), lead_limits=Limits(tokens=30_000)) as here:
        run = await here.delegated()
        assert told_by(run)["state"] == "COMPLETED"
        below = await here.runs_under(run.run_id)
        granted = [each.limits.tokens for each in below]
        assert all(9_000 < each <= 10_000 for each in granted), granted
        assert run.usage.input_tokens + run.usage.output_tokens < 30_000
        spent = sum(each.usage.input_tokens + each.usage.output_tokens for each in below)
        assert spent > 0
        spawned = payloads(await here.house.events(run.thread_id), "child_spawned")
        assert len(spawned) == 2


# --- tools and assets --------------------------------------------------------------------------------------


async def test_a_child_is_never_given_a_tool_that_its_parent_lacks(tmp_path: Path) -> None:
    async with family(tmp_path, ONE) as here:
        run = await here.delegated("delegate this", allowed_tools=["spawn_agent"])
        (child,) = await here.children(run.run_id)
        (asked,) = payloads(await here.house.events(child.thread_id), "turn_requested")
        assert list(asked.turn.allowed_tools) == ["spawn/spawn_agent"]


ASSET = """
turns:
  - when: {user: "delegate"}
    steps:
      - calls:
          - tool: request_asset
            arguments: {kind: image, task: "A shoe."}
      - text: "{{tool.request_asset}}"
  - steps:
      - text: "a picture"
"""


async def test_an_asset_is_refused_with_its_reason_while_nobody_makes_that_kind(tmp_path: Path) -> None:
    async with family(tmp_path, ASSET) as here:
        run = await here.delegated()
        told = told_by(run)
        assert told["error"] == "NOT_SERVED"
        assert "no pipeline is configured" in told["message"]


async def test_a_text_is_made_by_the_writer_that_comes_with_the_runtime(tmp_path: Path) -> None:
    async with family(tmp_path, ASSET.replace("kind: image", "kind: text")) as here:
        run = await here.delegated()
        assert (told_by(run)["agent"], told_by(run)["result"]) == ("writer", "a picture")


async def test_an_asset_comes_from_the_agent_that_makes_that_kind(tmp_path: Path) -> None:
    async with family(tmp_path, ASSET, settings={"assets": {"image": "worker"}}) as here:
        run = await here.delegated()
        assert told_by(run)["result"] == "a picture"
        (child,) = await here.children(run.run_id)
        assert child.spec.wanted_asset == WantedAsset.WANTED_ASSET_IMAGE
