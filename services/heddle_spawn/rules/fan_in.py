"""What a group does next, from how its children stand. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from heddle_spawn.rules.spawns import Group, Spawn
from heddle_spawn.rules.states import GroupState, SpawnState, Stop


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be done about a group."""

    stage: int
    """At work now; one more than before: its children start."""
    stop: Stop = Stop.NONE
    """Why children that are open are to end; those of `surplus`."""
    surplus: tuple[str, ...] = ()
    end: GroupState | None = None
    """Set when all is over."""


def judge(group: Group, spawns: Sequence[Spawn]) -> Verdict:
    """The next step of a running group; the same answer until something changes."""
    stage = group.current_stage
    open_ids = tuple(each.spawn_id for each in spawns if not each.state.terminal)
    stop = group.stop or _cancelled_with_parent(spawns)
    if stop is not Stop.NONE:
        ended = GroupState.FAILED if stop in (Stop.DEADLINE, Stop.STAGE_FAILED) else GroupState.CANCELLED
        return Verdict(stage, stop, open_ids, None if open_ids else ended)
    at_work = [each for each in spawns if each.stage == stage]
    still_open = tuple(each.spawn_id for each in at_work if not each.state.terminal)
    completed = sum(each.state is SpawnState.COMPLETED for each in at_work)
    is_last = stage == len(group.spec.stages) - 1
    if not is_last:
        if still_open:
            return Verdict(stage)
        if group.spec.stop_on_failure and completed < len(at_work):
            return Verdict(stage, Stop.STAGE_FAILED, open_ids, None if open_ids else GroupState.FAILED)
        return Verdict(stage + 1)
    enough = completed >= group.spec.needed
    if still_open:
        return Verdict(stage, Stop.NOT_NEEDED, still_open) if enough else Verdict(stage)
    return Verdict(stage, end=GroupState.COMPLETED if enough else GroupState.FAILED)


def _cancelled_with_parent(spawns: Sequence[Spawn]) -> Stop:
    return Stop.PARENT if any(each.stop is Stop.PARENT for each in spawns) else Stop.NONE
