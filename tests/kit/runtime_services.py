"""The runtime's services over a real SQLite store, on a real server, with a worker that a test plays itself."""

import random
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

from heddle_client.stubs import RuntimeStubs
from heddle_core.clock import SystemClock
from heddle_core.ids import Ids, MessageId, PrincipalId, RequestId, RunId, TenantId, ThreadId, TimeOrderedIds, WorkerId
from heddle_core.runtime_errors import ModelNotFound
from heddle_core.usage import Usage
from heddle_database.migrations import migrate
from heddle_database.sqlite import SqliteDatabase
from heddle_grpc.channel import open_channel
from heddle_grpc.drain import Drain
from heddle_grpc.identity import Credentials, Identity
from heddle_grpc.routes import Service
from heddle_grpc.server import Server
from heddle_grpc.settings import ChannelSettings, ServerSettings
from heddle_runtime.facade.agent_commands import ServerDescription
from heddle_runtime.facade.agents import Agents
from heddle_runtime.facade.commands import Accepted, AcceptTurn, Caller, Cancelled, CancelRuns, RequestKey
from heddle_runtime.facade.providers import ToolProviders
from heddle_runtime.facade.runs import Runs
from heddle_runtime.facade.shipped_agents import shipped_agents
from heddle_runtime.facade.threads import Threads
from heddle_runtime.facade.turns import IncomingTurn
from heddle_runtime.facade.waiting import Doorbells
from heddle_runtime.models.catalogue import Catalogue, CatalogueSettings
from heddle_runtime.rpc import agent_service, input_service, run_service, thread_service, tool_provider_service
from heddle_runtime.rpc.frames import Streams, StreamSettings
from heddle_runtime.rpc.watching import Watching
from heddle_runtime.runs.claim import Claim
from heddle_runtime.runs.content import Actor, Text
from heddle_runtime.runs.inputs import InputKind, InputRequest
from heddle_runtime.runs.run import CancelCause, FinishReason, Run, RunFailure, RunResult
from heddle_runtime.runs.state import InputState
from heddle_runtime.runs.turn import AgentReference, ConflictPolicy, ParentReference, Turn
from heddle_runtime.store.agents import AgentStore
from heddle_runtime.store.run_store import RunStore
from heddle_runtime.store.store import Store
from heddle_runtime.store.thread_store import ThreadStore
from heddle_runtime.store.tool_providers import ToolProviderStore
from heddle_runtime.threads.append import Appended, OwnerAppend
from heddle_runtime.threads.events import (
    AssistantMessageCompleted,
    InputRequested,
    Payload,
    RunCancelled,
    RunCompleted,
    RunFailed,
    RunStarted,
    RunWaiting,
    StepCompleted,
)
from heddle_runtime.threads.follow import Followers
from heddle_runtime.tools.port import ToolProvider
from heddle_runtime.tools.schema import Schemas
from heddle_runtime.wiring.database import MIGRATIONS

SERVICES = (thread_service, run_service, input_service, agent_service, tool_provider_service)
SCOPES = frozenset(str(rule) for each in SERVICES for rule in each.RULES.values())
ACME = TenantId("acme")
WORKER = WorkerId("wrk_test")


def new_id(prefix: str = "req") -> str:
    return f"{prefix}_{uuid4().hex[:20]}"


class Tokens:
    """Takes a token `tenant/principal` for just that caller, with every scope."""

    def identify(self, credentials: Credentials) -> Identity | None:
        if not credentials.bearer:
            return None
        tenant, _, principal = credentials.bearer.partition("/")
        return Identity(TenantId(tenant), PrincipalId(principal), SCOPES)


@dataclass
class Models:
    """The catalogue, as turns and threads ask it."""

    catalogue: Catalogue

    def require(self, model: str) -> None:
        self.catalogue.describe(model)


@dataclass
class Desk:
    """Accepts turns and cancels without lanes: the test is the worker."""

    store: Store
    ids: Ids
    asked: list[IncomingTurn] = field(default_factory=list)

    async def start(self, asked: IncomingTurn) -> Accepted:
        self.asked.append(asked)
        return await self.store.accept_turn(
            AcceptTurn(
                caller=asked.caller,
                key=asked.key,
                run_id=RunId(self.ids.new("run")),
                thread_id=asked.thread_id,
                may_create=asked.create_if_missing,
                turn=asked.turn,
                retry_of=asked.retry_of,
            )
        )

    async def cancel(self, command: CancelRuns) -> Cancelled:
        return await self.store.cancel_runs(command)


@dataclass
class Work:
    """A run that the test works on."""

    store: Store
    claim: Claim
    known: int
    number: int = 0

    async def write(self, *payloads: Payload) -> int:
        """Append as the run's owner; the last sequence."""
        self.number += 1
        done = await self.store.append(OwnerAppend(self.claim, self.number, self.known, payloads, decisive=False))
        assert isinstance(done, Appended), done
        self.known = done.events[-1].sequence
        return self.known

    async def say(self, text: str, message_id: str) -> int:
        return await self.write(AssistantMessageCompleted(MessageId(message_id), (Text(text),)))

    async def complete(self, text: str, message_id: str, usage: Usage | None = None) -> int:
        spent = usage or Usage(input_tokens=10, output_tokens=2, model_calls=1)
        said = (Text(text),)
        return await self.write(
            StepCompleted("stp", 1, "scripted:echo", spent, FinishReason.STOP),
            AssistantMessageCompleted(MessageId(message_id), said),
            RunCompleted(RunResult(MessageId(message_id), said, "", FinishReason.STOP, spent)),
        )

    async def fail(self, failure: RunFailure) -> int:
        return await self.write(RunFailed(failure))

    async def stop(self, cause: CancelCause = CancelCause.REQUESTED) -> int:
        return await self.write(RunCancelled(cause, rolled_back=cause is CancelCause.ROLLED_BACK))

    async def ask(self, input_id: str, **fields: object) -> int:
        """Wait for an answer."""
        asked = InputRequest(
            input_id=input_id,
            thread_id=self.claim.thread_id,
            run_id=self.claim.run_id,
            kind=InputKind.QUESTION,
            state=InputState.PENDING,
            prompt="Which one?",
            **fields,
        )
        return await self.write(InputRequested(asked), RunWaiting((input_id,)))


@dataclass
class Office:
    """Everything that serves, and the ways to it."""

    store: Store
    threads: ThreadStore
    agents: Agents
    providers: ToolProviders
    doorbells: Doorbells
    catalogue: Catalogue
    desk: Desk
    stubs: RuntimeStubs
    reach: Callable[[str], RuntimeStubs]
    """The stubs for another caller, as `tenant/principal`."""

    async def turn(
        self,
        thread_id: str,
        said: str,
        *,
        tenant: TenantId = ACME,
        message_id: str = "",
        policy: ConflictPolicy = ConflictPolicy.ENQUEUE,
        parent: str = "",
        **fields: object,
    ) -> Run:
        """Accept a turn on a thread, made if missing; nobody works on it yet."""
        turn = Turn(
            content=(Text(said),),
            message_id=MessageId(message_id or new_id("msg")),
            agent=AgentReference("general", 1),
            conflict_policy=policy,
            model="scripted:echo",
            parent=ParentReference(RunId(parent)) if parent else None,
            **fields,
        )
        caller = Caller(tenant, Actor(PrincipalId("ada")))
        key = RequestKey("StartTurn", RequestId(new_id()), b"fingerprint")
        asked = IncomingTurn(caller, key, turn, ThreadId(thread_id), create_if_missing=True)
        return (await self.desk.start(asked)).run

    async def work(self, thread_id: str, tenant: TenantId = ACME) -> Work:
        """Claim the thread's next run and start it, or go on with it."""
        claim = await self.store.claim_thread(WORKER, tenant, ThreadId(thread_id))
        assert claim is not None, "the lane is not free, or nothing is queued"
        last, _ = await self.store.log_bounds(tenant, ThreadId(thread_id))
        work = Work(self.store, claim, last)
        await work.write(RunStarted(claim.attempt, claim.fence, WORKER, AgentReference("general", 1), "scripted:echo"))
        return work

    async def exchange(self, thread_id: str, said: str, answer: str, answer_id: str = "") -> Run:
        """A whole run: a turn and its answer."""
        run = await self.turn(thread_id, said)
        work = await self.work(thread_id)
        await work.complete(answer, answer_id or new_id("msg"))
        return await self.store.get_run(ACME, run.run_id)


@asynccontextmanager
async def serving(
    folder: Path,
    *,
    shared: tuple[ToolProvider, ...] = (),
    connect: Callable[[str, str], ToolProvider] | None = None,
    delete_patience: float = 5.0,
    watch_age: float = 900.0,
) -> AsyncGenerator[Office]:
    """The five services on a free loopback port over a database in `folder`."""
    clock = SystemClock()
    ids = TimeOrderedIds(clock)
    database = await SqliteDatabase.open(folder / "runtime.db", clock=clock)
    try:
        await migrate(database, MIGRATIONS)
        (folder / "echo.yaml").write_text("steps: []\n")
        store = Store(database)
        doorbells = Doorbells(store.log)
        catalogue = Catalogue(CatalogueSettings(scenario_folders=(folder,)), ids)
        agents = Agents(AgentStore(store), shipped_agents(), clock)
        desk = Desk(store, ids)
        threads = ThreadStore(store)
        providers = ToolProviders(ToolProviderStore(store), shared, connect or _nowhere, clock, Schemas(clock))
        runs = Runs(RunStore(store), doorbells, desk, desk)
        described = ServerDescription(
            "0.1.0", ("heddle.runtime.v1",), ("deltas",), WORKER, {"parts": 64}, {"agent": "general"}
        )
        drain = Drain()
        followers = Followers()
        store.log.add_listener(followers.committed)
        watching = Watching(store, followers, Streams(drain, StreamSettings(), random.Random(7)))
        servicers = {
            thread_service: thread_service.ThreadServicer(
                Threads(
                    threads,
                    doorbells,
                    agents,
                    Models(catalogue),
                    ids,
                    delete_patience=timedelta(seconds=delete_patience),
                    watch_age=timedelta(seconds=watch_age),
                ),
                watching,
            ),
            run_service: run_service.RunServicer(runs, watching),
            input_service: input_service.InputServicer(runs),
            agent_service: agent_service.AgentServicer(agents, catalogue, "scripted:echo", described),
            tool_provider_service: tool_provider_service.ToolProviderServicer(providers),
        }
        server = Server(
            ServerSettings.model_validate({"listen": ["127.0.0.1:0"], "stream_grace": 0.2, "grace": 0.2}),
            [Service(module.NAME, servicer, module.RULES) for module, servicer in servicers.items()],
            authenticators=[Tokens()],
            ids=ids,
            drain=drain,
        )
        async with server.running():
            channels = []

            def reach(token: str) -> RuntimeStubs:
                settings = ChannelSettings.model_validate({"address": f"127.0.0.1:{server.ports[0]}", "attempts": 1})
                channels.append(open_channel(settings, token=lambda: token))
                return RuntimeStubs.on(channels[-1])

            try:
                yield Office(store, threads, agents, providers, doorbells, catalogue, desk, reach("acme/ada"), reach)
            finally:
                for channel in channels:
                    await channel.close()
        await providers.close()
    finally:
        await database.close()


def _nowhere(provider_id: str, target: str) -> ToolProvider:
    raise ModelNotFound(f"no provider {provider_id} at {target} in this test")
