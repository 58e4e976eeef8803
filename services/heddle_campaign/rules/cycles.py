"""What a cycle and its turns are: why it was made, what was asked of whom, and how it stands. Values only."""

from dataclasses import dataclass
from enum import IntEnum

from heddle_campaign.rules.campaigns import CampaignSettings
from heddle_campaign.rules.cycle_keys import CycleKey, cycle_id
from heddle_campaign.rules.states import CycleState, TurnState
from heddle_core.clock import Micros
from heddle_core.usage import NOTHING, MicroUsd, Usage


class SkipReason(IntEnum):
    """Why a cycle was left out; the numbers are the contract's."""

    NONE = 0
    OVERLAP = 1
    NO_AGENT = 2
    EXHAUSTED = 3
    OUTSIDE_DATES = 4


@dataclass(frozen=True, slots=True)
class Signal:
    """Something that happened outside."""

    kind: str
    payload_json: str
    dedupe_key: str
    occur_time: Micros
    source: str = ""


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """A memory as it was given to a turn."""

    memory_id: str
    score: float
    explanation: str


@dataclass(frozen=True, slots=True)
class CycleFailure:
    """Why a turn of a cycle failed."""

    reason: str
    """In capitals: of a failed run its FailureReason, as `STEP_LIMIT`, else the ErrorReason, as `AGENT_NOT_FOUND`."""
    message: str
    retryable: bool
    of_run: bool = False
    """Whether a run has failed; else none could be started or followed."""


@dataclass(frozen=True, slots=True)
class CycleTurn:
    """What one agent is asked in a cycle."""

    role: str
    agent_id: str
    state: TurnState = TurnState.PENDING
    attempt: int = 1
    """Raised only after a retryable failure was read; an unknown outcome uses the same again (SEMANTICS 38)."""
    prepared: bytes = b""
    """The StartTurn request of this attempt, kept before it is sent, so that it is sent again unchanged."""
    new_thread: str = ""
    """Id of the thread that is made for this attempt before its request is sent. Empty: the request makes its own."""
    thread_id: str = ""
    run_id: str = ""
    request_sequence: int = 0
    """Of the turn's request in its thread; facts of the run begin there."""
    objective: str = ""
    budget: MicroUsd | None = None
    memories: tuple[MemoryUse, ...] = ()
    usage: Usage = NOTHING
    """Of all attempts."""
    failure: CycleFailure | None = None
    next_attempt: Micros | None = None
    """None: none is waiting."""


@dataclass(frozen=True, slots=True)
class Cycle:
    """One firing of a campaign, as stored. `revision` is its fence: a write states the one that it has read."""

    key: CycleKey
    due: Micros
    """When it may begin: its scheduled time and jitter."""
    priority: int = 0
    state: CycleState = CycleState.DUE
    skip_reason: SkipReason = SkipReason.NONE
    skip_note: str = ""
    """What led to it, for people."""
    roles: tuple[str, ...] = ()
    """Whom to ask. Empty: whoever the campaign chooses."""
    note: str = ""
    """What its turns are told beyond the brief."""
    evidence: Signal | None = None
    trigger_key: str = ""
    """Of the campaign's trigger that the signal met."""
    topic: str = ""
    rotation_key: str = ""
    platform: str = ""
    turns: tuple[CycleTurn, ...] = ()
    """Empty until it is planned."""
    budget: MicroUsd | None = None
    usage: Usage = NOTHING
    summary: str = ""
    retry_count: int = 0
    stop: bool = False
    """Whether it is to be cancelled: its runs are stopped first."""
    stop_note: str = ""
    settings: CampaignSettings | None = None
    """Its campaign's when it was planned, with which it goes on; let go of when it ends. None: not planned yet."""
    owner: str = ""
    """Worker that looks at it."""
    look_at: Micros = Micros(0)
    """When it is looked at next, by anybody: the end of the owner's lease. Zero: never."""
    start_time: Micros | None = None
    end_time: Micros | None = None
    revision: int = 1

    @property
    def cycle_id(self) -> str:
        """Made of the key."""
        return cycle_id(self.key)
