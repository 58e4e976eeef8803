"""What the database holds, read by plain SQL: from a SQLite file, or from PostgreSQL through asyncpg."""

import asyncio
import sqlite3
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Snapshot:
    tenant: str
    thread_id: str
    sequence: int
    hash: bytes
    body: bytes


@dataclass(frozen=True)
class Tables:
    """Everything, at one moment."""

    threads: tuple[Thread, ...]
    events: tuple[Event, ...]
    runs: tuple[Run, ...]
    inputs: tuple[Input, ...]
    snapshots: tuple[Snapshot, ...]


_QUERIES: dict[type[Any], str] = {
    Thread: "SELECT tenant, thread_id, last_sequence, first_sequence, published_sequence, lane_run_id, head_hash"
    " FROM threads",
    Event: "SELECT tenant, thread_id, sequence, run_id, kind, commit_time, redacted, payload, digest, hash FROM events"
    " ORDER BY tenant, thread_id, sequence",
    Run: "SELECT tenant, run_id, thread_id, state, fence, attempt, cancel_sequence, not_before FROM runs",
    Input: "SELECT tenant, input_id, run_id, kind, state, winner FROM inputs",
    Snapshot: "SELECT tenant, thread_id, sequence, hash, body FROM snapshots",
}


def read_sqlite(file: Path) -> Tables:
    """Read a database that no process has open, or that one has open and serves."""
    connection = sqlite3.connect(file, timeout=20)
    try:
        connection.execute("BEGIN")
        return _tables({row: connection.execute(query).fetchall() for row, query in _QUERIES.items()})
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
            return _tables({row: await connection.fetch(query) for row, query in _QUERIES.items()})
    finally:
        await connection.close()


def _tables(found: dict[type[Any], list[Any]]) -> Tables:
    made = {row: tuple(row(*values) for values in rows) for row, rows in found.items()}
    return Tables(made[Thread], made[Event], made[Run], made[Input], made[Snapshot])
