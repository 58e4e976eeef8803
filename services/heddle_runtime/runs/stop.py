"""How a run hears that it is to stop: whatever it waits for then ends, without a task for every wait."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from types import TracebackType


class Stop(asyncio.Event):
    """Set when a run is cancelled or handed over.

    It takes effect only inside of `within`: everything else a run does, it does to the end.
    """

    def __init__(self) -> None:
        super().__init__()
        self._waits: set[Wait] = set()

    def set(self) -> None:
        """End what is waited for now, and all that will be."""
        super().set()
        for wait in tuple(self._waits):
            wait.end()

    def within(self, seconds: float | None) -> "Wait":
        """A block that ends when the run is to stop, or when `seconds` have passed; None: no such limit."""
        return Wait(self._waits, 0.0 if self.is_set() else seconds)


class Wait:
    """A block of a run that may be cut short: what it waits for is cancelled, and the run goes on behind the block."""

    def __init__(self, waits: "set[Wait]", seconds: float | None) -> None:
        self._waits = waits
        self._scope = asyncio.timeout(seconds)

    @property
    def cut(self) -> bool:
        """Whether the block was told to end. It may have come to its own end all the same."""
        return self._scope.expired()

    def end(self) -> None:
        """Cut it short now."""
        if not self.cut:
            self._scope.reschedule(asyncio.get_running_loop().time())

    async def __aenter__(self) -> "Wait":
        await self._scope.__aenter__()
        self._waits.add(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self._waits.discard(self)
        try:
            await self._scope.__aexit__(kind, error, trace)
        except TimeoutError:
            return True
        return False


@asynccontextmanager
async def following(signal: asyncio.Event) -> AsyncGenerator[Stop]:
    """A stop that is set as soon as `signal` is, while the block lasts."""
    stop = Stop()

    async def follow() -> None:
        await signal.wait()
        stop.set()

    task = asyncio.create_task(follow())
    try:
        if signal.is_set():
            stop.set()
        yield stop
    finally:
        task.cancel()
        await asyncio.wait((task,))
