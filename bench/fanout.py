"""How soon a committed event is at a consumer in another process, and how fast an outage is made good.

    python bench/fanout.py [--rate 2000] [--seconds 10] [--threads 200] [--drain 30000] [--json]

A child process commits events to SQLite at a steady rate, three in each commit as a step of a turn does, with the
relay beside it and a bundled NATS. This process consumes the stream, checks that each thread's events come in order,
and compares the time of arrival with that of the commit, by the same clock. For the drain, events are committed while
NATS is down; the time counts from its start to the last event at the consumer.

Goals: p99 at most 25 ms at 2,000 events/s; at least 5,000 events/s.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from statistics import quantiles
from typing import Any

import processes
from processes import BENCH, PYTHON

TENANT = "bench"
EVENTS = 3
"""In one commit: a step's begin, words and end."""
FIRST = 1
"""Where threads begin, as if that had been written before: behind event 1 nobody folds what is committed here."""
PATIENCE = 60.0


# --- this process: the consumer ---


@dataclass
class Writer:
    """The child that commits."""

    process: asyncio.subprocess.Process

    async def tell(self, order: str) -> int:
        """Have it do something; how many events it has committed in all."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(f"{order}\n".encode())
        async with asyncio.timeout(PATIENCE):
            return int(await self.process.stdout.readline())

    @property
    def processor_seconds(self) -> float:
        return processes.processor_seconds(self.process.pid)


@dataclass
class Consumer:
    """Reads the stream, and notes how late each event is."""

    following: Any
    read: int = 0
    late: list[float] = field(default_factory=list[float])
    last: dict[str, int] = field(default_factory=dict[str, int])
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Read until somebody ends it."""
        async for item in self.following:
            self.take(item)
            self.arrived.set()

    async def until(self, committed: int) -> None:
        """Return when so many events are here."""
        async with asyncio.timeout(PATIENCE):
            while self.read < committed:
                self.arrived.clear()
                await self.arrived.wait()

    def take(self, item: Any) -> None:
        headers = getattr(item, "headers", None)
        if headers is None:
            return  # a mark of the outage
        thread, sequence = headers["ce-thread"], int(headers["ce-threadsequence"])
        if sequence <= self.last.get(thread, FIRST):
            return  # again
        if sequence != self.last.get(thread, FIRST) + 1:
            raise processes.Failed(f"{thread}: {sequence} came behind {self.last.get(thread, FIRST)}")
        self.last[thread] = sequence
        self.read += 1
        self.late.append(time.time() - datetime.fromisoformat(headers["ce-time"]).timestamp())


async def measure(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Both measurements, on one server and one log."""
    from heddle_bus import subjects
    from heddle_bus.jetstream import JetStreamBus
    from heddle_bus.server import NatsServer

    async with (
        NatsServer(folder / "nats") as server,
        JetStreamBus(server.endpoint, name="consumer") as bus,
        writing(folder, server.endpoint_file, arguments.threads) as writer,
    ):
        consumer = Consumer(bus.follow((subjects.thread_events(TENANT),), after=None))
        reading = asyncio.create_task(consumer.run())
        await consumer.until(await writer.tell("steady 500 0.5"))
        consumer.late.clear()
        before, began = writer.processor_seconds, consumer.read
        await consumer.until(await writer.tell(f"steady {arguments.rate} {arguments.seconds}"))
        steady, late = consumer.read - began, list(consumer.late)
        steady_cpu = writer.processor_seconds - before
        await server.stop()
        await bus.connection.until(lambda state: not state.connected)
        committed = await writer.tell(f"fill {arguments.drain}")
        before, started = writer.processor_seconds, time.perf_counter()
        drained = committed - consumer.read
        await server.start()
        listening = time.perf_counter()
        await consumer.until(committed)
        ended = time.perf_counter()
        drain_cpu = writer.processor_seconds - before
        await consumer.following.close()
        await reading
    return {
        "rate": arguments.rate,
        "threads": arguments.threads,
        "events": steady,
        "late_ms": percentiles(late),
        "writer_cpu_us_an_event": steady_cpu / steady * 1e6,
        "drained": drained,
        "drain_seconds": ended - started,
        "nats_start_seconds": listening - started,
        "drained_per_second": drained / (ended - started),
        "drain_cpu_us_an_event": drain_cpu / drained * 1e6,
    }


@asynccontextmanager
async def writing(folder: Path, endpoint: Path, threads: int) -> AsyncGenerator[Writer]:
    """The child, until the block is left."""
    with (folder / "writer.log").open("w") as log:
        process = await asyncio.create_subprocess_exec(
            *(PYTHON, str(BENCH / "fanout.py"), "--write", str(folder / "log.db"), "--endpoint", str(endpoint)),
            *("--threads", str(threads)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            env=processes.environment(),
        )
    try:
        yield Writer(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()
        sys.stderr.write((folder / "writer.log").read_text()[-2000:])


def percentiles(late: list[float]) -> dict[str, float]:
    cuts = quantiles(late, n=1000)
    return {"p50": cuts[499] * 1e3, "p99": cuts[989] * 1e3, "p999": cuts[998] * 1e3, "most": max(late) * 1e3}


def table(found: dict[str, Any]) -> str:
    late = found["late_ms"]
    lines = [
        f"{found['events']} events at {found['rate']}/s on {found['threads']} threads",
        f"  commit to consumer    p50 {late['p50']:.1f} ms   p99 {late['p99']:.1f} ms   "
        f"p99.9 {late['p999']:.1f} ms   most {late['most']:.1f} ms",
        f"  writer and relay      {found['writer_cpu_us_an_event']:.0f} us of a processor an event",
        f"drain of {found['drained']} events behind an outage",
        f"  {found['drained_per_second']:.0f} events/s ({found['drain_seconds']:.2f} s with NATS's own start of "
        f"{found['nats_start_seconds']:.2f} s), {found['drain_cpu_us_an_event']:.0f} us of a processor an event",
        f"load of the machine: {', '.join(f'{each:.1f}' for each in found['machine']['load'])}",
    ]
    return "\n".join(lines)


# --- the child: a log, and the relay ---


async def write(path: Path, endpoint: Path, threads: int) -> None:
    """Commit as stdin says, and say how many events there are each time."""
    from heddle_bus.endpoint import read_endpoint
    from heddle_bus.jetstream import JetStreamBus
    from heddle_core.clock import SystemClock
    from heddle_core.ids import WorkerId
    from heddle_database.migrations import migrate
    from heddle_database.sqlite import SqliteDatabase
    from heddle_runtime.codec.facts import event_fact, tombstone_fact
    from heddle_runtime.relay.relay import Relay
    from heddle_runtime.store.relay_store import DatabaseRelayStore
    from heddle_runtime.store.store import Store
    from heddle_runtime.wiring.database import MIGRATIONS

    clock = SystemClock()
    database = await SqliteDatabase.open(path, clock=clock)
    try:
        await migrate(database, MIGRATIONS)
        store = Store(database)
        async with JetStreamBus(lambda: read_endpoint(endpoint), name="writer") as bus:
            relay = Relay(WorkerId("wrk_bench"), DatabaseRelayStore(store), bus, clock, event_fact, tombstone_fact)
            store.log.add_listener(relay.committed)
            async with relay.serving():
                await obey(Commits(store, threads))
    finally:
        await database.close()


async def obey(commits: "Commits") -> None:
    await commits.make_threads()
    while order := (await asyncio.to_thread(sys.stdin.readline)).split():
        if order[0] == "steady":
            await commits.steady(int(order[1]), float(order[2]))
        elif order[0] == "fill":
            await commits.fill(int(order[1]))
        print(commits.count, flush=True)


class Commits:
    """Commits of a step each, on one thread after the other."""

    def __init__(self, store: Any, threads: int) -> None:
        self._store = store
        self._threads = [f"t{number}" for number in range(threads)]
        self._next = 0
        self.count = 0

    async def make_threads(self) -> None:
        def make(writer: Any) -> None:
            writer.tx.many(
                "INSERT INTO threads (tenant, thread_id, status, last_sequence, published_sequence)"
                " VALUES (:tenant, :thread, 1, :first, :first)",
                [{"tenant": TENANT, "thread": thread, "first": FIRST} for thread in self._threads],
            )

        await self._store.write(make)

    async def steady(self, rate: int, seconds: float) -> None:
        """So many events a second, spread evenly."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with asyncio.TaskGroup() as tasks:
            for number in range(round(rate * seconds / EVENTS)):
                due = began + number * EVENTS / rate
                if (wait := due - loop.time()) > 0:
                    await asyncio.sleep(wait)
                tasks.create_task(self._commit())

    async def fill(self, events: int) -> None:
        """So many events, as fast as they go."""
        for _ in range(round(events / EVENTS / 50)):
            await asyncio.gather(*(self._commit() for _ in range(50)))

    async def _commit(self) -> None:
        from heddle_core.ids import MessageId, RunId, StepId, TenantId, ThreadId
        from heddle_core.usage import Usage
        from heddle_runtime.runs.content import Text
        from heddle_runtime.store.log import draft
        from heddle_runtime.threads import events as e

        thread = ThreadId(self._threads[self._next % len(self._threads)])
        self._next += 1
        step, message, run = StepId(f"stp_{self._next}"), MessageId(f"msg_{self._next}"), RunId("run_1")
        payloads = (
            e.StepStarted(step, 1, 1, message),
            e.AssistantMessageCompleted(message, (Text("Words as a model says them. " * 8),)),
            e.StepCompleted(step, 1, "m", Usage(10, 5, model_calls=1)),
        )
        drafts = [draft(run, payload) for payload in payloads]
        await self._store.write(lambda writer: writer.append(writer.lock(TenantId(TENANT), thread), drafts), thread)
        self.count += EVENTS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=int, default=2_000, help="events a second")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--threads", type=int, default=200)
    parser.add_argument("--drain", type=int, default=30_000, help="events that wait when NATS comes back")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--endpoint", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    processes.use_sources()
    if arguments.write:
        asyncio.run(write(arguments.write, arguments.endpoint, arguments.threads))
        return
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(measure(Path(folder), arguments))
    found["machine"] = processes.machine()
    print(json.dumps(found) if arguments.json else table(found))


if __name__ == "__main__":
    main()
