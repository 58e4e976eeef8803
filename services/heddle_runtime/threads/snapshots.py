"""Folds are stored from time to time, so that a long thread is read from its newest snapshot and not from event one.

Never on the way of a commit: a run's end only leaves a note, and one task of the worker's encodes and stores. A note
that finds the queue full is dropped; the thread's next run leaves another.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Protocol

from heddle_core.background import in_background
from heddle_core.failpoints import failpoint
from heddle_core.faults import HeddleError
from heddle_core.ids import TenantId, ThreadId
from heddle_core.log_lines import LogLines
from heddle_runtime.threads.events import RUN_ENDS
from heddle_runtime.threads.fold_codec import encode
from heddle_runtime.threads.log import Committed, ThreadKey, ThreadLog
from heddle_runtime.threads.state import ThreadFold

_log = LogLines(__name__)

EVERY = 256
"""Events between two stored snapshots of a thread, at least (SEMANTICS 34)."""

MOST_WAITING = 256
"""Threads that wait for their snapshot; what comes beyond waits for the thread's next run."""

MOST_REMEMBERED = 10_000
"""Threads whose last snapshot is remembered; others are looked up."""


class SnapshotStore(Protocol):
    """Where snapshots are kept. Both methods raise StoreUnavailable when the store is in trouble."""

    async def last_snapshot(self, tenant: TenantId, thread_id: ThreadId) -> int:
        """Sequence of the newest stored snapshot of a thread; zero: there is none."""
        ...

    async def store_snapshot(self, tenant: TenantId, fold: ThreadFold, body: bytes) -> None:
        """Keep a fold's bytes."""
        ...


class Snapshots:
    """Stores the folds of threads whose runs end."""

    def __init__(
        self, store: SnapshotStore, log: ThreadLog, every: int = EVERY, most_waiting: int = MOST_WAITING
    ) -> None:
        """Store a thread's fold when a run ends and `every` events have passed since it was stored last."""
        self._store = store
        self._log = log
        self._every = every
        self._most_waiting = most_waiting
        self._waiting: OrderedDict[ThreadKey, None] = OrderedDict()
        self._stored: OrderedDict[ThreadKey, int] = OrderedDict()
        self._doorbell = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def committed(self, committed: Committed, fold: ThreadFold | None) -> None:
        """Take note of a run's end. A listener of the ThreadLog."""
        if fold is None or not any(isinstance(event.payload, RUN_ENDS) for event in committed.events):
            return
        key = (committed.tenant, committed.thread_id)
        if fold.last_sequence - self._stored.get(key, 0) < self._every or len(self._waiting) >= self._most_waiting:
            return
        self._waiting[key] = None
        self._idle.clear()
        self._doorbell.set()

    @asynccontextmanager
    async def serving(self) -> AsyncGenerator[None]:
        """Store what is noted until the block is left. What waits then is stored at the thread's next run."""
        async with in_background({"storing snapshots": self._work}):
            yield

    async def settled(self) -> None:
        """Wait until nothing that was noted waits any more."""
        await self._idle.wait()

    async def _work(self) -> None:
        while True:
            await self._doorbell.wait()
            self._doorbell.clear()  # before reading, or a ring in between is lost
            while self._waiting:
                key, _ = self._waiting.popitem(last=False)
                try:
                    await self._consider(key)
                except HeddleError as error:
                    _log.warning("could not store a snapshot", thread=key[1], reason=error.reason, problem=str(error))
                except Exception:  # reading a long thread stays slow, and that is all: the runtime goes on
                    _log.exception("could not store a snapshot", thread=key[1])
            self._idle.set()

    async def _consider(self, key: ThreadKey) -> None:
        last = await self._store.last_snapshot(*key)
        fold = self._log.in_memory(*key)
        if fold is not None and fold.last_sequence - last >= self._every:
            body, last = encode(fold), fold.last_sequence
            failpoint("snapshot")
            await self._store.store_snapshot(key[0], fold, body)
            failpoint("snapshot")
        self._remember(key, last)

    def _remember(self, key: ThreadKey, sequence: int) -> None:
        self._stored[key] = sequence
        self._stored.move_to_end(key)
        if len(self._stored) > MOST_REMEMBERED:
            self._stored.popitem(last=False)
