"""This process among others on the same database; nothing where the database admits no other."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from heddle_bus.observed import Observed
from heddle_bus.port import Bus
from heddle_core.values import value
from heddle_runtime.codec.words import decode_words, encode_words
from heddle_runtime.facade.waiting import Doorbells
from heddle_runtime.lanes.lanes import Lanes
from heddle_runtime.relay.brokers import Brokers
from heddle_runtime.replicas.interest import Interest
from heddle_runtime.replicas.replica import Replica
from heddle_runtime.store.replica_store import DatabaseReplicaStore
from heddle_runtime.store.store import Store
from heddle_runtime.threads.follow import Followers


@value
class Watchers:
    """Everybody who watches in this process, and what they watch."""

    interest: Interest
    followers: Followers
    doorbells: Doorbells

    @classmethod
    def of(cls, store: Store, *, sole_process: bool) -> "Watchers":
        """Those of a process; where it is the only one, nobody has to know what they watch."""
        interest = Interest()
        attention = None if sole_process else interest
        followers = Followers(attention)
        store.log.add_listener(followers.committed)
        return cls(interest, followers, Doorbells(store.log, attention))


@asynccontextmanager
async def among_replicas(
    store: Store,
    watchers: Watchers,
    lanes: Lanes,
    bus: Bus | None,
    brokers: Observed[Brokers],
    *,
    sole_process: bool,
) -> AsyncGenerator[None]:
    """Tell other replicas, and hear of them, until the block is left. It stands around the lanes: their end is told."""
    if sole_process:
        yield
        return
    replica = Replica(
        lanes.worker_id,
        watchers.interest,
        DatabaseReplicaStore(store),
        store.log,
        watchers.followers,
        watchers.doorbells.ring,
        lanes,
        bus,
        encode_words,
        decode_words,
        apart=lambda: bool(brokers.value.elsewhere),
    )
    async with replica.serving():
        yield
