"""How calls wait for what others commit: doorbells that the log rings, instead of asking again and again."""

import asyncio
from collections import defaultdict
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from typing import Protocol

from heddle_core.ids import RunId, TenantId, ThreadId
from heddle_runtime.runs.run import Run
from heddle_runtime.runs.state import RunState
from heddle_runtime.threads.follow import Attention, NoAttention
from heddle_runtime.threads.log import Committed, ThreadKey, ThreadLog
from heddle_runtime.threads.state import ThreadFold

LONGEST_WAIT = timedelta(seconds=60)
"""How long a call may be held (SEMANTICS 5)."""

MOST_CHANGED = 10_000
"""Threads that one watcher is told of by name while it is busy; beyond, it is told to read everything anew."""


class RunSource(Protocol):
    """Where a waiting call reads the run."""

    async def get_run(self, tenant: TenantId, run_id: RunId) -> Run:
        """A run by its id. Raises RunNotFound."""
        ...


class Changes:
    """The threads of one tenant that have changed since they were taken last."""

    def __init__(self) -> None:
        self.doorbell = asyncio.Event()
        self._threads: set[ThreadId] = set()
        self._overrun = False

    def note(self, thread_id: ThreadId) -> None:
        """Remember one thread, once however often it changes."""
        if len(self._threads) < MOST_CHANGED:
            self._threads.add(thread_id)
        else:
            self._overrun = True
        self.doorbell.set()

    def take(self) -> tuple[frozenset[ThreadId], bool]:
        """The threads that changed, and whether there were too many to name, so that all must be read again."""
        taken, overrun = frozenset(self._threads), self._overrun
        self._threads, self._overrun = set(), False
        self.doorbell.clear()
        return taken, overrun


class Doorbells:
    """Rings whoever waits for a thread, on every commit to it. One per process, made by the wiring."""

    def __init__(self, log: ThreadLog, attention: Attention | None = None) -> None:
        """Be told by `log`; `attention` is told for what somebody waits."""
        self._attention = attention or NoAttention()
        self._threads: dict[ThreadKey, set[asyncio.Event]] = defaultdict(set)
        self._tenants: dict[TenantId, set[Changes]] = defaultdict(set)
        log.add_listener(self._heard)

    def ring(self, tenant: TenantId, thread_id: ThreadId) -> None:
        """Have those who wait for a thread look again: something of it was committed, here or by another process."""
        for bell in self._threads.get((tenant, thread_id), ()):
            bell.set()
        for changes in self._tenants.get(tenant, ()):
            changes.note(thread_id)

    @contextmanager
    def of_thread(self, tenant: TenantId, thread_id: ThreadId) -> Generator[asyncio.Event]:
        """A bell for one thread. Clear it before reading, or a ring in between is lost."""
        key, bell = (tenant, thread_id), asyncio.Event()
        self._threads[key].add(bell)
        self._attention.came(key)
        try:
            yield bell
        finally:
            self._attention.left(key)
            self._threads[key].discard(bell)
            if not self._threads[key]:
                del self._threads[key]

    @contextmanager
    def of_tenant(self, tenant: TenantId) -> Generator[Changes]:
        """The changes of all threads of a tenant."""
        changes = Changes()
        self._tenants[tenant].add(changes)
        self._attention.came((tenant, ThreadId("")))
        try:
            yield changes
        finally:
            self._attention.left((tenant, ThreadId("")))
            self._tenants[tenant].discard(changes)
            if not self._tenants[tenant]:
                del self._tenants[tenant]

    def _heard(self, committed: Committed, _fold: ThreadFold | None) -> None:
        self.ring(committed.tenant, committed.thread_id)


async def rung(bell: asyncio.Event, until: float) -> bool:
    """Wait for a bell until a time of the event loop's clock; whether it rang."""
    try:
        async with asyncio.timeout_at(until):
            await bell.wait()
    except TimeoutError:
        return False
    return True


async def wait_run(runs: RunSource, doorbells: Doorbells, tenant: TenantId, run_id: RunId, wait: timedelta) -> Run:
    """The run once it is terminal or waits for inputs, or as it stands when the time is over.

    Raises:
        RunNotFound: the tenant has no such run, or it was deleted meanwhile.
    """
    run = await runs.get_run(tenant, run_id)
    if settled(run) or not wait:
        return run
    until = asyncio.get_running_loop().time() + min(wait, LONGEST_WAIT).total_seconds()
    with doorbells.of_thread(tenant, run.thread_id) as bell:
        while True:
            bell.clear()
            run = await runs.get_run(tenant, run_id)
            if settled(run):
                return run
            if not await rung(bell, until):
                return await runs.get_run(tenant, run_id)


def settled(run: Run) -> bool:
    """Whether nothing more happens to the run unless somebody acts."""
    return run.state.terminal or run.state is RunState.WAITING
