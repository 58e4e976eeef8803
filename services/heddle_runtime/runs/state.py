"""The one table of a run's states. Every write of a run's state goes through `advance`."""

from enum import Enum, IntEnum

from heddle_core.states import state_after


class RunState(IntEnum):
    """Where a run stands; the numbers are those of the contract's RunState."""

    QUEUED = 1
    RUNNING = 2
    WAITING = 3
    COMPLETED = 4
    FAILED = 5
    CANCELLED = 6

    @property
    def terminal(self) -> bool:
        """Whether nothing follows."""
        return self >= RunState.COMPLETED


class Transition(Enum):
    """What can happen to a run's state."""

    CLAIM = "a worker claims it"
    RELEASE = "its worker is gone, or hands it over"
    PARK = "it waits for inputs"
    WAKE = "its last open input is resolved"
    COMPLETE = "it answered"
    FAIL = "it gave up"
    CANCEL = "it was stopped"


TRANSITIONS: dict[tuple[RunState, Transition], RunState] = {
    (RunState.QUEUED, Transition.CLAIM): RunState.RUNNING,
    (RunState.QUEUED, Transition.CANCEL): RunState.CANCELLED,
    (RunState.RUNNING, Transition.RELEASE): RunState.QUEUED,
    (RunState.RUNNING, Transition.PARK): RunState.WAITING,
    (RunState.RUNNING, Transition.COMPLETE): RunState.COMPLETED,
    (RunState.RUNNING, Transition.FAIL): RunState.FAILED,
    (RunState.RUNNING, Transition.CANCEL): RunState.CANCELLED,
    (RunState.WAITING, Transition.WAKE): RunState.QUEUED,
    (RunState.WAITING, Transition.CANCEL): RunState.CANCELLED,
}


def advance(state: RunState, transition: Transition) -> RunState:
    """The state after `transition`. Raises `heddle_core.states.NoTransition` where the table has no line."""
    return state_after(TRANSITIONS, "run", state, transition)


class InputState(IntEnum):
    """Where an input stands; the numbers are those of the contract's InputState."""

    RESERVED = 1
    PENDING = 2
    ANSWERED = 3
    APPROVED = 4
    DENIED = 5
    TIMED_OUT = 6
    CANCELLED = 7

    @property
    def open(self) -> bool:
        """Whether an answer would still take effect."""
        return self <= InputState.PENDING
