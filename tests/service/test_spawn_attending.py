"""What becomes of a child when the runtime refuses, is away, or has gone on: a real store, and a fake runtime."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from heddle_client.values import UNBOUNDED, FactPage, Forecast, NewTurn, Parts, RunState, RunView, Text
from heddle_core.changes import Changes
from heddle_core.clock import ManualClock, Micros
from heddle_core.errors import ServiceUnreachable
from heddle_core.faults import HeddleError
from heddle_core.runtime_errors import (
    AgentNotFound,
    BudgetExceeded,
    CursorTooOld,
    InputAlreadyResolved,
    ParentCancelled,
    RateLimited,
    RequestCancelled,
    RunNotFound,
    ThreadNotFound,
)
from heddle_database.migrations import migrate
from heddle_database.sqlite import SqliteDatabase
from heddle_spawn.facade.attending import REVISED_AFTER, Attending
from heddle_spawn.facade.steps import Agenda
from heddle_spawn.rules.spawns import Spawn, SpawnResult, Waiter
from heddle_spawn.rules.states import SpawnState, Stop, Told
from heddle_spawn.store.store import Store
from heddle_spawn.wiring import MIGRATIONS
from tests.kit.spawn_values import HERE, run_of, spawn_of

SWEEP = timedelta(seconds=10)
DAY = REVISED_AFTER


@dataclass
class FakeRuns:
    """Says what it was told to say, and keeps what it was asked."""

    run: RunView
    refusals: dict[str, list[HeddleError]] = field(default_factory=dict[str, list[HeddleError]])
    asked: list[str] = field(default_factory=list[str])
    unsent: bool = False
    answers: list[tuple[Parts, bool]] = field(default_factory=list[tuple[Parts, bool]])

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        waiting = self.refusals.get(what)
        if waiting:
            raise waiting.pop(0)

    async def start(self, prepared: bytes) -> RunView:
        self._ask("start")
        return self.run

    async def forecast(self, turn: NewTurn) -> Forecast:
        self._ask("forecast")
        return Forecast(turn.agent_id, 1, ())

    async def cancel(self, run_id: str, *, request_id: str, note: str = "") -> None:
        self._ask("cancel")
        self.run = replace(self.run, state=RunState.CANCELLED)

    async def cancel_start(self, turn_request_id: str, *, request_id: str, note: str = "") -> RunView | None:
        self._ask("cancel_start")
        return None if self.unsent else self.run

    async def answer(
        self, input_id: str, parts: Parts, *, request_id: str, is_error: bool = False, token: str = ""
    ) -> None:
        self._ask("answer")
        self.answers.append((parts, is_error))

    async def report(self, input_id: str, message: str, fraction: float, *, request_id: str, token: str = "") -> None:
        self._ask("report")

    async def get(self, run_id: str) -> RunView:
        self._ask("get")
        return self.run if run_id == self.run.run_id else run_of(run_id=run_id)

    async def open_children(self, run_id: str, *, most: int = 1_000) -> tuple[RunView, ...]:
        return ()

    async def facts(self, thread_id: str, *, run_id: str, after: int, most: int = 500) -> FactPage:
        self._ask("facts")
        return FactPage((), after, after)

    async def tools_allowed(self, run: RunView) -> tuple[str, ...]:
        return ()

    async def heads(self, thread_id: str, *, after: int) -> AsyncGenerator[int, None]:
        yield after


@dataclass
class Ward:
    """One child, what looks after it, and what the runtime says."""

    attending: Attending
    store: Store
    clock: ManualClock
    runs: FakeRuns
    turns: list[NewTurn] = field(default_factory=list[NewTurn])

    async def admit(self, **fields: Any) -> Spawn:
        given: dict[str, Any] = {
            "state": SpawnState.PENDING,
            "create_time": self.clock.now(),
            "deadline_at": Micros(self.clock.now() + 3_600_000_000),
            "due": self.clock.now(),
            "origin": replace(HERE, waiter=Waiter("inp_1", "secret")),
            "told": Told.NOT_YET,
            **fields,
        }
        spawn = spawn_of("k", given.pop("state"), **given)
        await self.store.record(None, [spawn], None)
        return spawn

    async def attend(self, spawn: Spawn) -> Spawn:
        return await self.attending.attend(await self.now(spawn))

    async def now(self, spawn: Spawn) -> Spawn:
        found = await self.store.spawn(spawn.tenant, spawn.spawn_id)
        assert found is not None
        return found


@pytest_asyncio.fixture(name="ward")
async def opened(tmp_path: Path) -> AsyncGenerator[Ward]:
    clock = ManualClock()
    database = await SqliteDatabase.open(tmp_path / "spawn.db", clock=clock)
    await migrate(database, MIGRATIONS)
    store = Store(database, SWEEP, Changes())
    runs = FakeRuns(run_of(run_id="run_child", thread_id="thr_child", agent_id="worker"))
    turns: list[NewTurn] = []

    def prepare(turn: NewTurn) -> bytes:
        turns.append(turn)
        return turn.request_id.encode()

    try:
        yield Ward(Attending(store, lambda _: runs, prepare, clock, Agenda(clock, SWEEP)), store, clock, runs, turns)
    finally:
        await database.close()


def away() -> ServiceUnreachable:
    return ServiceUnreachable("the runtime", "gone")


async def test_while_the_runtime_is_away_it_is_asked_less_and_less_often_and_always_for_the_same(ward: Ward) -> None:
    spawn = await ward.admit()
    ward.runs.refusals["start"] = [away(), RateLimited("ada", 30), away()]
    pauses: list[int] = []
    for _ in range(3):
        later = await ward.attend(spawn)
        assert later.state is SpawnState.PENDING
        pauses.append(later.due - ward.clock.now())
    assert pauses == [1_000_000, 2_000_000, 1_000_000], "never less than the server asks for"
    started = await ward.attend(spawn)
    assert (started.state, started.run_id, started.tries) == (SpawnState.RUNNING, "run_child", 0)
    assert len(ward.turns) == 1, "the turn is fixed once"


@pytest.mark.parametrize(
    ("refusal", "state", "reason"),
    [
        (AgentNotFound("worker"), SpawnState.FAILED, "AGENT_NOT_FOUND"),
        (BudgetExceeded("run_1", "tokens", "0", "some"), SpawnState.FAILED, "BUDGET_EXCEEDED"),
        (ParentCancelled("run_1"), SpawnState.CANCELLED, "PARENT_CANCELLED"),
        (RequestCancelled("req"), SpawnState.CANCELLED, "REQUEST_CANCELLED"),
    ],
)
async def test_a_refused_start_ends_the_child_and_is_told(
    ward: Ward, refusal: HeddleError, state: SpawnState, reason: str
) -> None:
    spawn = await ward.admit()
    ward.runs.refusals["start"] = [refusal]
    ended = await ward.attend(spawn)
    assert (ended.state, ended.told) == (state, Told.TOLD)
    assert ended.failure is not None
    assert ended.failure.reason == reason
    assert ended.failure.message == str(refusal)
    assert ward.runs.answers[0][1], "told as an error"


@pytest.mark.parametrize("unsent", [True, False])
async def test_a_child_cancelled_after_its_turn_was_fixed_is_stopped_whether_it_was_sent_or_not(
    ward: Ward, unsent: bool
) -> None:
    spawn = await ward.admit()
    ward.runs.refusals["start"] = [away()]
    fixed = await ward.attend(spawn)
    await ward.store.save_spawn(fixed, replace(fixed, stop=Stop.ASKED))
    ward.runs.unsent = unsent
    ended = await ward.attend(spawn)
    assert ended.state is SpawnState.CANCELLED
    assert ended.run_id == ("" if unsent else "run_child")
    assert ward.runs.asked.count("start") == 1
    assert ("cancel" in ward.runs.asked) is not unsent


async def test_past_its_deadline_a_child_that_never_started_is_timed_out(ward: Ward) -> None:
    spawn = await ward.admit()
    ward.runs.refusals["start"] = [away()]
    await ward.attend(spawn)
    ward.clock.advance(3_601)
    ward.runs.unsent = True
    assert (await ward.attend(spawn)).state is SpawnState.TIMED_OUT


async def test_a_parent_that_has_gone_on_is_not_told_again(ward: Ward) -> None:
    ward.runs.run = replace(ward.runs.run, state=RunState.COMPLETED, parts=(Text("done"),))
    ward.runs.refusals["answer"] = [away(), InputAlreadyResolved("inp_1", "CANCELLED", "the runtime")]
    spawn = await ward.admit()
    waiting = await ward.attend(spawn)
    assert (waiting.state, waiting.told) == (SpawnState.COMPLETED, Told.NOT_YET)
    assert waiting.due > ward.clock.now()
    told = await ward.attend(spawn)
    assert told.told is Told.REFUSED
    await ward.attend(spawn)
    assert ward.runs.asked.count("answer") == 2


async def test_a_run_that_is_gone_ends_its_child_without_its_words(ward: Ward) -> None:
    spawn = await ward.admit()
    await ward.attend(spawn)
    ward.runs.refusals["get"] = [RunNotFound("run_child")]
    ward.runs.refusals["facts"] = [ThreadNotFound("thr_child", deleted=True)]
    ended = await ward.attend(spawn)
    assert (ended.state, ended.told) == (SpawnState.FAILED, Told.TOLD)
    assert ended.failure is not None
    assert ended.failure.reason == "RUN_NOT_FOUND"
    assert ended.spec.task == ()


async def test_a_run_that_a_restored_runtime_does_not_know_ends_its_child_and_erases_nothing(ward: Ward) -> None:
    spawn = await ward.admit()
    await ward.attend(spawn)
    ward.runs.refusals["get"] = [RunNotFound("run_child")]
    ward.runs.refusals["facts"] = [ThreadNotFound("thr_child"), ThreadNotFound("thr_1")]
    ended = await ward.attend(spawn)
    assert (ended.state, ended.told) == (SpawnState.FAILED, Told.TOLD)
    assert ended.spec == spawn.spec
    ward.clock.advance(2 * 86_400)
    ward.runs.refusals["facts"] = [ThreadNotFound("thr_child"), CursorTooOld(0, 9)]
    assert (await ward.attend(ended)).spec == spawn.spec
    assert ward.runs.refusals["facts"] == []


async def test_an_ended_child_is_looked_at_more_and_more_rarely_and_forgotten_with_its_thread(ward: Ward) -> None:
    ended = await ward.admit(
        state=SpawnState.COMPLETED,
        told=Told.NOBODY_WAITS,
        run_id="run_child",
        thread_id="thr_child",
        end_time=ward.clock.now(),
        result=SpawnResult((Text("secret"),)),
    )
    assert await ward.attend(ended) == ended, "too young"
    assert ward.runs.asked == []
    for days in (1, 2, 4):
        ward.clock.advance(days * 86_400 - (ward.clock.now() - ended.end_time) / 1_000_000)
        await ward.attend(ended)
        assert (await ward.now(ended)).due == ward.clock.now() + days * DAY
    ward.clock.advance(4 * 86_400)
    ward.runs.refusals["facts"] = [ThreadNotFound("thr_child", deleted=True)]
    left = await ward.attend(ended)
    assert (left.spec.task, left.result, left.due) == ((), None, 0)
    assert left.spec.spawn_key == "k"


async def test_a_child_of_a_bounded_parent_asks_for_its_share_and_of_an_unbounded_one_for_nothing(ward: Ward) -> None:
    await ward.attend(await ward.admit())
    parent = ward.turns[0].parent
    assert parent is not None
    assert (parent.run_id, parent.cascade, parent.budget) == ("run_1", True, UNBOUNDED)
