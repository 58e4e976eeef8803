"""Reading the event stream in order over JetStream, through every restart of the server.

Each reading has a consumer of its own that the server may forget: the place is kept here, and the consumer is
made again after any doubt. Messages are pulled when the reader wants them, so that there is no task to
supervise, and a slow reader costs the server nothing.
"""

import asyncio
import json
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Self

from heddle_bus import subjects
from heddle_bus.port import Gap, GapReason, StoredMessage, StreamIdentity, StreamPosition
from heddle_bus.positions import resume
from heddle_bus.stream import nanoseconds, read_message, stream_identity
from heddle_core.clock import Micros
from heddle_core.errors import ServiceUnreachable
from heddle_core.faults import HeddleError

if TYPE_CHECKING:
    from nats.aio.msg import Msg

    from heddle_bus.link import Link, Listening

_log = logging.getLogger(__name__)

_BATCH = 512
_BATCH_BYTES = 8 * 1024 * 1024
"""Above the largest payload that the bundled server takes, or a large message could never be pulled."""
_PULL_LASTS = timedelta(seconds=30)
_HEARTBEAT = timedelta(seconds=2)
_SILENCE_SECONDS = 5.0
"""A server that misses two heartbeats has lost the consumer."""
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
        stream_sequence, consumer_sequence = _sequences(message.reply)
        pull.delivered += 1
        if consumer_sequence != pull.delivered:
            raise ServiceUnreachable("JetStream", "a message was lost on the way")
        self._received += 1
        self._position = StreamPosition(pull.created, stream_sequence)
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
        try:
            await pull.open(self._patterns, position)
        except BaseException:
            await pull.close()
            raise
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
        self._inbox = link.new_inbox()
        self._listening: Listening | None = None
        self._arrived: deque[Msg] = deque()
        self._changed = asyncio.Event()
        self._outstanding = 0
        self._broken = ""

    async def open(self, patterns: tuple[str, ...], after: StreamPosition) -> None:
        """Make the consumer. Raises as `Link.api` does."""
        self._listening = await self.link.listen(self._inbox, self)
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
        return not self._outstanding and not self._arrived

    async def request(self) -> None:
        """Ask for the next batch."""
        wanted = {
            "batch": _BATCH,
            "max_bytes": _BATCH_BYTES,
            "expires": nanoseconds(_PULL_LASTS),
            "idle_heartbeat": nanoseconds(_HEARTBEAT),
        }
        self._outstanding = _BATCH
        method = f"$JS.API.CONSUMER.MSG.NEXT.{subjects.EVENT_STREAM}.{self._consumer}"
        await self.link.send(method, json.dumps(wanted).encode(), {}, reply_to=self._inbox)

    async def take(self) -> "list[Msg]":
        """What has come; nothing only if the request has ended. Raises ServiceUnreachable on any doubt."""
        while not self._arrived and self._outstanding and not self._broken:
            self._changed.clear()
            try:
                async with asyncio.timeout(_SILENCE_SECONDS):
                    await self._changed.wait()
            except TimeoutError:
                self._broken = "the server has fallen silent"
        if self._broken and not self._arrived:
            raise ServiceUnreachable("JetStream", self._broken)
        messages = list(self._arrived)
        self._arrived.clear()
        return messages

    async def close(self) -> None:
        """Receive nothing more."""
        if self._listening is not None:
            await self._listening.end()

    async def say_farewell(self) -> None:
        """Spare the server the wait until it forgets the consumer by itself."""
        if not self._consumer or self.link.lost:
            return
        try:
            method = f"CONSUMER.DELETE.{subjects.EVENT_STREAM}.{self._consumer}"
            await self.link.api(method, {}, _FAREWELL_DEADLINE)
        except HeddleError as fault:
            _log.debug("deleting a consumer: %s", fault)

    def arrive(self, message: "Msg") -> None:
        status = (message.headers or {}).get("Status", "") if not message.data else ""
        if not status:
            self._arrived.append(message)
            self._outstanding = max(0, self._outstanding - 1)
        elif status in ("404", "408") or (status == "409" and "Completed" in _description(message)):
            self._outstanding = 0
        elif status != "100":
            self._broken = _description(message) or f"status {status}"
        self._changed.set()

    def dropped(self) -> None:
        self._broken = "the client dropped messages"
        self._changed.set()

    def lost(self) -> None:
        self._broken = "the connection broke"
        self._changed.set()


def _description(message: "Msg") -> str:
    return (message.headers or {}).get("Description", "")


def _sequences(reply: str) -> tuple[int, int]:
    """Stream and consumer sequence out of the reply subject, in its older or newer form (NATS ADR-15)."""
    levels = reply.split(".")
    first = 5 if len(levels) < 11 else 7
    try:
        return int(levels[first]), int(levels[first + 1])
    except (IndexError, ValueError):
        raise ServiceUnreachable("JetStream", "a message without its place in the stream") from None
