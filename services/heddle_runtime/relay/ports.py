"""What the relay needs of its surroundings, and what passes between them."""

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Protocol

from heddle_core.clock import Micros
from heddle_core.ids import TenantId, ThreadId, WorkerId
from heddle_core.values import value
from heddle_runtime.relay.brokers import Brokers
from heddle_runtime.threads.events import Event
from heddle_runtime.threads.log import ThreadKey


@value
class Fact:
    """An event as it is published."""

    sequence: int
    kind: str
    """The name of its payload's message, as RunStarted."""
    commit_time: Micros
    payload: bytes
    """The ThreadEvent message; empty: what happened stands in the log alone."""


@value
class Facts:
    """What one thread has to publish, in order and without a gap."""

    key: ThreadKey
    facts: tuple[Fact, ...]
    """Empty only with `more`: there was no room."""
    more: bool = False
    """Whether the log has more behind these."""


@value
class Tombstone:
    """A deleted thread that nobody outside was told of yet."""

    tenant: TenantId
    thread_id: ThreadId
    last_sequence: int
    last_hash: bytes
    delete_time: Micros


@value
class StreamNote:
    """The stream that was published to, and the last message that it is known to have."""

    created: Micros
    sequence: int
    message_id: str


@value
class Standing:
    """What a relay starts from, read in one transaction."""

    log_epoch: int
    stream: StreamNote | None
    """None: nothing was ever published."""
    fences: Mapping[int, int]
    """The shards of this worker, with the fence of each."""
    owners: Mapping[int, WorkerId]
    """Shards of others, with their owners; a shard that nobody has is in neither."""
    peers: frozenset[WorkerId]
    """The other relays that live, with shards or without."""
    lease_ends_in: timedelta | None
    """When the first of their leases ends, if it is not renewed: whoever died leaves shards then. None: no peers."""
    brokers: Brokers
    """Whether these have the same stream; a relay that stands aside has no shards."""


@value
class Mark:
    """That a thread is published up to a sequence, by the owner of its shard."""

    key: ThreadKey
    sequence: int
    shard: int
    fence: int


EncodeEvent = Callable[[ThreadId, Event], Fact]
"""The event as consumers get it."""

EncodeTombstone = Callable[[Tombstone], Fact]
"""What consumers get when a thread was deleted: a ThreadDeleted behind its last event."""


class RelayStore(Protocol):
    """What the relay keeps in the database. All methods raise StoreUnavailable when it is in trouble."""

    async def stand(self, worker_id: WorkerId, stream: Micros, *, sole_process: bool) -> Standing:
        """Tell the others which stream this worker has, take the shards that it may have, and read where it stands.

        `stream` is when the stream was made. All shards where the database admits no other process; else those that
        nobody has, and never more than this worker's share of them. None while somebody who lives publishes to the
        stream that is noted, and this is another.
        """
        ...

    async def leave(self, worker_id: WorkerId) -> None:
        """Give this worker's shards away."""
        ...

    async def read_backlog(self, after: ThreadKey | None, limit: int) -> list[tuple[ThreadKey, int]]:
        """Threads with events that are not marked as published, with their last sequences, in the order of keys.

        Those behind `after`, or from the first.
        """
        ...

    async def read_facts(self, wanted: Mapping[ThreadKey, int], most_each: int, most_bytes: int) -> list[Facts]:
        """What threads have to publish behind the given sequences, or behind their marks if those are higher.

        At most `most_each` events of a thread; when there are more than `most_bytes`, threads with no facts and `more`.
        A thread that is gone, or has nothing, is left out.
        """
        ...

    async def mark(self, worker_id: WorkerId, marks: Sequence[Mark], stream: StreamNote | None) -> frozenset[int]:
        """Note how far threads are published, and the stream's last message. Marks only ever rise.

        Returns the shards that this worker does not hold any more under the fence of the mark: these marks were
        not written.
        """
        ...

    async def rewind(self, since: Micros, after: ThreadKey | None) -> ThreadKey | None:
        """Lower marks so that all events from `since` on count as unpublished, one portion of threads at a time.

        Returns the last thread of the portion, for the next call; None: these were all.
        """
        ...

    async def adopt(self, judged: StreamNote | None, created: Micros) -> bool:
        """Note that the stream of `created`, and no other, is published to, and void the fences of what was before.

        `judged` is the note by which it was found to be another. Nothing changes where somebody came first. Returns
        whether it is the one that is noted now: it is not where others note their own, or live and publish to theirs.
        """
        ...

    async def read_tombstones(self, limit: int) -> list[Tombstone]:
        """Deleted threads of which nobody outside was told."""
        ...

    async def mark_deleted(self, tenant: TenantId, thread_id: ThreadId) -> None:
        """Note that a thread's deletion was published."""
        ...
