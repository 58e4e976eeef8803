"""The NATS that `heddle up` brings along: a child process beside the data, started before anything else is loaded."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from heddle_bus.server import NatsServer
from heddle_core.faults import HeddleError

_log = logging.getLogger(__name__)

_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 30.0


@asynccontextmanager
async def bundled_nats(folder: Path) -> AsyncGenerator[NatsServer]:
    """The server with its data in `folder`, until the block is left. It comes up while the block goes on.

    To be entered on the main thread: where the kernel can, it ends the server with the thread that started it. A server
    that cannot be started is told of in the log and tried again; events are published once it is there.
    """
    server = NatsServer(folder)
    try:
        await server.begin()
    except (HeddleError, OSError) as fault:
        _log.info("nats-server: %s", fault)
    starting = asyncio.create_task(_start(server))
    try:
        yield server
    finally:
        starting.cancel()
        await asyncio.wait([starting])
        await server.stop()


async def _start(server: NatsServer) -> None:
    """Have it running, however often that has to be tried; from then on it keeps itself running."""
    pause = _FIRST_PAUSE_SECONDS
    while True:
        try:
            await server.start()
        except (HeddleError, OSError) as fault:
            await asyncio.sleep(pause)
            _log.warning("events wait, since nats-server does not start: %s", fault)
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
        else:
            return
