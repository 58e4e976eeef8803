"""A thread's log as the rest of the runtime sees it: folds that are kept up to date, and followers that are told.

Everything here happens on the event loop, in the order of commits. The store calls `publish`; nobody else does.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from heddle_core.ids import TenantId, ThreadId
from heddle_runtime.threads.events import Event
from heddle_runtime.threads.fold import apply
from heddle_runtime.threads.state import ThreadFold

ThreadKey = tuple[TenantId, ThreadId]


@dataclass(frozen=True, slots=True)
class Committed:
    """Events that were committed together to one thread, in order."""

    tenant: TenantId
    thread_id: ThreadId
    events: tuple[Event, ...]


class FoldSource(Protocol):
    """Where folds come from that are not in memory."""

    async def load_fold(self, tenant: TenantId, thread_id: ThreadId, at_sequence: int = 0) -> ThreadFold:
        """The state of a thread at a sequence, or at its end for zero.

        Raises:
            ThreadNotFound: the tenant has no such thread.
            CursorAhead: the log does not reach that far.
        """
        ...


Listener = Callable[[Committed, ThreadFold | None], None]
"""Told of every commit, with the thread's fold after it where that is in memory. Must be quick, and may not fail."""


class ThreadLog:
    """Folds of the threads that are in use, moved on with every commit."""

    def __init__(self, source: FoldSource, most_folds: int = 4096) -> None:
        """Keep at most `most_folds` folds; the least recently used go first, and are loaded again when needed."""
        self._source = source
        self._most_folds = most_folds
        self._folds: OrderedDict[ThreadKey, ThreadFold] = OrderedDict()
        self._loading: dict[ThreadKey, _Loading] = {}
        self._listeners: list[Listener] = []

    def add_listener(self, listener: Listener) -> None:
        """Have `listener` told of every commit from now on."""
        self._listeners.append(listener)

    def publish(self, committed: Committed) -> None:
        """Take note of events that are on stable storage."""
        key = (committed.tenant, committed.thread_id)
        fold = self._folds.get(key)
        if fold is None and committed.events[0].sequence == 1:
            fold = self._remember(key, ThreadFold(committed.thread_id))
        if fold is not None:
            for event in committed.events:
                if event.sequence > fold.last_sequence:
                    apply(fold, event)
        elif key in self._loading:
            self._loading[key].missed.extend(committed.events)
        for listener in self._listeners:
            listener(committed, fold)

    async def fold(self, tenant: TenantId, thread_id: ThreadId) -> ThreadFold:
        """The state of a thread now. The object moves on with later commits: read it before the next await.

        Raises:
            ThreadNotFound: the tenant has no such thread.
        """
        key = (tenant, thread_id)
        known = self._folds.get(key)
        if known is not None:
            self._folds.move_to_end(key)
            return known
        loading = self._loading.get(key)
        if loading is None:
            loading = self._loading[key] = _Loading(asyncio.ensure_future(self._load(key)))
        return await asyncio.shield(loading.task)

    async def fold_at(self, tenant: TenantId, thread_id: ThreadId, sequence: int) -> ThreadFold:
        """The state of a thread at `sequence`: an object of its own, which does not move.

        Raises:
            ThreadNotFound: the tenant has no such thread.
            CursorAhead: the log does not reach that far.
        """
        return await self._source.load_fold(tenant, thread_id, sequence)

    def in_memory(self, tenant: TenantId, thread_id: ThreadId) -> ThreadFold | None:
        """The state of a thread, if it is in memory."""
        return self._folds.get((tenant, thread_id))

    def forget(self, tenant: TenantId, thread_id: ThreadId) -> None:
        """Drop a thread's fold: it was deleted, or words in it were redacted. It is loaded again when asked for."""
        self._folds.pop((tenant, thread_id), None)

    async def _load(self, key: ThreadKey) -> ThreadFold:
        try:
            fold = await self._source.load_fold(*key)
            if key in self._folds:  # the thread was made while we read, and its fold has been kept up to date since
                return self._folds[key]
            for event in self._loading[key].missed:
                if event.sequence > fold.last_sequence:
                    apply(fold, event)
            return self._remember(key, fold)
        finally:
            del self._loading[key]

    def _remember(self, key: ThreadKey, fold: ThreadFold) -> ThreadFold:
        self._folds[key] = fold
        while len(self._folds) > self._most_folds:
            self._folds.popitem(last=False)
        return fold


@dataclass(slots=True)
class _Loading:
    task: "asyncio.Future[ThreadFold]"
    missed: list[Event]

    def __init__(self, task: "asyncio.Future[ThreadFold]") -> None:
        self.task = task
        self.missed = []
