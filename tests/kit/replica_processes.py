"""Several runtimes in processes of their own, on one PostgreSQL and one NATS: killed, paused, stopped, started."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from heddle_bus.server import NatsServer
from heddle_client.over_grpc import GrpcAgentRuntime, connect
from heddle_grpc.settings import ChannelSettings
from tests.kit.nats import nats_server, wipe
from tests.kit.postgres import shared_server
from tests.kit.replicas import Desk, desk_at
from tests.kit.stores import migrated
from tests.kit.tcp_proxy import TcpProxy, tcp_proxy

ROOT = Path(__file__).parents[2]
QUICK = {"LEASE": "PT2S", "RENEW_EVERY": "PT0.5S", "SWEEP_EVERY": "PT0.2S", "CANCEL_GRACE": "PT1S"}
"""Times of a worker, so that a test need not wait for its death."""


@dataclass
class ReplicaProcess:
    """`python -m heddle_runtime`, and what callers say to it."""

    name: str
    environment: Mapping[str, str]
    log: Path
    port: str = "0"
    process: Process | None = None
    desk: Desk = field(init=False)
    runtime: GrpcAgentRuntime = field(init=False)
    _open: AsyncExitStack = field(default_factory=AsyncExitStack)

    @property
    def worker_id(self) -> str:
        return self.desk.worker_id

    async def start(self) -> None:
        """Start it, and return when it serves; again: on the same port."""
        assert self.process is None
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "heddle_runtime",
                env={**self.environment, "HEDDLE_LISTEN": f"127.0.0.1:{self.port}"},
                stdout=PIPE,
                stderr=log,
            )
        assert self.process.stdout is not None
        async with asyncio.timeout(60):
            line = await self.process.stdout.readline()
        assert line, self.log.read_text()
        said = json.loads(line)
        self.port = said["address"].rpartition(":")[2]
        once = ChannelSettings.model_validate({"attempts": 1})
        self.desk = await self._open.enter_async_context(desk_at(said["address"], said["worker_id"]))
        self.runtime = await self._open.enter_async_context(connect(said["address"], settings=once))

    def signal(self, which: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(which)

    async def ended(self) -> int:
        """Its exit code, once it has ended by a signal that it was sent."""
        assert self.process is not None
        async with asyncio.timeout(30):
            code = await self.process.wait()
        self.process = None
        await self._open.aclose()
        return code

    async def kill(self) -> None:
        """Kill -9; does nothing if it has ended."""
        if self.process is not None:
            self.signal(signal.SIGKILL)
            await self.ended()


@dataclass
class Cluster:
    """Replicas that share everything."""

    a: ReplicaProcess
    b: ReplicaProcess
    c: ReplicaProcess
    database: str
    nats: NatsServer
    way: TcpProxy
    """Through which they reach the broker, whose port changes with each of its starts."""

    async def wipe_nats(self) -> None:
        """Have the broker lose all that it holds; the replicas find it again."""
        await wipe(self.nats)
        self.way.target = port_of(self.nats)
        self.way.cut_all()

    @property
    def all(self) -> tuple[ReplicaProcess, ...]:
        return self.a, self.b, self.c

    def by_worker(self, worker_id: str) -> ReplicaProcess:
        return next(each for each in self.all if each.worker_id == worker_id)


@asynccontextmanager
async def cluster(folder: Path, scenario: str, lanes: Mapping[str, str] | None = None) -> AsyncGenerator[Cluster]:
    """Three replicas on a database and a broker of their own, all of which serve."""
    server = shared_server()
    name = await server.create(await server.template("runtime", migrated))
    file = folder / "scenario.yaml"
    file.write_text(scenario)
    try:
        async with (
            nats_server(folder / "nats") as nats,
            tcp_proxy(port_of(nats)) as way,
            AsyncExitStack() as closing,
        ):
            environment = _environment(
                {
                    "DATABASE": server.url(name),
                    "DATA_DIR": str(folder),
                    "NATS": f"nats://127.0.0.1:{way.port}",
                    "BUS__TOKEN": nats.endpoint().token,
                    "BUS__BYTES_LIMIT": str(64 * 1024**2),
                    "MODEL": f"scripted:{file}",
                    "LOG_LEVEL": "WARNING",
                    "LANES__DRAIN_GRACE": "PT0.1S",
                    **{f"LANES__{key}": value for key, value in (lanes or QUICK).items()},
                }.items()
            )
            a, b, c = (ReplicaProcess(each, environment, folder / f"{each}.log") for each in "abc")
            for replica in (a, b, c):
                closing.push_async_callback(replica.kill)
            async with asyncio.TaskGroup() as starting:
                for replica in (a, b, c):
                    starting.create_task(replica.start())
            yield Cluster(a, b, c, name, nats, way)
    finally:
        await server.drop(name)


def port_of(nats: NatsServer) -> int:
    """Where the broker listens at this moment."""
    return int(nats.endpoint().servers[0].rpartition(":")[2])


def _environment(settings: Iterable[tuple[str, str]]) -> dict[str, str]:
    others = {key: value for key, value in os.environ.items() if not key.startswith("HEDDLE_")}
    paths = os.pathsep.join([str(ROOT / "libs"), str(ROOT / "services")])
    return {**others, "PYTHONPATH": paths, **{f"HEDDLE_{key}": value for key, value in settings}}
