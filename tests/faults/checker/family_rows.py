"""What the databases hold of children, read by plain SQL: the rows of spawn, and the runtime's of the same runs."""

import asyncio
import json
import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.faults.checker import wire

PENDING, RUNNING, WAITING, COMPLETED, FAILED, CANCELLED, TIMED_OUT = range(1, 8)
"""States of a child."""

NAMES = ("", "PENDING", "RUNNING", "WAITING", "COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT")
"""What they are called where parents are told."""

GROUP_RUNNING, GROUP_COMPLETED, GROUP_FAILED, GROUP_CANCELLED = range(1, 5)
"""States of a group."""

GROUP_NAMES = ("", "RUNNING", "COMPLETED", "FAILED", "CANCELLED")

NOBODY_WAITS, NOT_YET, TOLD, REFUSED = range(4)
"""Whether a parent was told."""

ALL, ANY, FIRST_N = 1, 2, 3
"""When a group is done."""

CANCELLED_WITH_PARENT = 4
"""Why a run was cancelled."""

SPAWN_TRIGGER = 3
"""What starts a run: the spawn service."""


@dataclass(frozen=True)
class Spawn:
    """A child, as the spawn service has it."""

    tenant: str
    spawn_id: str
    family: str
    spawn_key: str
    group_id: str
    parent_run_id: str
    root_run_id: str
    run_id: str
    thread_id: str
    state: int
    stop: int
    told: int
    stage: int
    depth: int
    body: bytes

    @property
    def key(self) -> tuple[str, str]:
        return self.tenant, self.spawn_id

    @cached_property
    def input_id(self) -> str:
        """The input that its end answers, if somebody waits for it."""
        return wire.text(wire.fields(self.body), 12)

    @property
    def terminal(self) -> bool:
        return self.state >= COMPLETED


@dataclass(frozen=True)
class Group:
    """A group, as the spawn service has it."""

    tenant: str
    group_id: str
    family: str
    group_key: str
    input_id: str
    parent_run_id: str
    state: int
    stop: int
    told: int
    spec: bytes

    @property
    def key(self) -> tuple[str, str]:
        return self.tenant, self.group_id

    @property
    def terminal(self) -> bool:
        return self.state >= GROUP_COMPLETED

    @cached_property
    def needed(self) -> int:
        """How many of its last stage must complete."""
        said = wire.fields(self.spec)
        last = len(wire.inners(wire.inners(said, 2)[-1], 1))
        return {ANY: 1, FIRST_N: wire.integer(said, 4)}.get(wire.integer(said, 3), last)

    @cached_property
    def last_stage(self) -> int:
        return len(wire.inners(wire.fields(self.spec), 2)) - 1


@dataclass(frozen=True)
class Place:
    """Where a run stands in its tree, and what it may use, as the runtime has it."""

    tenant: str
    run_id: str
    thread_id: str
    parent_run_id: str
    root_run_id: str
    depth: int
    cascade: int
    state: int
    trigger_kind: int
    trigger_reference: str
    limits: str
    cancel_cause: int
    input_tokens: int
    output_tokens: int

    @property
    def key(self) -> tuple[str, str]:
        return self.tenant, self.run_id

    @cached_property
    def most_tokens(self) -> int:
        """Zero: as many as it likes."""
        return json.loads(self.limits or "{}").get("tokens", 0)

    @property
    def tokens(self) -> int:
        """That it has used, its children's included."""
        return self.input_tokens + self.output_tokens


@dataclass(frozen=True)
class Families:
    """All of them; empty where no spawn service was at work."""

    spawns: tuple[Spawn, ...] = ()
    groups: tuple[Group, ...] = ()
    places: tuple[Place, ...] = ()
    by_key: dict[tuple[str, str], Place] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        self.by_key.update((each.key, each) for each in self.places)


_SPAWNS = (
    "SELECT tenant, spawn_id, family, spawn_key, group_id, parent_run_id, root_run_id, run_id, thread_id, state, stop,"
    " told, stage, depth, body FROM spawns"
)
_GROUPS = (
    "SELECT tenant, group_id, family, group_key, input_id, parent_run_id, state, stop, told, spec FROM spawn_groups"
)
_PLACES = (
    'SELECT tenant, run_id, thread_id, parent_run_id, root_run_id, depth, "cascade", state, trigger_kind,'
    " trigger_reference, limits, cancel_cause, input_tokens, output_tokens FROM runs"
)
_HAS_SPAWNS = "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = 'public' AND table_name = 'spawns'"


def read_families(option: str, value: str) -> Families:
    """Read a database that no process has open, by the option and the value that `heddle` knows it under."""
    if option == "--database":
        return asyncio.run(_read_postgres(value))
    file = Path(value) / "spawn.db"
    if not file.exists():
        return Families()
    spawns, groups = _read_sqlite(file, (_SPAWNS, _GROUPS))
    (places,) = _read_sqlite(Path(value) / "heddle.db", (_PLACES,))
    return _families(spawns, groups, places)


def _read_sqlite(file: Path, queries: Iterable[str]) -> list[list[Any]]:
    connection = sqlite3.connect(file, timeout=20)
    try:
        return [connection.execute(query).fetchall() for query in queries]
    finally:
        connection.close()


async def _read_postgres(url: str) -> Families:
    import asyncpg

    connection = await asyncpg.connect(url)
    try:
        if not await connection.fetchval(_HAS_SPAWNS):
            return Families()
        return _families(*[await connection.fetch(query) for query in (_SPAWNS, _GROUPS, _PLACES)])
    finally:
        await connection.close()


def _families(spawns: Iterable[Any], groups: Iterable[Any], places: Iterable[Any]) -> Families:
    return Families(_made(Spawn, spawns), _made(Group, groups), _made(Place, places))


def _made(kind: Callable[..., Any], found: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(kind(*row) for row in found)
