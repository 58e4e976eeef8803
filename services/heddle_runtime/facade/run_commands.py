"""What is asked of runs and inputs beyond the turns, and what is answered. Values only."""

from collections.abc import Mapping
from dataclasses import field
from enum import Enum

from heddle_core.clock import Micros
from heddle_core.ids import InputId, RunId, TenantId, ThreadId, WorkerId
from heddle_core.usage import Usage
from heddle_core.values import value
from heddle_runtime.facade.commands import Caller, RequestKey
from heddle_runtime.facade.page_commands import Page
from heddle_runtime.runs.content import Parts
from heddle_runtime.runs.inputs import InputKind
from heddle_runtime.runs.run import Run
from heddle_runtime.runs.state import InputState, RunState


@value
class ListRuns:
    """Find runs."""

    tenant: TenantId
    page: Page
    oldest_first: bool = False
    thread_id: ThreadId = ThreadId("")
    states: tuple[RunState, ...] = ()
    parent_run_id: RunId = RunId("")
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    agent_id: str = ""


@value
class QueryUsage:
    """Sum up what ended runs have used."""

    tenant: TenantId
    start_time: Micros | None = None
    end_time: Micros | None = None
    thread_id: ThreadId = ThreadId("")
    agent_id: str = ""


@value
class UsageSum:
    """What runs have used together, children counted once."""

    usage: Usage
    runs: int


@value
class RetryRun:
    """Start a new run of the same turn, in the place of an ended one."""

    caller: Caller
    key: RequestKey
    run_id: RunId
    content: Parts = ()
    model: str = ""


class InputOrder(Enum):
    """How inputs are listed."""

    OLDEST_FIRST = "create_time"
    NEWEST_FIRST = "create_time desc"
    FIRST_TO_EXPIRE = "expire_time"


@value
class ListInputs:
    """Find inputs, across threads."""

    tenant: TenantId
    page: Page
    order: InputOrder = InputOrder.OLDEST_FIRST
    states: tuple[InputState, ...] = (InputState.PENDING,)
    kinds: tuple[InputKind, ...] = ()
    thread_id: ThreadId = ThreadId("")
    run_id: RunId = RunId("")


@value
class RunFacts:
    """All that the rows tell about why a run stands where it stands."""

    run: Run
    now: Micros
    """The database's clock when they were read."""
    holder: Run | None = None
    """The run that holds the thread's lane, if it is another."""
    queue_position: int = 0
    """Place among the thread's queued runs, from 1; zero: not queued."""
    ahead_run_id: RunId = RunId("")
    """The queued run right before it."""
    pending_inputs: tuple[InputId, ...] = ()
    """Inputs that wait, of this run, else of the holder."""
    lease_worker_id: WorkerId = WorkerId("")
    """Worker whose lease covers the run's owner; empty: its owner is gone."""
    lease_until: Micros | None = None
