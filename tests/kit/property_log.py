"""A thread's log as it lies in the SQLite file, read with sqlite3 alone, and its hash chain computed anew.

Nothing of the runtime is imported: the layout of the tables and the rule of the chain (SEMANTICS 33) are all it knows.
"""

import hashlib
import sqlite3
from collections.abc import Generator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heddle.runtime.v1.event_pb2 import ThreadEvent

_NO_HASH = b"\0" * 32


@dataclass(frozen=True)
class Logged:
    """One row of the log."""

    sequence: int
    run_id: str
    kind: str
    """Name of the payload's case."""
    commit_time: int
    """Microseconds since 1970."""
    raw: bytes
    digest: bytes
    """Of the payload as it was first stored."""
    hash: bytes
    redacted: bool
    message: ThreadEvent
    """The payload, without an envelope."""

    @property
    def payload(self) -> Any:
        return getattr(self.message, self.kind)


@dataclass(frozen=True)
class ThreadRow:
    thread_id: str
    last_sequence: int
    head_hash: bytes
    lane_run_id: str


@dataclass(frozen=True)
class RunRow:
    run_id: str
    thread_id: str
    state: int
    request_sequence: int


@dataclass(frozen=True)
class RequestRow:
    principal: str
    method: str
    request_id: str
    run_id: str
    cancelled: bool


@dataclass(frozen=True)
class InputRow:
    input_id: str
    run_id: str
    state: int


@dataclass(frozen=True)
class Tables:
    """All that the file holds of one tenant."""

    tenant: str
    threads: dict[str, ThreadRow]
    logs: dict[str, list[Logged]]
    """By thread, in order."""
    runs: dict[str, RunRow]
    requests: list[RequestRow]
    inputs: dict[str, InputRow]

    def log_of(self, run_id: str) -> list[Logged]:
        return [event for event in self.logs[self.runs[run_id].thread_id] if event.run_id == run_id]


def read_tables(database: Path, tenant: str) -> Tables:
    """Everything of one tenant, in one read transaction."""
    with _reading(database) as rows:
        threads = {
            row[0]: ThreadRow(*row)
            for row in rows("SELECT thread_id, last_sequence, head_hash, lane_run_id FROM threads", tenant)
        }
        logs: dict[str, list[Logged]] = {thread_id: [] for thread_id in threads}
        events = "SELECT thread_id, sequence, run_id, kind, commit_time, payload, digest, hash, redacted FROM events"
        for row in rows(events, tenant, " ORDER BY thread_id, sequence"):
            logs.setdefault(row[0], []).append(_logged(row[1:]))
        runs = {
            row[0]: RunRow(*row) for row in rows("SELECT run_id, thread_id, state, request_sequence FROM runs", tenant)
        }
        asked = rows("SELECT principal, method, request_id, run_id, cancelled FROM requests", tenant)
        requests = [RequestRow(row[0], row[1], row[2], row[3], bool(row[4])) for row in asked]
        inputs = {row[0]: InputRow(*row) for row in rows("SELECT input_id, run_id, state FROM inputs", tenant)}
    return Tables(tenant, threads, logs, runs, requests, inputs)


def check_chain(tables: Tables) -> None:
    """Every thread is numbered 1 to n, its hashes are right, and its row knows its end (P2, P3)."""
    assert set(tables.logs) == set(tables.threads), "events without a thread, or a thread without a row"
    for thread_id, log in tables.logs.items():
        previous = _NO_HASH
        for place, event in enumerate(log, 1):
            where = f"{thread_id}:{event.sequence}"
            assert event.sequence == place, f"{where}: a gap, {place} was expected"
            digest = hashlib.sha256(event.raw).digest()
            assert event.redacted or digest == event.digest, f"{where}: the payload is not what was stored"
            previous = _hash(previous, tables.tenant, thread_id, event)
            assert event.hash == previous, f"{where}: the chain is broken"
        row = tables.threads[thread_id]
        assert (row.last_sequence, row.head_hash) == (len(log), previous), f"{thread_id}: its row has another end"


def _hash(previous: bytes, tenant: str, thread_id: str, event: Logged) -> bytes:
    said = previous
    for text in (tenant, thread_id, event.run_id):
        said += len(text.encode()).to_bytes(4, "big") + text.encode()
    number = ThreadEvent.DESCRIPTOR.fields_by_name[event.kind].number
    for value in (event.sequence, event.commit_time, number):
        said += value.to_bytes(8, "big")
    return hashlib.sha256(said + event.digest).digest()


def _logged(row: Any) -> Logged:
    sequence, run_id, kind, commit_time, raw, digest, value, redacted = row
    message = ThreadEvent.FromString(raw)
    case = message.WhichOneof("payload")
    assert case is not None
    assert ThreadEvent.DESCRIPTOR.fields_by_name[case].number == kind, f"event {sequence} is stored as another kind"
    return Logged(sequence, run_id, case, commit_time, raw, digest, value, bool(redacted), message)


@contextmanager
def _reading(database: Path) -> Generator[Any]:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, isolation_level=None)) as connection:
        connection.execute("BEGIN")

        def rows(select: str, tenant: str, order: str = "") -> list[Any]:
            return connection.execute(f"{select} WHERE tenant = ?{order}", (tenant,)).fetchall()

        yield rows
