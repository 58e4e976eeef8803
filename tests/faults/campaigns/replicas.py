"""What a sitting runs on: three campaign services on one PostgreSQL with clocks apart, one runtime, one NATS."""

import asyncio
import itertools
import os
import shutil
import sys
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from heddle.campaign.v1alpha1.campaign_service_pb2_grpc import CampaignServiceStub
from heddle.runtime.v1 import agent_pb2, agent_service_pb2
from heddle_client.stubs import RuntimeStubs
from heddle_client.transience import is_passing
from heddle_core.faults import HeddleError
from heddle_grpc.channel import open_channel
from heddle_grpc.settings import ChannelSettings
from tests.faults.journal import Journal
from tests.kit.nats import nats_server
from tests.kit.postgres import PostgresServer
from tests.kit.running_runtime import new_id
from tests.kit.spawn_process import ROOT, ServiceProcess

AHEAD = {"replica_1": -5.0, "replica_2": 0.0, "replica_3": 5.0}
"""Seconds by which the clock of each replica is ahead of the database's, where it is known under the replica's name."""

_WRONG_CLOCK = Path(__file__).parent / "wrong_clock"
_SOURCES = ("libs", "services")
_CALL_SECONDS = 10.0
_PATIENCE_SECONDS = 120.0
_SCENARIO = """
turns:
  - when: {user: "slowly"}
    steps:
      - text: "A piece of it, and a piece of it, and a piece of it, and a piece of it, and the end."
        stream: {pieces: 15, delay_ms: 5000}
  - when: {user: "stumbling"}
    steps:
      - text: "At last."
        fault: {kind: retryable, times: 3}
  - steps:
      - text: "Done."
"""


@dataclass
class Replica:
    """One campaign service that may be down."""

    name: str
    process: ServiceProcess
    campaigns: CampaignServiceStub
    environment: Mapping[str, str]
    up: bool = False

    async def start(self, journal: Journal) -> None:
        """Start it, and return once it serves."""
        began = time.monotonic()
        await self.process.start()
        self.up = True
        journal.write("serves", replica=self.name, seconds=time.monotonic() - began)

    async def kill(self, journal: Journal) -> None:
        """kill -9."""
        self.up = False
        asked = time.time_ns() // 1_000
        await self.process.kill()
        journal.write("killed", replica=self.name, asked=asked)


@dataclass
class Replicas:
    """The parts of one sitting."""

    replicas: tuple[Replica, ...]
    runtime_url: str
    campaign_url: str
    journal: Journal
    _turn: "itertools.count[int]" = field(default_factory=itertools.count)

    async def call(self, method: str, request: Any) -> Any:
        """Ask whichever replica answers; the same request goes to the next one for as long as none does."""
        until = time.monotonic() + _PATIENCE_SECONDS
        while True:
            replica = self.replicas[next(self._turn) % len(self.replicas)]
            try:
                return await getattr(replica.campaigns, method)(request, timeout=_CALL_SECONDS)
            except HeddleError as error:
                if not is_passing(error) or time.monotonic() > until:
                    raise
            await asyncio.sleep(0.1)

    async def harass(self, random: Random, every: float, enough: asyncio.Event) -> None:
        """Kill one replica after the other, and start each again at once; in the end all of them serve."""
        async with asyncio.TaskGroup() as starting:
            while not enough.is_set():
                try:
                    await asyncio.wait_for(enough.wait(), every * random.uniform(0.5, 1.5))
                except TimeoutError:
                    up = [each for each in self.replicas if each.up]
                    if len(up) < 2:  # somebody must be there to go on
                        continue
                    victim = random.choice(up)
                    await victim.kill(self.journal)
                    starting.create_task(victim.start(self.journal))

    async def measure_clock(self, replica: Replica) -> None:
        """Put on record by how much a replica's clock is ahead, as its processes read it."""
        code = "from heddle_core.clock import SystemClock; print(SystemClock().now())"
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, env=replica.environment, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        said = await process.stdout.readline()
        # What the answer takes to come here is within the tenth of a second that is told.
        self.journal.write("clock", replica=replica.name, ahead=round(int(said) / 1_000_000 - time.time(), 1))
        await process.wait()


@asynccontextmanager
async def replicas(folder: Path, sweep_every: float) -> AsyncGenerator[Replicas]:
    """Serve all of it; an agent for each role is made."""
    async with AsyncExitStack() as stack:
        # What serves is a copy: a working tree may change while a sitting goes on.
        for each in _SOURCES:
            shutil.copytree(ROOT / each, folder / each, dirs_exist_ok=True)
        paths = os.pathsep.join(str(folder / each) for each in _SOURCES)
        nats = await stack.enter_async_context(nats_server(folder / "nats"))
        server = PostgresServer()
        stack.callback(server.remove)
        await asyncio.to_thread(server.start)
        runtime_url, campaign_url = server.url(await server.create()), server.url(await server.create())
        for name in AHEAD:
            await server.execute(f"CREATE ROLE {name} SUPERUSER LOGIN")
        scenario = folder / "scenario.yaml"
        scenario.write_text(_SCENARIO)
        broker, token = ",".join(nats.endpoint().servers), nats.endpoint().token
        runtime = _process(
            "heddle_runtime",
            folder / "runtime",
            "HEDDLE_",
            {
                "DATABASE": runtime_url,
                "MODEL": f"scripted:{scenario}",
                "NATS": broker,
                "BUS__TOKEN": token,
                "BUS__BYTES_LIMIT": str(128 * 1024**2),
            },
            {"PYTHONPATH": paths},
        )
        stack.push_async_callback(runtime.kill)
        journal = Journal(folder / "journal.jsonl")
        stack.callback(journal.close)
        given = {
            "NATS": broker,
            "NATS_TOKEN": token,
            "RUNTIME__ADDRESS": runtime.address,
            "SWEEP_EVERY": f"PT{sweep_every}S",
            "CYCLES_PER_TENANT": "500",
        }
        made: list[Replica] = []
        for name, ahead in AHEAD.items():
            own = {**given, "DATABASE": campaign_url.replace("//postgres@", f"//{name}@")}
            clock = {"PYTHONPATH": f"{_WRONG_CLOCK}{os.pathsep}{paths}", "CLOCK_AHEAD_SECONDS": str(ahead)}
            made.append(await _replica(name, folder, own, clock, stack))
        served = Replicas(tuple(made), runtime_url, campaign_url, journal)
        async with asyncio.TaskGroup() as group:
            group.create_task(runtime.start())
            for each in made:
                group.create_task(each.start(journal))
        async with asyncio.TaskGroup() as group:
            group.create_task(_make_agents(runtime.address))
            for each in made:
                group.create_task(served.measure_clock(each))
        yield served


async def _replica(
    name: str, folder: Path, given: Mapping[str, str], clock: Mapping[str, str], stack: AsyncExitStack
) -> Replica:
    process = _process("heddle_campaign", folder / name, "HEDDLE_CAMPAIGN_", given, clock)
    stack.push_async_callback(process.kill)
    channel = open_channel(ChannelSettings(address=process.address, attempts=1))
    stack.push_async_callback(channel.close)
    return Replica(name, process, CampaignServiceStub(channel), {**os.environ, **clock})


def _process(
    module: str, folder: Path, prefix: str, settings: Mapping[str, str], plain: Mapping[str, str]
) -> ServiceProcess:
    def variables(address: str) -> dict[str, str]:
        given = {"DATA_DIR": str(folder), "LISTEN": address, "LOG_LEVEL": "WARNING", **settings}
        return {**{f"{prefix}{name}": value for name, value in given.items()}, **plain}

    return ServiceProcess(module, folder.with_suffix(".log"), variables)


async def _make_agents(address: str) -> None:
    channel = open_channel(ChannelSettings(address=address))
    try:
        stubs = RuntimeStubs.on(channel)
        for role in ("writer", "editor"):
            spec = agent_pb2.AgentSpec(instructions=f"You are the {role}.")
            await stubs.agents.CreateAgent(
                agent_service_pb2.CreateAgentRequest(request_id=new_id(), agent_id=role, spec=spec)
            )
    finally:
        await channel.close()
