"""Follows every thread from another process: each event once, in order, and after a restart where it had stopped.

heddle up
python examples/consume_events.py .heddle/nats/endpoint.json seen.db
"""

import asyncio
import json
import sqlite3
import sys
from pathlib import Path

from heddle_bus.endpoint import read_endpoint
from heddle_bus.events import Deleted, Event, Hole, ThreadPlace
from heddle_bus.jetstream import JetStreamBus
from heddle_bus.port import Gap, StreamPosition
from heddle_client.consuming import consume
from heddle_client.over_grpc import GrpcAgentRuntime
from heddle_client.stubs import RuntimeStubs
from heddle_grpc.channel import open_channel
from heddle_grpc.settings import ChannelSettings


class Seen:
    """What was dealt with: kept in the database that the events lead to, and moved on in the same transaction."""

    def __init__(self, path: str) -> None:
        self.db = sqlite3.connect(path)
        self.db.execute("CREATE TABLE IF NOT EXISTS places (thread TEXT PRIMARY KEY, epoch INTEGER, sequence INTEGER)")
        self.db.execute(
            "CREATE TABLE IF NOT EXISTS stream (one INTEGER PRIMARY KEY, created INTEGER, sequence INTEGER)"
        )

    async def find_place(self, tenant: str, thread: str) -> ThreadPlace | None:
        key = f"{tenant}/{thread}"
        row = self.db.execute("SELECT epoch, sequence FROM places WHERE thread = ?", (key,)).fetchone()
        return ThreadPlace(*row) if row else ThreadPlace(0, 0)  # a thread we never met: from its first event on

    def position(self) -> StreamPosition | None:
        row = self.db.execute("SELECT created, sequence FROM stream").fetchone()
        return StreamPosition(*row) if row else None

    def move_on(self, event: Event) -> None:
        with self.db:
            # What the event leads to in this database goes here.
            place = (f"{event.origin.tenant}/{event.origin.thread}", event.place.log_epoch, event.place.sequence)
            self.db.execute("INSERT OR REPLACE INTO places VALUES (?, ?, ?)", place)
            position = (1, event.position.created, event.position.sequence)
            self.db.execute("INSERT OR REPLACE INTO stream VALUES (?, ?, ?)", position)


async def main(endpoint: Path, seen: Seen, address: str) -> None:
    channel = open_channel(ChannelSettings(address=address))
    runtime = GrpcAgentRuntime(RuntimeStubs.on(channel))
    async with (
        JetStreamBus(lambda: read_endpoint(endpoint), name="example", keeps_stream=False) as bus,
        consume(bus, runtime, after=seen.position(), find_place=seen.find_place) as events,
    ):
        async for item in events:
            match item:
                case Event(origin, event):
                    kind = event.WhichOneof("payload")
                    print(json.dumps([origin.thread, origin.sequence, kind]), flush=True)
                    seen.move_on(item)
                case Deleted(tenant, thread):
                    print(f"{tenant}/{thread} is gone", file=sys.stderr)
                case Hole(_, thread, after, before):
                    print(f"{thread}: {after + 1} to {before - 1} were trimmed: GetSnapshot", file=sys.stderr)
                case Gap(reason):
                    print(f"the bus may have lost events ({reason.value}): ask the log", file=sys.stderr)
    await channel.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Seen(sys.argv[2]), sys.argv[3] if sys.argv[3:] else "127.0.0.1:7233"))
