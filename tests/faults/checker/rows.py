"""What the database holds, read by plain SQL: from a SQLite file, or from PostgreSQL through asyncpg."""

import asyncio
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.faults.checker import wire

QUEUED, RUNNING, WAITING, COMPLETED, FAILED, CANCELLED = range(1, 7)
"""States of a run."""

TERMINAL = (COMPLETED, FAILED, CANCELLED)

(
    THREAD_CREATED,
    THREAD_UPDATED,
    THREAD_ARCHIVED,
    THREAD_UNARCHIVED,
    THREAD_FORKED,
    MESSAGE_REDACTED,
    TURN_REQUESTED,
    TURN_STEERED,
    RUN_STARTED,
    RUN_WAITING,
    RUN_RESUMED,
    RUN_COMPLETED,
    RUN_FAILED,
    RUN_CANCEL_REQUESTED,
    RUN_CANCELLED,
    RUN_SUPERSEDED,
    STEP_STARTED,
    STEP_COMPLETED,
    REASONING_RECORDED,
    ASSISTANT_MESSAGE_COMPLETED,
    TOOL_CALL_REQUESTED,
    TOOL_CALL_STARTED,
    TOOL_CALL_PROGRESSED,
    TOOL_CALL_COMPLETED,
    INPUT_REQUESTED,
    INPUT_RESOLVED,
) = range(10, 36)
"""Kinds of events: the numbers of their cases in the contract."""

ENDS = (RUN_COMPLETED, RUN_FAILED, RUN_CANCELLED)

OK, ERROR, DENIED, STOPPED, TIMED_OUT, UNKNOWN = range(1, 7)
"""How tool calls end."""


@dataclass(frozen=True)
class Event:
    """A row of the log."""

    tenant: str
    thread_id: str
    sequence: int
    run_id: str
    kind: int
    commit_time: int
    redacted: int
    payload: bytes
    digest: bytes
    hash: bytes
    gone: bool = False
    """Whether the runtime has removed it since."""

    @cached_property
    def body(self) -> wire.Fields:
        """What the event says."""
        return wire.inner(wire.fields(self.payload), self.kind)

    @property
    def place(self) -> str:
        return f"{self.tenant}/{self.thread_id}:{self.sequence}"

    def text(self, number: int) -> str:
        """A text of the event's body."""
        return wire.text(self.body, number)

    def integer(self, number: int) -> int:
        """A number of the event's body."""
        return wire.integer(self.body, number)


@dataclass(frozen=True)
class Thread:
    tenant: str
    thread_id: str
    last_sequence: int
    first_sequence: int
    published_sequence: int
    lane_run_id: str
    head_hash: bytes
    gone: bool = False
    """Whether it was deleted: this is how it was then."""


@dataclass(frozen=True)
class Run:
    tenant: str
    run_id: str
    thread_id: str
    state: int
    fence: int
    attempt: int
    cancel_sequence: int
    not_before: int


@dataclass(frozen=True)
class Input:
    tenant: str
    input_id: str
    run_id: str
    kind: int
    state: int
    winner: str
    expire_time: int = 0


@dataclass(frozen=True)
class Snapshot:
    tenant: str
    thread_id: str
    sequence: int
    hash: bytes
    body: bytes


@dataclass(frozen=True)
class Tombstone:
    """What is left of a deleted thread."""

    tenant: str
    thread_id: str
    last_sequence: int
    last_hash: bytes
    purged: int


@dataclass(frozen=True)
class Tables:
    """Everything, at one moment."""

    threads: tuple[Thread, ...]
    events: tuple[Event, ...]
    runs: tuple[Run, ...]
    inputs: tuple[Input, ...]
    snapshots: tuple[Snapshot, ...]
    tombstones: tuple[Tombstone, ...] = ()


ARCHIVED = ("threads", "events", "runs", "inputs")
"""Tables from which the runtime removes rows in the course of things."""

_COLUMNS: dict[type[Any], tuple[str, str]] = {
    Thread: (
        "threads",
        "tenant, thread_id, last_sequence, first_sequence, published_sequence, lane_run_id, head_hash",
    ),
    Event: ("events", "tenant, thread_id, sequence, run_id, kind, commit_time, redacted, payload, digest, hash"),
    Run: ("runs", "tenant, run_id, thread_id, state, fence, attempt, cancel_sequence, not_before"),
    Input: ("inputs", "tenant, input_id, run_id, kind, state, winner, expire_time"),
    Snapshot: ("snapshots", "tenant, thread_id, sequence, hash, body"),
    Tombstone: ("tombstones", "tenant, thread_id, last_sequence, last_hash, purged"),
}

_SQLITE_TABLES = "SELECT name FROM sqlite_master WHERE type = 'table'"
_POSTGRES_TABLES = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"


def archive_of(table: str) -> str:
    """The table into which a database puts aside what is removed from another one."""
    return f"gone_{table}"


def columns_of(table: str) -> list[str]:
    """The columns of a table that are read here."""
    return next(columns.split(", ") for name, columns in _COLUMNS.values() if name == table)


def read_sqlite(file: Path) -> Tables:
    """Read a database that no process has open, or that one has open and serves."""
    connection = sqlite3.connect(file, timeout=20)
    try:
        connection.execute("BEGIN")
        known = {name for (name,) in connection.execute(_SQLITE_TABLES)}
        return _tables({query: connection.execute(query).fetchall() for query in _queries(known)})
    finally:
        connection.close()


def read_postgres(url: str) -> Tables:
    """Read a database by its address, as of one moment."""
    return asyncio.run(_read_postgres(url))


async def _read_postgres(url: str) -> Tables:
    import asyncpg

    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            known = {name for (name,) in await connection.fetch(_POSTGRES_TABLES)}
            return _tables({query: await connection.fetch(query) for query in _queries(known)})
    finally:
        await connection.close()


def _queries(known: set[str]) -> Iterator[str]:
    for table, columns in _COLUMNS.values():
        yield f"SELECT {columns} FROM {table}"
        if archive_of(table) in known:
            yield f"SELECT {columns} FROM {archive_of(table)}"


def _tables(found: Mapping[str, Sequence[Any]]) -> Tables:
    made: dict[type[Any], tuple[Any, ...]] = {}
    for row, (table, columns) in _COLUMNS.items():
        kept = [row(*values) for values in found[f"SELECT {columns} FROM {table}"]]
        gone = [row(*values) for values in found.get(f"SELECT {columns} FROM {archive_of(table)}", ())]
        if row in (Thread, Event):
            gone = [replace(each, gone=True) for each in gone]
        made[row] = (*kept, *gone)
    events = sorted(made[Event], key=lambda each: (each.tenant, each.thread_id, each.sequence))
    return Tables(made[Thread], tuple(events), made[Run], made[Input], made[Snapshot], made[Tombstone])
