"""What the relay needs of the database."""

from collections.abc import Mapping, Sequence

from heddle_core.clock import Micros
from heddle_core.ids import TenantId, ThreadId, WorkerId
from heddle_database.port import Transaction
from heddle_runtime.relay.ports import Facts, Mark, Standing, StreamNote, Tombstone
from heddle_runtime.store import relay_rows
from heddle_runtime.store.log import LogWriter
from heddle_runtime.store.store import Store
from heddle_runtime.threads.log import ThreadKey

_MANY = 64
"""Marks beyond which they get a transaction of their own, rather than make a turn's commit longer."""


class DatabaseRelayStore:
    """Marks, shards and the stream in the database. All methods raise StoreUnavailable when it is in trouble."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def stand(self, worker_id: WorkerId, stream: Micros, *, sole_process: bool) -> Standing:
        """Take shards, and read where the relay stands; see `RelayStore.stand`."""

        def stood(writer: LogWriter) -> Standing:
            if sole_process:
                relay_rows.take_all_shards(writer.tx, worker_id)
            else:
                relay_rows.take_free_shards(writer.tx, worker_id, stream)
            return relay_rows.read_standing(writer.tx, worker_id, stream)

        return await self._store.write(stood, worker_id)

    async def leave(self, worker_id: WorkerId) -> None:
        """Give this worker's shards away."""
        # Behind what the worker wrote before, also if nobody waited for its end: or that would take them again.
        await self._store.write(lambda writer: relay_rows.leave_shards(writer.tx, worker_id), worker_id)

    async def read_backlog(self, after: ThreadKey | None, limit: int) -> list[tuple[ThreadKey, int]]:
        """Threads with unpublished events."""
        return await self._store.read(lambda tx: relay_rows.read_backlog(tx, after, limit))

    async def read_facts(self, wanted: Mapping[ThreadKey, int], most_each: int, most_bytes: int) -> list[Facts]:
        """What threads have to publish."""
        return await self._store.read(lambda tx: relay_rows.read_facts(tx, wanted, most_each, most_bytes))

    async def mark(self, worker_id: WorkerId, marks: Sequence[Mark], stream: StreamNote | None) -> frozenset[int]:
        """Note how far threads are published."""
        return await self._store.write(
            lambda writer: relay_rows.write_marks(writer.tx, worker_id, marks, stream), bulk=len(marks) > _MANY
        )

    async def rewind(self, since: Micros, after: ThreadKey | None) -> ThreadKey | None:
        """Lower marks; see `RelayStore.rewind`."""
        return await self._store.write(lambda writer: relay_rows.rewind(writer.tx, since, after), bulk=True)

    async def adopt(self, judged: StreamNote | None, created: Micros) -> bool:
        """Note which stream is published to; see `RelayStore.adopt`."""
        return await self._store.write(lambda writer: relay_rows.adopt_stream(writer.tx, judged, created))

    async def read_tombstones(self, limit: int) -> list[Tombstone]:
        """Deletions that were not published."""

        def read(tx: Transaction) -> list[Tombstone]:
            return relay_rows.read_tombstones(tx, limit)

        return await self._store.read(read)

    async def mark_deleted(self, tenant: TenantId, thread_id: ThreadId) -> None:
        """Note that a deletion was published."""
        await self._store.write(lambda writer: relay_rows.mark_deleted(writer.tx, tenant, thread_id))
