"""Lanes over a real store, with runs that cannot be worked on, and with workers that leave."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

import heddle_runtime.threads.events as e
from heddle_core.clock import SystemClock
from heddle_core.errors import CannotServe, StoreUnavailable
from heddle_core.ids import CountingIds, TenantId, ThreadId, WorkerId
from heddle_core.runtime_errors import AgentNotFound
from heddle_core.usage import MicroUsd
from heddle_runtime.lanes.lanes import Lanes, LaneSettings
from heddle_runtime.lanes.lease import Lease
from heddle_runtime.lanes.live_log import LiveLog
from heddle_runtime.lanes.preparing import Preparation
from heddle_runtime.models.port import FinishReason, ModelCall, ModelReply, ModelRequest, ModelUsage
from heddle_runtime.orchestrator.orchestrator import Equipment
from heddle_runtime.orchestrator.setup import Defaults
from heddle_runtime.runs.agent import AgentSpec
from heddle_runtime.runs.claim import Claim
from heddle_runtime.runs.run import FailureReason
from heddle_runtime.runs.state import RunState
from heddle_runtime.runs.usage import Limits
from heddle_runtime.threads.append import AppendOutcome, OwnerAppend
from heddle_runtime.threads.fold_codec import encode
from heddle_runtime.threads.follow import Followers
from heddle_runtime.tools.executor import Executor
from heddle_runtime.tools.port import ToolInvocation, ToolReply
from heddle_runtime.tools.schema import Schemas
from heddle_runtime.tools.selection import Selection, Wishes
from tests.kit.stores import ACME, Shop, sqlite_shop
from tests.kit.tool_servers import spec_of

T1 = ThreadId("t1")


@pytest_asyncio.fixture
async def shop(tmp_path: Path) -> AsyncGenerator[Shop]:
    async with sqlite_shop(tmp_path) as running:
        yield running


class World:
    """Agents, tools and a model, of which each can fail as a test wants it."""

    def __init__(self) -> None:
        self.faults: list[Exception] = []
        self.asked = asyncio.Event()
        self.held = asyncio.Event()
        self.held.set()
        self.calls: tuple[ModelCall, ...] = ()

    async def spec(self, tenant: TenantId, agent_id: str, version: int) -> AgentSpec:
        if self.faults:
            raise self.faults.pop(0)
        return AgentSpec()

    async def select(self, tenant: TenantId, wishes: Wishes) -> Selection:
        return Selection({})

    def provider(self, tenant: TenantId, provider_id: str) -> None:
        return None

    def open(self, name: str) -> Any:
        return self

    def cost(self, name: str, answered: str, usage: ModelUsage) -> MicroUsd:
        return MicroUsd(0)

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Any, None]:
        self.asked.set()
        await self.held.wait()
        yield ModelReply("hi", "", self.calls, FinishReason.STOP, ModelUsage(1, 1), "m")


@asynccontextmanager
async def worker(
    shop: Shop, world: World, name: str = "wrk_a", appender: Any = None, store: Any = None, **settings: Any
) -> AsyncGenerator[Lanes]:
    clock = SystemClock()
    executor = Executor(clock=shop.clock)
    lease = Lease(shop.clock, LaneSettings().lease)
    equipment = Equipment(shop.clock, CountingIds(), world, world, executor, Schemas(clock), b"secret", lease)
    lanes = Lanes(
        WorkerId(name),
        store or shop.store,
        LiveLog(appender or shop.store, shop.store.log, Followers()),
        equipment,
        Preparation(world, world, Defaults(Limits())),
        lease,
        LaneSettings(sweep_every=timedelta(milliseconds=20), **settings),
    )
    shop.store.log.add_listener(lanes.committed)
    async with asyncio.timeout(30), lanes.serving("here", sole_process=False):
        yield lanes


async def ended(shop: Shop, run_id: str) -> Any:
    """The run once it has ended."""
    bell = asyncio.Event()
    shop.store.log.add_listener(lambda committed, fold: bell.set())
    async with asyncio.timeout(20):
        while True:
            bell.clear()
            run = await shop.run(run_id)
            if run.state.terminal:
                return run
            await bell.wait()


@pytest.mark.parametrize("fault", [AgentNotFound("gone"), RuntimeError("a bug"), KeyError("worse")])
async def test_a_run_that_cannot_be_worked_on_fails_and_leaves_a_thread_that_can(shop: Shop, fault: Exception) -> None:
    world = World()
    world.faults.append(fault)
    async with worker(shop, world):
        first = (await shop.turn()).run.run_id
        failed = await ended(shop, first)
        assert failed.failure is not None and failed.failure.reason is FailureReason.INTERNAL
        second = (await shop.turn()).run.run_id
        assert (await ended(shop, second)).state is RunState.COMPLETED
    assert (await shop.kinds())[2:4] == ["RunStarted", "RunFailed"], "only what has begun can fail"
    assert encode(await shop.store.load_fold(ACME, T1)) == encode(await shop.fold())


async def test_a_run_that_cannot_be_carried_on_after_its_wait_fails_too(shop: Shop) -> None:
    owner = await shop.owner()
    asked = await owner.ask("q1")
    world = World()
    world.faults.append(RuntimeError("a bug"))
    async with worker(shop, world):
        await shop.resolve(asked[0])
        failed = await ended(shop, owner.claim.run_id)
    assert failed.state is RunState.FAILED
    assert (await shop.kinds())[-2:] == ["RunResumed", "RunFailed"]
    assert encode(await shop.store.load_fold(ACME, T1)) == encode(await shop.fold())


async def test_a_cancelled_run_that_cannot_be_worked_on_is_still_cancelled(shop: Shop) -> None:
    owner = await shop.owner()
    await owner.ask("q1")
    await shop.cancel(owner.claim.run_id)
    world = World()
    world.faults.append(RuntimeError("a bug"))
    async with worker(shop, world):
        assert (await ended(shop, owner.claim.run_id)).state is RunState.CANCELLED
    assert (await shop.kinds()).count("RunCancelled") == 1


async def test_a_run_that_ends_under_its_worker_takes_nothing_else_with_it(shop: Shop) -> None:
    """The claim is stale before the work begins: another has ended the run."""
    owner = await shop.owner()
    await owner.complete()
    async with worker(shop, World()) as lanes:
        lanes.start(owner.claim)
        other = (await shop.turn("t2")).run.run_id
        assert (await ended(shop, other)).state is RunState.COMPLETED
    assert (await shop.kinds()).count("RunCompleted") == 1


async def test_a_worker_that_leaves_hands_its_runs_to_the_next(shop: Shop) -> None:
    world = World()
    world.held.clear()
    async with worker(shop, world, drain_grace=timedelta(milliseconds=10)):
        run_id = (await shop.turn()).run.run_id
        await world.asked.wait()
    assert (await shop.run(run_id)).state is RunState.QUEUED
    async with worker(shop, World(), "wrk_b"):
        assert (await ended(shop, run_id)).state is RunState.COMPLETED
    kinds = await shop.kinds()
    assert kinds.count("RunResumed") == 1 and kinds.count("RunCompleted") == 1
    started = [event.payload for event in await shop.events() if isinstance(event.payload, e.StepStarted)]
    assert [each.attempt for each in started] == [1, 2]
    assert started[1].discards_message_id == started[0].message_id


async def test_a_claim_that_comes_when_the_worker_is_leaving_is_handed_over(shop: Shop) -> None:
    async with worker(shop, World()) as lanes:
        pass
    await shop.turn()
    claim = await shop.store.claim_thread(lanes.worker_id, ACME, T1)
    assert claim is not None
    lanes.start(claim)
    assert lanes.running == 0
    late = Claim(claim.tenant, claim.thread_id, claim.run_id, claim.worker_id, claim.fence, claim.attempt)
    async with worker(shop, World(), "wrk_b"):
        assert (await ended(shop, late.run_id)).state is RunState.COMPLETED


async def test_what_fails_beside_the_lanes_is_told_as_it_is(shop: Shop) -> None:
    with pytest.raises(CannotServe, match="taken"):
        async with worker(shop, World()):
            raise CannotServe("127.0.0.1:1", "the port is taken", "choose another")
    assert await shop.row("SELECT COUNT(*) FROM workers") == (0,)


class Interfering:
    """Writes to the store, and cancels the run just before its second step begins."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop

    async def append(self, command: OwnerAppend) -> AppendOutcome:
        if any(isinstance(fact, e.StepStarted) and fact.number == 2 for fact in command.payloads):
            await self.shop.cancel(command.claim.run_id)
        return await self.shop.store.append(command)


async def test_a_cancel_between_a_reply_and_its_next_step_keeps_the_bill_and_no_half_of_a_call(shop: Shop) -> None:
    world = World()
    world.calls = (ModelCall("c1", "nowhere", "{}"),)
    async with worker(shop, world, appender=Interfering(shop)):
        run_id = (await shop.turn()).run.run_id
        stopped = await ended(shop, run_id)
    assert (stopped.state, stopped.usage.tokens, stopped.usage.model_calls) == (RunState.CANCELLED, 2, 1)
    kinds = await shop.kinds()
    assert kinds[-4:] == ["RunCancelRequested", "AssistantMessageCompleted", "StepCompleted", "RunCancelled"]
    assert "ToolCallCompleted" not in kinds


class Tooled(World):
    """A world with one tool that may be sent again, which the model calls in its first step."""

    provider_id = "kit"
    confirms_stop = False
    tool = spec_of("again", idempotent=True)

    def __init__(self) -> None:
        super().__init__()
        self.calls = (ModelCall("c1", "again", "{}"),)
        self.sent_under: list[int] = []

    async def select(self, tenant: TenantId, wishes: Wishes) -> Selection:
        return Selection({"again": self.tool})

    def provider(self, tenant: TenantId, provider_id: str) -> Any:
        return self

    async def call(self, invocation: ToolInvocation) -> AsyncGenerator[ToolReply, None]:
        self.sent_under.append(invocation.context.fence)
        self.calls = ()
        yield ToolReply(ok=True)


class Pausing:
    """Writes to the store; a lease's time goes by just after the first intent was written."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.paused = False

    async def append(self, command: OwnerAppend) -> AppendOutcome:
        outcome = await self.shop.store.append(command)
        if not self.paused and any(isinstance(fact, e.ToolCallStarted) for fact in command.payloads):
            self.paused = True
            self.shop.clock.advance(LaneSettings().lease.total_seconds())
        return outcome


async def test_an_owner_whose_lease_has_ended_sends_nothing_and_hands_over(shop: Shop) -> None:
    world = Tooled()
    async with worker(shop, world, appender=Pausing(shop), renew_every=timedelta(milliseconds=1)):
        run_id = (await shop.turn()).run.run_id
        assert (await ended(shop, run_id)).state is RunState.COMPLETED
    intents = [event.payload for event in await shop.events() if isinstance(event.payload, e.ToolCallStarted)]
    assert [each.attempt for each in intents] == [1, 2]
    assert world.sent_under == [intents[1].fence], "what was meant under the first fence was not sent"
    assert intents[0].fence < intents[1].fence


class Reluctant:
    """A store that does not take the first hand-over."""

    def __init__(self, shop: Shop) -> None:
        self._store = shop.store
        self.asked = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def release_run(self, claim: Claim) -> None:
        self.asked += 1
        if self.asked == 1:
            raise StoreUnavailable("the disk is full")
        await self._store.release_run(claim)


async def test_a_run_that_could_not_be_handed_over_is_handed_over_later(shop: Shop) -> None:
    world, store = Tooled(), Reluctant(shop)
    async with worker(shop, world, appender=Pausing(shop), store=store, renew_every=timedelta(milliseconds=1)):
        run_id = (await shop.turn()).run.run_id
        assert (await ended(shop, run_id)).state is RunState.COMPLETED
    assert len(world.sent_under) == 1
