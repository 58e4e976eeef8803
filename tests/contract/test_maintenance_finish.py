"""`heddle finish`: what had to wait until every process of an older version is gone."""

from collections.abc import AsyncGenerator
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from heddle_core.clock import SystemClock
from heddle_core.errors import IllegalTransition
from heddle_database.migration_files import Migrations
from heddle_database.opening import open_database
from heddle_runtime.maintenance.databases import (
    Holding,
    Place,
    finish_upgrade,
    opened_for_writing,
    opened_postgres,
    opened_sqlite,
)
from tests.kit.postgres import shared_server

STEP = """{needs}revision = {revision!r}
down_revision = {before!r}


def upgrade(op) -> None:
    op.execute({sql!r})
"""


def write(folder: Path, revision: str, sql: str, needs: str = "") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    before = None if revision == "0001" else f"{int(revision) - 1:04}"
    needed = f"needs = {needs!r}\n" if needs else ""
    (folder / f"v{revision}_step.py").write_text(
        STEP.format(needs=needed, revision=revision, before=before, sql=sql), encoding="utf-8"
    )


@pytest.fixture
def holding(tmp_path: Path) -> Holding:
    """A service of an older version, before its rollout."""
    folder = tmp_path / "migrations"
    write(folder, "0001", "CREATE TABLE notes (id BIGINT PRIMARY KEY, old TEXT)")
    return Holding("notes.db", Migrations("notes", folder))


@pytest_asyncio.fixture(params=["sqlite", "postgres"])
async def place(request: pytest.FixtureRequest, tmp_path: Path, holding: Holding) -> AsyncGenerator[Place]:
    """Its database, without tables."""
    if request.param == "sqlite":
        async with opened_sqlite(tmp_path / "notes.db"):
            pass
        yield Place(tmp_path, holding=holding)
        return
    name = await shared_server().create()
    yield Place(url=shared_server().url(name), holding=holding)
    await shared_server().drop(name)


def release(holding: Holding) -> None:
    """A newer version: a column more, and one that goes when no process of the older one reads it any more."""
    write(holding.migrations.folder, "0002", "ALTER TABLE notes ADD COLUMN body TEXT")
    write(holding.migrations.after.folder, "0001", "ALTER TABLE notes DROP COLUMN old", needs="0002")


async def columns(place: Place) -> set[str]:
    async with opened_postgres(place.url) if place.url else opened_sqlite(place.file) as database:
        catalogue = (
            "SELECT column_name::text FROM information_schema.columns WHERE table_name = 'notes'"
            if place.url
            else "SELECT name FROM pragma_table_info('notes')"
        )
        return {name for (name,) in await database.read(lambda tx: tx.rows(catalogue))}


async def test_what_older_processes_read_goes_when_it_is_told_that_they_are_gone(place: Place) -> None:
    async with opened_for_writing(place):
        assert await finish_upgrade_of_nothing(place)
    release(place.holding)
    async with opened_for_writing(place):
        pass
    assert await columns(place) == {"id", "old", "body"}, "an older process may still be at work"
    assert await finish_upgrade(place) == "0001"
    assert await columns(place) == {"id", "body"}
    assert await finish_upgrade(place) == "0001"


async def finish_upgrade_of_nothing(place: Place) -> bool:
    """Whether nothing waits; a file is not asked, since this very process has it open."""
    return not place.url or await finish_upgrade(place) is None


async def test_a_database_without_tables_gets_none(place: Place, tmp_path: Path) -> None:
    missing = place if place.url else Place(tmp_path / "nowhere", holding=place.holding)
    with pytest.raises(IllegalTransition, match="not there"):
        await finish_upgrade(missing)
    if place.url:
        assert await columns(place) == set()


async def test_a_service_alone_on_its_file_needs_no_command(tmp_path: Path, holding: Holding) -> None:
    release(holding)
    opened = await open_database(
        holding.migrations, file=tmp_path / "notes.db", address="", patience=timedelta(0), clock=SystemClock()
    )
    await opened.close()
    assert await columns(Place(tmp_path, holding=holding)) == {"id", "body"}
