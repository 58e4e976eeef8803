"""Which database there is, from the settings: a file in the data folder, or a PostgreSQL that processes share."""

from pathlib import Path

from heddle_core.clock import Clock
from heddle_core.values import value
from heddle_database.migration_files import Migrations
from heddle_database.migrations import finish, migrate
from heddle_database.new_tables import make_tables
from heddle_database.opening import postgres_reached, sqlite_opened
from heddle_database.port import Database
from heddle_runtime.settings import RuntimeSettings

MIGRATIONS = Migrations("runtime", Path(__file__).parents[1] / "store" / "migrations")


@value
class OpenDatabase:
    """A database with the tables that this code expects."""

    database: Database
    sole_process: bool
    """Whether no other process can have it open."""


async def open_database(settings: RuntimeSettings, clock: Clock) -> OpenDatabase:
    """Open the database and bring its tables up to date.

    Raises:
        CannotServe: the data folder cannot be made, or not be written to.
        IllegalTransition: another process has the file, or the tables were written by a newer version, or what is
            committed would not be safe there.
        StoreUnavailable: it cannot be opened, or was not reached in the time that the settings allow.
    """
    if settings.database:
        database = await _reached(settings)
        sole_process = False
    else:
        database = await sqlite_opened(settings.data_dir / "heddle.db", clock)
        sole_process = True
    try:
        if sole_process:
            await make_tables(database, MIGRATIONS, MIGRATIONS.folder / "sqlite.sql")
            await finish(database, MIGRATIONS)
        else:
            await migrate(database, MIGRATIONS)
    except BaseException:
        await database.close()
        raise
    return OpenDatabase(database, sole_process)


async def _reached(settings: RuntimeSettings) -> Database:
    from heddle_database.postgres_connection import PostgresOptions

    given = settings.postgres
    options = PostgresOptions(
        writers=given.writers, readers=given.readers, prepared_statements=given.prepared_statements
    )
    return await postgres_reached(settings.database, given.patience, options)
