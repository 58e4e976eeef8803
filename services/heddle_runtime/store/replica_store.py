"""What a replica asks about threads that others work on: many at once, by the rows' own keys."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Any

from heddle_core.clock import micros
from heddle_core.ids import TenantId, ThreadId, WorkerId
from heddle_database.port import Transaction
from heddle_runtime.store.pages import placeholders
from heddle_runtime.store.store import Store
from heddle_runtime.threads.log import ThreadKey

_SIZES = (1, 8, 64, 512)
"""Threads that one statement names: a few sizes only, so that each is prepared once."""


class DatabaseReplicaStore:
    """`replicas.ports.ReplicaStore` over the runtime's tables."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def last_sequences(self, keys: Collection[ThreadKey]) -> Mapping[ThreadKey, int]:
        """See the port."""
        return await self._store.read(lambda tx: dict(_read(tx, "SELECT thread_id, last_sequence FROM threads", keys)))

    async def owners(self, keys: Collection[ThreadKey]) -> Mapping[ThreadKey, WorkerId]:
        """See the port."""
        found = "SELECT thread_id, owner FROM runs"
        return await self._store.read(lambda tx: dict(_read(tx, found, keys, " AND state = 2")))

    async def changed_threads(
        self, tenants: Collection[TenantId], within: timedelta, limit: int
    ) -> Mapping[ThreadKey, int]:
        """See the port."""
        return await self._store.read(lambda tx: dict(_changed(tx, tenants, micros(within), limit)))


def _changed(
    tx: Transaction, tenants: Collection[TenantId], within: int, limit: int
) -> Iterator[tuple[ThreadKey, int]]:
    for tenant in tenants:
        rows = tx.rows(
            # Both states are named, since the index begins with them.
            "SELECT thread_id, last_sequence FROM threads WHERE tenant = :tenant AND status IN (1, 2)"
            " AND update_time >= :since ORDER BY update_time DESC LIMIT :limit",
            tenant=tenant,
            since=tx.now - within,
            limit=limit,
        )
        for thread_id, last in rows:
            yield (tenant, ThreadId(thread_id)), last


def _read(
    tx: Transaction, select: str, keys: Iterable[ThreadKey], condition: str = ""
) -> Iterator[tuple[ThreadKey, Any]]:
    tenants: dict[TenantId, list[ThreadId]] = {}
    for tenant, thread_id in keys:
        tenants.setdefault(tenant, []).append(thread_id)
    for tenant, thread_ids in tenants.items():
        for start in range(0, len(thread_ids), _SIZES[-1]):
            some = thread_ids[start : start + _SIZES[-1]]
            size = next(each for each in _SIZES if each >= len(some))
            named, parameters = placeholders("thread", some + some[-1:] * (size - len(some)))
            rows = tx.rows(
                f"{select} WHERE tenant = :tenant AND thread_id {named}{condition}", tenant=tenant, **parameters
            )
            for row in rows:
                yield (tenant, ThreadId(row[0])), row[1]
