"""The one place where the campaign service is put together: settings in, a serving service out."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

from heddle_bus.endpoint import FindEndpoint
from heddle_bus.jetstream import JetStreamBus
from heddle_bus.thread_bells import Bell, ringing
from heddle_campaign.facade.calling import Calling
from heddle_campaign.facade.campaigns import Campaigns
from heddle_campaign.facade.cycle_work import CycleWork
from heddle_campaign.facade.cycles import Cycles
from heddle_campaign.facade.forgetting import Forgetting
from heddle_campaign.facade.lessons import Lessons
from heddle_campaign.facade.messages import Messages
from heddle_campaign.facade.reading import Reading
from heddle_campaign.facade.remembering import Remembering
from heddle_campaign.facade.rounds import Rounds, RoundSettings
from heddle_campaign.facade.signals import Signals
from heddle_campaign.facade.staffing import Staffing
from heddle_campaign.intake.intake import IntakeSettings, intake
from heddle_campaign.rpc import campaign_service, tool_service
from heddle_campaign.rpc.scopes import READ, RUN
from heddle_campaign.rules.queue import Bounds, Rate
from heddle_campaign.settings import CampaignServiceSettings
from heddle_campaign.store.memories import Memories
from heddle_campaign.store.store import Store
from heddle_client.runs import prepare
from heddle_core.changes import Changes
from heddle_core.clock import Clock, SystemClock
from heddle_core.ids import TenantId, TimeOrderedIds
from heddle_database.housekeeping import Housekeeping
from heddle_database.migration_files import Migrations
from heddle_grpc import tool_calls
from heddle_grpc.authenticators import authenticators
from heddle_grpc.companions import Companion, OpenCompanion, WayIn
from heddle_grpc.drain import Drain
from heddle_grpc.identity import ACT_AS
from heddle_grpc.routes import Service
from heddle_grpc.server import Server
from heddle_grpc.tool_routing import TOOL_SERVICE
from heddle_service.opening import opened, sharing
from heddle_service.settings import by_way

MIGRATIONS = Migrations("campaign", Path(__file__).parent / "store" / "migrations")

_RINGING: tuple[str, ...] = ("RunCompleted", "RunFailed", "RunCancelled")
"""Events of a turn's thread with which its cycle goes on."""


@dataclass(frozen=True, slots=True)
class RunningCampaign:
    """A campaign service that serves by itself."""

    address: str
    """Where it listens, with the port that was picked."""
    operations_port: int
    operations_http_port: int
    webhooks_port: int
    """0: it takes no webhooks."""


@dataclass(frozen=True, slots=True)
class CampaignParts:
    """The campaign service as a part of a process that serves others beside it."""

    services: tuple[Service, ...]
    serving: Callable[[], AbstractAsyncContextManager[int]]
    """Enter this once the server runs: what it does by itself, and the port of its webhooks."""


@asynccontextmanager
async def running_campaign(settings: CampaignServiceSettings) -> AsyncGenerator[RunningCampaign]:
    """Serve until the block is left, then drain. What is open stays on record, and goes on at the next start.

    Raises:
        CannotServe: an address cannot be had; a credential is set by half, cannot be read, or does not fit where it
            listens.
        IllegalTransition: another process has the database, or it was written by a newer version.
        StoreUnavailable: the database cannot be opened.
    """
    clock, drain = SystemClock(), Drain()
    callers = authenticators(settings, (RUN, READ, ACT_AS), clock)
    async with callers as known, campaign_parts(settings, clock, drain) as parts:
        server = Server(settings.server(), parts.services, authenticators=known, ids=TimeOrderedIds(clock), drain=drain)
        async with server.running(), parts.serving() as webhooks_port:
            yield RunningCampaign(
                address=settings.address(server.ports[0]),
                operations_port=server.operations_port,
                operations_http_port=server.operations_http_port,
                webhooks_port=webhooks_port,
            )


@asynccontextmanager
async def campaign_parts(
    settings: CampaignServiceSettings,
    clock: Clock,
    drain: Drain,
    bundled_nats: FindEndpoint | None = None,
) -> AsyncGenerator[CampaignParts]:
    """The service with its database open; it reaches the runtime when it first needs it.

    Raises:
        CannotServe, IllegalTransition, StoreUnavailable: see `heddle_service.opening.opened`.
    """
    async with AsyncExitStack() as stack:
        open_parts = opened(settings, MIGRATIONS, clock)
        database, door = await stack.enter_async_context(open_parts)
        changes, ids = Changes(), TimeOrderedIds(clock)
        worker = ids.new("worker")
        store, memories = Store(database, changes), Memories(database, changes)
        remembering = Remembering(door.runs_of, memories)
        work = CycleWork(store, memories, door.runs_of, prepare, remembering.remember, settings.sweep_every)
        rounds = Rounds(store, work, door.runs_of, clock, worker, _round_settings(settings))
        signals = Signals(store, Lessons(store, memories), rounds.sweep_now)
        forgetting = Forgetting(store, memories, door.runs_of, every=settings.memory_round_every)
        find = bundled_nats or settings.bus
        look_every = settings.look_every(beside_bus=find is not None)
        servicer = campaign_service.CampaignServicer(
            Campaigns(store, ids, rounds.sweep_now, Staffing(door.runs_of), settings.shortest_distance),
            Cycles(store, rounds.sweep_now),
            signals,
            Reading(store, memories, changes, settings.shortest_distance, look_every),
            memories,
            clock,
            drain,
        )
        housekeeping = Housekeeping(partial(store.purge_requests, settings.requests_kept))
        tools = tool_service.CampaignTools(Messages(store, memories, Calling(store, door.runs_of)))
        bus = None
        if find is not None:
            bus = await stack.enter_async_context(JetStreamBus(find, name="heddle-campaign", keeps_stream=False))

        async def ring_thread(tenant: str, thread_id: str) -> None:
            rounds.ring_thread(tenant, thread_id)

        @asynccontextmanager
        async def serving() -> AsyncGenerator[int]:
            async with AsyncExitStack() as own:
                if bus is not None:
                    bells: dict[str, Bell] = dict.fromkeys(_RINGING, ring_thread)
                    await own.enter_async_context(ringing(bus, bells, rounds.sweep_now))
                await own.enter_async_context(sharing(settings, changes, bus, "campaign", worker))
                await own.enter_async_context(rounds.serving())
                await own.enter_async_context(forgetting.serving())
                await own.enter_async_context(housekeeping.serving())
                ways_in = intake(_intake_settings(settings), signals.report, forgetting, clock, find, bus)
                yield await own.enter_async_context(ways_in)

        yield CampaignParts(
            (
                Service(campaign_service.NAME, servicer, campaign_service.RULES),
                Service(TOOL_SERVICE, tools, tool_calls.RULES),
            ),
            serving,
        )


def campaign_companion(settings: CampaignServiceSettings, bundled_nats: FindEndpoint | None = None) -> OpenCompanion:
    """The campaign service for the port of the runtime that it uses; its tools are those of the provider `campaign`."""

    @asynccontextmanager
    async def companion(drain: Drain, way: WayIn) -> AsyncGenerator[Companion]:
        async with campaign_parts(by_way(settings, way, "campaign"), SystemClock(), drain, bundled_nats) as parts:

            @asynccontextmanager
            async def serving() -> AsyncGenerator[None]:
                async with parts.serving():
                    yield

            yield Companion(parts.services, serving, tool_provider="campaign")

    return companion


def _round_settings(settings: CampaignServiceSettings) -> RoundSettings:
    shares = {TenantId(tenant): share for tenant, share in settings.tenant_shares.items()}
    rate = Rate(settings.cycles_per_minute, timedelta(minutes=1)) if settings.cycles_per_minute else None
    return RoundSettings(settings.motion, Bounds(settings.cycles_per_tenant, shares, rate=rate))


def _intake_settings(settings: CampaignServiceSettings) -> IntakeSettings:
    secrets = {
        tenant: [each.get_secret_value() for each in given] for tenant, given in settings.webhook_secrets.items()
    }
    return IntakeSettings(settings.webhooks, secrets, settings.signal_replicas)
