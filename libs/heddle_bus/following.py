"""Reading the event stream in order over JetStream, through every restart of the server.

Each reading has a consumer of its own that the server may forget: the place is kept here, and the consumer is
made again after any doubt.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import TYPE_CHECKING, Self

from heddle_bus import subjects
from heddle_bus.batches import Batches, BatchSize, place_of
from heddle_bus.port import Gap, GapReason, StoredMessage, StreamIdentity, StreamPosition
from heddle_bus.positions import resume
from heddle_bus.stream import nanoseconds, read_message, stream_identity
from heddle_core.clock import Micros
from heddle_core.errors import ServiceUnreachable
from heddle_core.faults import HeddleError

if TYPE_CHECKING:
    from nats.aio.msg import Msg

    from heddle_bus.link import Link

_log = logging.getLogger(__name__)

_BATCH = BatchSize(512, 8 * 1024 * 1024)
_CONSUMER_OUTLIVES = timedelta(seconds=60)
_API_DEADLINE = timedelta(seconds=5)
_FAREWELL_DEADLINE = timedelta(seconds=1)
_PAUSE_SECONDS = 0.1


class JetStreamFollowing:
    """The port's `Following`. `reach` waits for a link with a stream, or gives None once this is closed."""

    def __init__(
        self,
        reach: "Callable[[JetStreamFollowing], Awaitable[Link | None]]",
        patterns: tuple[str, ...],
        after: StreamPosition | None,
        on_close: "Callable[[JetStreamFollowing], None]",
    ) -> None:
        self._reach = reach
        self._patterns = patterns
        self._position = after
        self._last_message_id = ""
        self._on_close = on_close
        self._items: deque[StoredMessage | Gap] = deque()
        self._pull: _Pull | None = None
        self._pull_began = 0
        self._received = 0
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether nothing will come any more."""
        return self._closed

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> StoredMessage | Gap:
        while not self._closed:
            if self._items:
                return self._items.popleft()
            try:
                await self._take_more()
            except HeddleError as fault:
                _log.info("reading the event stream again from %s: %s", self._position, fault)
                await self._leave()
                await asyncio.sleep(_PAUSE_SECONDS)
        raise StopAsyncIteration

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End it; a reader that waits is told so."""
        if self._closed:
            return
        self._closed = True
        self._items.clear()
        self._on_close(self)
        pull = self._pull
        if pull is not None:
            pull.lost()
            await self._leave()
            await pull.say_farewell()

    async def _take_more(self) -> None:
        pull = self._pull
        if pull is None:
            link = await self._reach(self)
            if link is None:
                return
            pull = await self._open(link)
        if pull.idle:
            await self._check_trimmed(pull)
            self._pull_began, self._received = self._sequence, 0
            await pull.request()
        for message in await pull.take():
            self._accept(pull, message)

    def _accept(self, pull: "_Pull", message: "Msg") -> None:
        place = place_of(message.reply)
        pull.delivered += 1
        if place.consumer_sequence != pull.delivered:
            raise ServiceUnreachable("JetStream", "a message was lost on the way")
        self._received += 1
        self._position = StreamPosition(pull.created, place.stream_sequence)
        headers = message.headers or {}
        self._last_message_id = headers.get(subjects.MESSAGE_ID, "")
        self._items.append(StoredMessage(message.subject, message.data, headers, self._position))

    @property
    def _sequence(self) -> int:
        return self._position.sequence if self._position is not None else 0

    async def _open(self, link: "Link") -> "_Pull":
        stream = await stream_identity(link, _API_DEADLINE)
        position, gap = resume(self._position, stream)
        if gap is None and await self._last_was_replaced(link, position):
            position, gap = resume(None, stream)[0], Gap(GapReason.REPLACED)
        pull = _Pull(link, stream.created)
        async with AsyncExitStack() as undo:
            undo.push_async_callback(pull.close)
            await pull.open(self._patterns, position)
            undo.pop_all()
        # From here on nothing waits: what the reader is told and where it stands change together.
        self._pull = pull
        self._position = position
        if gap is not None:
            self._last_message_id = ""
            self._items.append(gap)
        return pull

    async def _last_was_replaced(self, link: "Link", position: StreamPosition) -> bool:
        """An old copy of the store that has grown past our place since shows by another message there."""
        if not self._last_message_id:
            return False
        stored = await read_message(link, position, _API_DEADLINE)
        return stored is not None and stored.headers.get(subjects.MESSAGE_ID, "") != self._last_message_id

    async def _check_trimmed(self, pull: "_Pull") -> None:
        """The server skips silently what its limits drop before it is pulled."""
        if self._sequence - self._pull_began == self._received or self._received == 0:
            return
        stream: StreamIdentity = await stream_identity(pull.link, _API_DEADLINE)
        missed = stream.first_sequence - 1 - self._pull_began
        if missed > 0:
            self._items.append(Gap(GapReason.TRIMMED, missed))
        self._pull_began, self._received = self._sequence, 0

    async def _leave(self) -> None:
        pull, self._pull = self._pull, None
        if pull is not None:
            await pull.close()


class _Pull:
    """One ephemeral consumer, and what it delivered."""

    def __init__(self, link: "Link", created: Micros) -> None:
        self.link = link
        self.created = created
        self.delivered = 0
        self._consumer = ""
        self._batches = Batches(link, subjects.EVENT_STREAM, _BATCH)

    async def open(self, patterns: tuple[str, ...], after: StreamPosition) -> None:
        """Make the consumer. Raises as `Link.api` does."""
        await self._batches.listen()
        configuration = {
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": after.sequence + 1,
            "ack_policy": "none",
            "filter_subjects": list(patterns),
            "inactive_threshold": nanoseconds(_CONSUMER_OUTLIVES),
            "mem_storage": True,
            "num_replicas": 1,
        }
        answer = await self.link.api(
            f"CONSUMER.CREATE.{subjects.EVENT_STREAM}",
            {"stream_name": subjects.EVENT_STREAM, "config": configuration},
            _API_DEADLINE,
        )
        self._consumer = str(answer.checked()["name"])

    @property
    def idle(self) -> bool:
        """Whether all that was asked for has come."""
        return self._batches.idle

    async def request(self) -> None:
        """Ask for the next batch."""
        await self._batches.request(self._consumer)

    async def take(self) -> "list[Msg]":
        """What has come; nothing only if the request has ended. Raises ServiceUnreachable on any doubt."""
        return await self._batches.take()

    async def close(self) -> None:
        """Receive nothing more."""
        await self._batches.close()

    async def say_farewell(self) -> None:
        """Spare the server the wait until it forgets the consumer by itself."""
        if not self._consumer or self.link.lost:
            return
        try:
            method = f"CONSUMER.DELETE.{subjects.EVENT_STREAM}.{self._consumer}"
            await self.link.api(method, {}, _FAREWELL_DEADLINE)
        except HeddleError as fault:
            _log.debug("deleting a consumer: %s", fault)

    def lost(self) -> None:
        """Have whoever waits told that nothing more comes."""
        self._batches.lost()
