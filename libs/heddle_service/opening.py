"""What a service beside the runtime works with: its database, its way into the runtime, its other replicas."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

from heddle_bus.change_bells import ChangeBells
from heddle_bus.port import Bus
from heddle_core.changes import Changes
from heddle_core.clock import Clock
from heddle_database.migration_files import Migrations
from heddle_database.opening import open_database
from heddle_database.port import Database
from heddle_database.postgres_options import PostgresOptions
from heddle_service.door import RuntimeDoor
from heddle_service.settings import ServiceSettings


@asynccontextmanager
async def opened(
    settings: ServiceSettings, migrations: Migrations, clock: Clock
) -> AsyncGenerator[tuple[Database, RuntimeDoor]]:
    """The service's database, and its way into the runtime, which is used when it is first needed.

    Raises:
        CannotServe: see `heddle_service.door`.
        IllegalTransition, StoreUnavailable: see `heddle_database.opening`.
    """
    async with AsyncExitStack() as closing:
        door = RuntimeDoor(settings.runtime, clock)
        closing.push_async_callback(door.close)
        database = await open_database(
            migrations,
            file=settings.data_dir / f"{migrations.service}.db",
            address=settings.database,
            patience=settings.database_patience,
            clock=clock,
            options=PostgresOptions(prepared_statements=settings.database_prepared_statements),
        )
        closing.push_async_callback(database.close)
        yield database, door


@asynccontextmanager
async def sharing(
    settings: ServiceSettings, changes: Changes, bus: Bus | None, service: str, replica: str
) -> AsyncGenerator[None]:
    """Tell other replicas of a service what is changed here, and hear of theirs, until the block is left.

    It does nothing where there can be no other, or where there is no NATS.
    """
    async with AsyncExitStack() as telling:
        if bus is not None and settings.database:
            await telling.enter_async_context(ChangeBells(bus, changes, service, replica).serving())
        yield
