"""A campaign with a cycle at work, on a real store, beside a runtime that is played: for what is learned from runs."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from heddle_campaign.facade.forgetting import Forgetting
from heddle_campaign.facade.ports.runs import Runs
from heddle_campaign.facade.remembering import Remembering
from heddle_campaign.rules.cycles import Cycle, CycleTurn, Signal
from heddle_campaign.rules.learned import Learned, PeerMessage
from heddle_campaign.rules.states import CycleState, TurnState
from heddle_client.values import UNBOUNDED, FactPage, RunFact, RunState, RunView, Text
from heddle_core.clock import Micros
from heddle_core.faults import HeddleError
from heddle_core.requests import Creator
from heddle_core.runtime_errors import RunNotFound, ThreadNotFound
from heddle_core.usage import NOTHING
from tests.kit.campaign_stores import ACME, NOW, Campaigns, cycle_of, on_sqlite

SOON = 20.0
DAY = 86_400
SIGNAL = Signal("post_metrics", "{}", "week-12", NOW)


@dataclass
class Runtime:
    """Stands in for the runtime: runs and their facts, threads that are gone, and what it was asked."""

    runs: dict[str, RunView] = field(default_factory=dict)
    facts_of: dict[str, list[RunFact]] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)
    """Threads of which only a tombstone is left."""
    asked: list[str] = field(default_factory=list)
    creators: set[Creator] = field(default_factory=set)
    fault: HeddleError | None = None
    looked: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, run_id: str = "run_1", *, kinds: Sequence[str] = (), **fields: Any) -> RunView:
        """A run in a thread of its own, and its facts from sequence 3 on."""
        thread_id = fields.pop("thread_id", run_id.replace("run", "thread"))
        given = {"state": RunState.COMPLETED, "root_run_id": run_id, "parts": (Text("Done."),), **fields}
        run = RunView(
            run_id=run_id,
            thread_id=thread_id,
            agent_id="agent_writer",
            agent_version=1,
            parent_run_id="",
            depth=0,
            usage=NOTHING,
            limits=UNBOUNDED,
            request_sequence=3,
            end_time=NOW,
            **given,
        )
        self.runs[run_id] = run
        listed = kinds or ("turn_requested", "run_started", "step_started", "run_completed")
        self.facts_of[run_id] = [RunFact(sequence, kind) for sequence, kind in enumerate(listed, start=3)]
        return run

    def of(self, creator: Creator) -> Runs:
        self.creators.add(creator)
        return cast(Runs, self)

    async def get(self, run_id: str) -> RunView:
        if self.fault is not None:
            raise self.fault
        if run_id not in self.runs:
            raise RunNotFound(run_id)
        return self.runs[run_id]

    async def facts(self, thread_id: str, *, run_id: str, after: int, most: int = 500) -> FactPage:
        self.asked.append(thread_id)
        self.looked.set()
        if self.fault is not None:
            raise self.fault
        here = [each for each in self.runs.values() if run_id in ("", each.run_id) and each.thread_id == thread_id]
        if not here:
            raise ThreadNotFound(thread_id, thread_id in self.deleted)
        facts = self.facts_of[here[0].run_id]
        page = [each for each in facts if each.sequence > after][:most]
        last = facts[-1].sequence
        return FactPage(tuple(page), page[-1].sequence if page else last, last)


@dataclass
class World:
    """One campaign with a cycle at work, on a real store, beside a runtime that is played."""

    campaigns: Campaigns
    runtime: Runtime
    cycle: Cycle

    @property
    def remembering(self) -> Remembering:
        return Remembering(self.runtime.of, self.campaigns.memories)

    def forgetting(self, **settings: Any) -> Forgetting:
        return Forgetting(self.campaigns.store, self.campaigns.memories, self.runtime.of, **settings)

    async def remember(self) -> None:
        await self.remembering.remember(await self.campaigns.campaign(), self.cycle, self.cycle.turns[0])

    async def known(self, campaign_id: str = "c1") -> dict[str, Learned]:
        return {each.memory.memory_id: each for each in await self.campaigns.memories.known(ACME, campaign_id)}

    async def told(self) -> tuple[PeerMessage, ...]:
        return await self.campaigns.memories.messages(ACME, "c1", since=Micros(0), most=100)


def turn(role: str = "writer", run_id: str = "run_1", thread_id: str = "thread_1") -> CycleTurn:
    return CycleTurn(role, f"agent_{role}", TurnState.RUNNING, run_id=run_id, thread_id=thread_id, request_sequence=3)


@asynccontextmanager
async def cycle_at_work(folder: Path) -> AsyncIterator[World]:
    """A world whose one cycle has one turn."""
    async with on_sqlite(folder) as campaigns:
        await campaigns.activate()
        (cycle,) = await campaigns.add(cycle_of(state=CycleState.RUNNING, platform="instagram", turns=(turn(),)))
        yield World(campaigns, Runtime(), cycle)
