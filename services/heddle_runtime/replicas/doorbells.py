"""Workers tell each other that there is something to look at: hints that may be lost, with a sweep behind each.

Whoever commits to a thread on which another works rings that other: a run is cancelled, steered or given an answer.
Whoever hands over its runs rings all.
"""

import asyncio

from heddle_bus import subjects
from heddle_bus.port import Bus, Message, Subscription
from heddle_core.faults import HeddleError
from heddle_core.ids import TenantId, ThreadId, WorkerId
from heddle_core.log_lines import LogLines
from heddle_runtime.replicas.ports import ReplicaStore, Work
from heddle_runtime.threads.events import RunStarted
from heddle_runtime.threads.log import Committed, ThreadKey

_log = LogLines(__name__)

_WHAT = "worker"
_ALL = "all"
_MOST_WAITING = 10_000
"""Threads whose owners are to be rung; those beyond are found by the owners' sweeps."""
_MOST_IN_MESSAGE = 500
"""Keys of at most 130 bytes: a message stays far below every limit."""


class WorkerDoorbells:
    """Rings the owners of runs, and hears their rings."""

    def __init__(self, bus: Bus, worker_id: WorkerId, store: ReplicaStore, work: Work) -> None:
        self._bus = bus
        self._worker_id = worker_id
        self._store = store
        self._work = work
        self._waiting: dict[ThreadKey, None] = {}
        self._bell = asyncio.Event()

    def written(self, committed: Committed) -> None:
        """Take note of what this process has committed. A witness of the ThreadLog."""
        key = (committed.tenant, committed.thread_id)
        if self._work.works_on(*key) or len(self._waiting) >= _MOST_WAITING:
            return
        if any(isinstance(event.payload, RunStarted) for event in committed.events):
            return  # a run that begins here
        self._waiting[key] = None
        self._bell.set()

    async def ring_all(self) -> None:
        """Have every worker look for runs that nobody works on."""
        await self._bus.send(subjects.control(_WHAT, _ALL), self._worker_id.encode())

    async def ring_owners(self) -> None:
        """Tell the owners of threads what was written to them, for ever."""
        while True:
            await self._bell.wait()
            self._bell.clear()  # before reading, or a ring in between is lost
            waiting, self._waiting = self._waiting, {}
            keys = [key for key in waiting if not self._work.works_on(*key)]
            try:
                if keys and self._bus.connection.value.connected:
                    await self._ring(keys)
            except HeddleError as error:
                _log.info("owners are not rung, their sweeps find it", reason=error.reason, problem=str(error))

    async def answer_own(self) -> None:
        """Look at threads that others have written to, for ever."""
        async with await self._bus.subscribe(subjects.control(_WHAT, self._worker_id)) as feed:
            async for item in feed:
                for key in keys_of(item.payload) if isinstance(item, Message) else ():
                    await self._look_again(key)

    async def answer_all(self) -> None:
        """Look for work when somebody hands over, for ever."""
        feed: Subscription
        async with await self._bus.subscribe(subjects.control(_WHAT, _ALL)) as feed:
            async for item in feed:
                if not isinstance(item, Message) or item.payload != self._worker_id.encode():
                    self._work.look_for_work()

    async def _ring(self, keys: list[ThreadKey]) -> None:
        theirs: dict[WorkerId, list[ThreadKey]] = {}
        for key, owner in (await self._store.owners(keys)).items():
            if owner != self._worker_id:
                theirs.setdefault(owner, []).append(key)
        for owner, of_owner in theirs.items():
            for start in range(0, len(of_owner), _MOST_IN_MESSAGE):
                lines = lines_of(of_owner[start : start + _MOST_IN_MESSAGE])
                await self._bus.send(subjects.control(_WHAT, owner), lines)

    async def _look_again(self, key: ThreadKey) -> None:
        if not self._work.works_on(*key):
            return
        try:
            await self._work.look_again(*key)
        except HeddleError as error:
            _log.info("the sweep looks again", thread=key[1], reason=error.reason, problem=str(error))


def lines_of(keys: list[ThreadKey]) -> bytes:
    """Threads as they are named in messages between workers."""
    return "\n".join(f"{tenant} {thread_id}" for tenant, thread_id in keys).encode()


def keys_of(payload: bytes) -> list[ThreadKey]:
    """The threads that a message names."""
    pairs = (line.partition(" ") for line in payload.decode("utf-8", "replace").splitlines())
    return [(TenantId(tenant), ThreadId(thread_id)) for tenant, _, thread_id in pairs]
