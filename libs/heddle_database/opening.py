"""Which database a service has: a file in its data folder, or a PostgreSQL that processes share."""

import asyncio
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

from heddle_core.clock import Clock
from heddle_core.errors import CannotServe, StoreUnavailable
from heddle_core.log_lines import LogLines
from heddle_database.migration_files import Migrations
from heddle_database.migrations import finish, migrate
from heddle_database.new_tables import make_tables
from heddle_database.port import Database
from heddle_database.postgres_options import PostgresOptions
from heddle_database.sqlite import SqliteDatabase

_PAUSE = 0.5
"""Seconds between two attempts to reach a database that is not there yet."""

_log = LogLines(__name__)


async def open_database(
    migrations: Migrations,
    *,
    file: Path,
    address: str,
    patience: timedelta,
    clock: Clock,
    options: PostgresOptions | None = None,
) -> Database:
    """Open a service's database and bring its tables up to date: the PostgreSQL at `address`, or without one `file`.

    The `options` are those of a PostgreSQL. What waits for the end of every older process is run at once on a file,
    which no other process can have open.

    Raises:
        CannotServe: the file's folder cannot be made, or not be written to.
        IllegalTransition: another process has the file, or the tables were written by a newer version, or what is
            committed would not be safe there.
        StoreUnavailable: it cannot be opened, or was not reached within `patience`.
    """
    if address:
        database = await _postgres_reached(address, patience, options or PostgresOptions())
    else:
        database = await _sqlite_opened(file, clock)
    async with AsyncExitStack() as undoing:
        undoing.push_async_callback(database.close)
        if address:
            await migrate(database, migrations)
        else:
            await make_tables(database, migrations, migrations.folder / "sqlite.sql")
            await finish(database, migrations)
        undoing.pop_all()
    return database


async def _sqlite_opened(file: Path, clock: Clock) -> Database:
    """A database file in a service's data folder; both are made if missing.

    Raises:
        CannotServe: the folder cannot be made, or not be written to.
        IllegalTransition: another process has the file.
        StoreUnavailable: it cannot be read.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        return await SqliteDatabase.open(file, clock=clock)
    except OSError as error:
        remedy = "name a folder that this user may make and write to"
        raise CannotServe("data_dir", f"{file.parent}: {error.strerror}", remedy) from error


async def _postgres_reached(address: str, patience: timedelta, options: PostgresOptions) -> Database:
    """A PostgreSQL as soon as it answers: services start in any order. Raises StoreUnavailable after `patience`."""
    from heddle_database.postgres import PostgresDatabase

    loop = asyncio.get_running_loop()
    until = loop.time() + patience.total_seconds()
    while True:
        try:
            return await PostgresDatabase.open(address, options=options)
        except StoreUnavailable as problem:
            if loop.time() >= until:
                raise
            _log.warning("waiting for the database", problem=str(problem))
            await asyncio.sleep(_PAUSE)
