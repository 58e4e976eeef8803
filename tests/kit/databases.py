"""Databases of each engine for the port's contract, and operations that its tests carry out."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sqlalchemy.util import await_only
from sqlalchemy.util.concurrency import in_greenlet

from heddle_core.clock import SystemClock
from heddle_core.runtime_errors import RunNotFound
from heddle_database.port import Database, Transaction
from heddle_database.postgres import PostgresDatabase
from heddle_database.postgres_options import PostgresOptions
from heddle_database.sqlite import SqliteDatabase
from heddle_database.sqlite_connection import SqliteOptions
from tests.kit.postgres import shared_server


class Engine(Protocol):
    async def open(self, queue_limit: int = 10_000) -> Database: ...
    def opening_source(self) -> str: ...  # a Python expression that opens the same database in a child process


@dataclass
class Sqlite:
    path: Path

    async def open(self, queue_limit: int = 10_000) -> Database:
        return await SqliteDatabase.open(self.path, clock=SystemClock(), options=SqliteOptions(queue_limit=queue_limit))

    async def open_small(self) -> Database:
        return await SqliteDatabase.open(self.path, clock=SystemClock(), options=SqliteOptions(page_limit=8))

    def opening_source(self) -> str:
        return f"SqliteDatabase.open(Path({str(self.path)!r}), clock=SystemClock())"


@dataclass
class Postgres:
    """With a single writer, so that what waits together is carried out together."""

    url: str

    async def open(self, queue_limit: int = 10_000) -> Database:
        return await PostgresDatabase.open(self.url, options=PostgresOptions(queue_limit=queue_limit, writers=1))

    def opening_source(self) -> str:
        return f"PostgresDatabase.open({self.url!r})"


@asynccontextmanager
async def sqlite(folder: Path) -> AsyncGenerator[Sqlite]:
    yield Sqlite(folder / "notes.db")


@asynccontextmanager
async def postgres(_folder: Path) -> AsyncGenerator[Postgres]:
    name = await shared_server().create()
    yield Postgres(shared_server().url(name))
    await shared_server().drop(name)


def create(transaction: Transaction) -> None:
    transaction.run("CREATE TABLE IF NOT EXISTS notes (id INTEGER PRIMARY KEY, body TEXT NOT NULL)")


def insert(number: int, body: str = "") -> Callable[[Transaction], int]:
    def operation(transaction: Transaction) -> int:
        transaction.run("INSERT INTO notes (id, body) VALUES (:id, :body)", id=number, body=body)
        return number

    return operation


def refuse(transaction: Transaction) -> None:
    raise RunNotFound("r1")


def numbers(transaction: Transaction) -> list[int]:
    return [number for (number,) in transaction.rows("SELECT id FROM notes ORDER BY id")]


def wait_for(event: threading.Event) -> None:
    """Have an operation wait, wherever its engine carries it out: on the loop itself, or in a thread."""
    assert await_only(asyncio.to_thread(event.wait, 30)) if in_greenlet() else event.wait(30)


class Gate:
    """Holds the writer inside an operation, so that what is written meanwhile waits in one batch."""

    def __init__(self, database: Database) -> None:
        self._open = threading.Event()
        self._entered = threading.Event()
        self._held = asyncio.ensure_future(database.write(self._wait, bulk=True))

    def _wait(self, _transaction: Transaction) -> None:
        self._entered.set()
        wait_for(self._open)

    async def closed(self) -> None:
        assert await asyncio.to_thread(self._entered.wait, 30)

    async def open(self) -> None:
        self._open.set()
        await self._held


async def together(database: Database, *operations: Callable[[Transaction], object]) -> list[object]:
    """Have the operations wait together, so that they share a transaction; their results or errors."""
    gate = Gate(database)
    await gate.closed()
    waiting = [asyncio.ensure_future(database.write(operation)) for operation in operations]
    await asyncio.sleep(0)
    await gate.open()
    return await asyncio.gather(*waiting, return_exceptions=True)
