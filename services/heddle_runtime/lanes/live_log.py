"""What an orchestrator writes to: the store for facts, the readers of this process for words."""

import asyncio
from typing import Protocol

from heddle_core.errors import Overloaded, StoreUnavailable
from heddle_core.ids import TenantId, ThreadId
from heddle_core.values import value
from heddle_runtime.threads.append import AppendOutcome, OwnerAppend
from heddle_runtime.threads.deltas import Writing
from heddle_runtime.threads.follow import Followers
from heddle_runtime.threads.log import ThreadLog
from heddle_runtime.threads.state import ThreadFold

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0
"""Seconds between tries of a read that the store cannot serve."""


class Appender(Protocol):
    """Where facts are written."""

    async def append(self, command: OwnerAppend) -> AppendOutcome:
        """Write an owner's facts. Raises StaleFence."""
        ...


@value
class LiveLog:
    """The log and the words beside it."""

    appender: Appender
    log: ThreadLog
    followers: Followers

    async def append(self, command: OwnerAppend) -> AppendOutcome:
        """Write an owner's facts. Raises StaleFence."""
        return await self.appender.append(command)

    async def fold(self, tenant: TenantId, thread_id: ThreadId) -> ThreadFold:
        """The state of a thread as its owner knows it; the object moves on with later commits."""
        return self.log.in_memory(tenant, thread_id) or await self.caught_up(tenant, thread_id)

    async def caught_up(self, tenant: TenantId, thread_id: ThreadId) -> ThreadFold:
        """The state of a thread with all that other processes have written to it until now.

        Waits while the store is in trouble, as appends do: what a run has done and not written must not be lost.
        """
        pause = _FIRST_PAUSE
        while True:
            try:
                return await self.log.fold(tenant, thread_id)
            except (StoreUnavailable, Overloaded):
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)

    def write_begins(self, tenant: TenantId, thread_id: ThreadId, writing: Writing) -> None:
        """A model begins a message."""
        self.followers.write_begins(tenant, thread_id, writing)

    def write_ends(self, tenant: TenantId, thread_id: ThreadId) -> None:
        """The message is finished, discarded or abandoned."""
        self.followers.write_ends(tenant, thread_id)
