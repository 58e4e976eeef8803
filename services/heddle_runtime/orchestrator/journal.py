"""How an orchestrator writes: everything for one claim, in order, under its fence and with its append numbers."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from heddle_core.errors import Overloaded, StoreUnavailable
from heddle_core.ids import TenantId, ThreadId
from heddle_runtime.orchestrator.milestones import committed
from heddle_runtime.runs.claim import Claim
from heddle_runtime.threads.append import Appended, AppendOutcome, OwnerAppend
from heddle_runtime.threads.deltas import Writing
from heddle_runtime.threads.events import Payload
from heddle_runtime.threads.state import RunFold, ThreadFold

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0
"""Seconds between tries of an append that the store cannot take."""


class RunLog(Protocol):
    """What the orchestrator needs of the log."""

    async def append(self, command: OwnerAppend) -> AppendOutcome:
        """Write an owner's facts. Raises StaleFence."""
        ...

    async def fold(self, tenant: TenantId, thread_id: ThreadId) -> ThreadFold:
        """The state of a thread as its owner knows it; the object moves on with later commits."""
        ...

    async def caught_up(self, tenant: TenantId, thread_id: ThreadId) -> ThreadFold:
        """The state of a thread with all that other processes have written to it until now."""
        ...

    def write_begins(self, tenant: TenantId, thread_id: ThreadId, writing: Writing) -> None:
        """A model begins a message; what is added to `writing` from now on is shown to whoever watches."""
        ...

    def write_ends(self, tenant: TenantId, thread_id: ThreadId) -> None:
        """The message is finished, discarded or abandoned."""
        ...


class Journal:
    """One claim's pen."""

    def __init__(self, log: RunLog, claim: Claim) -> None:
        """Write for `claim`, which nobody has written for yet."""
        self._log = log
        self._number = 0
        self._turn = asyncio.Lock()
        self.claim = claim

    async def thread(self) -> ThreadFold:
        """The thread now. Read it before the next await."""
        return await self._log.fold(self.claim.tenant, self.claim.thread_id)

    async def run(self) -> RunFold:
        """The run now. Read it before the next await."""
        return (await self.thread()).runs[self.claim.run_id]

    async def append(self, facts: Sequence[Payload], *, decisive: bool = False) -> AppendOutcome:
        """Write facts, at once and together.

        Args:
            facts: what happened, in order.
            decisive: whether to refuse when something happened to the run that is not in the fold yet.

        Raises:
            StaleFence: somebody else owns the run now; stop working on it.
        """
        async with self._turn:  # parallel calls report their progress and results through one pen
            known = (await self.thread()).last_sequence
            number = self._number + 1
            outcome = await self._persist(OwnerAppend(self.claim, number, known, tuple(facts), decisive))
            if isinstance(outcome, Appended):
                self._number = number
                committed(facts)
            return outcome

    async def _persist(self, command: OwnerAppend) -> AppendOutcome:
        """Append, and again with the same number while the store is in trouble: what was done must not be lost.

        The number makes the repeat safe: a write that did reach the disk is found applied (SEMANTICS 13).
        """
        pause = _FIRST_PAUSE
        while True:
            try:
                return await self._log.append(command)
            except (StoreUnavailable, Overloaded):
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)

    def begin(self, writing: Writing) -> None:
        """Words of a new message follow."""
        self._log.write_begins(self.claim.tenant, self.claim.thread_id, writing)

    def end(self) -> None:
        """No more words of that message."""
        self._log.write_ends(self.claim.tenant, self.claim.thread_id)
