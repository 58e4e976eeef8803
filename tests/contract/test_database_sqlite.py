"""What SQLite adds to the port: its settings, its file, and trouble that only a real disk makes."""

# ruff: noqa: ASYNC240 - moving one small file blocks nobody here

import asyncio
import resource
import sqlite3
import threading
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from heddle_core.clock import ManualClock
from heddle_core.errors import IllegalTransition, StoreUnavailable
from heddle_database.port import StatementFailed, Transaction
from heddle_database.sqlite import SqliteDatabase
from heddle_database.sqlite_connection import SqliteOptions, writing

OPTIONS = SqliteOptions(busy_timeout=timedelta(milliseconds=20))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "what? 100%#.db"


@pytest.fixture
async def database(path: Path) -> AsyncIterator[SqliteDatabase]:
    opened = await SqliteDatabase.open(path, clock=ManualClock(now=42), options=OPTIONS)
    await opened.write(lambda transaction: transaction.run("CREATE TABLE notes (id INTEGER PRIMARY KEY, body TEXT)"))
    yield opened
    await opened.close()


def insert(number: int, body: str = ""):
    def operation(transaction: Transaction) -> int:
        return transaction.run("INSERT INTO notes VALUES (:id, :body)", id=number, body=body)

    return operation


def count(transaction: Transaction) -> int:
    row = transaction.row("SELECT count(*) FROM notes")
    assert row is not None
    return row[0]


def settings(transaction: Transaction) -> dict[str, object]:
    names = ("journal_mode", "synchronous", "foreign_keys", "query_only", "busy_timeout", "wal_autocheckpoint")
    names += ("secure_delete",)
    return {name: row[0] for name in names if (row := transaction.row(f"PRAGMA {name}")) is not None}


async def test_the_writer_syncs_each_commit_and_checks_foreign_keys(database: SqliteDatabase) -> None:
    assert await database.write(settings) == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "query_only": 0,
        "busy_timeout": 0,
        "wal_autocheckpoint": 16000,
        "secure_delete": 1,
    }


async def test_a_reader_can_neither_write_nor_run_a_checkpoint(database: SqliteDatabase) -> None:
    for brief in (False, True):
        found = await database.read(settings, brief=brief)
        assert (found["query_only"], found["wal_autocheckpoint"]) == (1, 0)


async def test_a_brief_read_waits_for_no_reader_and_for_nobodys_lock(database: SqliteDatabase) -> None:
    busy, go_on = threading.Barrier(SqliteOptions().readers + 1), threading.Event()

    def stay(_: Transaction) -> None:
        busy.wait(30)
        assert go_on.wait(30)

    staying = [asyncio.ensure_future(database.read(stay)) for _ in range(SqliteOptions().readers)]
    await asyncio.to_thread(busy.wait, 30)
    assert await database.read(count, brief=True) == 0
    assert (await database.read(settings, brief=True))["busy_timeout"] == 0
    go_on.set()
    await asyncio.gather(*staying)


async def test_the_time_of_a_transaction_is_the_given_clocks(database: SqliteDatabase) -> None:
    assert await database.write(lambda transaction: transaction.now) == 42
    assert await database.read(lambda transaction: transaction.now) == 42


async def test_a_lock_held_by_another_program_is_reported_and_outlived(database: SqliteDatabase, path: Path) -> None:
    foreign = sqlite3.connect(path, isolation_level=None)
    foreign.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="lock"):
        await database.write(insert(1))
    assert await database.read(count) == 0
    foreign.execute("ROLLBACK")
    foreign.close()
    assert await database.write(insert(1)) == 1


async def test_a_lock_that_is_given_back_in_time_is_waited_for_beside_the_loop(path: Path) -> None:
    patient = SqliteOptions(busy_timeout=timedelta(seconds=30))
    database = await SqliteDatabase.open(path, clock=ManualClock(), options=patient)
    await database.write(lambda transaction: transaction.run("CREATE TABLE notes (id INTEGER PRIMARY KEY, body TEXT)"))
    foreign = sqlite3.connect(path, isolation_level=None)
    foreign.execute("BEGIN IMMEDIATE")
    writing = asyncio.ensure_future(database.write(insert(1)))
    assert await database.read(count) == 0, "the loop goes on"
    assert not writing.done()
    foreign.execute("ROLLBACK")
    foreign.close()
    assert await writing == 1
    await database.close()


async def test_an_io_error_at_the_commit_acknowledges_nothing_and_is_outlived(
    database: SqliteDatabase, path: Path
) -> None:
    log = path.with_name(path.name + "-wal").stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (log + 4096, hard))
    try:
        results = await asyncio.gather(
            *(database.write(insert(number, "x" * 100_000)) for number in range(3)), return_exceptions=True
        )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [str(result).count("I/O error") for result in results] == [1, 1, 1]
    assert await database.read(count) == 0
    assert await database.write(insert(1)) == 1
    assert await database.read(count) == 1


async def test_a_file_that_was_taken_away_is_noticed_and_served_again_when_put_back(
    database: SqliteDatabase, path: Path
) -> None:
    await database.write(insert(1))
    away = path.rename(path.with_name("away"))
    for asking in (database.write(insert(2)), database.read(count)):
        with pytest.raises(StoreUnavailable, match="removed or replaced"):
            await asking
    assert not path.exists(), "nothing was made in its place"
    path.write_bytes(b"")
    with pytest.raises(StoreUnavailable, match="removed or replaced"):
        await database.write(insert(2))
    away.rename(path)
    assert await database.write(insert(2)) == 1
    assert await database.read(count) == 2


async def test_a_file_that_is_no_database_is_refused_at_the_start_and_left_as_it_was(path: Path) -> None:
    path.write_bytes(b"something else entirely" * 100)
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="no database"):
            await SqliteDatabase.open(path, clock=ManualClock(), options=OPTIONS)
    assert path.read_bytes() == b"something else entirely" * 100


async def test_a_folder_that_is_missing_is_an_error_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await SqliteDatabase.open(tmp_path / "missing" / "x.db", clock=ManualClock())


async def test_a_setting_that_does_not_hold_is_refused_at_the_start(path: Path) -> None:
    impossible = SqliteOptions(page_limit=1 << 40)
    with pytest.raises(IllegalTransition, match="max_page_count"):
        await SqliteDatabase.open(path, clock=ManualClock(), options=impossible)
    opened = await SqliteDatabase.open(path, clock=ManualClock(), options=OPTIONS)
    await opened.close()


async def test_closing_empties_the_write_ahead_log_into_the_file(database: SqliteDatabase, path: Path) -> None:
    await database.write(insert(1))
    await database.read(count)
    await database.read(count, brief=True)
    assert path.with_name(path.name + "-wal").stat().st_size > 0
    await database.close()
    assert not path.with_name(path.name + "-wal").exists()
    left = sqlite3.connect(path)
    assert left.execute("SELECT count(*) FROM notes").fetchone() == (1,)
    left.close()


@pytest.mark.parametrize("length", [10, 60_000], ids=["in its page", "in pages of its own"])
@pytest.mark.parametrize("statement", ["UPDATE notes SET body = '' WHERE id = 5", "DELETE FROM notes WHERE id = 5"])
async def test_what_was_overwritten_or_deleted_is_nowhere_in_the_file(
    database: SqliteDatabase, path: Path, length: int, statement: str
) -> None:
    secret = "4711 " * length
    for number in range(10):
        await database.write(insert(number, secret if number == 5 else "note " * length))
    await database.write(lambda transaction: transaction.run(statement))
    await database.close()
    kept = path.read_bytes()
    assert b"note note" in kept
    assert b"4711" not in kept


async def test_values_that_the_driver_cannot_store_fail_their_statement(database: SqliteDatabase) -> None:
    for bad in (object(), 1 << 64, "\ud800"):
        with pytest.raises(StatementFailed, match="INSERT INTO notes"):
            await database.write(
                lambda transaction, bad=bad: transaction.run("INSERT INTO notes VALUES (1, :b)", b=bad)
            )
    assert await database.read(count) == 0


def test_the_log_is_copied_back_before_it_could_fill_the_disk() -> None:
    def log_pages(free_mebibytes: int) -> int | str:
        return writing(OPTIONS, free_mebibytes * 256)["wal_autocheckpoint"]

    assert [log_pages(1 << 20), log_pages(24), log_pages(0)] == [OPTIONS.checkpoint_pages, 768, 256]
