"""The runtime's database, from its settings."""

from pathlib import Path

from heddle_core.clock import Clock
from heddle_database import opening
from heddle_database.migration_files import Migrations
from heddle_database.port import Database
from heddle_database.postgres_options import PostgresOptions
from heddle_runtime.settings import RuntimeSettings

FILE = "heddle.db"
"""Its name in the data folder, where it is embedded."""

MIGRATIONS = Migrations("runtime", Path(__file__).parents[1] / "store" / "migrations")


async def open_database(settings: RuntimeSettings, clock: Clock) -> Database:
    """Open the database and bring its tables up to date. Raises as `heddle_database.opening.open_database`."""
    given = settings.postgres
    return await opening.open_database(
        MIGRATIONS,
        file=settings.data_dir / FILE,
        address=settings.database,
        patience=given.patience,
        clock=clock,
        options=PostgresOptions(
            writers=given.writers, readers=given.readers, prepared_statements=given.prepared_statements
        ),
    )
