"""Relays on a real database and either bus, and a consumer that reads as another process would."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta

from heddle.runtime.v1.event_pb2 import ThreadEvent
from heddle_bus import subjects
from heddle_bus.events import Deleted, Event, EventItem, EventReader, FindPlace, LoggedEvent, start_with_what_comes
from heddle_bus.observed import Observed
from heddle_bus.port import Bus
from heddle_core.clock import Micros
from heddle_core.ids import TenantId, ThreadId, WorkerId
from heddle_core.runtime_errors import ThreadNotFound
from heddle_runtime.codec.codec import event_message
from heddle_runtime.codec.facts import event_fact, tombstone_fact
from heddle_runtime.relay.ports import Facts, Mark, Standing, StreamNote
from heddle_runtime.relay.relay import Relay, RelaySettings
from heddle_runtime.store.relay_rows import read_backlog
from heddle_runtime.store.relay_store import DatabaseRelayStore
from heddle_runtime.store.store import Store
from heddle_runtime.threads.log import ThreadKey
from tests.kit.stores import ACME, WORKER, Shop

QUICK = RelaySettings(
    sweep_every=timedelta(hours=1), mark_every=timedelta(milliseconds=10), first_pause=timedelta(milliseconds=5)
)
"""No sweep comes to anybody's help."""

SHARED = replace(QUICK, sole_process=False)

RELAYS_LEASE = 120_000_000
"""Microseconds. Nobody renews it, so it lasts as long as a test may take on a machine that does other things beside."""


class WatchedRows(DatabaseRelayStore):
    """Tells when marks were written, and counts what is read."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.marks = Observed(0)
        self.shards = Observed(0)
        self.stands = Observed(0)
        self.left = Observed(0)
        self.backlogs = Observed(0)
        self.reads = 0

    async def leave(self, worker_id: WorkerId) -> None:
        await super().leave(worker_id)
        self.left.set(self.left.value + 1)

    async def stand(self, worker_id: WorkerId, stream: Micros, *, sole_process: bool) -> Standing:
        standing = await super().stand(worker_id, stream, sole_process=sole_process)
        self.shards.set(len(standing.fences))
        self.stands.set(self.stands.value + 1)
        return standing

    async def mark(self, worker_id: WorkerId, marks: Sequence[Mark], stream: StreamNote | None) -> frozenset[int]:
        refused = await super().mark(worker_id, marks, stream)
        self.marks.set(self.marks.value + 1)
        return refused

    async def read_backlog(self, after: ThreadKey | None, limit: int) -> list[tuple[ThreadKey, int]]:
        page = await super().read_backlog(after, limit)
        self.backlogs.set(self.backlogs.value + 1)
        return page

    async def read_facts(self, wanted: Mapping[ThreadKey, int], most_each: int, most_bytes: int) -> list[Facts]:
        self.reads += 1
        return await super().read_facts(wanted, most_each, most_bytes)


@dataclass
class Relaying:
    """A relay at work."""

    relay: Relay
    rows: WatchedRows
    shop: Shop

    async def marked(self) -> None:
        """Return when all that is committed is marked as published."""
        async with asyncio.timeout(30):
            while True:
                seen = self.rows.marks.value
                if not await self.shop.store.read(lambda tx: read_backlog(tx, None, 1)):
                    return
                await self.rows.marks.change_from(seen)

    async def shares(self, count: int) -> None:
        """Return when this relay has so many shards."""
        async with asyncio.timeout(30):
            await self.rows.shards.until(lambda held: held == count)


@asynccontextmanager
async def relaying(
    shop: Shop,
    bus: Bus,
    settings: RelaySettings = QUICK,
    *,
    worker: WorkerId = WORKER,
    store: Store | None = None,
    rows: Callable[[Store], WatchedRows] = WatchedRows,
) -> AsyncGenerator[Relaying]:
    """A relay of `worker` for what is committed through `store`, at work until the block is left."""
    store = store or shop.store
    await store.renew_lease(worker, "here", RELAYS_LEASE)
    watched = rows(store)
    relay = Relay(worker, watched, bus, shop.clock, event_fact, tombstone_fact, settings)
    store.log.add_listener(relay.committed)
    async with relay.serving():
        yield Relaying(relay, watched, shop)


@dataclass
class Consumer:
    """What somebody outside has been told."""

    shop: Shop
    reader: EventReader[ThreadEvent]
    items: list[EventItem[ThreadEvent]] = field(default_factory=list[EventItem[ThreadEvent]])

    @property
    def seen(self) -> dict[str, list[int]]:
        """Sequences by thread, in the order in which they came."""
        found: dict[str, list[int]] = {}
        for item in self.items:
            if isinstance(item, Event):
                found.setdefault(item.origin.thread, []).append(item.origin.sequence)
        return found

    async def read_until(self, **last: int) -> dict[str, list[int]]:
        """Read until each of these threads has come to that sequence."""
        async with asyncio.timeout(30):
            while any(self.seen.get(thread, [0])[-1] < sequence for thread, sequence in last.items()):
                self.items.append(await anext(self.reader))
        return self.seen

    async def read_until_deleted(self, thread: str) -> None:
        """Read until the end of a thread is told."""
        async with asyncio.timeout(30):
            while not any(isinstance(item, Deleted) and item.thread == thread for item in self.items):
                self.items.append(await anext(self.reader))

    async def check(self) -> None:
        """All that came is what the log has, each event once and in order."""
        for thread, sequences in self.seen.items():
            assert sequences == list(range(sequences[0], sequences[-1] + 1)), thread
            logged = {event.sequence: event for event in await self.shop.events(thread)}
            for item in self.items:
                if isinstance(item, Event) and item.origin.thread == thread:
                    assert item.event == event_message(ThreadId(thread), logged[item.origin.sequence])


@asynccontextmanager
async def consuming(shop: Shop, bus: Bus, find_place: FindPlace = start_with_what_comes) -> AsyncGenerator[Consumer]:
    """A consumer of all that the stream holds, which fills gaps from the shop's log."""

    async def read_log(tenant: str, thread: str, after: int, up_to: int) -> Sequence[LoggedEvent[ThreadEvent]]:
        try:
            events = await shop.store.read_events(TenantId(tenant), ThreadId(thread), after, up_to - after)
        except ThreadNotFound:
            return []
        return [LoggedEvent(event.sequence, event_message(ThreadId(thread), event)) for event in events]

    following = bus.follow((subjects.thread_events(),), after=None)
    async with EventReader(
        following, decode=ThreadEvent.FromString, read_log=read_log, find_place=find_place
    ) as reader:
        yield Consumer(shop, reader)


async def ends(shop: Shop) -> Mapping[str, int]:
    """The last sequence of each thread."""
    rows = await shop.store.read(lambda tx: tx.rows("SELECT thread_id, last_sequence FROM threads"))
    return dict(rows)


async def stream_of(bus: Bus, thread: str) -> list[tuple[str, int]]:
    """What the stream holds of a thread: kinds and sequences, in its order."""
    found: list[tuple[str, int]] = []
    for place in range(1, (await bus.identity()).last_sequence + 1):
        message = await bus.read(place)
        if message is not None and subjects.matches(subjects.thread_events(ACME, thread), message.subject):
            found.append((message.subject.rpartition(".")[2], int(message.headers[subjects.SEQUENCE])))
    return found
