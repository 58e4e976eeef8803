"""What was delegated, as trees and lines."""

from collections import defaultdict
from typing import Protocol

from rich.console import RenderableType
from rich.text import Text
from rich.tree import Tree

from heddle.spawn.v1alpha1.spawn_group_pb2 import SpawnGroup, SpawnGroupState
from heddle.spawn.v1alpha1.spawn_pb2 import Spawn, SpawnState
from heddle.spawn.v1alpha1.spawn_service_pb2 import GetSpawnTreeResponse
from heddle_cli.display.screen import clean
from heddle_cli.display.times import spent


class Standing(Protocol):
    """A child or a group, as several answers hold it."""

    @property
    def spawn(self) -> Spawn: ...

    @property
    def group(self) -> SpawnGroup: ...


def spawn_tree(found: GetSpawnTreeResponse) -> list[RenderableType]:
    """A run with everything below it, then what all of it used."""
    below: dict[str, list[Spawn]] = defaultdict(list)
    for spawn in found.spawns:
        below[spawn.parent_run_id].append(spawn)
    root = Tree(Text(f"run {found.root_run_id}"))
    _grow(root, found.root_run_id, below)
    lines: list[RenderableType] = [root if below else f"run {found.root_run_id} has delegated nothing"]
    if found.truncated:
        lines.append("... and more: ListSpawns pages through them")
    return [*lines, f"used {spent(found.usage)}"]


def standing_line(standing: Standing) -> str:
    """One child or group, in one line."""
    if standing.group.group_id:
        group = standing.group
        state = SpawnGroupState.Name(group.state).removeprefix("SPAWN_GROUP_STATE_").lower()
        ended = sum(each.state >= SpawnState.SPAWN_STATE_COMPLETED for each in group.spawns)
        return f"{group.group_id}  {state}  {ended} of {len(group.spawns)} children have ended"
    return spawn_line(standing.spawn)


def spawn_line(spawn: Spawn) -> str:
    """One child, in one line."""
    state = SpawnState.Name(spawn.state).removeprefix("SPAWN_STATE_").lower().replace("_", " ")
    words = f"{spawn.failure.reason}: {spawn.failure.message}" if spawn.HasField("failure") else spawn.progress
    agent = spawn.spec.agent_id or "an asset"
    return f"{spawn.spawn_id}  {agent} ({spawn.spec.spawn_key})  {state}" + (f"  {words}" if words else "")


def _grow(tree: Tree, run_id: str, below: dict[str, list[Spawn]]) -> None:
    for spawn in below.get(run_id, ()):
        told = "  ".join(filter(None, (spawn_line(spawn), spent(spawn.usage), spawn.run_id)))
        branch = tree.add(Text(clean(told)))
        if spawn.run_id:
            _grow(branch, spawn.run_id, below)
