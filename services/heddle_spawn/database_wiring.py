"""Which database there is, from the settings: a file in the data folder, or a PostgreSQL that processes share."""

import asyncio
from pathlib import Path

from heddle_core.clock import Clock
from heddle_core.errors import StoreUnavailable
from heddle_core.log_lines import LogLines
from heddle_database.migrations import Migrations, migrate
from heddle_database.new_tables import make_tables
from heddle_database.port import Database
from heddle_database.sqlite import SqliteDatabase
from heddle_spawn.settings import SpawnSettings

MIGRATIONS = Migrations("spawn", Path(__file__).parent / "store" / "migrations")

_PAUSE = 0.5
"""Seconds between two attempts to reach a database that is not there yet."""

_log = LogLines(__name__)


async def open_database(settings: SpawnSettings, clock: Clock) -> Database:
    """Open the database and bring its tables up to date.

    Raises:
        IllegalTransition: another process has the file, or the tables were written by a newer version.
        StoreUnavailable: it cannot be opened, or was not reached in the time that the settings allow.
    """
    if settings.database:
        database = await _reached(settings)
    else:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        database = await SqliteDatabase.open(settings.data_dir / "spawn.db", clock=clock)
    try:
        if settings.database:
            await migrate(database, MIGRATIONS)
        else:
            await make_tables(database, MIGRATIONS, MIGRATIONS.folder / "sqlite.sql")
    except BaseException:
        await database.close()
        raise
    return database


async def _reached(settings: SpawnSettings) -> Database:
    """PostgreSQL, as soon as it answers: services start in any order."""
    from heddle_database.postgres import PostgresDatabase

    loop = asyncio.get_running_loop()
    until = loop.time() + settings.database_patience.total_seconds()
    while True:
        try:
            return await PostgresDatabase.open(settings.database)
        except StoreUnavailable as problem:
            if loop.time() >= until:
                raise
            _log.warning("waiting for the database", problem=str(problem))
            await asyncio.sleep(_PAUSE)
