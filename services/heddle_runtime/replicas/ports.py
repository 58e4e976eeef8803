"""What replicas need of their surroundings: the database they share, this worker's runs, and an encoding for words."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import timedelta
from typing import Protocol

from heddle_core.ids import TenantId, ThreadId, WorkerId
from heddle_runtime.threads.deltas import Delta
from heddle_runtime.threads.log import ThreadKey


class ReplicaStore(Protocol):
    """What is read of the database that all replicas share. All methods raise StoreUnavailable."""

    async def last_sequences(self, keys: Collection[ThreadKey]) -> Mapping[ThreadKey, int]:
        """Where the logs of threads end; those that do not exist are left out."""
        ...

    async def owners(self, keys: Collection[ThreadKey]) -> Mapping[ThreadKey, WorkerId]:
        """Who works on threads; those on which nobody works are left out."""
        ...

    async def changed_threads(
        self, tenants: Collection[TenantId], within: timedelta, limit: int
    ) -> Mapping[ThreadKey, int]:
        """Threads of tenants that were written to lately, the last `limit` of each, and where their logs end."""
        ...


class Work(Protocol):
    """The runs of this process; see `lanes.lanes.Lanes`."""

    def works_on(self, tenant: TenantId, thread_id: ThreadId) -> bool:
        """Whether a run of the thread is worked on here."""
        ...

    async def look_again(self, tenant: TenantId, thread_id: ThreadId) -> None:
        """Another process has written to a thread that is worked on here."""
        ...

    def look_for_work(self) -> None:
        """Another worker has handed over its runs."""
        ...


Ring = Callable[[TenantId, ThreadId], None]
"""Has those who wait for a thread look again, beside its readers."""

EncodeWords = Callable[[Sequence[Delta]], bytes]
DecodeWords = Callable[[bytes], Sequence[Delta]]
"""Raises ValueError for what is no words."""
