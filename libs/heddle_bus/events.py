"""Reading thread events off the bus as the log has them: each once, in order within its thread, holes filled.

The bus delivers at least once, and may lose. The reader keeps (log epoch, sequence) of each thread, drops what it has
seen, and fetches from the log what it has not (SEMANTICS 30). It knows no message of the contract: what an event is,
and how the log is read, is given. `heddle_client.consuming` gives both.
"""

import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, Self, TypeAlias, TypeVar

from heddle_bus import subjects
from heddle_bus.headers import EventOrigin, event_kind, event_origin
from heddle_bus.port import Following, Gap, StoredMessage, StreamPosition
from heddle_core.values import value

_log = logging.getLogger(__name__)

T = TypeVar("T")

DELETED = "ThreadDeleted"
"""The kind of message that ends a thread."""

_MOST_THREADS = 100_000
"""Threads whose place is kept in memory, about 200 bytes each; the longest unheard of are let go first."""


@value
class LoggedEvent(Generic[T]):
    """One event as the log gives it."""

    sequence: int
    event: T


@value
class ThreadPlace:
    """How far a reader has come in one thread."""

    log_epoch: int
    sequence: int


@value
class Event(Generic[T]):
    """The next event of a thread."""

    origin: EventOrigin
    event: T
    position: StreamPosition
    """Where to follow the stream from after this event, and all before it, were dealt with."""
    from_log: bool
    """Whether the bus did not bring it, and it was fetched."""

    @property
    def place(self) -> ThreadPlace:
        """What to record once it was dealt with, and to give back from `find_place`."""
        return ThreadPlace(self.origin.log_epoch, self.origin.sequence)


@value
class Deleted:
    """A thread is gone, with its events: nothing of it comes any more."""

    tenant: str
    thread: str
    position: StreamPosition


@value
class Hole:
    """Events of a thread that neither the bus nor the log has any more: read a snapshot."""

    tenant: str
    thread: str
    after_sequence: int
    before_sequence: int


EventItem: TypeAlias = Event[T] | Deleted | Hole | Gap
"""A `Gap` says that the bus may have lost events of any thread: sweep what you wait for through the log."""

ReadLog: TypeAlias = Callable[[str, str, int, int], Awaitable[Sequence[LoggedEvent[T]]]]
"""`read_log(tenant, thread, after_sequence, up_to)`: what the log has after the one and up to the other, in
order.

Shorter than asked for means that retention removed the rest, or all."""

FindPlace: TypeAlias = Callable[[str, str], Awaitable[ThreadPlace | None]]
"""`find_place(tenant, thread)`: how far the caller has come by its own records; None: start with what comes."""


async def start_with_what_comes(tenant: str, thread: str) -> ThreadPlace | None:
    """A `FindPlace` for a caller without records: of each thread, the first event that comes is the first."""
    return None


async def start_from_first(tenant: str, thread: str) -> ThreadPlace | None:
    """A `FindPlace` for a caller without records: of each thread all events, from the log where need be."""
    return ThreadPlace(0, 0)


class EventReader(Generic[T]):
    """Turns what the stream brings into events in order. For one reader at a time; an error passes through
    it.

    After an error, or after a wait that was cancelled, the next call goes on with the same event.
    """

    def __init__(
        self,
        following: Following,
        *,
        decode: Callable[[bytes], T],
        read_log: ReadLog[T],
        find_place: FindPlace = start_with_what_comes,
        most_threads: int = _MOST_THREADS,
    ) -> None:
        self._following = following
        self._decode = decode
        self._read_log = read_log
        self._find_place = find_place
        self._most_threads = most_threads
        self._places: OrderedDict[tuple[str, str], ThreadPlace] = OrderedDict()
        self._message: StoredMessage | None = None
        self._ready: list[EventItem[T]] = []

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> EventItem[T]:
        while not self._ready:
            if self._message is None:
                item = await anext(self._following)
                if isinstance(item, Gap):
                    return item
                self._message = item
            await self._take(self._message)
            self._message = None
        return self._ready.pop(0)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Stop following."""
        await self._following.close()

    async def _take(self, message: StoredMessage) -> None:
        origin = event_origin(message.headers)
        if origin is None:
            _log.warning("a message on %s does not say which event it carries: skipped", message.subject)
            return
        place = starting_place(await self._place(origin), origin)
        if place is None:
            return
        if event_kind(message.headers) == DELETED:
            items: list[EventItem[T]] = [Deleted(origin.tenant, origin.thread, message.position)]
        elif subjects.IN_LOG in message.headers:
            items = await self._fetch(origin, place.sequence, origin.sequence + 1, message.position)
        else:
            items = []
            if place.sequence < origin.sequence - 1:
                items = await self._fetch(origin, place.sequence, origin.sequence, message.position)
            items.append(Event(origin, self._decode(message.payload), message.position, from_log=False))
        # From here on nothing waits: the place moves if and only if the events are handed over.
        self._ready = items
        key = (origin.tenant, origin.thread)
        self._places[key] = ThreadPlace(origin.log_epoch, origin.sequence)
        self._places.move_to_end(key)
        if len(self._places) > self._most_threads:
            self._places.popitem(last=False)

    async def _place(self, origin: EventOrigin) -> ThreadPlace | None:
        known = self._places.get((origin.tenant, origin.thread))
        return known if known is not None else await self._find_place(origin.tenant, origin.thread)

    async def _fetch(
        self, origin: EventOrigin, after: int, before: int, position: StreamPosition
    ) -> list[EventItem[T]]:
        """What the log has of the thread between two sequences; `position` is that of the message that told of it."""
        # The message itself is not dealt with yet: a reader that stops among these must get it again.
        resume = StreamPosition(position.created, position.sequence - 1)
        items: list[EventItem[T]] = []
        for each in await self._read_log(origin.tenant, origin.thread, after, before - 1):
            if each.sequence <= after or each.sequence >= before:
                continue
            if each.sequence > after + 1:
                items.append(Hole(origin.tenant, origin.thread, after, each.sequence))
            missing = EventOrigin(origin.log_epoch, origin.tenant, origin.thread, each.sequence)
            is_told = each.sequence == origin.sequence
            items.append(Event(missing, each.event, position if is_told else resume, from_log=True))
            after = each.sequence
        if after < before - 1:
            items.append(Hole(origin.tenant, origin.thread, after, before))
        return items


def starting_place(place: ThreadPlace | None, origin: EventOrigin) -> ThreadPlace | None:
    """The place after which events are handed over so that `origin` is next or missing ones are fetched.

    None if the event was seen, or comes from a log that has been replaced by a restored one. Under a higher
    epoch sequences that were seen before are other events, and are handed over again.
    """
    if place is None:
        return ThreadPlace(origin.log_epoch, origin.sequence - 1)
    if origin.log_epoch < place.log_epoch:
        return None
    if origin.log_epoch > place.log_epoch:
        return ThreadPlace(origin.log_epoch, min(place.sequence, origin.sequence - 1))
    return None if origin.sequence <= place.sequence else place
