"""Everything that one cell runs on: runtimes, their store, tools, model, clients, and a folder of journals."""

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from heddle.runtime.v1.run_pb2 import RunState
from heddle.runtime.v1.run_service_pb2 import ListRunsRequest
from tests.faults.clients import Channels, Client
from tests.faults.journal import Journal
from tests.faults.processes import ENDS_WITHIN, Node, Party, Zygote, free_port
from tests.faults.stores import Store
from tests.faults.temper import Temper
from tests.faults.workload import TENANTS, Crowd
from tests.faults.wrong_clock import VARIABLE as CLOCK
from tests.faults.wrong_clock import set_clock

_OPEN = (RunState.RUN_STATE_QUEUED, RunState.RUN_STATE_RUNNING, RunState.RUN_STATE_WAITING)

SETTLES_WITHIN = 90.0
"""Seconds after which the cell gives up waiting; the promise is 60, and the checker holds it to that."""

QUICK = {
    "LANES__LEASE": "PT2S",
    "LANES__RENEW_EVERY": "PT0.5S",
    "LANES__SWEEP_EVERY": "PT0.3S",
    "LANES__CANCEL_GRACE": "PT3S",
    "LANES__DRAIN_GRACE": "PT4S",
    "STREAMS__CHECKPOINT_EVERY": "PT0.5S",
    "LOG_LEVEL": "INFO",
}
"""Settings that make things happen in seconds: leases of 2 s."""


@dataclass
class World:
    """The parts of one cell."""

    folder: Path
    random: Random
    store: Store
    nodes: list[Node]
    crowd: Crowd
    channels: Channels
    supervisor: Journal
    kills: int = 0
    missed: int = 0
    """Times that a failpoint was armed and not reached in time."""
    extras: dict[str, Any] = field(default_factory=dict)
    """Parts that only some cells have: `broker`, `proxy`."""

    async def start(self) -> None:
        """Start every node that does not run."""
        await asyncio.gather(*(node.start() for node in self.nodes if not node.alive))

    async def bustle(self, seconds: float) -> None:
        """Have the crowd at work for a while, and wait until everybody has finished."""
        working = asyncio.create_task(self.crowd.bustle())
        await asyncio.sleep(seconds)
        self.crowd.rest()
        await working

    async def settle(self) -> float:
        """Answer what waits until no run is open; seconds that it took, at most SETTLES_WITHIN."""
        began = time.monotonic()
        self.supervisor.write("healed")
        while time.monotonic() - began < SETTLES_WITHIN:
            answered = await self.crowd.answer_everything()
            if not answered and not await self.open_runs():
                break
            await asyncio.sleep(0.1)
        took = time.monotonic() - began
        self.supervisor.write("settled", seconds=took)
        return took

    async def open_runs(self, states: Sequence["RunState.ValueType"] = _OPEN) -> int:
        """How many runs have not ended, or are in these states; one where a node could not say."""
        found = 0
        for tenant in TENANTS:
            client = Client(f"{tenant}-look", tenant, "ann", self.channels, self.supervisor)
            told = await client.call(0, "runs", "ListRuns", ListRunsRequest(states=states, page_size=50))
            found += len(told.response.runs) if told.ok else 1
        return found

    async def drain(self) -> None:
        """Ask every node to stop, and wait for it; one that does not is killed."""
        for node in self.nodes:
            node.terminate()
        for node in self.nodes:
            if not await node.ended("drained", ENDS_WITHIN):
                self.supervisor.write("down", node=node.name, how="did not drain")
                node.kill()

    def kill_everything(self) -> None:
        """Leave no process behind."""
        for node in self.nodes:
            if node.alive:
                node.thaw()
                node.kill()


@asynccontextmanager
async def world(
    folder: Path,
    seed: int,
    store: Store,
    source: Path,
    *,
    nodes: int = 1,
    temper: Temper | None = None,
    settings: Mapping[str, str] | None = None,
    extras: Mapping[str, Any] | None = None,
    clock_is_set: bool = False,
) -> AsyncGenerator[World]:
    """Build it all, with no node started yet; and take all of it down."""
    random = Random(seed)
    async with AsyncExitStack() as stack:
        clients, supervisor = Journal(folder / "clients.jsonl"), Journal(folder / "supervisor.jsonl")
        async with asyncio.TaskGroup() as starting:  # side by side: each imports for a second or two
            zygote_starts = starting.create_task(asyncio.to_thread(_zygote, stack, source))
            ledger_starts = starting.create_task(asyncio.to_thread(_party, stack, "ledger", folder))
            model_starts = starting.create_task(asyncio.to_thread(_party, stack, "model_server", folder))
        zygote, ledger, model = zygote_starts.result(), ledger_starts.result(), model_starts.result()
        given = {
            **QUICK,
            **store.settings,
            "MODEL": "compatible:loom/loom-1",
            "MODELS__COMPATIBLE": '{"loom": "' + model.said["url"] + '"}',
            **(settings or {}),
        }
        if clock_is_set:
            given[CLOCK.removeprefix("HEDDLE_")] = str(folder / "clock")
            set_clock(folder / "clock", 0)
        made = [Node(f"node{place}", zygote, folder, given, free_port(random), supervisor) for place in range(nodes)]
        channels = Channels([node.address for node in made])
        stack.push_async_callback(channels.close)
        crowd = Crowd(channels, clients, Random(random.getrandbits(32)), nodes, temper or Temper())
        built = World(folder, random, store, made, crowd, channels, supervisor, extras=dict(extras or {}))
        built.extras.update(tools_at=ledger.said["address"], zygote=zygote)
        stack.callback(built.kill_everything)
        yield built


def _party(stack: AsyncExitStack, name: str, folder: Path) -> Party:
    journal = name.removesuffix("_server")
    party = Party([f"tests.faults.{name}", str(folder / f"{journal}.jsonl")], folder / f"{journal}.err")
    stack.callback(party.close)
    return party


def _zygote(stack: AsyncExitStack, source: Path) -> Zygote:
    zygote = Zygote(source)
    stack.callback(zygote.close)
    return zygote
