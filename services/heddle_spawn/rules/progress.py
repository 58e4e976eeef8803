"""What a child's events tell its parent of its progress: one line, the newest. Pure."""

from collections.abc import Iterable, Sequence

from heddle_client.values import RunFact
from heddle_spawn.rules.spawns import Group, Spawn
from heddle_spawn.rules.states import SpawnState

LONGEST = 1_024
"""Characters of one report (contract: InputProgress.message)."""


def progress_after(facts: Iterable[RunFact], before: str) -> str:
    """The line after these facts."""
    line = before
    for fact in facts:
        match fact.kind:
            case "step_started":
                line = "thinks"
            case "tool_call_started":
                line = f"calls {fact.words}"
            case "tool_call_progressed" | "work_updated" if fact.words:
                line = fact.words
            case "input_requested":
                line = f"waits: {fact.words}" if fact.words else "waits for an input"
            case "assistant_message_completed":
                line = "has answered"
            case _:
                pass
    return line[:LONGEST]


def spawn_report(spawn: Spawn) -> tuple[str, float]:
    """What the parent is told of one child: a line, and the part done."""
    return f"{spawn.agent_id}: {spawn.progress or 'is queued'}"[:LONGEST], 0.0


def group_report(group: Group, spawns: Sequence[Spawn]) -> tuple[str, float]:
    """What the parent is told of a group: how many have ended, and what the others do."""
    ended = sum(each.state.terminal for each in spawns)
    at_work = [
        f"{each.agent_id}: {each.progress}"
        for each in spawns
        if each.state in (SpawnState.RUNNING, SpawnState.WAITING) and each.progress
    ]
    stage = f"stage {group.current_stage + 1} of {len(group.spec.stages)}, " if len(group.spec.stages) > 1 else ""
    line = "; ".join([f"{stage}{ended} of {len(spawns)} children have ended", *at_work])
    return line[:LONGEST], ended / len(spawns)
