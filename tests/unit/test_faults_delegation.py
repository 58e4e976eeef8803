"""The fault suite's own parts for delegation: what leads are told, and what the model server makes of it."""

import json
from random import Random

import pytest

from heddle_core import failpoints
from tests.faults.cells import cells
from tests.faults.delegation_tasks import AGENTS, HANDS, LEAD, LINE, lead_task, leaf_text
from tests.faults.model_server import answer
from tests.faults.spawn_breaking import POINTS, RUNTIME_POINTS

RANDOM = Random(1)
WAYS = 10


@pytest.mark.parametrize("number", range(WAYS))
def test_the_model_makes_the_calls_that_its_task_names(number: int) -> None:
    task = lead_task("d1", RANDOM, number)
    _, calls, _ = answer([{"role": "user", "content": task.text}])
    names = {call["function"]["name"] for call in calls}
    assert names <= {"spawn_agent", "spawn_group"} if not task.waits else names == {"ask_user"}
    for call in calls if not task.waits else ():
        given = json.loads(call["function"]["arguments"])
        children = given.get("children") or [each for stage in given.get("stages", ()) for each in stage] or [given]
        assert all(child["agent"] in AGENTS and child["task"] for child in children)


def test_each_way_to_delegate_comes_once_and_then_any() -> None:
    tasks = [lead_task("d1", RANDOM, number) for number in range(WAYS + 50)]
    assert sum(task.waits for task in tasks[:WAYS]) == 1
    assert len({task.children for task in tasks[WAYS:]}) > 1


def test_a_chain_ends_one_deeper_than_it_may() -> None:
    task = next(each for each in (lead_task("d1", RANDOM, n) for n in range(WAYS)) if LINE[-1] in each.text)
    above, text = [LEAD], task.text
    while " calls=" in text:
        _, calls, _ = answer([{"role": "user", "content": text}])
        child = json.loads(calls[0]["function"]["arguments"])
        above.append(child["agent"])
        text = child["task"]
    assert above == [LEAD, *LINE]


def test_a_task_without_children_leads_to_no_call_of_a_spawn_tool() -> None:
    _, calls, _ = answer([{"role": "user", "content": leaf_text("d1", RANDOM)}])
    assert {call["function"]["name"] for call in calls} <= {"once"}
    assert HANDS


def test_every_kill_point_of_spawn_is_reached_in_a_whole_run() -> None:
    of_spawn = {
        name for name in failpoints.POINTS if name.startswith(("spawn_", "child_", "stage_", "group_", "parent_"))
    }
    assert set(POINTS) == of_spawn
    assert set(RUNTIME_POINTS) <= set(failpoints.POINTS)
    mine = [cell for cell in cells() if cell.name in ("spawn", "spawn_composed")]
    assert {cell.store for cell in mine} == {"sqlite", "postgres"}
    for cell in mine:
        assert int(cell.told.partition(" ")[0]) * cell.times >= 1_000
