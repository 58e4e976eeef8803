"""The two tables of states: of a child, and of a group. Every write of a state goes through `advance`."""

from enum import Enum, IntEnum

from heddle_core.states import NoTransition, state_after


class SpawnState(IntEnum):
    """Where a child stands; the numbers are those of the contract's SpawnState."""

    PENDING = 1
    RUNNING = 2
    WAITING = 3
    COMPLETED = 4
    FAILED = 5
    CANCELLED = 6
    TIMED_OUT = 7

    @property
    def terminal(self) -> bool:
        """Whether nothing follows."""
        return self >= SpawnState.COMPLETED


class Change(Enum):
    """What can happen to a child."""

    START = "its turn is accepted"
    WAIT = "its run waits for an input"
    RESUME = "its run goes on"
    COMPLETE = "its run answered"
    FAIL = "its run failed, or could not be started"
    CANCEL = "it was cancelled"
    TIME_OUT = "its deadline passed"


_ENDS = {
    Change.COMPLETE: SpawnState.COMPLETED,
    Change.FAIL: SpawnState.FAILED,
    Change.CANCEL: SpawnState.CANCELLED,
    Change.TIME_OUT: SpawnState.TIMED_OUT,
}

TRANSITIONS: dict[tuple[SpawnState, Change], SpawnState] = {
    (SpawnState.PENDING, Change.START): SpawnState.RUNNING,
    (SpawnState.PENDING, Change.FAIL): SpawnState.FAILED,
    (SpawnState.PENDING, Change.CANCEL): SpawnState.CANCELLED,
    (SpawnState.PENDING, Change.TIME_OUT): SpawnState.TIMED_OUT,
    (SpawnState.RUNNING, Change.WAIT): SpawnState.WAITING,
    (SpawnState.WAITING, Change.RESUME): SpawnState.RUNNING,
    **{(SpawnState.RUNNING, change): end for change, end in _ENDS.items()},
    **{(SpawnState.WAITING, change): end for change, end in _ENDS.items()},
}


class GroupState(IntEnum):
    """Where a group stands; the numbers are those of the contract's SpawnGroupState."""

    RUNNING = 1
    COMPLETED = 2
    FAILED = 3
    CANCELLED = 4

    @property
    def terminal(self) -> bool:
        """Whether nothing follows."""
        return self >= GroupState.COMPLETED


GROUP_TRANSITIONS: dict[GroupState, frozenset[GroupState]] = {
    GroupState.RUNNING: frozenset((GroupState.COMPLETED, GroupState.FAILED, GroupState.CANCELLED)),
}
"""Which states may follow; what is not here is terminal."""


def advance(state: SpawnState, change: Change) -> SpawnState:
    """The state after `change`. Raises `heddle_core.states.NoTransition` where the table has no line."""
    return state_after(TRANSITIONS, "child", state, change)


def advance_group(state: GroupState, end: GroupState) -> GroupState:
    """`end`, where the table lets a group get there. Raises NoTransition."""
    if end not in GROUP_TRANSITIONS.get(state, frozenset()):
        raise NoTransition("group", state, f"it is to be {end.name}")
    return end


class Stop(IntEnum):
    """Why a child or a group is to end before it has done its work."""

    NONE = 0
    ASKED = 1
    """CancelSpawn."""
    DEADLINE = 2
    PARENT = 3
    """The parent run was cancelled or has ended."""
    NOT_NEEDED = 4
    """Its group has enough without it."""
    STAGE_FAILED = 5
    """A child of the stage before failed, and the group was to end then."""


class Told(IntEnum):
    """Whether the parent's input was answered."""

    NOBODY_WAITS = 0
    NOT_YET = 1
    TOLD = 2
    REFUSED = 3
    """The input had been settled otherwise: its run was cancelled or has gone on."""
