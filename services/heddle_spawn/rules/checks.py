"""What a spec must look like, and where in a tree a child may stand. Pure; a refusal says what to do instead."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from heddle_client.values import CancelCause, Json, RunView, Text
from heddle_core.errors import InvalidField, NotServed, invalid
from heddle_core.faults import Violation
from heddle_core.ids import is_id
from heddle_core.runtime_errors import DepthExceeded, FanOutExceeded, ParentCancelled, ParentFinished
from heddle_spawn.rules.spawns import MOST_STAGES, FanIn, GroupSpec, SpawnSpec, WantedAsset

SHORTEST = timedelta(seconds=1)
LONGEST = timedelta(days=7)
"""A deadline's range (contract: SpawnSpec.deadline)."""

_MOST_PARTS = 64
_MOST_CONTEXT = 32
_MOST_LABELS = 32
_MOST_TOOLS = 256


@dataclass(frozen=True, slots=True)
class TreeBounds:
    """How far a tree may grow; the runtime's own bounds hold in any case."""

    most_depth: int = 3
    most_children: int = 8
    cycles: bool = False
    """Whether an agent may delegate to itself, over others or at once."""


def check_spec(spec: SpawnSpec, path: str = "spec") -> None:
    """Refuse a spec that cannot be carried out. Raises InvalidField with every violation."""
    found = tuple(_violations(spec, path))
    if found:
        raise InvalidField(found)


def check_group(spec: GroupSpec, bounds: TreeBounds) -> None:
    """Refuse a group that cannot be carried out. Raises InvalidField with every violation, FanOutExceeded never."""
    found = tuple(_group_violations(spec, bounds))
    if found:
        raise InvalidField(found)


def check_parent(parent: RunView, open_children: int, more: int, bounds: TreeBounds) -> None:
    """Refuse a parent that may have no `more` children.

    Raises:
        ParentCancelled, ParentFinished, DepthExceeded, FanOutExceeded.
    """
    if parent.cancel_cause is not CancelCause.NONE:
        raise ParentCancelled(parent.run_id)
    if parent.state.terminal:
        raise ParentFinished(parent.run_id)
    if parent.depth >= bounds.most_depth:
        raise DepthExceeded(parent.run_id, parent.depth, bounds.most_depth)
    if open_children + more > bounds.most_children:
        raise FanOutExceeded(parent.run_id, open_children, bounds.most_children)


def check_cycle(agent_id: str, line: Sequence[RunView], bounds: TreeBounds, path: str) -> None:
    """Refuse an agent that stands above the new child already. `line` is the parent, then its ancestors.

    Raises:
        InvalidField.
    """
    above = [each.agent_id for each in line]
    if not bounds.cycles and agent_id in above:
        chain = " > ".join([*reversed(above), agent_id])
        remedy = f"another agent: this one would delegate to itself ({chain}); let run {line[0].run_id} do it"
        raise invalid(f"{path}.agent_id", remedy)


def worker_of(spec: SpawnSpec, assets: Mapping[WantedAsset, str]) -> str:
    """The agent that does it.

    Raises:
        NotServed: an asset is wanted, and nobody here makes that kind.
    """
    if spec.wanted_asset is WantedAsset.NONE:
        return spec.agent_id
    agent_id = assets.get(spec.wanted_asset)
    if agent_id is None:
        raise NotServed(f"wanted_asset {spec.wanted_asset.name}", NO_PIPELINE)
    return agent_id


NO_PIPELINE = (
    "no pipeline is configured here, so nobody makes such assets; name an agent instead, or have the operator set "
    "HEDDLE_SPAWN_ASSETS to the agents that make them"
)


def granted_tools(asked: Sequence[str], of_parent: Sequence[str], path: str) -> tuple[str, ...]:
    """The tools that a child may use: what was asked for, of those that its parent has.

    A child of a parent without any gets a pattern that fits none, since an empty list means all of its agent's.

    Raises:
        InvalidField: something is asked for that the parent lacks.
    """
    for place, pattern in enumerate(asked):
        if not any(_fits(tool, pattern) for tool in of_parent):
            has = ", ".join(of_parent[:8]) or "none"
            raise invalid(f"{path}.tools[{place}]", f"a tool that the parent run has itself; it has {has}")
    granted = [tool for tool in of_parent if not asked or any(_fits(tool, pattern) for pattern in asked)]
    return tuple(granted) or NO_TOOLS


NO_TOOLS = ("none/none",)
"""Fits no tool."""


def _fits(tool: str, pattern: str) -> bool:
    return tool == pattern or f"{tool.partition('/')[0]}/*" == pattern


def _violations(spec: SpawnSpec, path: str) -> Iterator[Violation]:
    if not is_id(spec.spawn_key):
        yield Violation(f"{path}.spawn_key", "1 to 64 letters, digits, underscores and hyphens")
    if bool(spec.agent_id) == (spec.wanted_asset is not WantedAsset.NONE):
        yield Violation(f"{path}.agent_id", "name an agent, or set wanted_asset: one of them")
    if spec.agent_version < 0:
        yield Violation(f"{path}.agent_version", "zero for the newest, or a version from 1")
    if not 1 <= len(spec.task) <= _MOST_PARTS:
        yield Violation(f"{path}.task", f"say what to do, in 1 to {_MOST_PARTS} parts")
    if len(spec.context) > _MOST_CONTEXT:
        yield Violation(f"{path}.context", f"at most {_MOST_CONTEXT} parts")
    for place, part in enumerate(spec.context):
        if not isinstance(part, Text | Json) or not (part.text if isinstance(part, Text) else part.json):
            yield Violation(f"{path}.context[{place}]", "a text or JSON; put other content into the task")
    if not SHORTEST <= spec.deadline <= LONGEST:
        yield Violation(f"{path}.deadline", "1 second to 7 days; leave it out for 1 hour")
    if len(spec.labels) > _MOST_LABELS:
        yield Violation(f"{path}.labels", f"at most {_MOST_LABELS} labels")
    if len(spec.tools) > _MOST_TOOLS:
        yield Violation(f"{path}.tools", f"at most {_MOST_TOOLS} patterns")
    for place, pattern in enumerate(spec.tools):
        provider, slash, name = pattern.partition("/")
        if not slash or not is_id(provider) or not (name == "*" or is_id(name)):
            yield Violation(f"{path}.tools[{place}]", "write it as `provider/name` or `provider/*`")
    if spec.budget is not None:
        for name in ("steps", "tokens", "cost_micro_usd", "tool_calls"):
            if getattr(spec.budget, name) < 0:
                field = "cost" if name == "cost_micro_usd" else name
                yield Violation(f"{path}.budget.{field}", "zero for no bound, or more")
    if spec.result_schema_json and not isinstance(json.loads(spec.result_schema_json), dict | bool):
        yield Violation(f"{path}.result_schema_json", "a JSON Schema, which is an object")


def _group_violations(spec: GroupSpec, bounds: TreeBounds) -> Iterator[Violation]:
    if not is_id(spec.group_key):
        yield Violation("spec.group_key", "1 to 64 letters, digits, underscores and hyphens")
    if not 1 <= len(spec.stages) <= MOST_STAGES:
        yield Violation("spec.stages", f"1 to {MOST_STAGES} stages")
        return
    if spec.deadline and not SHORTEST <= spec.deadline <= LONGEST:
        yield Violation("spec.deadline", "1 second to 7 days; leave it out for the sum of the stages'")
    keys = Counter(child.spawn_key for stage in spec.stages for child in stage)
    for number, stage in enumerate(spec.stages):
        if not 1 <= len(stage) <= bounds.most_children:
            yield Violation(f"spec.stages[{number}].children", f"1 to {bounds.most_children} children")
        for place, child in enumerate(stage):
            path = f"spec.stages[{number}].children[{place}]"
            yield from _violations(child, path)
            if keys[child.spawn_key] > 1:
                yield Violation(f"{path}.spawn_key", "a key that no other child of the group has")
    yield from _fan_in_violations(spec)


def _fan_in_violations(spec: GroupSpec) -> Iterator[Violation]:
    last = len(spec.stages[-1])
    if spec.fan_in is FanIn.FIRST_N and not 1 <= spec.fan_in_count <= last:
        yield Violation("spec.fan_in_count", f"1 to {last}, the children of the last stage")
    if spec.fan_in is not FanIn.FIRST_N and spec.fan_in_count:
        yield Violation("spec.fan_in_count", "zero, unless fan_in is FIRST_N")
