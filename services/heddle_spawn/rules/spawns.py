"""What a child and a group are: what they were asked to do, and how they stand. Values only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import IntEnum

from heddle_client.values import UNBOUNDED, Bounds, Parts
from heddle_core.clock import Micros
from heddle_core.requests import Creator
from heddle_core.usage import NOTHING, Usage
from heddle_spawn.rules.states import GroupState, SpawnState, Stop, Told

DEFAULT_DEADLINE = timedelta(hours=1)
"""Of a child that names none (contract: SpawnSpec.deadline)."""

MOST_STAGES = 8
"""Of one group (contract: SpawnGroupSpec.stages)."""


class CancelPolicy(IntEnum):
    """What becomes of a child when its parent is cancelled; the numbers are the contract's."""

    CASCADE = 1
    ABANDON = 2


class WantedAsset(IntEnum):
    """A kind of asset, where no agent is named; the numbers are the contract's."""

    NONE = 0
    IMAGE = 1
    VIDEO = 2
    AUDIO = 3
    TEXT = 4


class FanIn(IntEnum):
    """When a group is done; the numbers are the contract's."""

    ALL = 1
    ANY = 2
    FIRST_N = 3


@dataclass(frozen=True, slots=True)
class Waiter:
    """The input of the parent that an end answers."""

    input_id: str = ""
    token: str = field(default="", repr=False)
    """The secret that came with the tool call; empty for a caller of the RPC."""


NOBODY = Waiter()


@dataclass(frozen=True, slots=True)
class Origin:
    """Where in a tree a child stands, and who asked for it."""

    creator: Creator
    parent_run_id: str = ""
    parent_thread_id: str = ""
    root_run_id: str = ""
    depth: int = 0
    waiter: Waiter = NOBODY

    @property
    def family(self) -> str:
        """Within which a spawn key names one child: the parent's, or of a principal's roots."""
        return self.parent_run_id or f"@{self.creator.principal}"


@dataclass(frozen=True, slots=True)
class SpawnSpec:
    """What one child is to do, and within what bounds."""

    spawn_key: str
    task: Parts
    agent_id: str = ""
    wanted_asset: WantedAsset = WantedAsset.NONE
    agent_version: int = 0
    context: Parts = ()
    budget: Bounds | None = None
    deadline: timedelta = DEFAULT_DEADLINE
    cancel_policy: CancelPolicy = CancelPolicy.CASCADE
    tools: tuple[str, ...] = ()
    result_schema_json: str = ""
    model: str = ""
    labels: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class GroupSpec:
    """Stages one after the other, the children of a stage side by side."""

    group_key: str
    stages: tuple[tuple[SpawnSpec, ...], ...]
    fan_in: FanIn = FanIn.ALL
    fan_in_count: int = 0
    stop_on_failure: bool = False
    deadline: timedelta = timedelta(0)
    """Zero: the sum of its stages' longest."""

    @property
    def needed(self) -> int:
        """How many of the last stage must complete."""
        return {FanIn.ALL: len(self.stages[-1]), FanIn.ANY: 1, FanIn.FIRST_N: self.fan_in_count}[self.fan_in]

    @property
    def time(self) -> timedelta:
        """Longest time from start to end."""
        longest = (max(child.deadline for child in stage) for stage in self.stages)
        return self.deadline or sum(longest, timedelta(0))


@dataclass(frozen=True, slots=True)
class SpawnResult:
    """What came out of a child."""

    parts: Parts
    structured_json: str = ""
    tool_calls: int = 0


@dataclass(frozen=True, slots=True)
class SpawnFailure:
    """Why a child has no result."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Spawn:
    """One child, as stored."""

    spawn_id: str
    origin: Origin
    spec: SpawnSpec
    fingerprint: bytes
    create_time: Micros
    deadline_at: Micros
    agent_id: str
    """Who does it: named, or chosen for the wanted asset."""
    agent_version: int
    allowed_tools: tuple[str, ...] = ()
    group_id: str = ""
    stage: int = 0
    position: int = 0
    state: SpawnState = SpawnState.PENDING
    stop: Stop = Stop.NONE
    told: Told = Told.NOBODY_WAITS
    granted: Bounds = UNBOUNDED
    """What its turn reserves of its parent's budget; fixed with the turn."""
    turn: bytes = b""
    """The request that starts it, as fixed before it is sent the first time; empty: not fixed."""
    run_id: str = ""
    thread_id: str = ""
    cursor: int = 0
    """Last sequence of its thread that was looked at."""
    progress: str = ""
    result: SpawnResult | None = None
    failure: SpawnFailure | None = None
    """Before the end: what will be said of it, where somebody had it cancelled."""
    usage: Usage = NOTHING
    start_time: Micros = Micros(0)
    end_time: Micros = Micros(0)
    due: Micros = Micros(0)
    """When it is looked at next; zero: not before somebody rings."""
    tries: int = 0
    """Failures in a row to reach the runtime."""
    revision: int = 0

    @property
    def tenant(self) -> str:
        """Whose it is."""
        return self.origin.creator.tenant


@dataclass(frozen=True, slots=True)
class Group:
    """Several children that are waited for together, as stored."""

    group_id: str
    origin: Origin
    spec: GroupSpec
    fingerprint: bytes
    create_time: Micros
    deadline_at: Micros
    state: GroupState = GroupState.RUNNING
    stop: Stop = Stop.NONE
    told: Told = Told.NOBODY_WAITS
    current_stage: int = 0
    progress: str = ""
    end_time: Micros = Micros(0)
    due: Micros = Micros(0)
    tries: int = 0
    revision: int = 0

    @property
    def tenant(self) -> str:
        """Whose it is."""
        return self.origin.creator.tenant
