"""The work on cycles with a real store and a runtime that is played step by step."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from heddle_campaign.facade.cycle_work import CycleWork
from heddle_campaign.facade.firing import trigger
from heddle_campaign.rules.campaigns import Campaign
from heddle_campaign.rules.cycles import Cycle, CycleTurn
from heddle_campaign.rules.queue import Bounds
from heddle_campaign.rules.states import CycleState
from heddle_client.values import FactPage, Forecast, NewThread, NewTurn, RunState, RunView, Text
from heddle_core.errors import (
    RequestIdReused,
    ServiceUnreachable,
)
from heddle_core.faults import HeddleError
from heddle_core.usage import MicroUsd as Cost
from heddle_core.usage import Usage
from tests.kit.campaign_stores import ACME, LEASE, Campaigns, on_sqlite
from tests.kit.campaign_values import WRITER
from tests.kit.spawn_values import run_of


@dataclass
class FakeRuns:
    """Starts one run a request, and keeps what it was asked; the test says how a run goes on."""

    runs: dict[str, RunView] = field(default_factory=dict[str, RunView])
    sent: list[bytes] = field(default_factory=list[bytes])
    asked: list[str] = field(default_factory=list[str])
    refusals: dict[str, list[HeddleError]] = field(default_factory=dict[str, list[HeddleError]])
    lost: list[HeddleError] = field(default_factory=list[HeddleError])
    """Answers to starts that never arrive: the run is there all the same."""
    threads: list[NewThread] = field(default_factory=list[NewThread])
    """Those that were asked for, in order."""
    cancels: dict[str, str] = field(default_factory=dict[str, str])
    """What each request id was used for."""

    def _know(self, request_id: str, body: str) -> None:
        if self.cancels.setdefault(request_id, body) != body:
            raise RequestIdReused(request_id, "CancelRun")

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        waiting = self.refusals.get(what)
        if waiting:
            raise waiting.pop(0)

    async def open_thread(self, thread: NewThread) -> None:
        self.threads.append(thread)
        self._ask("open_thread")

    async def start(self, prepared: bytes) -> RunView:
        self.sent.append(prepared)
        self._ask("start")
        number = len(self.runs) + 1
        made = run_of(run_id=f"run_{number}", thread_id=f"thr_{number}", request_sequence=2)
        run = self.runs.setdefault(prepared.decode(), made)
        if self.lost:
            raise self.lost.pop(0)
        return run

    async def forecast(self, turn: NewTurn) -> Forecast:
        return Forecast(turn.agent_id, 1, ())

    async def cancel(self, run_id: str, *, request_id: str, note: str = "") -> None:
        self._ask("cancel")
        self._know(request_id, f"run {run_id}: {note}")
        if not self.of(run_id).state.terminal:
            self.goes_on(run_id, state=RunState.CANCELLED)

    async def cancel_start(self, turn_request_id: str, *, request_id: str, note: str = "") -> RunView | None:
        self._ask("cancel_start")
        self._know(request_id, f"start {turn_request_id}: {note}")
        run = self.runs.get(turn_request_id)
        if run is not None and not run.state.terminal:
            self.goes_on(run.run_id, state=RunState.CANCELLED)
        return self.runs.get(turn_request_id)

    async def get(self, run_id: str) -> RunView:
        self._ask("get")
        return self.of(run_id)

    async def facts(self, thread_id: str, *, run_id: str, after: int, most: int = 500) -> FactPage:
        return FactPage((), after, after)

    async def heads(self, thread_id: str, *, after: int) -> AsyncGenerator[int, None]:
        yield after

    def of(self, run_id: str) -> RunView:
        return next(each for each in self.runs.values() if each.run_id == run_id)

    def goes_on(self, run_id: str, **fields: Any) -> None:
        """Have a run stand otherwise from now on."""
        for request_id, run in self.runs.items():
            if run.run_id == run_id:
                self.runs[request_id] = replace(run, **fields)

    def fails(self, run_id: str, reason: str, **fields: Any) -> None:
        self.goes_on(run_id, state=RunState.FAILED, failure_reason=reason, failure_message="it broke", **fields)

    def ends(self, run_id: str, text: str = "Done.", cost: int = 0) -> None:
        usage = Usage(cost=Cost(cost))
        self.goes_on(run_id, state=RunState.COMPLETED, parts=(Text(text),), usage=usage)


@dataclass
class Desk:
    """One worker at a store, the runtime's words, and what was learned."""

    campaigns: Campaigns
    runs: FakeRuns
    work: CycleWork
    learned: list[tuple[str, CycleState]]
    unlearned: list[HeddleError]
    prepared: list[NewTurn] = field(default_factory=list[NewTurn])
    """What turns were to be asked, in order."""

    async def begin(self, **settings: Any) -> Cycle:
        """A cycle by hand that this worker has claimed."""
        given: dict[str, Any] = {"agents": (WRITER,), **settings}
        await self.campaigns.activate(**given)
        return await self.next()

    async def next(self, **fields: Any) -> Cycle:
        decided = await self.campaigns.store.decide(ACME, "c1", partial(trigger, **fields))
        (cycle,) = (await self.campaigns.store.claim("w1", 10, Bounds(), LEASE)).cycles
        assert cycle.cycle_id == decided.cycles[0].cycle_id
        return cycle

    async def attend(self, cycle: Cycle) -> Cycle:
        return await self.work.attend(await self.campaigns.cycle(cycle))

    async def stop(self, cycle: Cycle) -> None:
        await self.campaigns.store.request_stop(ACME, cycle.cycle_id, "enough")


@asynccontextmanager
async def desk_on(folder: Path) -> AsyncGenerator[Desk]:
    """A desk with a store in `folder`."""
    async with on_sqlite(folder) as campaigns:
        runs = FakeRuns()
        learned: list[tuple[str, CycleState]] = []
        unlearned: list[HeddleError] = []

        async def remember(campaign: Campaign, cycle: Cycle, turn: CycleTurn) -> None:
            if unlearned:
                raise unlearned.pop(0)
            stored = await campaigns.cycle(cycle)
            learned.append((turn.run_id, stored.state))

        prepared: list[NewTurn] = []

        def prepare(turn: NewTurn) -> bytes:
            prepared.append(turn)
            return turn.request_id.encode()

        work = CycleWork(campaigns.store, campaigns.memories, lambda _: runs, prepare, remember, LEASE)
        yield Desk(campaigns, runs, work, learned, unlearned, prepared)


def away() -> HeddleError:
    return ServiceUnreachable("the runtime", "gone")


def only(cycle: Cycle) -> CycleTurn:
    (turn,) = cycle.turns
    return turn
