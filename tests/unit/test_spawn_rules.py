"""What may be delegated: specs, parents, tools, and what models write."""

import json
from datetime import timedelta
from typing import Any

import pytest

from heddle_client.values import (
    Bounds,
    CancelCause,
    InlineData,
    RunState,
    Text,
)
from heddle_core.errors import InvalidField, NotServed
from heddle_core.runtime_errors import DepthExceeded, FanOutExceeded, ParentCancelled, ParentFinished
from heddle_grpc.tool_calls import read_arguments
from heddle_spawn.rpc.arguments import AgentArguments, AssetArguments, GroupArguments
from heddle_spawn.rules import names
from heddle_spawn.rules.checks import (
    NO_TOOLS,
    TreeBounds,
    check_cycle,
    check_group,
    check_parent,
    check_spec,
    granted_tools,
    worker_of,
)
from heddle_spawn.rules.spawns import (
    FanIn,
    GroupSpec,
    WantedAsset,
)
from tests.kit.spawn_values import run_of, spec_of

# --- checks -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"spawn_key": "a b"}, "spec.spawn_key"),
        ({"agent_id": ""}, "spec.agent_id"),
        ({"wanted_asset": WantedAsset.IMAGE}, "spec.agent_id"),
        ({"agent_version": -1}, "spec.agent_version"),
        ({"task": ()}, "spec.task"),
        ({"context": (InlineData("image/png", b"x"),)}, "spec.context[0]"),
        ({"context": (Text("a"),) * 33}, "spec.context"),
        ({"deadline": timedelta(milliseconds=1)}, "spec.deadline"),
        ({"deadline": timedelta(days=8)}, "spec.deadline"),
        ({"tools": ("lookup",)}, "spec.tools[0]"),
        ({"labels": {str(n): "" for n in range(33)}}, "spec.labels"),
        ({"budget": Bounds(tokens=-1)}, "spec.budget.tokens"),
        ({"budget": Bounds(cost_micro_usd=-1)}, "spec.budget.cost"),
        ({"result_schema_json": "[]"}, "spec.result_schema_json"),
    ],
)
def test_a_bad_spec_is_refused_by_field(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidField) as raised:
        check_spec(spec_of(**({"key": fields.pop("spawn_key")} if "spawn_key" in fields else {}), **fields))
    assert field in [each.field for each in raised.value.violations]


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        (GroupSpec("g h", ((spec_of(),),)), "spec.group_key"),
        (GroupSpec("g", ()), "spec.stages"),
        (GroupSpec("g", ((spec_of(),),) * 9), "spec.stages"),
        (GroupSpec("g", ((),)), "spec.stages[0].children"),
        (GroupSpec("g", (tuple(spec_of(str(n)) for n in range(9)),)), "spec.stages[0].children"),
        (GroupSpec("g", ((spec_of("a"), spec_of("a")),)), "spec.stages[0].children[1].spawn_key"),
        (GroupSpec("g", ((spec_of("a", task=()),),)), "spec.stages[0].children[0].task"),
        (GroupSpec("g", ((spec_of("a"),),), FanIn.FIRST_N), "spec.fan_in_count"),
        (GroupSpec("g", ((spec_of("a"),),), FanIn.FIRST_N, 2), "spec.fan_in_count"),
        (GroupSpec("g", ((spec_of("a"),),), FanIn.ALL, 1), "spec.fan_in_count"),
        (GroupSpec("g", ((spec_of("a"),),), deadline=timedelta(days=9)), "spec.deadline"),
    ],
)
def test_a_bad_group_is_refused_by_field(spec: GroupSpec, field: str) -> None:
    with pytest.raises(InvalidField) as raised:
        check_group(spec, TreeBounds())
    assert field in [each.field for each in raised.value.violations]


def test_a_group_takes_as_long_as_its_stages_one_after_the_other() -> None:
    hours = [spec_of(str(n), deadline=timedelta(hours=n)) for n in (1, 2, 3)]
    assert GroupSpec("g", ((hours[0], hours[1]), (hours[2],))).time == timedelta(hours=5)
    assert GroupSpec("g", ((hours[0],),), deadline=timedelta(minutes=1)).time == timedelta(minutes=1)


def test_a_parent_that_may_have_no_more_children_is_refused_with_its_reason() -> None:
    bounds = TreeBounds(most_depth=3, most_children=8)
    check_parent(run_of(depth=2), 5, 3, bounds)
    with pytest.raises(ParentCancelled):
        check_parent(run_of(cancel_cause=CancelCause.REQUESTED), 0, 1, bounds)
    with pytest.raises(ParentFinished):
        check_parent(run_of(RunState.COMPLETED), 0, 1, bounds)
    with pytest.raises(DepthExceeded):
        check_parent(run_of(depth=3), 0, 1, bounds)
    with pytest.raises(FanOutExceeded):
        check_parent(run_of(), 6, 3, bounds)


def test_an_agent_that_stands_above_is_refused_unless_that_is_allowed() -> None:
    line = [run_of(run_id="run_2", agent_id="worker"), run_of(agent_id="lead")]
    check_cycle("second", line, TreeBounds(), "spec")
    for agent_id, chain in (("worker", "lead > worker > worker"), ("lead", "lead > worker > lead")):
        with pytest.raises(InvalidField, match=chain):
            check_cycle(agent_id, line, TreeBounds(), "spec")
        check_cycle(agent_id, line, TreeBounds(cycles=True), "spec")


def test_grants_only_shrink() -> None:
    has = ("builtin/ask_user", "kit/a", "kit/b")
    assert granted_tools((), has, "spec") == has
    assert granted_tools(("kit/*",), has, "spec") == ("kit/a", "kit/b")
    assert granted_tools(("kit/a", "builtin/*"), has, "spec") == ("builtin/ask_user", "kit/a")
    assert granted_tools((), (), "spec") == NO_TOOLS
    with pytest.raises(InvalidField, match="a tool that the parent run has itself; it has builtin/ask_user, kit/a"):
        granted_tools(("other/*",), has, "spec")


def test_a_wanted_asset_needs_somebody_who_makes_it() -> None:
    wants = spec_of(agent_id="", wanted_asset=WantedAsset.VIDEO)
    assert worker_of(spec_of(), {}) == "worker"
    assert worker_of(wants, {WantedAsset.VIDEO: "video"}) == "video"
    with pytest.raises(NotServed, match="no pipeline is configured"):
        worker_of(wants, {})


# --- what models write --------------------------------------------------------------------------------------


def test_a_models_arguments_become_a_spec() -> None:
    said = {
        "agent": "worker",
        "task": "Do it.",
        "context": ["one"],
        "budget": {"tokens": 10, "cost_usd": 0.0000001},
        "deadline_seconds": 60,
        "tools": ["kit/*"],
        "result_schema": {"type": "object"},
    }
    spec = read_arguments(AgentArguments, json.dumps(said)).spec("key")
    assert spec.budget == Bounds(tokens=10, cost_micro_usd=1), "never free by rounding"
    assert spec.deadline == timedelta(minutes=1)
    assert spec.context == (Text("one"),)
    assert json.loads(spec.result_schema_json) == {"type": "object"}
    check_spec(spec)


def test_the_keys_of_a_groups_children_say_stage_and_place() -> None:
    child = {"agent": "worker", "task": "x"}
    said = {"stages": [[child, child], [child]], "wait_for": "first", "count": 1}
    spec = read_arguments(GroupArguments, json.dumps(said)).spec("call-1")
    assert [[each.spawn_key for each in stage] for stage in spec.stages] == [
        ["call-1-1-1", "call-1-1-2"],
        ["call-1-2-1"],
    ]
    check_group(spec, TreeBounds())
    longest = read_arguments(GroupArguments, json.dumps(said)).spec(names.call_key("run:call"))
    check_group(longest, TreeBounds())


@pytest.mark.parametrize(
    ("kind", "said", "field"),
    [
        (AgentArguments, "{}", "agent"),
        (AgentArguments, '{"agent": "a", "task": 1}', "task"),
        (AgentArguments, '{"agent": "a", "task": "x", "more": 1}', "more"),
        (AgentArguments, '{"agent": "a", "task": "x", "budget": {"tokens": 0}}', "budget.tokens"),
        (AgentArguments, "not json", "arguments"),
        (AssetArguments, '{"kind": "smell", "task": "x"}', "kind"),
        (GroupArguments, '{"children": [{"agent": "a"}]}', "children.0.task"),
    ],
)
def test_bad_arguments_are_refused_by_field(kind: Any, said: str, field: str) -> None:
    with pytest.raises(InvalidField) as raised:
        read_arguments(kind, said)
    assert field in [each.field for each in raised.value.violations]


@pytest.mark.parametrize("said", ["{}", '{"children": [{"agent": "a", "task": "x"}], "stages": [[]]}'])
def test_a_group_has_either_children_or_stages(said: str) -> None:
    with pytest.raises(InvalidField, match="either children or stages"):
        read_arguments(GroupArguments, said).spec("k")
