"""What services that start runs say to the runtime and hear from it, as plain values.

They import nothing of the runtime's contract: `heddle_client.runs` turns these into its messages and back. Numbers
of enums are the contract's.
"""

from collections.abc import Mapping
from dataclasses import field
from datetime import timedelta
from enum import IntEnum

from heddle_core.clock import Micros
from heddle_core.usage import Usage
from heddle_core.values import value

# --- content ---------------------------------------------------------------------------------------------


@value
class Text:
    """Plain text."""

    text: str


@value
class Json:
    """A JSON value as text."""

    json: str


@value
class InlineData:
    """Bytes inside a message."""

    media_type: str
    data: bytes
    name: str = ""


@value
class AssetReference:
    """An asset that is stored elsewhere."""

    asset_id: str
    media_type: str = ""
    name: str = ""


Part = Text | Json | InlineData | AssetReference
Parts = tuple[Part, ...]


# --- how much may be used ---------------------------------------------------------------------------------


@value
class Bounds:
    """Upper bounds of one run. Zero: not bounded here."""

    steps: int = 0
    tokens: int = 0
    cost_micro_usd: int = 0
    tool_calls: int = 0
    wall_time: timedelta = timedelta(0)
    """At work; waiting does not count."""


UNBOUNDED = Bounds()


# --- a turn to start -------------------------------------------------------------------------------------


class Cause(IntEnum):
    """What caused a turn."""

    CHAT = 1
    CAMPAIGN = 2
    SPAWN = 3
    SCHEDULE = 4
    WEBHOOK = 5


@value
class Note:
    """Something the agent should know: data, never instructions."""

    item_id: str
    text: str
    kind: str = ""
    source: str = ""


@value
class Parent:
    """The run that a new run is a child of."""

    run_id: str
    cascade: bool = True
    """Whether cancelling the parent cancels the child."""
    budget: Bounds = UNBOUNDED
    """Reserved on the parent's row when the turn is accepted."""


@value
class NewTurn:
    """A turn as a service starts it, in a thread of its own unless one is named."""

    request_id: str
    content: Parts
    agent_id: str = ""
    agent_version: int = 0
    """From 1; zero: the newest."""
    context: tuple[Note, ...] = ()
    model: str = ""
    json_schema: str = ""
    """That the answer must satisfy; empty: free text."""
    limits: Bounds = UNBOUNDED
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    cause: Cause = Cause.CHAT
    cause_id: str = ""
    parent: Parent | None = None
    allowed_tools: tuple[str, ...] = ()
    """As `provider/name`; empty: all that the agent has."""
    thread_id: str = ""


@value
class NewThread:
    """A thread that is made for a turn, so that people find it."""

    request_id: str
    thread_id: str
    title: str = ""
    """At most 256 characters. Empty: made from the first turn."""
    labels: Mapping[str, str] = field(default_factory=dict[str, str])


@value
class Forecast:
    """What a turn would run, where it is only validated."""

    agent_id: str
    agent_version: int
    tool_paths: tuple[str, ...]
    """Tools that it would be offered, as `provider/name`."""


# --- a run ------------------------------------------------------------------------------------------------


class RunState(IntEnum):
    """Where a run stands."""

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


class CancelCause(IntEnum):
    """Who or what stopped a run."""

    NONE = 0
    REQUESTED = 1
    INTERRUPTED = 2
    ROLLED_BACK = 3
    PARENT = 4
    THREAD_DELETED = 5


@value
class RunView:
    """A run as it stands now."""

    run_id: str
    thread_id: str
    state: RunState
    agent_id: str
    agent_version: int
    parent_run_id: str
    root_run_id: str
    depth: int
    usage: Usage
    limits: Bounds
    request_sequence: int
    """Of the event that asked for it, in its thread."""
    parts: Parts = ()
    """Its answer, once it is COMPLETED."""
    structured_json: str = ""
    failure_reason: str = ""
    """As BUDGET_EXCEEDED; empty unless it FAILED."""
    failure_message: str = ""
    cancel_cause: CancelCause = CancelCause.NONE
    end_time: Micros = Micros(0)
    """Zero: not yet."""


@value
class RunFact:
    """One event of a run's thread, as far as a watcher at a distance needs it."""

    sequence: int
    kind: str
    """Name of the payload in the contract, as `tool_call_started`."""
    words: str = ""
    """A tool's name, or what somebody said of the progress; empty for other kinds."""


@value
class FactPage:
    """Some facts after a cursor, oldest first."""

    facts: tuple[RunFact, ...]
    next_cursor: int
    last_sequence: int
