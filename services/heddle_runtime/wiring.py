"""The one place where the runtime is put together: settings in, a serving runtime out."""

import random
import sys
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from heddle_core.clock import Clock, SystemClock
from heddle_core.ids import Ids, TimeOrderedIds, WorkerId
from heddle_database.migrations import Migrations, migrate
from heddle_database.sqlite import SWITCH_INTERVAL, SqliteDatabase
from heddle_grpc.authorization import Access
from heddle_grpc.drain import Drain
from heddle_grpc.routes import Service
from heddle_runtime.facade.agents import Agents
from heddle_runtime.facade.controls import Controls
from heddle_runtime.facade.rates import Rates
from heddle_runtime.facade.turn_rules import TurnBounds
from heddle_runtime.facade.turns import Turns, TurnSettings
from heddle_runtime.facade.waiting import Doorbells
from heddle_runtime.lanes.lanes import Lanes, LaneSettings
from heddle_runtime.lanes.live_log import LiveLog
from heddle_runtime.lanes.preparing import Preparation
from heddle_runtime.model_wiring import Models, models_of
from heddle_runtime.orchestrator.orchestrator import Equipment
from heddle_runtime.orchestrator.setup import Defaults
from heddle_runtime.rpc.agent_runtime import AgentRuntimeServicer
from heddle_runtime.rpc.frames import Streams, StreamSettings
from heddle_runtime.runs.usage import Limits, MicroUsd
from heddle_runtime.server_wiring import READ, RUN, is_development, server_of
from heddle_runtime.settings import LimitSettings, RuntimeSettings
from heddle_runtime.store.agents import AgentStore
from heddle_runtime.store.store import Store
from heddle_runtime.threads.follow import Followers
from heddle_runtime.tool_wiring import tools_of
from heddle_runtime.tools.executor import Executor
from heddle_runtime.tools.schema import Schemas

MIGRATIONS = Migrations("runtime", Path(__file__).parent / "store" / "migrations")


@dataclass(frozen=True, slots=True)
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
async def running_runtime(settings: RuntimeSettings) -> AsyncGenerator[RunningRuntime]:
    """Serve until the block is left, then drain: nothing is lost, and runs under way are handed over.

    Raises:
        CannotServe: an address cannot be had, or a credential setting does not fit where it listens.
        IllegalTransition: another process has the database, or it was written by a newer version.
        StoreUnavailable: the database cannot be opened.
    """
    sys.setswitchinterval(SWITCH_INTERVAL)
    clock = SystemClock()
    ids = TimeOrderedIds(clock)
    async with AsyncExitStack() as stack:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        database = await SqliteDatabase.open(settings.data_dir / "heddle.db", clock=clock)
        stack.push_async_callback(database.close)
        await migrate(database, MIGRATIONS)
        parts = await _assemble(settings, Store(database), clock, ids, stack)
        server = server_of(settings, parts.services, ids, parts.drain)
        lanes = parts.lanes
        async with lanes.serving(settings.listen, sole_process=True), server.running():
            yield RunningRuntime(
                address=_address(settings.listen, server.ports),
                operations_port=server.operations_port,
                operations_http_port=server.operations_http_port,
                worker_id=lanes.worker_id,
                default_model=parts.default_model,
                drain=server.drain,
            )


@dataclass(frozen=True, slots=True)
class _Parts:
    lanes: Lanes
    services: tuple[Service, ...]
    drain: Drain
    default_model: str


async def _assemble(settings: RuntimeSettings, store: Store, clock: Clock, ids: Ids, stack: AsyncExitStack) -> _Parts:
    schemas = Schemas(clock)
    models, default_model = models_of(settings, ids)
    stack.push_async_callback(models.catalogue.close)
    models.open(default_model)  # a scenario that does not read, or a key that is missing, is told at the start
    tools = await tools_of(settings, schemas, clock)
    stack.push_async_callback(tools.registry.close)
    executor = Executor(clock=clock)
    stack.push_async_callback(executor.close)
    agents = Agents(AgentStore(store), SHIPPED_AGENTS, clock)
    token_secret = await store.secret("resolution_tokens")
    followers = Followers()
    store.log.add_listener(followers.committed)
    equipment = Equipment(clock, ids, models, tools, executor, schemas, token_secret)
    lanes = _lanes(settings, store, followers, equipment, Preparation(agents, tools, _defaults(settings)))
    turns = _turns(settings, store, lanes, agents, models, schemas, clock, ids, default_model)
    drain = Drain()
    servicer = AgentRuntimeServicer(
        turns=turns,
        controls=Controls(store, store.log, lanes, schemas, token_secret),
        store=store,
        followers=followers,
        streams=Streams(
            drain, StreamSettings(settings.streams.checkpoint_every, settings.streams.rotate_after), random.SystemRandom()
        ),
        doorbells=Doorbells(store.log),
        toolbox=tools,
    )
    return _Parts(lanes, services(servicer), drain, default_model)


def services(agent_runtime: AgentRuntimeServicer) -> tuple[Service, ...]:
    """What is served, and which scope each RPC asks for."""
    return (
        Service(
            "heddle.runtime.v1.AgentRuntime",
            agent_runtime,
            {
                "StartTurn": RUN,
                "StartStreamingTurn": RUN,
                "CancelRun": RUN,
                "ResolveInput": Access.ANYBODY_KNOWN,
                "GetSnapshot": READ,
            },
        ),
    )


def _lanes(
    settings: RuntimeSettings, store: Store, followers: Followers, equipment: Equipment, preparation: Preparation
) -> Lanes:
    given = settings.lanes
    worker_id = WorkerId(equipment.ids.new("wrk"))
    times = LaneSettings(
        given.slots, given.lease, given.renew_every, given.sweep_every, given.cancel_grace, given.drain_grace
    )
    lanes = Lanes(worker_id, store, LiveLog(store, store.log, followers), equipment, preparation, times)
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


def _address(listen: str, ports: tuple[int, ...]) -> str:
    host, colon, _ = listen.rpartition(":")
    return listen if listen.startswith("unix:") or not colon else f"{host}:{ports[0]}"
