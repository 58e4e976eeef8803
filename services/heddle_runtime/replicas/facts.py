"""How those who watch here hear of what other processes commit: each published event is a doorbell for its thread.

Nothing is taken from the message itself: what was committed is read from the log. Where there is no bus, while it is
away, and while some process is on another one, a sweep each second looks at the threads that are watched, and at no
others.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta

from heddle_bus import subjects
from heddle_bus.events import DELETED
from heddle_bus.port import Bus, Message
from heddle_core.faults import HeddleError
from heddle_core.ids import TenantId, ThreadId
from heddle_core.log_lines import LogLines
from heddle_runtime.replicas.interest import Interest
from heddle_runtime.replicas.ports import ReplicaStore, Ring, Work
from heddle_runtime.replicas.words import Words
from heddle_runtime.threads.events import RUN_ENDS, RunWaiting
from heddle_runtime.threads.follow import Followers
from heddle_runtime.threads.log import Committed, ThreadKey, ThreadLog
from heddle_runtime.threads.state import ThreadFold

_log = LogLines(__name__)

_LEAVES_OFF = (*RUN_ENDS, RunWaiting)
"""After these the thread's next run may be anybody's."""
_BEGINNINGS = frozenset({"RunStarted", "RunResumed"})
"""Kinds of events after which words are to be expected."""
_BEYOND = 2**62
"""An end that no log reaches."""
_MOST_CHANGED = 1_000
"""Threads of one tenant that a sweep tells of."""
_MOST_MESSAGES = 256
"""What a watched thread's subscription buffers: a doorbell more or less makes no difference."""


@dataclass(frozen=True, slots=True)
class FactSettings:
    """When those who watch are looked after."""

    linger: timedelta = timedelta(milliseconds=30)
    """A watcher that is gone sooner, or whose run begins here meanwhile, costs nothing."""
    sweep_every: timedelta = timedelta(seconds=1)
    """While nothing is heard from other processes."""
    sweep_every_beside_bus: timedelta = timedelta(seconds=10)
    overlap: timedelta = timedelta(seconds=2)
    """How long a commit may take to be seen."""


class Facts:
    """Keeps those who watch here up to date with threads that are worked on elsewhere."""

    def __init__(
        self,
        interest: Interest,
        store: ReplicaStore,
        log: ThreadLog,
        followers: Followers,
        ring: Ring,
        work: Work,
        bus: Bus | None,
        words: Words | None,
        settings: FactSettings | None = None,
        *,
        apart: Callable[[], bool] = lambda: False,
    ) -> None:
        """`apart` says whether there are processes now whose messages do not come over this bus."""
        self._interest = interest
        self._store = store
        self._log = log
        self._followers = followers
        self._ring = ring
        self._work = work
        self._bus = bus
        self._words = words
        self._settings = settings or FactSettings()
        self._apart = apart
        self._listening: dict[ThreadKey, asyncio.Task[None]] = {}
        self._told: dict[ThreadKey, int] = {}
        self._changed: Mapping[ThreadKey, int] = {}

    def committed(self, committed: Committed, _fold: ThreadFold | None) -> None:
        """Listen to a thread from now on that was worked on here until now. A listener of the ThreadLog."""
        key = (committed.tenant, committed.thread_id)
        if key in self._interest and any(isinstance(event.payload, _LEAVES_OFF) for event in committed.events):
            self._interest.note(key)

    async def keep_listening(self) -> None:
        """Listen to the threads that are watched here and worked on elsewhere, for ever."""
        self._listening.clear()
        for key in self._interest.keys:
            self._interest.note(key)
        async with asyncio.TaskGroup() as tasks:
            while True:
                await self._interest.changed.wait()
                await asyncio.sleep(self._settings.linger.total_seconds())
                self._adjust(self._interest.take(), tasks)

    async def sweep(self) -> None:
        """Look for what no message told of, for ever."""
        looked = 0.0
        while True:
            await asyncio.sleep(self._settings.sweep_every.total_seconds())
            for key in self._interest.keys - self._listening.keys():
                self._interest.note(key)  # it was worked on here
            now = asyncio.get_running_loop().time()
            if not self._hears_all or now - looked >= self._settings.sweep_every_beside_bus.total_seconds():
                looked = now
                await self.look(self._interest.keys)

    async def look(self, keys: Collection[ThreadKey]) -> None:
        """Compare threads with the log, and have those told who watch what has changed."""
        threads = [key for key in keys if key[1] and not self._work.works_on(*key)]
        tenants = [tenant for tenant, thread_id in keys if not thread_id]
        known = [key for key in threads if key in self._told or self._log.in_memory(*key) is not None]
        try:
            if threads:
                found = await self._store.last_sequences(threads)
                for key, last in found.items():
                    self.heard(key, last)
                for key in known:
                    if key not in found and not self._work.works_on(*key):
                        self._deleted(key)
            if tenants:
                within = self._settings.sweep_every_beside_bus + self._settings.overlap
                changed = await self._store.changed_threads(tenants, within, _MOST_CHANGED)
                for key in [key for key, last in changed.items() if self._changed.get(key) != last]:
                    self._ring(*key)
                self._changed = changed
        except HeddleError as error:
            _log.info("the next sweep looks again", reason=error.reason, problem=str(error))

    def heard(self, key: ThreadKey, last: int) -> None:
        """A thread's log goes up to `last` at least."""
        fold = self._log.in_memory(*key)
        if fold is not None:
            if last > fold.last_sequence:
                self._log.look_again(*key)
        elif key in self._interest and last > self._told.get(key, 0):
            self._told[key] = last
            self._poke(key, last)

    def _poke(self, key: ThreadKey, last: int) -> None:
        if self._words is not None:
            self._words.lost_sight(key)
        self._followers.poke(*key, last)
        self._ring(*key)

    def _deleted(self, key: ThreadKey) -> None:
        """A thread is gone: whoever reads it finds that out."""
        self._log.forget(*key)
        self._poke(key, _BEYOND)

    @property
    def _hears_all(self) -> bool:
        return self._bus is not None and self._bus.connection.value.connected and not self._apart()

    # --- which threads ---

    def _adjust(self, changed: Collection[ThreadKey], tasks: asyncio.TaskGroup) -> None:
        for key in changed:
            if key not in self._interest:
                self._leave(key)
            elif key not in self._listening and not (key[1] and self._work.works_on(*key)):
                self._listening[key] = tasks.create_task(self._listen(key))

    def _leave(self, key: ThreadKey) -> None:
        listening = self._listening.pop(key, None)
        if listening is not None:
            listening.cancel()
        self._told.pop(key, None)
        if self._words is not None:
            self._words.leave(key)

    async def _listen(self, key: ThreadKey) -> None:
        try:
            await (self._began(key) if self._bus is None else self._hear(self._bus, key))
        except HeddleError as error:
            _log.info("a thread is not listened to for a while", reason=error.reason, problem=str(error))
            self._listening.pop(key, None)

    async def _hear(self, bus: Bus, key: ThreadKey) -> None:
        tenant, thread_id = key
        pattern = subjects.thread_events(tenant, thread_id or None)
        async with await bus.subscribe(pattern, most_messages=_MOST_MESSAGES) as feed:
            await self._began(key)
            async for item in feed:
                if isinstance(item, Message):
                    self._read(item)
                else:
                    await self.look([key])
                    self._wake_words(key)

    async def _began(self, key: ThreadKey) -> None:
        """What was committed before anybody listened is found in the log."""
        await self.look([key])
        self._wake_words(key)

    def _read(self, message: Message) -> None:
        """Look at the thread of which a message tells."""
        tenant, thread_id, kind = subjects.parts_of_thread_event(message.subject)
        key = (TenantId(tenant), ThreadId(thread_id))
        if kind == DELETED:
            self._deleted(key)
            return
        sequence = message.headers.get(subjects.SEQUENCE, "")
        self.heard(key, int(sequence) if sequence.isdecimal() else self._told.get(key, 0) + 1)
        if (key[0], ThreadId("")) in self._interest:
            self._ring(*key)
        if kind in _BEGINNINGS:
            self._wake_words(key)

    def _wake_words(self, key: ThreadKey) -> None:
        if self._words is not None and key[1] and self._followers.read_here(*key):
            self._words.wake(key)
