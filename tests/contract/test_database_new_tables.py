"""A first start makes its tables by one script, and they are what the version files come to."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from heddle_core.clock import SystemClock
from heddle_database.migration_files import Migrations
from heddle_database.migrations import migrate
from heddle_database.new_tables import draw, make_tables
from heddle_database.sqlite import SqliteDatabase

VERSIONS = {
    "0001": 'op.execute("CREATE TABLE looms (id INTEGER PRIMARY KEY,\\tname TEXT)")',
    "0002": "op.execute(\"CREATE INDEX looms_by_name ON looms (name) WHERE name <> ''\")",
}
DRAWN_ON_LOOMS = ["CREATE INDEX looms_by_name", "CREATE TABLE looms", "CREATE TABLE weaver_schema_version"]


@pytest.fixture
async def empty(tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    opened = await SqliteDatabase.open(tmp_path / "empty.db", clock=SystemClock())
    yield opened
    await opened.close()


@pytest.fixture
async def other(tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    opened = await SqliteDatabase.open(tmp_path / "other.db", clock=SystemClock())
    yield opened
    await opened.close()


def weaver(tmp_path: Path, *revisions: str) -> Migrations:
    folder = tmp_path / "migrations"
    folder.mkdir(exist_ok=True)
    for revision in revisions:
        before = None if revision == "0001" else f"{int(revision) - 1:04}"
        (folder / f"v{revision}.py").write_text(
            f"from alembic.operations import Operations\nrevision = {revision!r}\ndown_revision = {before!r}\n"
            f"def upgrade(op: Operations) -> None:\n    {VERSIONS[revision]}\n"
        )
    return Migrations("weaver", folder)


async def schema(database: SqliteDatabase) -> list[str]:
    rows = await database.read(lambda tx: tx.rows("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL"))
    return sorted(" ".join(sql.split()) for (sql,) in rows)


async def revisions(database: SqliteDatabase) -> list[tuple[str, ...]]:
    return await database.read(lambda tx: tx.rows("SELECT version_num FROM weaver_schema_version"))


async def test_the_script_makes_what_the_version_files_make(
    empty: SqliteDatabase, other: SqliteDatabase, tmp_path: Path
) -> None:
    migrations, script = weaver(tmp_path, "0001", "0002"), tmp_path / "sqlite.sql"
    script.write_text(await draw(other, migrations))
    await make_tables(empty, migrations, script)
    assert await schema(empty) == await schema(other)
    assert [sql.split(" (")[0].split(" ON")[0] for sql in await schema(empty)] == DRAWN_ON_LOOMS
    assert await revisions(empty) == [("0002",)]
    assert await migrate(empty, migrations) == "0002"


async def test_the_script_is_what_runs_as_long_as_it_fits(
    empty: SqliteDatabase, other: SqliteDatabase, tmp_path: Path
) -> None:
    migrations, script = weaver(tmp_path, "0001"), tmp_path / "sqlite.sql"
    script.write_text((await draw(other, migrations)).replace("TABLE looms", "TABLE told_by_the_script"))
    await make_tables(empty, migrations, script)
    assert any("told_by_the_script" in sql for sql in await schema(empty))


async def test_a_script_that_is_behind_its_version_files_is_not_used(
    empty: SqliteDatabase, other: SqliteDatabase, tmp_path: Path
) -> None:
    script = tmp_path / "sqlite.sql"
    script.write_text((await draw(other, weaver(tmp_path, "0001"))).replace("TABLE looms", "TABLE stale"))
    await make_tables(empty, weaver(tmp_path, "0001", "0002"), script)
    assert [sql.split(" (")[0].split(" ON")[0] for sql in await schema(empty)] == DRAWN_ON_LOOMS
    assert await revisions(empty) == [("0002",)]


async def test_tables_that_are_there_are_brought_up_by_the_version_files(
    empty: SqliteDatabase, other: SqliteDatabase, tmp_path: Path
) -> None:
    await migrate(empty, weaver(tmp_path, "0001"))
    await empty.write(lambda tx: tx.run("INSERT INTO looms (name) VALUES ('first')"))
    migrations, script = weaver(tmp_path, "0001", "0002"), tmp_path / "sqlite.sql"
    script.write_text(await draw(other, migrations))
    await make_tables(empty, migrations, script)
    assert await revisions(empty) == [("0002",)]
    assert await empty.read(lambda tx: tx.rows("SELECT name FROM looms")) == [("first",)]


async def test_without_a_script_the_version_files_are_run(empty: SqliteDatabase, tmp_path: Path) -> None:
    await make_tables(empty, weaver(tmp_path, "0001"), tmp_path / "none.sql")
    assert await revisions(empty) == [("0001",)]


async def test_a_version_file_may_hold_tabs_and_ends_of_lines(other: SqliteDatabase, tmp_path: Path) -> None:
    script = await draw(other, weaver(tmp_path, "0001"))
    assert all(line == line.rstrip() and "\t" not in line for line in script.splitlines())
