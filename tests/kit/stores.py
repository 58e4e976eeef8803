"""The runtime's store on a real database, with everything that a caller and a worker say to it."""

import sqlite3
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import heddle_runtime.threads.events as e
from heddle_core.clock import ManualClock, Micros
from heddle_core.ids import (
    CallId,
    InputId,
    MessageId,
    PrincipalId,
    RequestId,
    RunId,
    StepId,
    TenantId,
    ThreadId,
    WorkerId,
)
from heddle_core.usage import Usage
from heddle_database.migrations import migrate
from heddle_database.port import Database
from heddle_database.postgres import PostgresDatabase
from heddle_database.sqlite import SqliteDatabase
from heddle_runtime.facade.commands import Accepted, AcceptTurn, Caller, Cancelled, CancelRuns, RequestKey, ResolveInput
from heddle_runtime.facade.commands import Resolved as Resolved
from heddle_runtime.runs.claim import Claim
from heddle_runtime.runs.content import Actor, Text
from heddle_runtime.runs.inputs import InputAnswer, InputKind, InputRequest
from heddle_runtime.runs.run import FailureReason, Run, RunFailure, RunResult
from heddle_runtime.runs.state import InputState
from heddle_runtime.runs.turn import AgentReference, ConflictPolicy, ParentReference, Turn
from heddle_runtime.runs.usage import Limits
from heddle_runtime.store.store import Store
from heddle_runtime.threads.append import Appended, AppendOutcome, OwnerAppend
from heddle_runtime.wiring.database import MIGRATIONS
from tests.kit.postgres import shared_server

ACME = TenantId("acme")
ADA = Caller(ACME, Actor(PrincipalId("ada")))
WORKER = WorkerId("wrk_1")
OTHER = WorkerId("wrk_2")
LEASE = 10_000_000
GRACE = 8_000_000


@dataclass
class Owner:
    """A worker that holds a run, and writes for it."""

    shop: "Shop"
    claim: Claim
    number: int = 0

    async def write(
        self, *payloads: e.Payload, decisive: bool = False, known: int = 0, number: int = 0
    ) -> AppendOutcome:
        """Append facts; with `number` as that append, else as the next."""
        known = known or (await self.shop.fold(self.claim.thread_id)).last_sequence
        outcome = await self.shop.store.append(
            OwnerAppend(self.claim, number or self.number + 1, known, payloads, decisive)
        )
        if isinstance(outcome, Appended) and not number:
            self.number += 1
        return outcome

    async def begin(self) -> "Owner":
        """Say that the run is worked on, as every owner does first."""
        claim = self.claim
        run = (await self.shop.fold(claim.thread_id)).runs[claim.run_id]
        if run.attempt == 0:
            agent = AgentReference("general", 1)
            await self.write(e.RunStarted(claim.attempt, claim.fence, claim.worker_id, agent, "m"))
        else:
            await self.write(e.RunResumed(claim.attempt, claim.fence, claim.worker_id))
        return self

    async def say(self, text: str, usage: Usage | None = None) -> AppendOutcome:
        """One model call that answers."""
        step, message = StepId(self.shop.new("step")), MessageId(self.shop.new("msg"))
        return await self.write(
            e.StepStarted(step, 1, 1, message),
            e.AssistantMessageCompleted(message, (Text(text),)),
            e.StepCompleted(step, 1, "m", usage or Usage(10, 5, model_calls=1)),
        )

    async def complete(self, text: str = "done") -> AppendOutcome:
        return await self.write(e.RunCompleted(RunResult(MessageId("msg"), (Text(text),))))

    async def fail(self) -> AppendOutcome:
        return await self.write(e.RunFailed(RunFailure(FailureReason.INTERNAL, "no")))

    async def ask(self, *names: str, kind: InputKind = InputKind.QUESTION, **fields: Any) -> list[InputId]:
        """Ask for inputs, one for each name, and wait."""
        asked = [self.shop.input(self.claim, name, kind, **fields) for name in names]
        await self.write(*map(e.InputRequested, asked), e.RunWaiting(tuple(each.input_id for each in asked)))
        return [each.input_id for each in asked]

    async def call(self, name: str) -> InputId:
        """Send a tool call; the input that is minted with it."""
        minted = InputId(f"inp_{self.claim.run_id.removeprefix('run_')}_{name}")
        call = CallId(name)
        await self.write(
            e.ToolCallRequested(call, MessageId("msg"), "kit__act", "{}"),
            e.ToolCallStarted(call, "kit/act", f"key:{name}", "digest", minted, self.claim.fence),
        )
        return minted


@dataclass
class Shop:
    """A store, its clock, and callers."""

    store: Store
    database: Database
    clock: ManualClock
    look: Callable[[str], Awaitable[list[tuple[Any, ...]]]]
    """Reads rows as somebody who knows nothing of us would."""
    counts: dict[str, int] = field(default_factory=dict)

    def new(self, prefix: str) -> str:
        self.counts[prefix] = self.counts.get(prefix, 0) + 1
        return f"{prefix}_{self.counts[prefix]}"

    async def turn(
        self,
        thread_id: str = "t1",
        text: str = "hello",
        *,
        caller: Caller = ADA,
        request_id: str = "",
        body: bytes = b"body",
        policy: ConflictPolicy = ConflictPolicy.ENQUEUE,
        worker: WorkerId = WorkerId(""),
        parent: RunId | None = None,
        budget: Limits | None = None,
        cascade: bool | None = None,
        limits: Limits | None = None,
        not_before: int = 0,
        etag: str = "",
        may_create: bool = True,
        retry_of: RunId = RunId(""),
        title: str = "",
    ) -> Accepted:
        turn = Turn(
            content=(Text(text),),
            message_id=MessageId(self.new("said")),
            agent=AgentReference("general", 1),
            conflict_policy=policy,
            model="m",
            limits=limits,
            parent=ParentReference(parent, cascade, budget) if parent else None,
            not_before=Micros(not_before) if not_before else None,
        )
        return await self.store.accept_turn(
            AcceptTurn(
                caller=caller,
                key=RequestKey("StartTurn", RequestId(request_id or self.new("req")), body),
                run_id=RunId(self.new("run")),
                thread_id=ThreadId(thread_id),
                may_create=may_create,
                turn=turn,
                etag=etag,
                worker_id=worker,
                retry_of=retry_of,
                title=title,
            )
        )

    async def work(self, thread_id: str = "t1", worker: WorkerId = WORKER) -> Owner:
        """Claim the thread's next run, and begin."""
        claim = await self.store.claim_thread(worker, ACME, ThreadId(thread_id))
        assert claim is not None, "nothing to claim"
        return await Owner(self, claim).begin()

    async def owner(self, thread_id: str = "t1", **fields: Any) -> Owner:
        """A new turn at work."""
        await self.turn(thread_id, **fields)
        return await self.work(thread_id)

    async def cancel(self, *run_ids: str, request_id: str = "", **fields: Any) -> Cancelled:
        key = RequestKey("CancelRun", RequestId(request_id or self.new("cancel")), repr(fields).encode())
        return await self.store.cancel_runs(CancelRuns(ADA, key, tuple(map(RunId, run_ids)), **fields))

    async def resolve(
        self,
        input_id: str,
        text: str = "yes",
        *,
        caller: Caller = ADA,
        request_id: str = "",
        answer: InputAnswer | None = None,
        **fields: Any,
    ) -> Resolved:
        answer = answer or InputAnswer(text=text)
        key = RequestKey("ResolveInput", RequestId(request_id or self.new("answer")), repr(answer).encode())
        return await self.store.resolve_input(ResolveInput(caller, key, InputId(input_id), answer, **fields))

    def input(self, claim: Claim, name: str, kind: InputKind, **fields: Any) -> InputRequest:
        return InputRequest(
            input_id=InputId(f"inp_{name}"),
            thread_id=claim.thread_id,
            run_id=claim.run_id,
            kind=kind,
            state=InputState.PENDING,
            prompt="?",
            **fields,
        )

    async def fold(self, thread_id: str = "t1") -> Any:
        return await self.store.log.fold(ACME, ThreadId(thread_id))

    async def run(self, run_id: str) -> Run:
        return await self.store.get_run(ACME, RunId(run_id))

    async def events(self, thread_id: str = "t1") -> tuple[e.Event, ...]:
        return await self.store.read_events(ACME, ThreadId(thread_id), 0, 1000)

    async def kinds(self, thread_id: str = "t1") -> list[str]:
        return [type(event.payload).__name__ for event in await self.events(thread_id)]

    async def row(self, sql: str, **params: object) -> tuple[Any, ...]:
        found = await self.store.read(lambda tx: tx.row(sql, **params))
        assert found is not None
        return found


@asynccontextmanager
async def sqlite_shop(folder: Path) -> AsyncGenerator[Shop]:
    """A shop over SQLite in `folder`. Another engine is one more of these."""
    clock = ManualClock()
    database = await SqliteDatabase.open(folder / "store.db", clock=clock)
    try:
        await migrate(database, MIGRATIONS)
        yield Shop(Store(database), database, clock, partial(_look_into_file, folder / "store.db"))
    finally:
        await database.close()


@asynccontextmanager
async def postgres_shop(folder: Path) -> AsyncGenerator[Shop]:
    """A shop over a PostgreSQL database of its own; `folder` is of no use to it."""
    server = shared_server()
    clock = ManualClock()
    name = await server.create(await server.template("runtime", migrated))
    database = await PostgresDatabase.open(server.url(name), clock=clock)
    try:
        yield Shop(Store(database), database, clock, partial(server.rows, database=name))
    finally:
        await database.close()
        await server.drop(name)


async def migrated(url: str) -> None:
    """Bring an empty PostgreSQL database to what the runtime expects."""
    database = await PostgresDatabase.open(url)
    await migrate(database, MIGRATIONS)
    await database.close()


async def _look_into_file(path: Path, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as database:
        return database.execute(sql).fetchall()


SHOPS = {"sqlite": sqlite_shop, "postgres": postgres_shop}
"""Every engine that the suite runs on."""
