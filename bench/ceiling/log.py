"""The ceiling's durable log: one SQLite file, one writer thread, group commit, synchronous=FULL, and no rules."""

import asyncio
import queue
import sqlite3
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

BATCH = 256
"""Most appends in one transaction."""

TABLES = (
    "CREATE TABLE facts (thread TEXT, sequence INTEGER, kind TEXT, run TEXT, payload BLOB, at INTEGER,"
    " PRIMARY KEY (thread, sequence)) WITHOUT ROWID",
    "CREATE TABLE outbox (id INTEGER PRIMARY KEY, thread TEXT, sequence INTEGER, payload BLOB)",
    "CREATE TABLE runs (id TEXT PRIMARY KEY, thread TEXT, state TEXT)",
)


class Fact(NamedTuple):
    """One row of the log."""

    thread: str
    sequence: int
    kind: str
    run: str
    payload: bytes
    at: int


class Append(NamedTuple):
    """What one step of a turn writes, and who waits for it."""

    thread: str
    run: str
    state: str
    facts: Sequence[tuple[str, bytes]]
    written: "asyncio.Future[list[Fact]]"


class Log:
    """Appends from one event loop, written by one thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._loop = asyncio.get_running_loop()
        self._waiting: queue.SimpleQueue[Append] = queue.SimpleQueue()
        self._sequences: dict[str, int] = {}
        self.pragmas: dict[str, object] = {}
        opened = threading.Event()
        threading.Thread(target=self._write, args=(opened,), daemon=True, name="ceiling writer").start()
        opened.wait()

    async def append(self, thread: str, run: str, state: str, *facts: tuple[str, bytes]) -> list[Fact]:
        """Write facts and the run's state; returns once they are on stable storage."""
        written: asyncio.Future[list[Fact]] = self._loop.create_future()
        self._waiting.put(Append(thread, run, state, facts, written))
        return await written

    def _write(self, opened: threading.Event) -> None:
        connection = sqlite3.connect(self._path, isolation_level=None)
        connection.execute("PRAGMA journal_mode = wal")
        connection.execute("PRAGMA synchronous = full")
        for name in ("journal_mode", "synchronous", "page_size"):
            self.pragmas[name] = connection.execute(f"PRAGMA {name}").fetchone()[0]
        for table in TABLES:
            connection.execute(table)
        opened.set()
        while True:
            batch = self._gather()
            connection.execute("BEGIN IMMEDIATE")
            done = [(append.written, self._insert(connection, append)) for append in batch]
            connection.execute("COMMIT")
            self._loop.call_soon_threadsafe(_answer, done)

    def _gather(self) -> list[Append]:
        batch = [self._waiting.get()]
        while len(batch) < BATCH:
            try:
                batch.append(self._waiting.get_nowait())
            except queue.Empty:
                break
        return batch

    def _insert(self, connection: sqlite3.Connection, append: Append) -> list[Fact]:
        last = self._sequences.get(append.thread, 0)
        facts = [
            Fact(append.thread, sequence, kind, append.run, payload, time.time_ns() // 1_000)
            for sequence, (kind, payload) in enumerate(append.facts, last + 1)
        ]
        self._sequences[append.thread] = last + len(facts)
        connection.executemany("INSERT INTO facts VALUES (?, ?, ?, ?, ?, ?)", facts)
        connection.executemany(
            "INSERT INTO outbox (thread, sequence, payload) VALUES (?, ?, ?)",
            [(fact.thread, fact.sequence, fact.payload) for fact in facts],
        )
        connection.execute(
            "INSERT INTO runs VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET state = excluded.state",
            (append.run, append.thread, append.state),
        )
        return facts


def _answer(done: list[tuple["asyncio.Future[list[Fact]]", list[Fact]]]) -> None:
    for written, facts in done:
        if not written.done():
            written.set_result(facts)
