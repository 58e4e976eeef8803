"""The one place where the runtime is put together: settings in, a serving runtime out."""

import random
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import version
from typing import Protocol

from heddle_bus.endpoint import FindEndpoint
from heddle_bus.port import Bus
from heddle_core.clock import Clock, SystemClock
from heddle_core.ids import Ids, TimeOrderedIds, WorkerId
from heddle_core.usage import MicroUsd
from heddle_core.values import value
from heddle_grpc.authenticators import authenticators
from heddle_grpc.authorization import Rule
from heddle_grpc.companions import OpenCompanion
from heddle_grpc.drain import Drain
from heddle_grpc.identity import ACT_AS
from heddle_grpc.identity_kinds import accepted_kinds, is_development
from heddle_grpc.routes import Service
from heddle_grpc.server import Server
from heddle_runtime.facade.agent_commands import ServerDescription
from heddle_runtime.facade.agents import Agents
from heddle_runtime.facade.controls import Controls
from heddle_runtime.facade.rates import Rates
from heddle_runtime.facade.retention import RetentionPolicy, Upkeep
from heddle_runtime.facade.runs import Runs
from heddle_runtime.facade.shipped_agents import shipped_agents
from heddle_runtime.facade.threads import Threads
from heddle_runtime.facade.turn_rules import TurnBounds
from heddle_runtime.facade.turns import Turns, TurnSettings
from heddle_runtime.lanes.lanes import Lanes, LaneSettings
from heddle_runtime.lanes.lease import Lease
from heddle_runtime.lanes.live_log import LiveLog
from heddle_runtime.lanes.preparing import Preparation
from heddle_runtime.orchestrator.orchestrator import Equipment
from heddle_runtime.orchestrator.setup import Defaults
from heddle_runtime.rpc import (
    agent_runtime,
    agent_service,
    input_service,
    run_service,
    thread_service,
    tool_provider_service,
)
from heddle_runtime.rpc.frames import Streams, StreamSettings
from heddle_runtime.rpc.scopes import MANAGE, READ, RUN
from heddle_runtime.rpc.watching import Watching
from heddle_runtime.runs.usage import Limits
from heddle_runtime.settings import LimitSettings, RuntimeSettings
from heddle_runtime.store.agents import AgentStore
from heddle_runtime.store.retention import LogRetention
from heddle_runtime.store.run_store import RunStore
from heddle_runtime.store.store import Store
from heddle_runtime.store.thread_store import ThreadStore
from heddle_runtime.store.tool_providers import ToolProviderStore
from heddle_runtime.threads.follow import Followers
from heddle_runtime.threads.snapshots import Snapshots
from heddle_runtime.tools.executor import Executor
from heddle_runtime.tools.schema import Schemas
from heddle_runtime.wiring.bus import open_bus, relaying
from heddle_runtime.wiring.companions import Beside, beside_runtime
from heddle_runtime.wiring.database import open_database
from heddle_runtime.wiring.metrics import RuntimeMeasures
from heddle_runtime.wiring.models import Models, models_of
from heddle_runtime.wiring.replicas import Watchers, among_replicas
from heddle_runtime.wiring.tools import tools_of

_CAPABILITIES = ("deltas", "tools.builtin", "tools.grpc", "response_format", "plan_mode", "client_tools")


class _ServedModule(Protocol):
    @property
    def NAME(self) -> str: ...

    @property
    def RULES(self) -> Mapping[str, Rule]: ...


@value
class RunningRuntime:
    """A runtime that serves."""

    address: str
    """Where it listens, with the port that was picked."""
    operations_port: int
    operations_http_port: int
    worker_id: WorkerId
    default_model: str
    drain: Drain


@asynccontextmanager
async def running_runtime(
    settings: RuntimeSettings, bundled_nats: FindEndpoint | None = None, companions: Sequence[OpenCompanion] = ()
) -> AsyncGenerator[RunningRuntime]:
    """Serve until the block is left, then drain: nothing is lost, and runs under way are handed over.

    Events are published to the NATS of the settings, else to the `bundled_nats`, else not at all. The `companions` are
    served on the same port.

    Raises:
        CannotServe: an address cannot be had, or a credential setting does not fit where it listens.
        IllegalTransition: another process has the database, or it was written by a newer version.
        StoreUnavailable: the database cannot be opened.
    """
    clock = SystemClock()
    ids = TimeOrderedIds(clock)
    async with AsyncExitStack() as stack:
        scopes = (RUN, READ, MANAGE, ACT_AS)
        callers = await stack.enter_async_context(authenticators(settings, scopes, clock))
        database = await open_database(settings, clock)
        stack.push_async_callback(database.close)
        sole_process = not settings.database  # no other process can have an embedded one open
        store = Store(database, shared=not sole_process)
        bus = await stack.enter_async_context(open_bus(settings, bundled_nats))
        drain = Drain()
        beside = await stack.enter_async_context(beside_runtime(companions, drain, clock))
        watchers = Watchers.of(store, sole_process=sole_process)
        parts = await _assemble(settings, store, watchers, clock, ids, drain, beside, stack)
        lanes = parts.lanes
        measures = RuntimeMeasures(database, lambda: lanes.running, publishes=bus is not None)
        store.log.add_witness(lambda committed: measures.committed(committed, None))
        services = (*parts.services, *beside.services)
        server = Server(
            settings.server(inside=beside.socket),
            services,
            authenticators=(beside.keys, *callers),
            sources=(measures.read,),
            ids=ids,
            drain=drain,
        )
        # Outside the lanes, so that what is committed while they drain is published, too.
        brokers = await stack.enter_async_context(
            relaying(settings, store, bus, lanes.worker_id, clock, sole_process=sole_process)
        )
        await stack.enter_async_context(among_replicas(store, watchers, lanes, bus, brokers, sole_process=sole_process))
        upkeep = _upkeep(settings, store, lanes.worker_id, bus)
        working = lanes.serving(settings.listen, sole_process=sole_process)
        async with working, upkeep.serving(), server.running():  # the eldest is found by the lease that lanes begin
            address = settings.address(server.ports[0])
            async with beside.serving():
                yield RunningRuntime(
                    address=address,
                    operations_port=server.operations_port,
                    operations_http_port=server.operations_http_port,
                    worker_id=lanes.worker_id,
                    default_model=parts.default_model,
                    drain=server.drain,
                )


@value
class _Parts:
    lanes: Lanes
    services: tuple[Service, ...]
    default_model: str


async def _assemble(
    settings: RuntimeSettings,
    store: Store,
    watchers: Watchers,
    clock: Clock,
    ids: Ids,
    drain: Drain,
    beside: Beside,
    stack: AsyncExitStack,
) -> _Parts:
    schemas = Schemas(clock)
    models, default_model = models_of(settings, ids)
    stack.push_async_callback(models.catalogue.close)
    models.open(default_model)  # a scenario that does not read, or a key that is missing, is told at the start
    tools = tools_of(settings, ToolProviderStore(store), schemas, clock, beside.providers)
    stack.push_async_callback(tools.close)
    executor = Executor(clock=clock)
    stack.push_async_callback(executor.close)
    agents = Agents(AgentStore(store), shipped_agents(), clock)
    token_secret = await store.secret("resolution_tokens")
    followers, doorbells = watchers.followers, watchers.doorbells
    snapshots = Snapshots(store, store.log)
    store.log.add_listener(snapshots.committed)
    await stack.enter_async_context(snapshots.serving())
    lease = Lease(clock, settings.lanes.lease)
    equipment = Equipment(clock, ids, models, tools, executor, schemas, token_secret, lease)
    lanes = _lanes(settings, store, followers, equipment, Preparation(agents, tools, _defaults(settings)), lease)
    turns = _turns(settings, store, lanes, agents, models, schemas, clock, ids, default_model)
    controls = Controls(store, store.log, lanes, schemas, token_secret)
    stream_times = StreamSettings(settings.streams.checkpoint_every, settings.streams.rotate_after)
    watching = Watching(store, followers, Streams(drain, stream_times, random.SystemRandom()))
    runs = Runs(RunStore(store), doorbells, turns, controls, lanes.held_back)
    threads = Threads(ThreadStore(store), doorbells, agents, models, ids)
    described = _description(settings, lanes.worker_id, default_model)
    services = (
        _service(
            agent_runtime,
            agent_runtime.AgentRuntimeServicer(turns, controls, store.log, store, watching, doorbells, tools),
        ),
        _service(thread_service, thread_service.ThreadServicer(threads, watching)),
        _service(run_service, run_service.RunServicer(runs, watching)),
        _service(input_service, input_service.InputServicer(runs)),
        _service(agent_service, agent_service.AgentServicer(agents, models.catalogue, default_model, described)),
        _service(tool_provider_service, tool_provider_service.ToolProviderServicer(tools)),
    )
    return _Parts(lanes, services, default_model)


def _upkeep(settings: RuntimeSettings, store: Store, worker_id: WorkerId, bus: Bus | None) -> Upkeep:
    given = settings.retention
    policy = RetentionPolicy(
        given.keep_for, given.keep_events, published_only=bus is not None, requests_kept=given.requests
    )
    return Upkeep(LogRetention(store), worker_id, policy, random.SystemRandom(), given.every)


def _service(module: _ServedModule, servicer: object) -> Service:
    return Service(module.NAME, servicer, module.RULES)


def _lanes(
    settings: RuntimeSettings,
    store: Store,
    followers: Followers,
    equipment: Equipment,
    preparation: Preparation,
    lease: Lease,
) -> Lanes:
    given = settings.lanes
    worker_id = WorkerId(equipment.ids.new("wrk"))
    times = LaneSettings(
        given.slots, given.lease, given.renew_every, given.sweep_every, given.cancel_grace, given.drain_grace
    )
    lanes = Lanes(worker_id, store, LiveLog(store, store.log, followers), equipment, preparation, lease, times)
    store.log.add_listener(lanes.committed)
    return lanes


def _turns(
    settings: RuntimeSettings,
    store: Store,
    lanes: Lanes,
    agents: Agents,
    models: Models,
    schemas: Schemas,
    clock: Clock,
    ids: Ids,
    default_model: str,
) -> Turns:
    given = settings.turns
    rates = Rates(0 if is_development(settings) else given.turns_per_minute)
    turn_settings = TurnSettings(
        bounds=TurnBounds(text_characters=given.text_characters),
        default_limits=_limits(settings.limits),
        most_limits=Limits(steps=given.most_steps),
        default_model=default_model,
        most_depth=given.most_depth,
        most_children=given.most_children,
    )
    return Turns(store, store.log, lanes, agents, models, schemas, rates, clock, ids, turn_settings)


def _defaults(settings: RuntimeSettings) -> Defaults:
    return Defaults(_limits(settings.limits), settings.tools.input_expiry)


def _limits(given: LimitSettings) -> Limits:
    return Limits(
        steps=given.steps,
        tokens=given.tokens,
        output_tokens_per_step=given.output_tokens_per_step,
        cost=MicroUsd(given.cost_micro_usd),
        wall_time=given.wall_time,
        tool_calls=given.tool_calls,
    )


def _description(settings: RuntimeSettings, worker_id: WorkerId, default_model: str) -> ServerDescription:
    given = settings.turns
    return ServerDescription(
        version=version("heddle"),
        packages=("heddle.runtime.v1", "heddle.tools.v1"),
        capabilities=(*_CAPABILITIES, *(f"identity.{kind}" for kind in accepted_kinds(settings))),
        worker_id=worker_id,
        limits={
            "text_characters": given.text_characters,
            "turns_per_minute": 0 if is_development(settings) else given.turns_per_minute,
            "steps": settings.limits.steps,
            "most_steps": given.most_steps,
            "depth": given.most_depth,
            "children": given.most_children,
        },
        defaults={"model": default_model, "agent": "general"},
    )
