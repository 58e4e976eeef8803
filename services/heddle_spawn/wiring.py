"""The one place where the spawn service is put together: settings in, a serving service out."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from heddle_client.over_grpc import GrpcAgentRuntime
from heddle_client.runs import Runs, prepare
from heddle_client.stubs import RuntimeStubs
from heddle_core.clock import Clock, SystemClock
from heddle_core.ids import PrincipalId, TenantId, TimeOrderedIds
from heddle_grpc.api_keys import ApiKeys, read_records
from heddle_grpc.channel import Channel, open_channel
from heddle_grpc.companions import Companion, OpenCompanion
from heddle_grpc.drain import Drain
from heddle_grpc.identity import Authenticator, Development, Identity
from heddle_grpc.routes import Service
from heddle_grpc.server import Server
from heddle_grpc.settings import CallSettings, ChannelSettings, ChannelTls, ServerSettings, ServerTls
from heddle_spawn.database_wiring import open_database
from heddle_spawn.doorbells import FindEndpoint, endpoint_of, ringing
from heddle_spawn.facade.attending import Attending
from heddle_spawn.facade.changes import Changes
from heddle_spawn.facade.grouping import Grouping
from heddle_spawn.facade.reading import Reading
from heddle_spawn.facade.rounds import Rounds, RoundSettings
from heddle_spawn.facade.spawning import Spawning
from heddle_spawn.rpc import spawn_service, tool_service
from heddle_spawn.rpc.scopes import ACT_AS, READ, RUN
from heddle_spawn.rules.checks import TreeBounds
from heddle_spawn.rules.spawns import Creator, WantedAsset
from heddle_spawn.settings import SpawnSettings
from heddle_spawn.store.store import Store


@dataclass(frozen=True, slots=True)
class RunningSpawn:
    """A spawn service that serves by itself."""

    address: str
    """Where it listens, with the port that was picked."""
    operations_port: int
    operations_http_port: int


@dataclass(frozen=True, slots=True)
class SpawnParts:
    """The spawn service as a part of a process that serves others beside it."""

    services: tuple[Service, ...]
    rounds: Rounds
    """Serve these once the server runs; they look after what is open."""


@asynccontextmanager
async def running_spawn(settings: SpawnSettings) -> AsyncGenerator[RunningSpawn]:
    """Serve until the block is left, then drain. What is open stays on record, and goes on at the next start.

    Raises:
        CannotServe: an address cannot be had, or a credential setting does not fit where it listens.
        IllegalTransition: another process has the database, or it was written by a newer version.
        StoreUnavailable: the database cannot be opened.
    """
    clock, drain = SystemClock(), Drain()
    async with spawn_parts(settings, clock, drain, lambda: settings.runtime.address) as parts:
        served = ServerSettings(
            listen=(settings.listen,),
            tls=_server_tls(settings),
            reflection=settings.reflection,
            operations=settings.operations,
            operations_http=settings.operations_http,
            calls=CallSettings(log_ok_calls=settings.log_calls),
        )
        ids = TimeOrderedIds(clock)
        server = Server(served, parts.services, authenticators=_authenticators(settings), ids=ids, drain=drain)
        async with server.running(), parts.rounds.serving():
            host, colon, _ = settings.listen.rpartition(":")
            named = settings.listen.startswith("unix:") or not colon
            yield RunningSpawn(
                address=settings.listen if named else f"{host}:{server.ports[0]}",
                operations_port=server.operations_port,
                operations_http_port=server.operations_http_port,
            )


@asynccontextmanager
async def spawn_parts(
    settings: SpawnSettings,
    clock: Clock,
    drain: Drain,
    runtime_address: Callable[[], str],
    bundled_nats: FindEndpoint | None = None,
) -> AsyncGenerator[SpawnParts]:
    """The service with its database open; it reaches the runtime when it first needs it.

    `runtime_address` is asked then: within one process, the port is known only once it is bound.

    Raises:
        IllegalTransition, StoreUnavailable: see `open_database`.
    """
    async with AsyncExitStack() as stack:
        database = await open_database(settings, clock)
        stack.push_async_callback(database.close)
        door = RuntimeDoor(settings, runtime_address)
        stack.push_async_callback(door.close)
        changes = Changes()
        store = Store(database, settings.sweep_every, changes)
        rounds = Rounds(
            store,
            door.runs_of,
            Attending(store, door.runs_of, prepare, clock, settings.sweep_every),
            Grouping(store, door.runs_of, clock, settings.sweep_every),
            clock,
            RoundSettings(settings.sweep_every, settings.at_once, settings.most_watched),
        )
        find = bundled_nats or endpoint_of(settings)
        if find is not None:
            await stack.enter_async_context(ringing(find, rounds))
        assets = {WantedAsset[kind.upper()]: agent_id for kind, agent_id in settings.assets.items()}
        bounds = TreeBounds(settings.most_depth, settings.most_children, settings.cycles)
        spawning = Spawning(store, door.runs_of, clock, rounds.recorded, bounds, assets)
        reading = Reading(store, door.runs_of, changes, clock, rounds.ring_spawn, rounds.ring_group)
        services = (
            Service(spawn_service.NAME, spawn_service.SpawnServicer(spawning, reading, drain), spawn_service.RULES),
            Service(tool_service.NAME, tool_service.ToolServicer(spawning), tool_service.RULES),
        )
        yield SpawnParts(services, rounds)


def spawn_companion(settings: SpawnSettings, bundled_nats: FindEndpoint | None = None) -> OpenCompanion:
    """The spawn service for the port of the runtime that it uses; its tools are those of the provider `spawn`."""

    @asynccontextmanager
    async def opened(drain: Drain, address: Callable[[], str]) -> AsyncGenerator[Companion]:
        async with spawn_parts(settings, SystemClock(), drain, address, bundled_nats) as parts:
            yield Companion(parts.services, parts.rounds.serving, tool_provider="spawn")

    return opened


class RuntimeDoor:
    """The only way into the runtime: one channel, opened when it is first needed."""

    def __init__(self, settings: SpawnSettings, address: Callable[[], str]) -> None:
        self._settings = settings.runtime
        self._address = address
        self._channel: Channel | None = None
        self._runs: Runs | None = None

    def runs_of(self, creator: Creator) -> Runs:
        """The runtime in the name of a creator."""
        if self._runs is None:
            self._runs = self._opened()
        return self._runs.acting_as(creator.tenant, creator.principal)

    async def close(self) -> None:
        """Close the channel, if it was opened."""
        if self._channel is not None:
            await self._channel.close()

    def _opened(self) -> Runs:
        given, address = self._settings, self._address()
        tls = ChannelTls(ca=given.ca) if given.tls or given.ca is not None else None
        secret = given.token
        self._channel = open_channel(
            ChannelSettings(address=address, tls=tls, allow_plaintext=given.allow_plaintext),
            token=secret.get_secret_value if secret is not None else None,
        )
        return Runs(GrpcAgentRuntime(RuntimeStubs.on(self._channel), target=address))


def _authenticators(settings: SpawnSettings) -> tuple[Authenticator, ...]:
    given = settings.identity
    if given.api_keys_file is not None:
        return (ApiKeys(read_records(given.api_keys_file)),)
    everything = frozenset((RUN, READ, ACT_AS))
    return (Development(Identity(TenantId(given.tenant), PrincipalId(given.principal), everything)),)


def _server_tls(settings: SpawnSettings) -> ServerTls | None:
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    return ServerTls(certificate=settings.tls_certificate, key=settings.tls_key, client_ca=settings.tls_client_ca)
