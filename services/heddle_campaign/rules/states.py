"""The tables of the states of campaigns, cycles and turns. Every write of such a state goes through `advance_*`."""

from enum import Enum, IntEnum

from heddle_core.states import state_after


class CampaignState(IntEnum):
    """Where a campaign stands; the numbers are the contract's."""

    DRAFT = 1
    ACTIVE = 2
    PAUSED = 3
    COMPLETED = 4


class CampaignTransition(Enum):
    """What can happen to a campaign."""

    ACTIVATE = "it is activated"
    PAUSE = "it is paused"
    RESUME = "it is resumed"
    COMPLETE = "it is completed"


CAMPAIGN_TRANSITIONS: dict[tuple[CampaignState, CampaignTransition], CampaignState] = {
    (CampaignState.DRAFT, CampaignTransition.ACTIVATE): CampaignState.ACTIVE,
    (CampaignState.ACTIVE, CampaignTransition.PAUSE): CampaignState.PAUSED,
    (CampaignState.ACTIVE, CampaignTransition.COMPLETE): CampaignState.COMPLETED,
    (CampaignState.PAUSED, CampaignTransition.RESUME): CampaignState.ACTIVE,
    (CampaignState.PAUSED, CampaignTransition.COMPLETE): CampaignState.COMPLETED,
}


class CycleState(IntEnum):
    """Where a cycle stands; the numbers are the contract's."""

    DUE = 1
    RUNNING = 2
    COMPLETED = 3
    FAILED = 4
    CANCELLED = 5
    SKIPPED = 6

    @property
    def terminal(self) -> bool:
        """Whether nothing follows, unless somebody asks to retry it."""
        return self >= CycleState.COMPLETED


class CycleTransition(Enum):
    """What can happen to a cycle."""

    CLAIM = "a replica claims it"
    TAKE_OVER = "another replica claims it, because the lease of the first has ended"
    COMPLETE = "its turns have ended, and one is completed"
    FAIL = "its turns have ended, and none is completed"
    CANCEL = "it is cancelled"
    SKIP = "a guard or the overlap policy leaves it out"
    RETRY = "it is queued again"


CYCLE_TRANSITIONS: dict[tuple[CycleState, CycleTransition], CycleState] = {
    (CycleState.DUE, CycleTransition.CLAIM): CycleState.RUNNING,
    (CycleState.DUE, CycleTransition.CANCEL): CycleState.CANCELLED,
    (CycleState.DUE, CycleTransition.SKIP): CycleState.SKIPPED,
    (CycleState.RUNNING, CycleTransition.TAKE_OVER): CycleState.RUNNING,
    (CycleState.RUNNING, CycleTransition.COMPLETE): CycleState.COMPLETED,
    (CycleState.RUNNING, CycleTransition.FAIL): CycleState.FAILED,
    (CycleState.RUNNING, CycleTransition.CANCEL): CycleState.CANCELLED,
    (CycleState.RUNNING, CycleTransition.SKIP): CycleState.SKIPPED,
    (CycleState.FAILED, CycleTransition.RETRY): CycleState.DUE,
    (CycleState.CANCELLED, CycleTransition.RETRY): CycleState.DUE,
}


class TurnState(IntEnum):
    """Where a turn of a cycle stands; the numbers are the contract's."""

    PENDING = 1
    RUNNING = 2
    COMPLETED = 3
    FAILED = 4
    CANCELLED = 5

    @property
    def terminal(self) -> bool:
        """Whether nothing follows, unless the cycle is retried."""
        return self >= TurnState.COMPLETED


class TurnTransition(Enum):
    """What can happen to a turn of a cycle."""

    ACCEPT = "the runtime accepts it"
    COMPLETE = "its run is completed"
    TRY_AGAIN = "its run failed, and another attempt may succeed"
    FAIL = "its last attempt failed"
    CANCEL = "it is cancelled"
    RETRY = "its cycle is queued again"


TURN_TRANSITIONS: dict[tuple[TurnState, TurnTransition], TurnState] = {
    (TurnState.PENDING, TurnTransition.ACCEPT): TurnState.RUNNING,
    (TurnState.PENDING, TurnTransition.TRY_AGAIN): TurnState.PENDING,
    (TurnState.PENDING, TurnTransition.FAIL): TurnState.FAILED,
    (TurnState.PENDING, TurnTransition.CANCEL): TurnState.CANCELLED,
    (TurnState.RUNNING, TurnTransition.COMPLETE): TurnState.COMPLETED,
    (TurnState.RUNNING, TurnTransition.TRY_AGAIN): TurnState.PENDING,
    (TurnState.RUNNING, TurnTransition.FAIL): TurnState.FAILED,
    (TurnState.RUNNING, TurnTransition.CANCEL): TurnState.CANCELLED,
    (TurnState.FAILED, TurnTransition.RETRY): TurnState.PENDING,
    (TurnState.CANCELLED, TurnTransition.RETRY): TurnState.PENDING,
}


def advance_campaign(state: CampaignState, transition: CampaignTransition) -> CampaignState:
    """The campaign's state after `transition`. Raises `heddle_core.states.NoTransition` where the table has no line."""
    return state_after(CAMPAIGN_TRANSITIONS, "campaign", state, transition)


def advance_cycle(state: CycleState, transition: CycleTransition) -> CycleState:
    """The cycle's state after `transition`. Raises `heddle_core.states.NoTransition` where the table has no line."""
    return state_after(CYCLE_TRANSITIONS, "cycle", state, transition)


def advance_turn(state: TurnState, transition: TurnTransition) -> TurnState:
    """The turn's state after `transition`. Raises `heddle_core.states.NoTransition` where the table has no line."""
    return state_after(TURN_TRANSITIONS, "turn", state, transition)


def cycle_end(turns: tuple[TurnState, ...]) -> CycleTransition | None:
    """How a RUNNING cycle ends by its turns; None while one of them is open."""
    if not all(each.terminal for each in turns):
        return None
    if TurnState.COMPLETED in turns:
        return CycleTransition.COMPLETE
    if turns and all(each is TurnState.CANCELLED for each in turns):
        return CycleTransition.CANCEL
    return CycleTransition.FAIL
