"""Where the values of `rules` and the messages of the contract meet: for the wire and for what is stored."""

import hashlib
import json
from datetime import timedelta

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from heddle.common.v1.content_pb2 import Actor
from heddle.spawn.v1alpha1 import spawn_group_pb2, spawn_pb2
from heddle_client.runs import micro_usd, money, part_message, part_value, usage_message, usage_value
from heddle_client.values import Bounds
from heddle_client.wire_times import duration, span_of, timestamp
from heddle_core.requests import Creator
from heddle_core.usage import NOTHING, Usage
from heddle_spawn.rules import spawns as s
from heddle_spawn.rules.states import SpawnState

# --- specs ------------------------------------------------------------------------------------------------


def spec_value(message: spawn_pb2.SpawnSpec) -> s.SpawnSpec:
    """A spec from its message."""
    return s.SpawnSpec(
        spawn_key=message.spawn_key,
        task=tuple(part_value(part) for part in message.task),
        agent_id=message.agent_id,
        wanted_asset=s.WantedAsset(message.wanted_asset),
        agent_version=message.agent_version,
        context=tuple(part_value(part) for part in message.context),
        budget=_bounds(message.budget) if message.HasField("budget") else None,
        deadline=span_of(message.deadline) if message.HasField("deadline") else s.DEFAULT_DEADLINE,
        cancel_policy=s.CancelPolicy(message.cancel_policy or s.CancelPolicy.CASCADE),
        tools=tuple(message.tools),
        result_schema_json=message.result_schema_json,
        model=message.model,
        labels=dict(message.labels),
    )


def spec_message(spec: s.SpawnSpec) -> spawn_pb2.SpawnSpec:
    """A spec as its message."""
    message = spawn_pb2.SpawnSpec(
        spawn_key=spec.spawn_key,
        agent_version=spec.agent_version,
        task=[part_message(part) for part in spec.task],
        context=[part_message(part) for part in spec.context],
        budget=_slice(spec.budget) if spec.budget is not None else None,
        deadline=duration(spec.deadline),
        cancel_policy=spawn_pb2.CancelPolicy.ValueType(spec.cancel_policy),
        tools=spec.tools,
        result_schema_json=spec.result_schema_json,
        model=spec.model,
        labels=dict(spec.labels),
    )
    if spec.wanted_asset is s.WantedAsset.NONE:
        message.agent_id = spec.agent_id
    else:
        message.wanted_asset = spawn_pb2.WantedAsset.ValueType(spec.wanted_asset)
    return message


def group_spec_value(message: spawn_group_pb2.SpawnGroupSpec) -> s.GroupSpec:
    """A group's spec from its message."""
    return s.GroupSpec(
        group_key=message.group_key,
        stages=tuple(tuple(spec_value(child) for child in stage.children) for stage in message.stages),
        fan_in=s.FanIn(message.fan_in or s.FanIn.ALL),
        fan_in_count=message.fan_in_count,
        stop_on_failure=message.stop_on_failure,
        deadline=span_of(message.deadline) if message.HasField("deadline") else timedelta(0),
    )


def group_spec_message(spec: s.GroupSpec) -> spawn_group_pb2.SpawnGroupSpec:
    """A group's spec as its message."""
    stages = [spawn_group_pb2.SpawnStage(children=[spec_message(child) for child in stage]) for stage in spec.stages]
    return spawn_group_pb2.SpawnGroupSpec(
        group_key=spec.group_key,
        stages=stages,
        fan_in=spawn_group_pb2.FanIn.ValueType(spec.fan_in),
        fan_in_count=spec.fan_in_count,
        stop_on_failure=spec.stop_on_failure,
        deadline=duration(spec.deadline) if spec.deadline else None,
    )


def fingerprint(message: Message) -> bytes:
    """SHA-256 over a canonical form of what a message says: names and sorted keys, never serialized bytes."""
    said = MessageToDict(message, preserving_proto_field_name=True)
    return hashlib.sha256(json.dumps(said, sort_keys=True, separators=(",", ":")).encode()).digest()


# --- children ---------------------------------------------------------------------------------------------


def spawn_message(spawn: s.Spawn) -> spawn_pb2.Spawn:
    """A child as clients see it, and as the greater part of it is stored."""
    origin = spawn.origin
    return spawn_pb2.Spawn(
        spawn_id=spawn.spawn_id,
        spec=spec_message(spawn.spec),
        state=spawn_pb2.SpawnState.ValueType(spawn.state),
        group_id=spawn.group_id,
        stage=spawn.stage,
        parent_run_id=origin.parent_run_id,
        parent_thread_id=origin.parent_thread_id,
        root_run_id=origin.root_run_id or spawn.run_id,
        depth=origin.depth,
        thread_id=spawn.thread_id,
        run_id=spawn.run_id,
        parent_input_id=origin.waiter.input_id,
        agent_version=spawn.agent_version,
        result=_result(spawn.result) if spawn.result else None,
        failure=spawn_pb2.SpawnFailure(reason=spawn.failure.reason, message=spawn.failure.message)
        if spawn.failure
        else None,
        usage=usage_message(spawn.usage),
        progress=spawn.progress,
        creator=actor(origin.creator),
        create_time=timestamp(spawn.create_time),
        start_time=timestamp(spawn.start_time) if spawn.start_time else None,
        end_time=timestamp(spawn.end_time) if spawn.end_time else None,
    )


def origin_value(tenant: str, message: spawn_pb2.Spawn, token: str) -> s.Origin:
    """Where a child comes from, out of its message and the secret that stands beside it."""
    return s.Origin(
        creator=Creator(tenant, message.creator.principal, message.creator.acted_by),
        parent_run_id=message.parent_run_id,
        parent_thread_id=message.parent_thread_id,
        root_run_id=message.root_run_id if message.parent_run_id else "",
        depth=message.depth,
        waiter=s.Waiter(message.parent_input_id, token),
    )


def result_value(message: spawn_pb2.Spawn) -> s.SpawnResult | None:
    """What came out of a child, if something did."""
    if not message.HasField("result"):
        return None
    result = message.result
    parts = tuple(part_value(part) for part in result.content)
    return s.SpawnResult(parts, result.structured_json, result.tool_calls)


def failure_value(message: spawn_pb2.Spawn) -> s.SpawnFailure | None:
    """Why a child has no result, if it has ended without."""
    if not message.HasField("failure"):
        return None
    return s.SpawnFailure(message.failure.reason, message.failure.message)


def state_value(message: spawn_pb2.Spawn) -> SpawnState:
    """Where a child stands."""
    return SpawnState(message.state)


# --- groups -----------------------------------------------------------------------------------------------


def group_message(group: s.Group, spawns: tuple[s.Spawn, ...] = ()) -> spawn_group_pb2.SpawnGroup:
    """A group as clients see it, with its children as far as they are given."""
    origin = group.origin
    total = sum((each.usage for each in spawns), start=NOTHING)
    return spawn_group_pb2.SpawnGroup(
        group_id=group.group_id,
        spec=group_spec_message(group.spec),
        state=spawn_group_pb2.SpawnGroupState.ValueType(group.state),
        spawns=[spawn_message(each) for each in spawns],
        current_stage=group.current_stage,
        parent_run_id=origin.parent_run_id,
        usage=usage_message(total),
        create_time=timestamp(group.create_time),
        end_time=timestamp(group.end_time) if group.end_time else None,
        root_run_id=origin.root_run_id,
        parent_input_id=origin.waiter.input_id,
        creator=actor(origin.creator),
    )


# --- small ones -------------------------------------------------------------------------------------------


def actor(creator: Creator) -> Actor:
    """Who asked for something."""
    return Actor(principal=creator.principal, acted_by=creator.acted_by)


def bounds_json(bounds: Bounds) -> str:
    """Bounds as they are stored beside a message."""
    return json.dumps([bounds.steps, bounds.tokens, bounds.cost_micro_usd, bounds.tool_calls])


def bounds_of_json(text: str) -> Bounds:
    """Bounds as `bounds_json` wrote them."""
    return Bounds(*json.loads(text))


def _result(result: s.SpawnResult) -> spawn_pb2.SpawnResult:
    return spawn_pb2.SpawnResult(
        content=[part_message(part) for part in result.parts],
        structured_json=result.structured_json,
        tool_calls=result.tool_calls,
    )


def usage_of(message: spawn_pb2.Spawn) -> Usage:
    """What a child has consumed."""
    return usage_value(message.usage)


def _bounds(message: spawn_pb2.BudgetSlice) -> Bounds:
    return Bounds(message.steps, message.tokens, micro_usd(message.cost), message.tool_calls)


def _slice(bounds: Bounds) -> spawn_pb2.BudgetSlice:
    return spawn_pb2.BudgetSlice(
        cost=money(bounds.cost_micro_usd) if bounds.cost_micro_usd else None,
        tokens=bounds.tokens,
        steps=bounds.steps,
        tool_calls=bounds.tool_calls,
    )
