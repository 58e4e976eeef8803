"""A thread's log as the rest of the runtime sees it: folds that are kept up to date, and followers that are told.

Everything here happens on the event loop, in the order of commits. The store calls `publish`; nobody else does.

Where several processes write to one database, a commit of this one can come behind others that it was not told of.
A fold never skips them: it is brought up from the log first, and only then are the listeners told.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from heddle_core.faults import HeddleError
from heddle_core.ids import RunId, TenantId, ThreadId
from heddle_core.runtime_errors import CursorTooOld
from heddle_core.values import value
from heddle_runtime.threads.events import Event
from heddle_runtime.threads.fold import apply
from heddle_runtime.threads.state import ThreadFold

ThreadKey = tuple[TenantId, ThreadId]


@value
class Committed:
    """Events that were committed together to one thread, in order."""

    tenant: TenantId
    thread_id: ThreadId
    events: tuple[Event, ...]
    by_others: bool = False
    """Whether these are commits of other processes that were found on the way."""


PAGE = 250
"""Events that are read at a time to bring up a fold."""


class FoldSource(Protocol):
    """Where folds come from that are not in memory, and events of which this process was not told."""

    async def read_events(
        self, tenant: TenantId, thread_id: ThreadId, after: int, limit: int, run_id: RunId = RunId("")
    ) -> tuple[Event, ...]:
        """Events after a sequence, oldest first."""
        ...

    async def load_fold(self, tenant: TenantId, thread_id: ThreadId, at_sequence: int = 0) -> ThreadFold:
        """The state of a thread at a sequence, or at its end for zero.

        Raises:
            ThreadNotFound: the tenant has no such thread.
            CursorAhead: the log does not reach that far.
        """
        ...


Listener = Callable[[Committed, ThreadFold | None], None]
"""Told of every commit, with the thread's fold after it where that is in memory. Must be quick, and may not fail."""

Witness = Callable[[Committed], None]
"""Told of what this process has committed itself, at once. Must be quick, and may not fail."""


class ThreadLog:
    """Folds of the threads that are in use, moved on with every commit."""

    def __init__(self, source: FoldSource, most_folds: int = 4096, *, shared: bool = False) -> None:
        """Keep at most `most_folds` folds; the least recently used go first, and are loaded again when needed.

        `shared` says that other processes write to the same database: then a fold in memory is compared with the log
        whenever it is asked for.
        """
        self._source = source
        self._shared = shared
        self._most_folds = most_folds
        self._folds: OrderedDict[ThreadKey, ThreadFold] = OrderedDict()
        self._loading: dict[ThreadKey, _Loading] = {}
        self._behind: dict[ThreadKey, _CatchingUp] = {}
        self._listeners: list[Listener] = []
        self._witnesses: list[Witness] = []

    def add_listener(self, listener: Listener) -> None:
        """Have `listener` told of every commit from now on."""
        self._listeners.append(listener)

    def add_witness(self, witness: Witness) -> None:
        """Have `witness` told of what this process commits from now on, and of nothing else."""
        self._witnesses.append(witness)

    def publish(self, committed: Committed) -> None:
        """Take note of events that are on stable storage."""
        if not committed.by_others:
            for witness in self._witnesses:
                witness(committed)
        self._take(committed)

    def look_again(self, tenant: TenantId, thread_id: ThreadId) -> None:
        """Another process has written to a thread: if its fold is in memory, bring it up, and tell the listeners."""
        if (tenant, thread_id) in self._folds:
            self._catch_up((tenant, thread_id))

    async def fold(self, tenant: TenantId, thread_id: ThreadId) -> ThreadFold:
        """The state of a thread now. The object moves on with later commits: read it before the next await.

        Raises:
            ThreadNotFound: the tenant has no such thread.
            StoreUnavailable.
        """
        key = (tenant, thread_id)
        if self._shared and key in self._folds:
            await asyncio.shield(self._catch_up(key).task)
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

    def _take(self, committed: Committed) -> None:
        key = (committed.tenant, committed.thread_id)
        fold = self._folds.get(key)
        if fold is None and committed.events[0].sequence == 1:
            fold = self._remember(key, ThreadFold(committed.thread_id))
        if fold is not None:
            committed = _unseen(committed, fold.last_sequence)
            if not committed.events:
                return
            if committed.events[0].sequence > fold.last_sequence + 1:
                self._catch_up(key)
                return
            for event in committed.events:
                apply(fold, event)
        elif key in self._loading:
            self._loading[key].missed.extend(committed.events)
        for listener in self._listeners:
            listener(committed, fold)

    def _catch_up(self, key: ThreadKey) -> "_CatchingUp":
        """Read on from where the fold is, at least once from now."""
        behind = self._behind.get(key)
        if behind is None:
            behind = self._behind[key] = _CatchingUp(asyncio.ensure_future(self._read_on(key)))
            behind.task.add_done_callback(_noticed)
        behind.again = True
        return behind

    async def _read_on(self, key: ThreadKey) -> None:
        try:
            while (fold := self._folds.get(key)) is not None and self._behind[key].again:
                self._behind[key].again = False
                page = await self._source.read_events(*key, fold.last_sequence, PAGE)
                if page:
                    self._behind[key].again = True
                    self._take(Committed(*key, page))
        except CursorTooOld:
            self._folds.pop(key, None)  # retention has passed it by: it is loaded from the log's base
        except HeddleError:
            self._folds.pop(key, None)  # nobody may see a fold that is behind: whoever asks next loads it
            raise
        finally:
            del self._behind[key]

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


def _unseen(committed: Committed, last_sequence: int) -> Committed:
    """What lies behind `last_sequence`: an owner is told once more of what others wrote since it looked."""
    if committed.events[0].sequence > last_sequence:
        return committed
    events = tuple(event for event in committed.events if event.sequence > last_sequence)
    return Committed(committed.tenant, committed.thread_id, events)


def _noticed(task: "asyncio.Future[None]") -> None:
    """Nobody may be waiting for it: its failure has been dealt with, and whoever does wait is told all the same."""
    if not task.cancelled():
        task.exception()


@dataclass(slots=True)
class _CatchingUp:
    task: "asyncio.Future[None]"
    again: bool = True
    """Whether something may have been written since the last read began."""


@dataclass(slots=True)
class _Loading:
    task: "asyncio.Future[ThreadFold]"
    missed: list[Event]

    def __init__(self, task: "asyncio.Future[ThreadFold]") -> None:
        self.task = task
        self.missed = []
