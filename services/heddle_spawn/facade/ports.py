"""What spawning needs of others: a store of children, and the runtime in somebody's name."""

from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from heddle_client.values import FactPage, Forecast, NewTurn, Parts, RunView
from heddle_core.clock import Micros
from heddle_core.requests import Creator, RequestKey
from heddle_spawn.rules.spawns import Group, Spawn, SpawnFailure
from heddle_spawn.rules.states import SpawnState, Stop


class Runs(Protocol):
    """The runtime in one principal's name; `heddle_client.runs.Runs` fulfils it."""

    async def start(self, prepared: bytes) -> RunView:
        """Start a turn that was prepared; a repeat gives the same run."""
        ...

    async def forecast(self, turn: NewTurn) -> Forecast:
        """What a turn would run. Raises AgentNotFound, ModelNotFound, InvalidField."""
        ...

    async def cancel(self, run_id: str, *, request_id: str, note: str = "") -> None:
        """Stop a run and its cascading children."""
        ...

    async def cancel_start(self, turn_request_id: str, *, request_id: str, note: str = "") -> RunView | None:
        """Stop the run of a turn's request; None: it never will start one."""
        ...

    async def answer(
        self, input_id: str, parts: Parts, *, request_id: str, is_error: bool = False, token: str = ""
    ) -> None:
        """Give the result of a deferred call."""
        ...

    async def report(self, input_id: str, message: str, fraction: float, *, request_id: str, token: str = "") -> None:
        """Say how far the work behind an input is."""
        ...

    async def get(self, run_id: str) -> RunView:
        """A run. Raises RunNotFound."""
        ...

    async def open_children(self, run_id: str, *, most: int = 1_000) -> tuple[RunView, ...]:
        """Children of a run that have not ended."""
        ...

    async def facts(self, thread_id: str, *, run_id: str, after: int, most: int = 500) -> FactPage:
        """Events of a run after a cursor. Raises ThreadNotFound."""
        ...

    async def tools_allowed(self, run: RunView) -> tuple[str, ...]:
        """The tools that a run's turn narrows it to; empty: all of its agent's."""
        ...

    def heads(self, thread_id: str, *, after: int) -> AsyncGenerator[int, None]:
        """Sequences of a thread's newest facts, as they are written."""
        ...


RunsOf = Callable[[Creator], Runs]
"""The runtime in the name of a creator."""

Prepare = Callable[[NewTurn], bytes]
"""Brings a turn into the form in which it is kept until it is sent, and sent again."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What stands on record for a key: just written, or found."""

    spawns: tuple[Spawn, ...]
    group: Group | None = None
    new: bool = True


@dataclass(frozen=True, slots=True)
class Due:
    """What is to be looked at now."""

    spawns: tuple[Spawn, ...]
    groups: tuple[Group, ...]
    next_at: Micros | None
    """When the next one is due; None: nothing is open."""
    now: Micros


@dataclass(frozen=True, slots=True)
class ListSpawns:
    """A page of a tenant's children."""

    tenant: str
    size: int
    after: tuple[int, str] | None = None
    """Time and id of the last one of the page before."""
    by_end: bool = False
    newest_first: bool = True
    parent_run_id: str = ""
    root_run_id: str = ""
    group_id: str = ""
    agent_id: str = ""
    states: tuple[SpawnState, ...] = ()


class SpawnStore(Protocol):
    """Children and groups on stable storage. Raises StoreUnavailable when it is in trouble."""

    async def target_of(self, key: RequestKey) -> str | None:
        """The child or group that a request made before. Raises RequestIdReused."""
        ...

    async def record(self, key: RequestKey | None, spawns: Sequence[Spawn], group: Group | None) -> Recorded:
        """Write children that start together, or find what stands under their key.

        Raises:
            InvalidField: a key names a child or group that was asked to do something else.
            Conflict: another process recorded the same key at the same moment; try again, and find it.
            RequestIdReused.
        """
        ...

    async def remember(self, key: RequestKey, target: str) -> None:
        """Keep what a request was about. Raises RequestIdReused."""
        ...

    async def spawn(self, tenant: str, spawn_id: str) -> Spawn | None:
        """A child by its id."""
        ...

    async def group(self, tenant: str, group_id: str) -> Group | None:
        """A group by its id."""
        ...

    async def members(self, tenant: str, group_id: str) -> tuple[Spawn, ...]:
        """The children of a group, in the order of its spec."""
        ...

    async def open_under(self, tenant: str, parent_run_id: str) -> tuple[Spawn, ...]:
        """Children of a run that have not ended."""
        ...

    async def of_thread(self, tenant: str, thread_id: str) -> tuple[Spawn, ...]:
        """Children whose thread this is, or their parent's."""
        ...

    async def erase_group(self, tenant: str, group_id: str) -> None:
        """Take the words out of what a group was asked to do."""
        ...

    async def under_root(self, tenant: str, root_run_id: str, most: int) -> tuple[Spawn, ...]:
        """Children of a tree, parents before children."""
        ...

    async def groups_of_root(self, tenant: str, root_run_id: str, most: int) -> tuple[Group, ...]:
        """Groups of a tree, oldest first."""
        ...

    async def page(self, command: ListSpawns) -> tuple[Spawn, ...]:
        """Children, up to one more than were asked for."""
        ...

    async def save_spawn(self, old: Spawn, new: Spawn) -> Spawn | None:
        """Write `new` if `old` still stands; None: somebody else was faster. Rings its group when it has ended."""
        ...

    async def save_group(
        self,
        old: Group,
        new: Group,
        *,
        stop: Stop = Stop.NONE,
        stopped: Sequence[str] = (),
        cancelled: SpawnFailure | None = None,
    ) -> Group | None:
        """Write `new` if `old` still stands, have `stopped` end, and open the stage that is now at work.

        `cancelled`: every child that has not ended is to be cancelled, which is what will be said of it.
        """
        ...

    async def take_due(self, limit: int) -> Due:
        """What is due, which is then due again after a while unless it is saved before."""
        ...
