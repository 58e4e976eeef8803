"""The one place where the spawn service is put together: settings in, a serving service out."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from heddle_bus.endpoint import FindEndpoint
from heddle_bus.events import DELETED
from heddle_bus.jetstream import JetStreamBus
from heddle_bus.thread_bells import ringing
from heddle_client.runs import prepare
from heddle_core.changes import Changes
from heddle_core.clock import Clock, SystemClock
from heddle_core.ids import TimeOrderedIds
from heddle_database.housekeeping import Housekeeping
from heddle_database.migration_files import Migrations
from heddle_grpc import tool_calls
from heddle_grpc.authenticators import authenticators
from heddle_grpc.companions import Companion, OpenCompanion, WayIn
from heddle_grpc.drain import Drain
from heddle_grpc.routes import Service
from heddle_grpc.server import Server
from heddle_grpc.tool_routing import TOOL_SERVICE
from heddle_service.opening import opened, sharing
from heddle_service.settings import by_way
from heddle_spawn.facade.attending import Attending
from heddle_spawn.facade.grouping import Grouping
from heddle_spawn.facade.reading import Reading
from heddle_spawn.facade.rounds import Rounds
from heddle_spawn.facade.spawning import Spawning
from heddle_spawn.facade.steps import Agenda
from heddle_spawn.rpc import spawn_service, tool_service
from heddle_spawn.rpc.scopes import ACT_AS, READ, RUN
from heddle_spawn.rules.checks import TreeBounds
from heddle_spawn.rules.spawns import WantedAsset
from heddle_spawn.settings import SpawnSettings
from heddle_spawn.store.store import Store

MIGRATIONS = Migrations("spawn", Path(__file__).parent / "store" / "migrations")

_RINGING = ("RunWaiting", "RunResumed", "RunCompleted", "RunFailed", "RunCancelled")
"""Events of a child's thread that change what its parent should know."""


@dataclass(frozen=True, slots=True)
class RunningSpawn:
    """A spawn service that serves by itself."""

    address: str
    """Where it listens, with the port that was picked."""
    operations_port: int
    operations_http_port: int
    changes: Changes
    """Rings in this process for every child and group that it writes."""


@dataclass(frozen=True, slots=True)
class SpawnParts:
    """The spawn service as a part of a process that serves others beside it."""

    services: tuple[Service, ...]
    serving: Callable[[], AbstractAsyncContextManager[None]]
    """Enter this once the server runs: it looks after what is open, and lets old requests go."""
    changes: Changes


@asynccontextmanager
async def running_spawn(settings: SpawnSettings) -> AsyncGenerator[RunningSpawn]:
    """Serve until the block is left, then drain. What is open stays on record, and goes on at the next start.

    Raises:
        CannotServe: an address cannot be had; a credential is set by half, cannot be read, or does not fit where it
            listens.
        IllegalTransition: another process has the database, or it was written by a newer version.
        StoreUnavailable: the database cannot be opened.
    """
    clock, drain = SystemClock(), Drain()
    callers = authenticators(settings, (RUN, READ, ACT_AS), clock)
    async with callers as known, spawn_parts(settings, clock, drain) as parts:
        server = Server(settings.server(), parts.services, authenticators=known, ids=TimeOrderedIds(clock), drain=drain)
        async with server.running(), parts.serving():
            yield RunningSpawn(
                address=settings.address(server.ports[0]),
                operations_port=server.operations_port,
                operations_http_port=server.operations_http_port,
                changes=parts.changes,
            )


@asynccontextmanager
async def spawn_parts(
    settings: SpawnSettings,
    clock: Clock,
    drain: Drain,
    bundled_nats: FindEndpoint | None = None,
) -> AsyncGenerator[SpawnParts]:
    """The service with its database open; it reaches the runtime when it first needs it.

    Raises:
        CannotServe, IllegalTransition, StoreUnavailable: see `heddle_service.opening.opened`.
    """
    async with AsyncExitStack() as stack:
        open_parts = opened(settings, MIGRATIONS, clock)
        database, door = await stack.enter_async_context(open_parts)
        changes = Changes()
        store = Store(database, settings.sweep_every, changes)
        agenda = Agenda(clock, settings.sweep_every)
        rounds = Rounds(
            store,
            door.runs_of,
            Attending(store, door.runs_of, prepare, clock, agenda),
            Grouping(store, door.runs_of, clock, agenda),
            clock,
            settings.motion,
        )
        find = bundled_nats or settings.bus
        if find is not None:
            bus = await stack.enter_async_context(JetStreamBus(find, name="heddle-spawn", keeps_stream=False))
            bells = {**dict.fromkeys(_RINGING, rounds.ring_thread), DELETED: rounds.forget_thread}
            await stack.enter_async_context(ringing(bus, bells, rounds.sweep_now))
            replica = TimeOrderedIds(clock).new("worker")
            await stack.enter_async_context(sharing(settings, changes, bus, "spawn", replica))
        assets = {WantedAsset[kind.upper()]: agent_id for kind, agent_id in settings.assets.items()}
        bounds = TreeBounds(settings.most_depth, settings.most_children, settings.cycles)
        spawning = Spawning(store, door.runs_of, clock, rounds.recorded, bounds, assets)
        look_every = settings.look_every(beside_bus=find is not None)
        reading = Reading(store, door.runs_of, changes, clock, rounds.ring_spawn, rounds.ring_group, look_every)
        services = (
            Service(spawn_service.NAME, spawn_service.SpawnServicer(spawning, reading, drain), spawn_service.RULES),
            Service(TOOL_SERVICE, tool_service.ToolServicer(spawning), tool_calls.RULES),
        )
        housekeeping = Housekeeping(partial(store.purge_requests, settings.requests_kept))

        @asynccontextmanager
        async def serving() -> AsyncGenerator[None]:
            async with rounds.serving(), housekeeping.serving():
                yield

        yield SpawnParts(services, serving, changes)


def spawn_companion(settings: SpawnSettings, bundled_nats: FindEndpoint | None = None) -> OpenCompanion:
    """The spawn service for the port of the runtime that it uses; its tools are those of the provider `spawn`."""

    @asynccontextmanager
    async def companion(drain: Drain, way: WayIn) -> AsyncGenerator[Companion]:
        async with spawn_parts(by_way(settings, way, "spawn"), SystemClock(), drain, bundled_nats) as parts:
            yield Companion(parts.services, parts.serving, tool_provider="spawn")

    return companion
