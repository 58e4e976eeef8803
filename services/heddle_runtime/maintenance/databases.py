"""Which database a maintenance command works on, and how it is opened without serving it."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from heddle_core.clock import Clock, SystemClock
from heddle_core.errors import IllegalTransition
from heddle_core.values import value
from heddle_database.migration_files import Migrations
from heddle_database.migrations import finish, migrate
from heddle_database.new_tables import make_tables
from heddle_database.port import Database, StatementFailed, Transaction
from heddle_database.postgres_options import PostgresOptions
from heddle_database.sqlite import SqliteDatabase
from heddle_database.sqlite_reading import reading
from heddle_database.tables import Readable, read_tables
from heddle_runtime.wiring.database import FILE, MIGRATIONS

_NEVER = timedelta(days=7)


@value
class Holding:
    """What one service keeps. On PostgreSQL several may keep theirs in one database."""

    file: str
    """Name of its embedded database in the data folder."""
    migrations: Migrations
    has_log: bool = False
    """Whether it is the runtime's, whose log can be verified, and begins an epoch when it is put back."""


RUNTIME = Holding(FILE, MIGRATIONS, has_log=True)


@value
class Place:
    """Where a service's database is: in a data folder, or at a PostgreSQL address."""

    data_dir: Path | None = None
    url: str = ""
    holding: Holding = RUNTIME

    @property
    def file(self) -> Path:
        """The file of an embedded database."""
        assert self.data_dir is not None, "a PostgreSQL database has no file"
        return self.data_dir / self.holding.file


@asynccontextmanager
async def opened_for_reading(place: Place, clock: Clock | None = None) -> AsyncGenerator[Readable]:
    """Open a database that may be served meanwhile.

    Raises:
        IllegalTransition: there is none, or its tables are of another version.
        StoreUnavailable: it cannot be read.
    """
    clock = clock or SystemClock()
    if place.url:
        async with opened_postgres(place.url) as database:
            await require_tables(database, place)
            yield database
    else:
        async with reading(place.file, clock) as database:
            await require_tables(database, place)
            yield database


@asynccontextmanager
async def opened_for_writing(place: Place) -> AsyncGenerator[Database]:
    """Open a database that nobody serves, and bring its tables up to date.

    Raises:
        IllegalTransition: a process has it open, or its tables are of a newer version.
        StoreUnavailable: it cannot be opened.
    """
    if place.url:
        async with opened_postgres(place.url) as database:
            await migrate(database, place.holding.migrations)
            yield database
    else:
        if not place.file.exists():
            raise _missing(place)
        async with opened_sqlite(place.file) as database:
            await migrate(database, place.holding.migrations)
            yield database


async def finish_upgrade(place: Place) -> str | None:
    """Run what had to wait until no process of an older version is left; the revision then, None: nothing ever had to.

    Where processes share a database nobody but the caller can know that the older ones are gone for good.

    Raises:
        IllegalTransition: there is no such database, a process has the file open, or its tables are of a newer version.
        StoreUnavailable: it cannot be opened.
    """
    if place.url:
        async with opened_postgres(place.url) as database:
            if await revision_of(database, place.holding) is None:
                raise _missing(place)
    async with opened_for_writing(place) as database:
        return await finish(database, place.holding.migrations)


@asynccontextmanager
async def opened_sqlite(file: Path) -> AsyncGenerator[Database]:
    """A database file, made if missing, for this process alone."""
    database = await SqliteDatabase.open(file, clock=SystemClock())
    try:
        yield database
    finally:
        await database.close()


@asynccontextmanager
async def opened_postgres(url: str, *, patience: timedelta = _NEVER) -> AsyncGenerator[Database]:
    """A PostgreSQL database. A dump or a load is one transaction, however long it takes.

    Nothing is kept on a connection, so that the address may be that of a proxy that pools by transaction. `patience` is
    how long one statement may take, for those whom somebody waits for.

    Raises:
        IllegalTransition: what is acknowledged there could be lost.
        StoreUnavailable: it does not answer.
    """
    from heddle_database.postgres import PostgresDatabase

    options = PostgresOptions(
        writers=1, readers=1, prepared_statements=False, statement_timeout=patience, idle_timeout=_NEVER
    )
    database = await PostgresDatabase.open(url, options=options)
    try:
        yield database
    finally:
        await database.close()


async def own_tables(holding: Holding = RUNTIME) -> frozenset[str]:
    """The names of a service's tables. A PostgreSQL database may hold those of other services, too."""
    migrations = holding.migrations
    with TemporaryDirectory() as folder:
        async with opened_sqlite(Path(folder) / FILE) as database:
            await make_tables(database, migrations, migrations.folder / "sqlite.sql")
            rows = await database.read(
                lambda tx: tx.rows("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
            )
            return frozenset(row[0] for row in rows)


async def require_empty(database: Database, place: Place) -> None:
    """Raises IllegalTransition unless the database has none of the service's tables."""
    found = {table.name for table in await read_tables(database)} & await own_tables(place.holding)
    if found:
        state = f"not empty: it has a table {min(found)}"
        remedy = "name a folder without a database, or make a new database on the server"
        raise IllegalTransition("database", _name(place), state, "be loaded into", remedy)


async def require_tables(database: Readable, place: Place) -> None:
    """Raises IllegalTransition unless the tables are those of this version."""
    found = await revision_of(database, place.holding)
    if found is None:
        raise _missing(place)
    newest = max(file.name[1:5] for file in place.holding.migrations.folder.glob("v*.py"))
    if found != newest:
        remedy = "use the version of Heddle that serves it; the next start of a newer one brings it up to date"
        raise IllegalTransition(
            "database", _name(place), f"at schema revision {found}, not {newest},", "be read", remedy
        )


async def revision_of(database: Readable, holding: Holding) -> str | None:
    """Which revision a service's tables are at; None: it has none there."""

    def read(tx: Transaction) -> str:
        row = tx.row(f"SELECT version_num FROM {holding.migrations.version_table}")  # noqa: S608 - our own words
        return row[0] if row else ""

    try:
        return await database.read(read)
    except StatementFailed:
        return None


def _missing(place: Place) -> IllegalTransition:
    remedy = "name the folder that `heddle up` uses, or the address that the server is given"
    return IllegalTransition("database", _name(place), "not there", "be read", remedy)


def _name(place: Place) -> str:
    """The place without a password."""
    return place.url.rpartition("@")[2] if place.url else str(place.data_dir)
