"""Finds streams whose client has stopped reading: each is to cost bounded memory and end with its cursor."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta

from heddle_core.background import in_background


class Readers:
    """Notes when each write began; one sweep for all streams is cheaper than a timer for every message."""

    def __init__(self, patience: timedelta = timedelta(seconds=30)) -> None:
        """`patience` is how long one write may wait for its reader; it is kept to within a quarter of it."""
        self._patience = patience.total_seconds()
        self._writing: dict[asyncio.Timeout, float] = {}
        self._stalled: set[asyncio.Timeout] = set()

    def write_begins(self, scope: asyncio.Timeout, now: float) -> None:
        """The stream of `scope` hands a message to the transport."""
        self._writing[scope] = now

    def write_ends(self, scope: asyncio.Timeout) -> None:
        """The transport took it."""
        self._writing.pop(scope, None)

    def has_stalled(self, scope: asyncio.Timeout) -> bool:
        """Whether the sweep has ended the stream of `scope`."""
        return scope in self._stalled

    def forget(self, scope: asyncio.Timeout) -> None:
        """The stream of `scope` has ended."""
        self._writing.pop(scope, None)
        self._stalled.discard(scope)

    @asynccontextmanager
    async def watched(self) -> AsyncGenerator[None]:
        """Sweep until the block is left."""
        async with in_background({"ending streams that nobody reads": self._sweep}):
            yield

    async def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._patience / 4)
            now = loop.time()
            for scope, since in tuple(self._writing.items()):
                if now - since > self._patience and not scope.expired():
                    self._stalled.add(scope)
                    scope.reschedule(now)
