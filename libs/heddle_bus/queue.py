"""A durable queue in JetStream: each message goes to one of the processes that take from it, until one has settled it.

The event stream is read by everybody at their own place, and is only a copy of the log. A queue holds what is nowhere
else: a message stays until somebody says that it is done, and comes again if whoever took it died. What is put aside is
not delivered again, and can be read in the stream until its age limit.
"""

import asyncio
import json
import logging
from collections import deque
from collections.abc import Callable
from datetime import timedelta
from importlib import import_module
from typing import TYPE_CHECKING, Protocol, Self

from heddle_bus.answers import NobodyListens
from heddle_bus.batches import Batches, BatchSize, place_of
from heddle_bus.endpoint import Endpoint
from heddle_bus.port import StoredMessage, StreamPosition
from heddle_bus.stream import configuration, created_in, ensure_configured, nanoseconds
from heddle_core.clock import Micros
from heddle_core.errors import ServiceUnreachable
from heddle_core.faults import HeddleError
from heddle_core.values import value

if TYPE_CHECKING:
    from heddle_bus.link import Link

_log = logging.getLogger(__name__)

_BATCH = BatchSize(16, 8 * 1024 * 1024)
_API_DEADLINE = timedelta(seconds=5)
_FAREWELL_DEADLINE = timedelta(seconds=1)
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 2.0
_NANOS_PER_MICRO = 1_000


@value
class QueueSettings:
    """Which stream is the queue, and who takes from it."""

    stream: str
    subjects: tuple[str, ...]
    consumer: str
    """Processes of one name share the messages."""
    replicas: int = 1
    """Copies in the cluster: 3 survive the loss of one server."""
    age_limit: timedelta = timedelta(days=7)
    bytes_limit: int = 128 * 1024**2
    """The oldest are dropped beyond these, also those that nobody has taken."""
    duplicate_window: timedelta = timedelta(minutes=2)
    """How long the server remembers message ids."""
    patience: timedelta = timedelta(seconds=60)
    """How long a message may be worked on before another process gets it."""
    most_open: int = 256
    """Messages that are worked on at the same time, by all processes."""


@value
class Delivery:
    """A message that was taken, and must be settled."""

    message: StoredMessage
    attempt: int
    """How often it was delivered, this time included."""
    stored: Micros
    receipt: str
    """Where the server waits to be told."""


class Queue(Protocol):
    """Deliveries as they come, for one reader. A delivery that is not settled comes again."""

    def __aiter__(self) -> Self: ...

    async def __anext__(self) -> Delivery: ...

    async def done(self, delivery: Delivery) -> None:
        """It is dealt with, and need not come again; it may all the same, if the server cannot be told."""
        ...

    async def give_back(self, delivery: Delivery, pause: timedelta) -> None:
        """Have it come again after a while."""
        ...

    async def put_aside(self, delivery: Delivery, reason: str) -> None:
        """Never have it come again, since nothing can be made of it."""
        ...


class JetStreamQueue:
    """The port over NATS. `endpoint` is asked before each connection, so that a server may move.

    It has a connection of its own, opened when something is first taken; a lost one is opened again for ever.
    """

    def __init__(self, endpoint: Callable[[], Endpoint], settings: QueueSettings, *, name: str) -> None:
        self._endpoint = endpoint
        self._settings = settings
        self._name = name
        self._link: Link | None = None
        self._batches: Batches | None = None
        self._created = Micros(0)
        self._items: deque[Delivery] = deque()
        self._pause = _FIRST_PAUSE_SECONDS
        self._problem = ""
        """Why nothing could be taken the last time."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._hand_over()
        await self._leave()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Delivery:
        while not self._items:
            try:
                await self._take_more()
                self._pause, self._problem = _FIRST_PAUSE_SECONDS, ""
            except HeddleError as fault:
                self._complain(fault)
                await self._leave()
                await asyncio.sleep(self._pause)
                self._pause = min(self._pause * 2, _LONGEST_PAUSE_SECONDS)
        return self._items.popleft()

    async def done(self, delivery: Delivery) -> None:
        await self._settle(delivery, b"+ACK")

    async def give_back(self, delivery: Delivery, pause: timedelta) -> None:
        await self._settle(delivery, b"-NAK " + json.dumps({"delay": nanoseconds(pause)}).encode())

    async def put_aside(self, delivery: Delivery, reason: str) -> None:
        await self._settle(delivery, b"+TERM " + reason.encode()[:256])

    async def _settle(self, delivery: Delivery, verdict: bytes) -> None:
        """Tell the server, and wait until it knows; where it cannot be told, the message comes again."""
        link = self._link
        if link is None:
            return
        try:
            await link.request(delivery.receipt, verdict, headers={}, deadline=_API_DEADLINE)
        except (HeddleError, NobodyListens) as fault:
            _log.info("message %s was not settled: %s", delivery.message.position, fault)

    async def _take_more(self) -> None:
        batches = self._batches or await self._open()
        if batches.idle:
            await batches.request(self._settings.consumer)
        for message in await batches.take():
            place = place_of(message.reply)
            position = StreamPosition(self._created, place.stream_sequence)
            stored = StoredMessage(message.subject, message.data, message.headers or {}, position)
            self._items.append(
                Delivery(stored, place.attempt, Micros(place.stored_nanos // _NANOS_PER_MICRO), message.reply)
            )

    def _complain(self, fault: HeddleError) -> None:
        """Say once what is wrong; a server that is away comes back by itself, all else may need a person."""
        problem, self._problem = self._problem, str(fault)
        if problem != self._problem:
            away = isinstance(fault, ServiceUnreachable) and fault.target == "NATS"
            level = logging.INFO if away else logging.WARNING
            _log.log(level, "nothing can be taken from %s: %s", self._settings.stream, fault)

    async def _open(self) -> Batches:
        await self._leave()  # a wait that was cancelled may have left a connection half open
        # In a thread: nats-py takes long to load.
        module = await asyncio.to_thread(import_module, "heddle_bus.link")
        link: Link = module.Link(self._endpoint(), name=self._name, on_lost=lambda: None)
        self._link = link
        await link.open()
        info = await ensure_configured(
            link, configuration(self._settings.stream, self._settings.subjects, self._settings), _API_DEADLINE
        )
        self._created = created_in(info)
        await self._ensure_consumer(link)
        batches = Batches(link, self._settings.stream, _BATCH)
        await batches.listen()
        self._batches = batches
        return batches

    async def _ensure_consumer(self, link: "Link") -> None:
        wanted = self._settings
        configuration = {
            "durable_name": wanted.consumer,
            "deliver_policy": "all",
            "ack_policy": "explicit",
            "ack_wait": nanoseconds(wanted.patience),
            "max_deliver": -1,
            "max_ack_pending": wanted.most_open,
        }
        method = f"CONSUMER.CREATE.{wanted.stream}.{wanted.consumer}"
        body = {"stream_name": wanted.stream, "config": configuration}
        (await link.api(method, body, _API_DEADLINE)).checked()

    async def _hand_over(self) -> None:
        """Have others get at once what they would get after the patience anyway."""
        link, batches = self._link, self._batches
        if link is None or batches is None:
            return
        try:
            # What is published from now on must not go to a request that nobody reads any more.
            await batches.close()
            await link.settle(_FAREWELL_DEADLINE)
        except HeddleError as fault:
            _log.debug("leaving %s: %s", self._settings.stream, fault)
        for each in self._items:
            await self.give_back(each, timedelta(0))

    async def _leave(self) -> None:
        """End the connection. What was taken and not handed over comes again, here or elsewhere."""
        link, self._link, self._batches = self._link, None, None
        self._items.clear()
        if link is not None:
            await link.close()
