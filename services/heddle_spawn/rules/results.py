"""What a parent's model reads of its children's ends: one JSON object, then what no JSON can hold. Pure."""

import json
from collections.abc import Sequence
from typing import Any

from heddle_client.values import AssetReference, InlineData, Json, Note, Parts, Text
from heddle_spawn.rules.spawns import Group, Spawn
from heddle_spawn.rules.states import GroupState, SpawnState

MOST_TEXT = 64_000
"""Characters of one child's result that its parent reads; the whole stands in the child's thread."""

MOST_NOTE = 16_000
"""Characters of a result that a child of the next stage is given."""


def spawn_answer(spawn: Spawn) -> tuple[Parts, bool]:
    """The result of the call that waited for a child, and whether it is an error."""
    return (Json(_json(_told(spawn))), *_attachments(spawn)), spawn.state is not SpawnState.COMPLETED


def group_answer(group: Group, spawns: Sequence[Spawn]) -> tuple[Parts, bool]:
    """The result of the call that waited for a group, children in the order of the spec."""
    body = {"group_id": group.group_id, "state": group.state.name, "children": [_told(each) for each in spawns]}
    attached = [part for each in spawns for part in _attachments(each)]
    return (Json(_json(body)), *attached), group.state is not GroupState.COMPLETED


def notes_of(spawns: Sequence[Spawn]) -> tuple[Note, ...]:
    """What the children of the next stage are told of a stage: data, never instructions."""
    return tuple(
        Note(
            item_id=each.spawn_id,
            kind="result",
            text=_with_reference(each.result.structured_json or _text(each.result.parts), MOST_NOTE, each) or "nothing",
            source=f"{each.agent_id} ({each.spec.spawn_key})",
        )
        for each in spawns
        if each.result is not None
    )


def _told(spawn: Spawn) -> dict[str, Any]:
    told: dict[str, Any] = {
        "spawn_id": spawn.spawn_id,
        "key": spawn.spec.spawn_key,
        "agent": spawn.agent_id,
        "state": spawn.state.name,
    }
    if spawn.thread_id:
        told["thread_id"] = spawn.thread_id
    if spawn.result is not None:
        told["result"] = _with_reference(_text(spawn.result.parts), MOST_TEXT, spawn)
        if spawn.result.structured_json:
            told["structured"] = json.loads(spawn.result.structured_json)
    if spawn.failure is not None:
        told["failure"] = {"reason": spawn.failure.reason, "message": spawn.failure.message}
    told["usage"] = {"tokens": spawn.usage.tokens, "cost_micro_usd": spawn.usage.cost}
    return told


def _text(parts: Parts) -> str:
    return "\n".join(
        part.text if isinstance(part, Text) else part.json for part in parts if isinstance(part, Text | Json)
    )


def _attachments(spawn: Spawn) -> Parts:
    parts = spawn.result.parts if spawn.result else ()
    return tuple(part for part in parts if isinstance(part, AssetReference | InlineData))


def _with_reference(text: str, most: int, spawn: Spawn) -> str:
    if len(text) <= most:
        return text
    return f"{text[:most]}\n[cut: the whole is the answer of run {spawn.run_id} in thread {spawn.thread_id}]"


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
