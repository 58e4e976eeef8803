"""Migrations of several services in one database, run on the writer before anybody is served."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from heddle_core.clock import SystemClock
from heddle_core.errors import IllegalTransition, StoreUnavailable
from heddle_database.migrations import Migrations, migrate
from heddle_database.port import Transaction
from heddle_database.sqlite import SqliteDatabase
from heddle_database.sqlite_connection import SqliteOptions

FIRST = 'op.execute("CREATE TABLE {service} (id INTEGER PRIMARY KEY, parent INTEGER REFERENCES {service} (id))")'


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    opened = await SqliteDatabase.open(tmp_path / "x.db", clock=SystemClock())
    yield opened
    await opened.close()


def service(tmp_path: Path, name: str) -> Migrations:
    folder = tmp_path / name
    folder.mkdir()
    migrations = Migrations(name, folder)
    add(migrations, "0001", FIRST.format(service=name))
    return migrations


def add(migrations: Migrations, revision: str, *lines: str) -> Path:
    before = f"{int(revision) - 1:04}"
    path = migrations.folder / f"{revision}_change.py"
    path.write_text(
        "from alembic.operations import Operations\n"
        "import sqlalchemy as sa\n"
        f"revision = {revision!r}\n"
        f"down_revision = {(before if before != '0000' else None)!r}\n"
        "def upgrade(op: Operations) -> None:\n" + "".join(f"    {line}\n" for line in lines)
    )
    return path


def tables(transaction: Transaction) -> list[str]:
    return [name for (name,) in transaction.rows("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]


async def test_services_share_a_database_and_each_keeps_its_own_version(
    database: SqliteDatabase, tmp_path: Path
) -> None:
    runtime, campaign = service(tmp_path, "runtime"), service(tmp_path, "campaign")
    add(campaign, "0002", 'op.execute("CREATE TABLE cycles (id INTEGER)")')
    assert await asyncio.gather(migrate(database, runtime), migrate(database, campaign)) == ["0001", "0002"]
    assert await database.read(tables) == [
        "campaign",
        "campaign_schema_version",
        "cycles",
        "runtime",
        "runtime_schema_version",
    ]


async def test_two_databases_are_brought_up_at_the_same_time(database: SqliteDatabase, tmp_path: Path) -> None:
    runtime = service(tmp_path, "runtime")
    other = await SqliteDatabase.open(tmp_path / "other.db", clock=SystemClock())
    await asyncio.gather(migrate(database, runtime), migrate(other, runtime))
    assert await database.read(tables) == await other.read(tables) == ["runtime", "runtime_schema_version"]
    await other.close()


async def test_only_what_is_missing_is_run(database: SqliteDatabase, tmp_path: Path) -> None:
    runtime = service(tmp_path, "runtime")
    assert await migrate(database, runtime) == "0001"
    assert await migrate(database, runtime) == "0001"
    add(runtime, "0002", 'op.add_column("runtime", sa.Column("body", sa.Text()))')
    assert await migrate(database, runtime) == "0002"
    assert await database.write(lambda transaction: transaction.run("INSERT INTO runtime (id, body) VALUES (1, 'x')"))


async def test_a_failing_step_takes_back_all_steps_of_that_upgrade(database: SqliteDatabase, tmp_path: Path) -> None:
    runtime = service(tmp_path, "runtime")
    bad = add(runtime, "0002", 'op.execute("CREATE TABLE half (id INTEGER)")', "raise LookupError")
    with pytest.raises(LookupError):
        await migrate(database, runtime)
    assert await database.read(tables) == []
    bad.unlink()
    assert await migrate(database, runtime) == "0001"


async def test_a_database_newer_than_the_code_is_refused_and_left_as_it_is(
    database: SqliteDatabase, tmp_path: Path
) -> None:
    runtime = service(tmp_path, "runtime")
    newest = add(runtime, "0002", 'op.execute("CREATE TABLE later (id INTEGER)")')
    await migrate(database, runtime)
    newest.unlink()
    with pytest.raises(IllegalTransition, match=r"runtime is at schema revision 0002, newer than 0001.*install"):
        await migrate(database, runtime)
    assert "later" in await database.read(tables)


async def test_a_table_that_others_refer_to_can_be_rebuilt_without_losing_rows(
    database: SqliteDatabase, tmp_path: Path
) -> None:
    runtime = service(tmp_path, "runtime")
    await migrate(database, runtime)
    await database.write(
        lambda transaction: transaction.many(
            "INSERT INTO runtime (id, parent) VALUES (:id, :parent)",
            [{"id": 1, "parent": None}, {"id": 2, "parent": 1}],
        )
    )
    add(
        runtime,
        "0002",
        'with op.batch_alter_table("runtime", recreate="always") as table:',
        '    table.add_column(sa.Column("body", sa.Text()))',
    )
    await migrate(database, runtime)
    assert await database.read(lambda transaction: transaction.rows("SELECT id, parent, body FROM runtime")) == [
        (1, None, None),
        (2, 1, None),
    ]


async def test_a_step_that_breaks_a_foreign_key_is_taken_back(database: SqliteDatabase, tmp_path: Path) -> None:
    runtime = service(tmp_path, "runtime")
    add(runtime, "0002", 'op.execute("INSERT INTO runtime (id, parent) VALUES (1, 99)")')
    with pytest.raises(Exception, match="foreign key of table runtime is broken"):
        await migrate(database, runtime)
    assert await database.read(tables) == []


async def test_foreign_keys_are_checked_again_after_a_migration(database: SqliteDatabase, tmp_path: Path) -> None:
    await migrate(database, service(tmp_path, "runtime"))
    with pytest.raises(Exception, match="FOREIGN KEY constraint failed"):
        await database.write(lambda transaction: transaction.run("INSERT INTO runtime (id, parent) VALUES (1, 99)"))


async def test_a_migration_on_a_full_disk_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    small = await SqliteDatabase.open(tmp_path / "small.db", clock=SystemClock(), options=SqliteOptions(page_limit=2))
    with pytest.raises(StoreUnavailable, match="full"):
        await migrate(small, service(tmp_path, "runtime"))
    await small.close()
    left = sqlite3.connect(tmp_path / "small.db")
    assert left.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    left.close()
