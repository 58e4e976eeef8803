"""Pulling messages from a consumer of JetStream, batch by batch, over one link; on any doubt it says so and ends.

Messages are pulled when the reader wants them, so that there is no task to supervise, and a slow reader costs the
server nothing.
"""

import asyncio
import json
from collections import deque
from datetime import timedelta
from typing import TYPE_CHECKING

from heddle_bus.stream import nanoseconds
from heddle_core.errors import ServiceUnreachable
from heddle_core.values import value

if TYPE_CHECKING:
    from nats.aio.msg import Msg

    from heddle_bus.link import Link, Listening

_LASTS = timedelta(seconds=30)
_HEARTBEAT = timedelta(seconds=2)
_SILENCE_SECONDS = 5.0
"""A server that misses two heartbeats has lost the consumer."""


@value
class BatchSize:
    """What one request asks for."""

    messages: int
    byte_count: int
    """Above the largest payload that the server takes, or a large message could never be pulled."""


@value
class Place:
    """Where a delivered message stands, out of its reply subject."""

    stream_sequence: int
    consumer_sequence: int
    attempt: int
    """How often it was delivered, this time included."""
    stored_nanos: int
    """When it was stored, since the Unix epoch."""


class Batches:
    """What one consumer delivers. Listen first, then request and take, for ever."""

    def __init__(self, link: "Link", stream: str, size: BatchSize) -> None:
        self._link = link
        self._stream = stream
        self._size = size
        self._inbox = link.new_inbox()
        self._listening: Listening | None = None
        self._arrived: deque[Msg] = deque()
        self._changed = asyncio.Event()
        self._outstanding = 0
        self._broken = ""

    async def listen(self) -> None:
        """Be ready for what will come. Raises ServiceUnreachable."""
        self._listening = await self._link.listen(self._inbox, self)

    @property
    def idle(self) -> bool:
        """Whether all that was asked for has come."""
        return not self._outstanding and not self._arrived

    async def request(self, consumer: str) -> None:
        """Ask for the next batch. Raises ServiceUnreachable."""
        wanted = {
            "batch": self._size.messages,
            "max_bytes": self._size.byte_count,
            "expires": nanoseconds(_LASTS),
            "idle_heartbeat": nanoseconds(_HEARTBEAT),
        }
        self._outstanding = self._size.messages
        method = f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{consumer}"
        await self._link.send(method, json.dumps(wanted).encode(), {}, reply_to=self._inbox)

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

    def arrive(self, message: "Msg") -> None:
        """A message, or a word of the server about the request."""
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
        """The client dropped messages."""
        self._broken = "the client dropped messages"
        self._changed.set()

    def lost(self) -> None:
        """The link ended."""
        self._broken = "the connection broke"
        self._changed.set()


def place_of(reply: str) -> Place:
    """The place in a reply subject, in its older or newer form (NATS ADR-15). Raises ServiceUnreachable."""
    levels = reply.split(".")
    first = 4 if len(levels) < 11 else 6
    try:
        attempt, stream, consumer, stored = (int(level) for level in levels[first : first + 4])
    except ValueError:
        raise ServiceUnreachable("JetStream", "a message without its place in the stream") from None
    return Place(stream, consumer, attempt, stored)


def _description(message: "Msg") -> str:
    return (message.headers or {}).get("Description", "")
