"""Migrations of several services in one database, run on the writer before anybody is served."""

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack
from itertools import count
from pathlib import Path

import pytest
import pytest_asyncio

from heddle_core.clock import SystemClock
from heddle_core.errors import IllegalTransition, StoreUnavailable
from heddle_database.migration_files import Migrations
from heddle_database.migrations import finish, migrate
from heddle_database.port import Database
from heddle_database.postgres import PostgresDatabase
from heddle_database.sqlite import SqliteDatabase
from heddle_database.sqlite_connection import SqliteOptions
from tests.kit.postgres import shared_server

FIRST = 'op.execute("CREATE TABLE {service} (id INTEGER PRIMARY KEY, parent INTEGER REFERENCES {service} (id))")'


Opener = Callable[[], Awaitable[Database]]


@pytest_asyncio.fixture(params=["sqlite", "postgres"])
async def another(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Opener]:
    """Opens one more empty database of the engine."""
    async with AsyncExitStack() as stack:
        names = count()

        async def sqlite() -> Database:
            database = await SqliteDatabase.open(tmp_path / f"{next(names)}.db", clock=SystemClock())
            stack.push_async_callback(database.close)
            return database

        async def postgres() -> Database:
            name = await shared_server().create()
            stack.push_async_callback(shared_server().drop, name)
            database = await PostgresDatabase.open(shared_server().url(name))
            stack.push_async_callback(database.close)
            return database

        yield sqlite if request.param == "sqlite" else postgres


@pytest_asyncio.fixture
async def database(another: Opener) -> Database:
    return await another()


@pytest_asyncio.fixture
async def file(tmp_path: Path) -> AsyncGenerator[Database]:
    opened = await SqliteDatabase.open(tmp_path / "file.db", clock=SystemClock())
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


async def tables(database: Database) -> list[str]:
    if isinstance(database, PostgresDatabase):
        sql = "SELECT table_name::text FROM information_schema.tables WHERE table_schema = 'public'"
    else:
        sql = "SELECT name FROM sqlite_master WHERE type = 'table'"
    return sorted(name for (name,) in await database.read(lambda tx: tx.rows(sql)))


async def test_services_share_a_database_and_each_keeps_its_own_version(database: Database, tmp_path: Path) -> None:
    runtime, campaign = service(tmp_path, "runtime"), service(tmp_path, "campaign")
    add(campaign, "0002", 'op.execute("CREATE TABLE cycles (id INTEGER)")')
    assert await asyncio.gather(migrate(database, runtime), migrate(database, campaign)) == ["0001", "0002"]
    assert await tables(database) == [
        "campaign",
        "campaign_schema_version",
        "cycles",
        "runtime",
        "runtime_schema_version",
    ]


async def test_two_databases_are_brought_up_at_the_same_time(
    database: Database, another: Opener, tmp_path: Path
) -> None:
    runtime = service(tmp_path, "runtime")
    other = await another()
    await asyncio.gather(migrate(database, runtime), migrate(other, runtime))
    assert await tables(database) == await tables(other) == ["runtime", "runtime_schema_version"]


async def test_only_what_is_missing_is_run(database: Database, tmp_path: Path) -> None:
    runtime = service(tmp_path, "runtime")
    assert await migrate(database, runtime) == "0001"
    assert await migrate(database, runtime) == "0001"
    add(runtime, "0002", 'op.add_column("runtime", sa.Column("body", sa.Text()))')
    assert await migrate(database, runtime) == "0002"
    assert await database.write(lambda transaction: transaction.run("INSERT INTO runtime (id, body) VALUES (1, 'x')"))


async def test_a_failing_step_takes_back_all_steps_of_that_upgrade(database: Database, tmp_path: Path) -> None:
    runtime = service(tmp_path, "runtime")
    bad = add(runtime, "0002", 'op.execute("CREATE TABLE half (id INTEGER)")', "raise LookupError")
    with pytest.raises(LookupError):
        await migrate(database, runtime)
    assert await tables(database) == []
    bad.unlink()
    assert await migrate(database, runtime) == "0001"


async def test_a_database_newer_than_the_code_is_refused_and_left_as_it_is(database: Database, tmp_path: Path) -> None:
    runtime = service(tmp_path, "runtime")
    newest = add(runtime, "0002", 'op.execute("CREATE TABLE later (id INTEGER)")')
    await migrate(database, runtime)
    newest.unlink()
    with pytest.raises(IllegalTransition, match=r"runtime is at schema revision 0002, newer than 0001.*install"):
        await migrate(database, runtime)
    assert "later" in await tables(database)


async def test_a_table_that_others_refer_to_can_be_rebuilt_without_losing_rows(file: Database, tmp_path: Path) -> None:
    runtime = service(tmp_path, "runtime")
    await migrate(file, runtime)
    await file.write(
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
    await migrate(file, runtime)
    assert await file.read(lambda transaction: transaction.rows("SELECT id, parent, body FROM runtime")) == [
        (1, None, None),
        (2, 1, None),
    ]


async def test_a_step_that_breaks_a_foreign_key_is_taken_back(database: Database, tmp_path: Path) -> None:
    runtime = service(tmp_path, "runtime")
    add(runtime, "0002", 'op.execute("INSERT INTO runtime (id, parent) VALUES (1, 99)")')
    with pytest.raises(Exception, match="foreign key"):
        await migrate(database, runtime)
    assert await tables(database) == []


async def test_foreign_keys_are_checked_again_after_a_migration(database: Database, tmp_path: Path) -> None:
    await migrate(database, service(tmp_path, "runtime"))
    with pytest.raises(Exception, match=r"(?i)foreign key"):
        await database.write(lambda transaction: transaction.run("INSERT INTO runtime (id, parent) VALUES (1, 99)"))


async def test_a_migration_on_a_full_disk_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    small = await SqliteDatabase.open(tmp_path / "small.db", clock=SystemClock(), options=SqliteOptions(page_limit=2))
    with pytest.raises(StoreUnavailable, match="full"):
        await migrate(small, service(tmp_path, "runtime"))
    await small.close()
    left = sqlite3.connect(tmp_path / "small.db")
    assert left.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    left.close()


async def test_processes_that_start_at_once_migrate_once(tmp_path: Path) -> None:
    name = await shared_server().create()
    replicas = [await PostgresDatabase.open(shared_server().url(name)) for _ in range(3)]
    runtime = service(tmp_path, "runtime")
    add(runtime, "0002", 'op.execute("SELECT pg_sleep(0.1)")', 'op.execute("CREATE TABLE once (id INTEGER)")')
    assert await asyncio.gather(*(migrate(replica, runtime) for replica in replicas)) == ["0002"] * 3
    for replica in replicas:
        await replica.close()
    await shared_server().drop(name)


def add_after(migrations: Migrations, revision: str, needs: str, line: str) -> None:
    migrations.after.folder.mkdir(exist_ok=True)
    path = add(migrations.after, revision, line)
    path.write_text(f"needs = {needs!r}\n" + path.read_text())


async def test_what_old_processes_could_not_live_with_waits_until_it_is_asked_for(
    database: Database, tmp_path: Path
) -> None:
    runtime = service(tmp_path, "runtime")
    add(runtime, "0002", 'op.add_column("runtime", sa.Column("body", sa.Text()))')
    add_after(runtime, "0001", "0002", 'op.execute("CREATE TABLE afterwards (id INTEGER)")')
    assert await migrate(database, runtime) == "0002"
    assert "afterwards" not in await tables(database), "a process of revision 0001 may still be at work"
    assert await finish(database, runtime) == "0001"
    assert await finish(database, runtime) == "0001"
    assert await tables(database) == ["afterwards", "runtime", "runtime_after_schema_version", "runtime_schema_version"]


async def test_finishing_brings_the_tables_up_to_date_first(database: Database, tmp_path: Path) -> None:
    runtime = service(tmp_path, "runtime")
    assert await finish(database, runtime) is None
    add(runtime, "0002", 'op.execute("CREATE TABLE before (id INTEGER)")')
    add_after(runtime, "0001", "0002", 'op.execute("DROP TABLE before")')
    assert await finish(database, runtime) == "0001"
    assert await tables(database) == ["runtime", "runtime_after_schema_version", "runtime_schema_version"]


async def test_a_last_step_has_to_say_what_it_builds_on(database: Database, tmp_path: Path) -> None:
    runtime = service(tmp_path, "runtime")
    add_after(runtime, "0001", "0007", 'op.execute("DROP TABLE runtime")')
    with pytest.raises(AssertionError, match="which revision it needs"):
        await finish(database, runtime)
    assert "runtime" in await tables(database)
