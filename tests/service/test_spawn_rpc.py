"""SpawnService as a client meets it: requests that repeat, bad input, lists, trees, waiting, other tenants."""

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.type.money_pb2 import Money

from heddle.common.v1.content_pb2 import ContentPart, InlineData
from heddle.runtime.v1.turn_pb2 import AgentReference
from heddle.spawn.v1alpha1 import spawn_service_pb2 as pb
from heddle.spawn.v1alpha1.spawn_group_pb2 import FanIn, SpawnGroupSpec, SpawnGroupState, SpawnStage
from heddle.spawn.v1alpha1.spawn_pb2 import BudgetSlice, SpawnSpec, SpawnState
from heddle.tools.v1.tool_service_pb2 import CallContext, CallToolRequest, ListToolsRequest
from heddle_core.companion_errors import SpawnNotFound
from heddle_core.errors import InvalidField, RequestIdReused
from heddle_core.faults import HeddleError, StatusCode
from heddle_grpc.identity import ACT_AS_KEY
from tests.kit.running_runtime import new_id
from tests.kit.running_spawn import Family, child_spec, family

SCENARIO = """
turns:
  - when: {user: "hang"}
    steps:
      - text: "I begin"
        fault: {kind: hang, after_deltas: 1}
  - steps:
      - text: "{{user}} is done"
"""

ELSEWHERE = ((ACT_AS_KEY, "other/eve"),)


@pytest.fixture(name="here")
async def served(tmp_path: Path) -> AsyncGenerator[Family]:
    async with family(tmp_path, SCENARIO) as here:
        yield here


async def refusal(call: Any) -> HeddleError:
    with pytest.raises(HeddleError) as raised:
        await call
    assert raised.value.status is not StatusCode.INTERNAL
    return raised.value


# --- one child ------------------------------------------------------------------------------------------------


async def test_a_root_child_runs_to_its_result_while_the_call_waits(here: Family) -> None:
    spawn = await here.spawn(child_spec("k", "work"), wait_seconds=20)
    assert spawn.state == SpawnState.SPAWN_STATE_COMPLETED
    assert spawn.result.content[0].text == "work is done"
    assert (spawn.root_run_id, spawn.depth, spawn.parent_run_id) == (spawn.run_id, 0, "")
    assert spawn.agent_version == 1
    assert spawn.usage.model_calls == 1
    assert spawn.creator.principal == "developer"


async def test_the_same_request_and_the_same_key_always_give_the_same_child(here: Family) -> None:
    first = await here.spawn(child_spec("k"), request_id="one")
    again = await here.spawn(child_spec("k"), request_id="one")
    by_key = await here.spawn(child_spec("k"), request_id="two")
    assert {first.spawn_id, again.spawn_id, by_key.spawn_id} == {first.spawn_id}
    await here.settled(spawn_id=first.spawn_id)
    listed = await here.spawns.ListSpawns(pb.ListSpawnsRequest())
    assert len(listed.spawns) == 1


async def test_the_same_key_under_another_parent_is_another_child(here: Family) -> None:
    one, two = await here.parent(), await here.parent()
    under_one = await here.spawn(child_spec("k"), parent_run_id=one)
    under_two = await here.spawn(child_spec("k"), parent_run_id=two)
    assert under_one.spawn_id != under_two.spawn_id


async def test_a_reused_key_and_a_reused_request_are_refused_with_a_remedy(here: Family) -> None:
    await here.spawn(child_spec("k"), request_id="one")
    reused = await refusal(here.spawn(child_spec("k", "something else")))
    assert isinstance(reused, InvalidField)
    assert reused.violations[0].field == "spec.spawn_key"
    assert "k names a child that was asked to do something else" in reused.violations[0].remedy
    assert isinstance(await refusal(here.spawn(child_spec("other"), request_id="one")), RequestIdReused)


async def test_only_validated_nothing_is_started(here: Family) -> None:
    would = await here.spawn(child_spec("k"), validate_only=True)
    assert (would.spawn_id, would.state) == ("", SpawnState.SPAWN_STATE_PENDING)
    group = await here.group(group_of(child_spec("k")), validate_only=True)
    assert (group.group_id, [each.spawn_id for each in group.spawns]) == ("", [""])
    assert not (await here.spawns.ListSpawns(pb.ListSpawnsRequest())).spawns


# --- bad input ------------------------------------------------------------------------------------------------


BAD: list[tuple[str, dict[str, Any], StatusCode, str]] = [
    ("no key", {"spawn_key": ""}, StatusCode.INVALID_ARGUMENT, "spec.spawn_key"),
    ("key with blanks", {"spawn_key": "a b"}, StatusCode.INVALID_ARGUMENT, "spec.spawn_key"),
    ("no task", {"task": []}, StatusCode.INVALID_ARGUMENT, "spec.task"),
    ("empty agent", {"agent_id": ""}, StatusCode.INVALID_ARGUMENT, "spec.agent_id"),
    ("unknown agent", {"agent_id": "nobody"}, StatusCode.NOT_FOUND, "nobody"),
    ("unknown version", {"agent_version": 77}, StatusCode.NOT_FOUND, "worker"),
    ("unknown model", {"model": "none:such"}, StatusCode.NOT_FOUND, "none:such"),
    ("nobody makes it", {"wanted_asset": 1, "agent_id": None}, StatusCode.UNIMPLEMENTED, "no pipeline"),
    ("deadline of no time", {"deadline": Duration()}, StatusCode.INVALID_ARGUMENT, "spec.deadline"),
    ("deadline of ages", {"deadline": Duration(seconds=315_576_000_000)}, StatusCode.INVALID_ARGUMENT, "spec.deadline"),
    ("euros", {"budget": BudgetSlice(cost=Money(currency_code="EUR", units=1))}, StatusCode.INVALID_ARGUMENT, "USD"),
    ("a fortune", {"budget": BudgetSlice(cost=Money(units=1 << 62))}, StatusCode.INVALID_ARGUMENT, "units"),
    ("less than nothing", {"budget": BudgetSlice(tokens=-5)}, StatusCode.INVALID_ARGUMENT, "spec.budget.tokens"),
    ("huge tokens", {"budget": BudgetSlice(tokens=1 << 62, steps=-1)}, StatusCode.INVALID_ARGUMENT, "steps"),
    ("schema of no kind", {"result_schema_json": "17"}, StatusCode.INVALID_ARGUMENT, "result_schema_json"),
    ("schema that is none", {"result_schema_json": '{"type": 5}'}, StatusCode.INVALID_ARGUMENT, "result_schema_json"),
    ("plain tool name", {"tools": ["lookup"]}, StatusCode.INVALID_ARGUMENT, "spec.tools[0]"),
    (
        "bytes as context",
        {"context": [ContentPart(inline_data=InlineData(media_type="image/png", data=b"x"))]},
        StatusCode.INVALID_ARGUMENT,
        "spec.context[0]",
    ),
    ("too long a task", {"task": [ContentPart(text="x" * 40_000)]}, StatusCode.INVALID_ARGUMENT, ".task: at most"),
]


async def test_bad_specs_are_refused_by_field_and_leave_nothing_behind(here: Family) -> None:
    for name, fields, status, words in BAD:
        given: dict[str, Any] = {"spawn_key": "k", "agent_id": "worker", "task": [ContentPart(text="x")], **fields}
        spec = SpawnSpec(**{key: value for key, value in given.items() if value is not None})
        error = await refusal(here.spawn(spec))
        assert error.status is status, (name, error)
        assert words in str(error), (name, error)
        in_group = await refusal(here.group(group_of(spec)))
        assert in_group.status is status, (name, in_group)
    assert not (await here.spawns.ListSpawns(pb.ListSpawnsRequest())).spawns


async def test_a_parent_that_cannot_have_children_is_refused(here: Family) -> None:
    done = (await here.house.start("work", agent=AgentReference(agent_id="worker"))).run.run_id
    assert (await refusal(here.spawn(child_spec("k"), parent_run_id=done))).reason == "PARENT_FINISHED"
    assert (await refusal(here.spawn(child_spec("k"), parent_run_id="run_nobodys"))).reason == "RUN_NOT_FOUND"
    parent = await here.parent()
    for number in range(8):
        await here.spawn(child_spec(f"k{number}", "hang"), parent_run_id=parent)
    await here.started(parent, 8)
    error = await refusal(here.spawn(child_spec("k8"), parent_run_id=parent))
    assert error.reason == "FAN_OUT_EXCEEDED"
    assert "wait for one to end" in str(error)
    await here.house.cancel(parent)
    assert (await refusal(here.spawn(child_spec("k9"), parent_run_id=parent))).reason == "PARENT_CANCELLED"
    error = await refusal(here.spawn(child_spec("k"), parent_input_id="inp_1"))
    assert "parent_run_id" in str(error)


async def test_a_tool_that_the_parent_lacks_is_refused(here: Family) -> None:
    parent = await here.parent()
    error = await refusal(here.spawn(child_spec("k", tools=["kit/*"]), parent_run_id=parent))
    assert isinstance(error, InvalidField)
    assert error.violations[0].field == "spec.tools[0]"
    await here.spawn(child_spec("k", tools=["builtin/*"]), parent_run_id=parent)


REQUESTS: list[tuple[str, Any, str]] = [
    ("GetSpawn", pb.GetSpawnRequest(), "target"),
    ("GetSpawn", pb.GetSpawnRequest(spawn_id="spn_x"), "spn_x"),
    ("GetSpawn", pb.GetSpawnRequest(group_id="spg_x"), "spg_x"),
    ("WaitSpawn", pb.WaitSpawnRequest(wait_seconds=1), "target"),
    ("WaitSpawn", pb.WaitSpawnRequest(spawn_id="spn_x", wait_seconds=61), "wait_seconds"),
    ("WaitSpawn", pb.WaitSpawnRequest(spawn_id="spn_x"), "spn_x"),
    ("CancelSpawn", pb.CancelSpawnRequest(request_id="r"), "target"),
    ("CancelSpawn", pb.CancelSpawnRequest(request_id="r", spawn_id="spn_x"), "spn_x"),
    ("CancelSpawn", pb.CancelSpawnRequest(request_id="r", spawn_id="spn_x", note="x" * 1025), "note"),
    ("GetSpawnTree", pb.GetSpawnTreeRequest(), "run_id"),
    ("GetSpawnTree", pb.GetSpawnTreeRequest(run_id="run_x"), "run_x"),
    ("GetSpawnTree", pb.GetSpawnTreeRequest(run_id="run_x", max_depth=-1), "max_depth"),
    ("ListSpawns", pb.ListSpawnsRequest(order_by="colour"), "order_by"),
    ("ListSpawns", pb.ListSpawnsRequest(page_token="rubbish"), "page_token"),
    ("ListSpawns", pb.ListSpawnsRequest(page_token="é"), "page_token"),
    ("ListSpawns", pb.ListSpawnsRequest(page_size=-1), "page_size"),
    ("SpawnAgent", pb.SpawnAgentRequest(request_id="r"), "spec"),
    ("SpawnGroup", pb.SpawnGroupRequest(request_id="r", spec=SpawnGroupSpec(group_key="g")), "stages"),
]


async def test_bad_requests_are_refused_and_none_is_internal(here: Family) -> None:
    for method, request, words in REQUESTS:
        error = await refusal(getattr(here.spawns, method)(request))
        assert words in str(error), (method, request, error)
    with pytest.raises(HeddleError, match="spn_x"):
        async for _ in here.spawns.WatchSpawn(pb.WatchSpawnRequest(spawn_id="spn_x")):
            pass


# --- groups ---------------------------------------------------------------------------------------------------


def group_of(*children: SpawnSpec, **fields: Any) -> SpawnGroupSpec:
    return SpawnGroupSpec(group_key="g", stages=[SpawnStage(children=children)], **fields)


async def test_a_group_of_roots_ends_with_its_children(here: Family) -> None:
    spec = group_of(child_spec("a", "one"), child_spec("b", "two", "second"))
    group = await here.group(spec, wait_seconds=20, request_id="one")
    assert group.state == SpawnGroupState.SPAWN_GROUP_STATE_COMPLETED
    assert [each.result.content[0].text for each in group.spawns] == ["one is done", "two is done"]
    assert group.usage.model_calls == 2
    again = await here.group(spec, request_id="one")
    assert again == group
    found = await here.spawns.GetSpawn(pb.GetSpawnRequest(group_id=group.group_id))
    assert found.group == group
    other = await refusal(here.group(group_of(child_spec("a", "other"))))
    assert "spec.group_key" in str(other)


async def test_a_childs_key_in_a_group_may_not_be_anothers(here: Family) -> None:
    await here.spawn(child_spec("a", "one"))
    error = await refusal(here.group(group_of(child_spec("b"), child_spec("a", "one"))))
    assert isinstance(error, InvalidField)
    assert error.violations[0].field == "spec.stages[0].children[1].spawn_key"


async def test_a_group_with_a_failing_child_and_any_is_still_completed(here: Family) -> None:
    spec = group_of(child_spec("a", "one"), child_spec("b", "hang"), fan_in=FanIn.FAN_IN_ANY)
    group = await here.group(spec, wait_seconds=20)
    assert group.state == SpawnGroupState.SPAWN_GROUP_STATE_COMPLETED
    assert [each.state for each in group.spawns] == [
        SpawnState.SPAWN_STATE_COMPLETED,
        SpawnState.SPAWN_STATE_CANCELLED,
    ]


# --- finding, watching, cancelling ----------------------------------------------------------------------------


async def test_children_are_listed_page_by_page_and_by_every_filter(here: Family) -> None:
    parent = await here.parent()
    for number in range(5):
        await here.spawn(child_spec(f"k{number}", agent="worker" if number % 2 else "second"), parent_run_id=parent)
    for each in await here.children(parent):
        await here.settled(spawn_id=each.spawn_id)
    seen: list[str] = []
    token = ""
    while True:
        request = pb.ListSpawnsRequest(parent_run_id=parent, page_size=2, page_token=token, order_by="create_time")
        page = await here.spawns.ListSpawns(request)
        seen += [each.spec.spawn_key for each in page.spawns]
        token = page.next_page_token
        if not token:
            break
    assert seen == [f"k{number}" for number in range(5)]
    for filters, count in (
        ({"agent_id": "worker"}, 2),
        ({"states": [SpawnState.SPAWN_STATE_COMPLETED]}, 5),
        ({"states": [SpawnState.SPAWN_STATE_FAILED]}, 0),
        ({"root_run_id": parent}, 5),
        ({"group_id": "spg_none"}, 0),
        ({"parent_run_id": "run_none"}, 0),
    ):
        found = await here.spawns.ListSpawns(pb.ListSpawnsRequest(**filters))
        assert len(found.spawns) == count, filters
    ends = await here.spawns.ListSpawns(pb.ListSpawnsRequest(order_by="end_time desc"))
    times = [each.end_time.ToMicroseconds() for each in ends.spawns]
    assert times == sorted(times, reverse=True)
    first = await here.spawns.ListSpawns(pb.ListSpawnsRequest(page_size=1))
    foreign = pb.ListSpawnsRequest(page_size=1, agent_id="worker", page_token=first.next_page_token)
    assert "page_token" in str(await refusal(here.spawns.ListSpawns(foreign)))


async def test_watching_shows_the_state_now_and_every_change_until_the_end(here: Family) -> None:
    spawn = await here.spawn(child_spec("k", "hang"))
    seen: list[int] = []
    async for frame in here.spawns.WatchSpawn(pb.WatchSpawnRequest(spawn_id=spawn.spawn_id)):
        seen.append(frame.spawn.state)
        if frame.spawn.state == SpawnState.SPAWN_STATE_RUNNING and len(seen) < 20:
            await here.cancel(spawn_id=spawn.spawn_id)
    assert seen[-1] == SpawnState.SPAWN_STATE_CANCELLED
    assert SpawnState.SPAWN_STATE_RUNNING in seen


async def test_cancelling_twice_or_after_the_end_changes_nothing(here: Family) -> None:
    done = await here.spawn(child_spec("done"), wait_seconds=20)
    assert (await here.cancel(spawn_id=done.spawn_id)).spawn == done
    spawn = await here.spawn(child_spec("k", "hang"))
    request = pb.CancelSpawnRequest(request_id=new_id(), spawn_id=spawn.spawn_id)
    await here.spawns.CancelSpawn(request)
    ended = await here.settled(spawn_id=spawn.spawn_id)
    assert (await here.spawns.CancelSpawn(request)).spawn == ended


async def test_a_child_cancelled_before_its_turn_was_sent_never_starts(here: Family) -> None:
    spec = SpawnGroupSpec(
        group_key="g",
        stages=[SpawnStage(children=[child_spec("a", "hang")]), SpawnStage(children=[child_spec("b")])],
    )
    group = await here.group(spec)
    await here.cancel(spawn_id=group.spawns[1].spawn_id)
    later = await here.settled(spawn_id=group.spawns[1].spawn_id)
    assert (later.state, later.run_id) == (SpawnState.SPAWN_STATE_CANCELLED, "")
    await here.cancel(group_id=group.group_id)
    await here.settled(group_id=group.group_id)


# --- who may what ---------------------------------------------------------------------------------------------


async def test_another_tenants_child_and_an_unknown_one_give_the_same_answer(here: Family) -> None:
    mine = await here.spawn(child_spec("k"), wait_seconds=20)
    for method, kind in (
        (here.spawns.GetSpawn, pb.GetSpawnRequest),
        (here.spawns.WaitSpawn, pb.WaitSpawnRequest),
        (here.spawns.CancelSpawn, pb.CancelSpawnRequest),
    ):
        told: list[str] = []
        for spawn_id in (mine.spawn_id, "spn_" + "0" * 32):
            fields = {"request_id": "r"} if kind is pb.CancelSpawnRequest else {}
            error = await refusal(method(kind(spawn_id=spawn_id, **fields), metadata=ELSEWHERE))
            assert error.reason == "SPAWN_NOT_FOUND"
            told.append(str(error).replace(spawn_id, "ID"))
        assert told[0] == told[1]
    assert not (await here.spawns.ListSpawns(pb.ListSpawnsRequest(), metadata=ELSEWHERE)).spawns
    tree = here.spawns.GetSpawnTree(pb.GetSpawnTreeRequest(run_id=mine.run_id), metadata=ELSEWHERE)
    assert (await refusal(tree)).reason == "RUN_NOT_FOUND"
    theirs = await here.spawns.SpawnAgent(
        pb.SpawnAgentRequest(request_id="one", spec=child_spec("k", agent="writer"), wait_seconds=20),
        metadata=ELSEWHERE,
    )
    assert theirs.spawn.creator.principal == "eve"
    assert theirs.spawn.creator.acted_by == "default/developer"
    assert theirs.spawn.spawn_id != mine.spawn_id


async def test_the_tools_are_listed_and_a_call_without_its_context_is_refused(here: Family) -> None:
    listed = await here.tools.ListTools(ListToolsRequest())
    assert [tool.name for tool in listed.tools] == ["request_asset", "spawn_agent", "spawn_group"]
    assert all(tool.idempotent and not tool.read_only for tool in listed.tools)
    context = CallContext(tenant="default", principal="developer", run_id="run_x", input_id="inp_x")
    for fields, words in (
        ({}, "context.tenant"),
        ({"context": CallContext(tenant="a b", principal="p", run_id="r", input_id="i")}, "context.tenant"),
        ({"context": context, "tool": "other"}, None),
        ({"context": context, "arguments_json": "{}"}, None),
    ):
        request = CallToolRequest(**{"tool": "spawn_agent", "idempotency_key": "k", **fields})
        if words is not None:
            with pytest.raises(InvalidField, match=words):
                async for _ in here.tools.CallTool(request):
                    pass
            continue
        answers = [each async for each in here.tools.CallTool(request)]
        assert "INVALID_FIELD" in answers[0].result.content[0].json


async def test_a_dry_run_of_a_tool_starts_nothing(here: Family) -> None:
    parent = await here.parent()
    context = CallContext(tenant="default", principal="developer", run_id=parent, input_id="inp_x")
    request = CallToolRequest(
        tool="spawn_agent",
        idempotency_key="k",
        arguments_json='{"agent": "worker", "task": "x"}',
        context=context,
        dry_run=True,
    )
    answers = [each async for each in here.tools.CallTool(request)]
    assert answers[0].result.content[0].text == "It would start 1 child."
    assert await here.children(parent) == []


async def test_a_repeated_tool_call_finds_the_child_of_the_first(here: Family) -> None:
    parent = await here.parent()
    context = CallContext(tenant="default", principal="developer", run_id=parent, input_id="inp_x")
    request = CallToolRequest(
        tool="spawn_agent",
        idempotency_key=f"{parent}:call_1",
        arguments_json='{"agent": "worker", "task": "hang"}',
        context=context,
    )
    answers = [each for _ in range(3) for each in [answer async for answer in here.tools.CallTool(request)]]
    assert len(answers) == 3
    assert answers[0].HasField("deferral")
    assert answers[0] == answers[1] == answers[2]
    assert len(await here.children(parent)) == 1
    request.arguments_json = '{"agent": "worker", "task": "something else"}'
    (answer,) = [each async for each in here.tools.CallTool(request)]
    assert "asked to do something else" in answer.result.content[0].json


@pytest.mark.parametrize("target", [{"spawn_id": "none"}, {"group_id": "none"}])
async def test_an_unknown_child_or_group_is_told_as_such(here: Family, target: Any) -> None:
    watched = here.spawns.WatchSpawn(pb.WatchSpawnRequest(**target))
    for call in (here.spawns.GetSpawn(pb.GetSpawnRequest(**target)), anext(aiter(watched))):
        assert isinstance(await refusal(call), SpawnNotFound)
