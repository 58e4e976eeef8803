"""How a server goes away: it says so, lets streams end themselves, waits for unary calls, and then stops.

gRPC's own `stop(grace)` ends no stream by itself and tells clients nothing that they could act on.
"""

import asyncio
import signal
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import timedelta


class Drain:
    """The shutdown doorbell, and the calls that it waits for."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        """Set when the server begins to go away; a stream handler that sees it raises Draining."""
        self._doorbells: set[asyncio.Event] = set()
        self._unary: set[asyncio.Timeout] = set()
        self._streams: set[asyncio.Timeout] = set()
        self._left = asyncio.Event()

    @property
    def under_way(self) -> int:
        """Calls that have not ended."""
        return len(self._unary) + len(self._streams)

    def begin(self) -> None:
        """Refuse new calls from now on and ring everybody's doorbell. Twice is once."""
        self.started.set()
        for each in self._doorbells:
            each.set()

    @contextmanager
    def ringing(self, doorbell: asyncio.Event) -> Generator[None]:
        """Have `doorbell` set too when the drain starts, for a handler that waits on one event of its own."""
        if self.started.is_set():
            doorbell.set()
        self._doorbells.add(doorbell)
        try:
            yield
        finally:
            self._doorbells.discard(doorbell)

    def enter(self, scope: asyncio.Timeout, *, streaming: bool) -> None:
        """Count a call, which the drain may end through `scope`."""
        (self._streams if streaming else self._unary).add(scope)

    def leave(self, scope: asyncio.Timeout) -> None:
        """The call of `scope` has ended."""
        self._unary.discard(scope)
        self._streams.discard(scope)
        # Cleared before reading by the one who waits, or a ring in between would be lost.
        self._left.set()

    async def finish(self, *, stream_grace: timedelta, grace: timedelta) -> None:
        """Wait until no call is under way.

        Streams that have not ended themselves within `stream_grace`, and unary calls not done within
        `grace`, are ended with Draining; both are counted from now.
        """
        self.begin()
        loop = asyncio.get_running_loop()
        begun = loop.time()
        if not await self._emptied(self._streams, begun + stream_grace.total_seconds()):
            await self._end(self._streams)
        if not await self._emptied(self._unary, begun + grace.total_seconds()):
            await self._end(self._unary)

    async def _end(self, scopes: set[asyncio.Timeout]) -> None:
        now = asyncio.get_running_loop().time()
        for each in tuple(scopes):
            if not each.expired():
                with suppress(RuntimeError):  # Over but for its answer, which is on its way out.
                    each.reschedule(now)
        # A client that does not read can hold up even its own farewell: it gets one second.
        await self._emptied(scopes, now + 1.0)

    async def _emptied(self, scopes: set[asyncio.Timeout], until: float) -> bool:
        try:
            async with asyncio.timeout_at(until):
                while scopes:
                    self._left.clear()
                    await self._left.wait()
        except TimeoutError:
            return not scopes
        return True


@asynccontextmanager
async def asked_by_signal() -> AsyncGenerator[asyncio.Event]:
    """An event that SIGTERM and SIGINT set, through the loop, while the block lasts.

    The handlers are taken away at the first signal, so that a second one ends the process at once.
    """
    loop = asyncio.get_running_loop()
    asked = asyncio.Event()
    signals = (signal.SIGTERM, signal.SIGINT)

    def ask() -> None:
        asked.set()
        for each in signals:
            loop.remove_signal_handler(each)

    for each in signals:
        loop.add_signal_handler(each, ask)
    try:
        yield asked
    finally:
        for each in signals:
            loop.remove_signal_handler(each)
