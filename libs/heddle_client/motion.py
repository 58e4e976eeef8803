"""The motion of a service that follows runs: what is open is looked at when it is due, and at once when a bell rings.

Whoever has such a service says what looking means, and what a sweep takes from its store; bells only make it faster.
What no bell tells is found by the sweep, so several processes share the work, and one that dies leaves nothing undone.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Generic, TypeVar

from heddle_core.clock import MICROS_PER_SECOND, Clock
from heddle_core.faults import HeddleError
from heddle_core.log_lines import LogLines

K = TypeVar("K", bound=Hashable)

SHORTEST = 0.01
"""Seconds between two sweeps at least, however much is due."""

_AFTER_FAILURE = 1.0
"""Seconds until the next sweep, where the store could not be asked."""

_NEVER = 1 << 62

_log = LogLines(__name__)

Heads = Callable[[], AsyncGenerator[int, None]]
"""Begins to listen to a thread: each number it yields is a ring."""


@dataclass(frozen=True, slots=True)
class MotionSettings:
    """How much is done at the same time."""

    sweep_every: timedelta = timedelta(seconds=10)
    at_once: int = 64
    """Things that are looked at side by side."""
    most_watched: int = 256
    """Threads that are watched live; what happens in others is found by doorbells and sweeps."""


@dataclass(slots=True)
class _UnderWay(Generic[K]):
    """What is under way while the service runs."""

    slots: asyncio.Semaphore
    tasks: set[asyncio.Task[None]] = field(default_factory=set["asyncio.Task[None]"])
    busy: set[K] = field(default_factory=set[K])
    again: set[K] = field(default_factory=set[K])
    watching: dict[tuple[K, str], asyncio.Task[None]] = field(default_factory=dict[tuple[K, str], "asyncio.Task[None]"])

    def begin(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Start a task that ends with the service at the latest."""
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task


class Motion(Generic[K]):
    """Looks at things by their keys: several side by side, and each by one look at a time."""

    def __init__(
        self,
        look: Callable[[K], Awaitable[None]],
        sweep: Callable[[], Awaitable[float]],
        clock: Clock,
        settings: MotionSettings,
    ) -> None:
        """`look` does what can be done for one thing now. `sweep` rings for what is due; seconds until the next one."""
        self._look_at = look
        self._take = sweep
        self._clock = clock
        self._settings = settings
        self._under_way: _UnderWay[K] | None = None
        self._wake = asyncio.Event()
        self._wake_at = 0

    @asynccontextmanager
    async def serving(self) -> AsyncGenerator[None]:
        """Go round until the block is left. What is under way then is left as it is on record."""
        under_way = self._under_way = _UnderWay[K](asyncio.Semaphore(self._settings.at_once))
        under_way.begin(self._sweep())
        try:
            yield
        finally:
            self._under_way = None
            while under_way.tasks:
                for task in under_way.tasks:
                    task.cancel()
                await asyncio.wait(under_way.tasks)

    @property
    def room(self) -> int:
        """How much more can be looked at now. When none was left, a sweep follows as soon as half is free again."""
        busy = len(self._under_way.busy) if self._under_way is not None else 0
        return max(0, self._settings.at_once - busy)

    def ring(self, key: K) -> None:
        """Have something looked at: now, or once more if it is being looked at."""
        under_way = self._under_way
        if under_way is None:
            return
        if key in under_way.busy:
            under_way.again.add(key)
            return
        under_way.busy.add(key)
        under_way.begin(self._look(under_way, key))

    def sweep_now(self) -> None:
        """Look for what is due: somebody may have rung while nobody could hear."""
        self._wake.set()

    def note_due(self, due: int) -> None:
        """Something is due then, in microseconds since 1970: the next sweep is no later. Zero: never."""
        if due and due < self._wake_at:
            self._wake.set()

    def watch(self, key: K, thread_id: str, heads: Heads) -> None:
        """Ring for a key at each fact of a thread, unless it is watched already or too many are."""
        under_way = self._under_way
        if under_way is None or (key, thread_id) in under_way.watching:
            return
        if len(under_way.watching) < self._settings.most_watched:
            task = under_way.begin(self._listen(key, thread_id, heads))
            under_way.watching[key, thread_id] = task
            # Not in the task itself: one that is cancelled before it begins would never say so.
            task.add_done_callback(lambda _: under_way.watching.pop((key, thread_id), None))

    def unwatch(self, key: K) -> None:
        """Stop to watch for a key."""
        if self._under_way is not None:
            for (watched, _), task in self._under_way.watching.items():
                if watched == key:
                    task.cancel()

    async def _look(self, under_way: _UnderWay[K], key: K) -> None:
        try:
            async with under_way.slots:
                while True:
                    under_way.again.discard(key)
                    await self._look_at(key)
                    if key not in under_way.again:
                        return
        except HeddleError as error:
            _log.warning("looked at in vain", what=key, reason=error.reason, problem=str(error))
        except Exception:
            # One that cannot be looked at must not stop the others; it stays due.
            _log.exception("looking failed", what=key)
        finally:
            under_way.busy.discard(key)
            under_way.again.discard(key)
            if len(under_way.busy) == self._settings.at_once // 2:
                self._wake.set()

    async def _sweep(self) -> None:
        most = self._settings.sweep_every.total_seconds()
        while True:
            self._wake.clear()
            self._wake_at = _NEVER  # what becomes due while the store is asked wakes at once
            try:
                pause = await self._take()
            except HeddleError as error:
                _log.warning("nothing can be taken from the store", reason=error.reason, problem=str(error))
                pause = _AFTER_FAILURE
            except Exception:
                # A sweep that ends would leave everything undone.
                _log.exception("the sweep failed")
                pause = _AFTER_FAILURE
            pause = min(max(pause, SHORTEST), most)
            self._wake_at = self._clock.now() + round(pause * MICROS_PER_SECOND)
            try:
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def _listen(self, key: K, thread_id: str, heads: Heads) -> None:
        heard = heads()
        try:
            async for _ in heard:
                self.ring(key)
        except HeddleError as error:
            # The sweep goes on without it, and watches again.
            _log.info("a thread is not watched any more", thread=thread_id, reason=error.reason)
        finally:
            await heard.aclose()
