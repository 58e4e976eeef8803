"""A real nats-server for tests, what may happen to it, and both kinds of bus behind one face."""

import os
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Protocol

from heddle_bus.jetstream import JetStreamBus
from heddle_bus.memory import MemoryBus, MemoryServer
from heddle_bus.port import Bus
from heddle_bus.server import NatsServer, ServerSettings
from heddle_bus.stream import StreamSettings
from heddle_core.clock import ManualClock

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


class World(Protocol):
    """A server that the test may harm, and buses on it."""

    async def bus(self) -> Bus: ...

    async def stop(self) -> None: ...

    async def start(self) -> None: ...

    async def wipe(self) -> None: ...


class MemoryWorld:
    def __init__(self, closing: AsyncExitStack) -> None:
        self.server = MemoryServer(ManualClock())
        self._closing = closing

    async def bus(self) -> Bus:
        return await self._closing.enter_async_context(MemoryBus(self.server))

    async def stop(self) -> None:
        self.server.stop()

    async def start(self) -> None:
        self.server.start()

    async def wipe(self) -> None:
        self.server.stop()
        self.server.wipe()
        self.server.start()


class JetStreamWorld:
    def __init__(self, closing: AsyncExitStack, server: NatsServer) -> None:
        self.server = server
        self._closing = closing

    async def bus(self) -> Bus:
        return await self._closing.enter_async_context(jetstream_bus(self.server))

    async def stop(self) -> None:
        await self.server.stop()

    async def start(self) -> None:
        await self.server.start()

    async def wipe(self) -> None:
        await wipe(self.server)


@asynccontextmanager
async def bus_world(kind: str, folder: Path) -> AsyncIterator[World]:
    """The world of one implementation: `memory` or `jetstream`."""
    async with AsyncExitStack() as closing:
        if kind == "memory":
            yield MemoryWorld(closing)
        else:
            yield JetStreamWorld(closing, await closing.enter_async_context(nats_server(folder)))
