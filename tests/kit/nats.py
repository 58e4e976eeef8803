"""A real nats-server for tests, and what may happen to it."""

import os
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from heddle_bus.jetstream import JetStreamBus
from heddle_bus.port import Bus
from heddle_bus.server import NatsServer, ServerSettings
from heddle_bus.stream import StreamSettings

SMALL_SERVER = ServerSettings(store_bytes=256 * 1024**2, memory_bytes=32 * 1024**2)
SMALL_STREAM = StreamSettings(bytes_limit=64 * 1024**2)


@asynccontextmanager
async def nats_server(folder: Path) -> AsyncIterator[NatsServer]:
    """A server of its own in `folder`, ended with the block."""
    async with NatsServer(folder, SMALL_SERVER) as server:
        yield server


@asynccontextmanager
async def jetstream_bus(server: NatsServer, stream: StreamSettings = SMALL_STREAM) -> AsyncIterator[Bus]:
    """A bus that is connected, and whose stream is ready."""
    async with JetStreamBus(server.endpoint, name="test", stream=stream) as bus:
        await bus.connection.until(lambda state: state.durable)
        yield bus


async def kill(server: NatsServer) -> None:
    """Kill -9; returns when its keeper has it listening again."""
    pid = server.running.value
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await server.running.until(lambda now: now not in (None, pid))


async def wipe(server: NatsServer) -> None:
    """Stop it, lose its disk, start it."""
    await server.stop()
    shutil.rmtree(server.store)
    await server.start()
