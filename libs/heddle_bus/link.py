"""One connection to NATS, from its opening to its end: nothing here tries again.

nats-py's own reconnecting is switched off. It would replay buffered bytes nobody answers for, drop others
without a word, give up after an error from the server, and hide from a reader that it missed something. A
link that is lost says so to everybody at once; `JetStreamBus` opens the next.
"""

import asyncio
import itertools
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Protocol, cast

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription as ClientSubscription
from nats.errors import Error as NatsError
from nats.errors import SlowConsumerError

from heddle_bus.answers import ApiAnswer, Listener, NobodyListens, api_answer, is_unheard
from heddle_bus.endpoint import Endpoint
from heddle_core.errors import DeadlinePassed, RequestTooLarge, ServiceUnreachable

_log = logging.getLogger(__name__)

_CONNECT_SECONDS = 2
_CLOSE_SECONDS = 5.0
_PING_SECONDS = 5
_MOST_UNANSWERED_PINGS = 2
"""A server that is silent for about 15 s is taken for dead: also the guard for a read loop that ended."""

_MOST_UNSENT = 4 * 1024 * 1024
"""Bytes that may wait for the socket before a message that nobody awaits is dropped."""

_CLIENT_MESSAGES = 256 * 1024
_CLIENT_BYTES = 64 * 1024 * 1024
"""What nats-py may hold between its parser and a listener, which takes a message without waiting."""


class _Subscribe(Protocol):
    """What is used of nats-py's `Client.subscribe`, whose own type has holes."""

    async def __call__(
        self,
        subject: str,
        *,
        cb: Callable[[Msg], Awaitable[None]],
        pending_msgs_limit: int,
        pending_bytes_limit: int,
    ) -> ClientSubscription: ...


class _Client(Client):
    """nats-py's client, without the two queues and tasks between it and whoever uses it.

    A relay has one message of a thread under way at a time, so each hop of the event loop counts ten times a turn.
    """

    def __init__(self) -> None:
        super().__init__()
        self.arrivals: dict[int, Callable[[Msg], None]] = {}
        """Who takes the messages of a subscription, by its id."""

    def write(self, commands: bytes) -> None:
        """Write protocol lines behind all that waits. Raises OSError if the connection is gone."""
        if self._transport is None:
            raise ConnectionResetError("the connection is gone")
        waiting, self._pending, self._pending_data_size = self._pending, [], 0
        self._transport.writelines([*waiting, commands])

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        arrive = self.arrivals.get(sid)
        if arrive is None:
            await super()._process_msg(sid, subject, reply, data, headers)
            return
        fields = await self._process_headers(headers)  # pyright: ignore[reportUnknownMemberType]
        arrive(self._build_message(sid, subject, reply, data, fields))


class Link:
    """A connection that was opened once, and is used until it is lost or closed."""

    def __init__(self, endpoint: Endpoint, *, name: str, on_lost: Callable[[], None]) -> None:
        self._endpoint = endpoint
        self._name = name
        self._on_lost = on_lost
        self._client = _Client()
        self._opening = False
        self._closing: asyncio.Task[None] | None = None
        self._lost = False
        self._ended = asyncio.Event()
        self._listeners: dict[ClientSubscription, Listener] = {}
        self._answers: dict[str, asyncio.Future[Msg | None]] = {}
        self._inbox = ""
        self._numbers = itertools.count(1)

    @property
    def lost(self) -> bool:
        """Whether it is of no use any more."""
        return self._lost

    @property
    def most_payload(self) -> int:
        """The largest message that the server takes, headers included, in bytes."""
        return self._client.max_payload

    async def open(self) -> None:
        """Connect. Raises ServiceUnreachable; close it in any case."""
        credentials = self._endpoint.credentials
        if not self._endpoint.servers:
            raise ServiceUnreachable("NATS", "it is not started yet")
        self._opening = True
        try:
            async with asyncio.timeout(_CONNECT_SECONDS * (len(self._endpoint.servers) + 1)):
                await self._client.connect(
                    servers=list(self._endpoint.servers),
                    name=self._name,
                    allow_reconnect=False,
                    max_reconnect_attempts=1,
                    reconnect_time_wait=0,
                    connect_timeout=_CONNECT_SECONDS,
                    ping_interval=_PING_SECONDS,
                    max_outstanding_pings=_MOST_UNANSWERED_PINGS,
                    # No limit, so that no write waits where nats-py swallows a cancellation.
                    pending_size=0,
                    flusher_queue_size=0,
                    token=self._endpoint.token or None,
                    user=self._endpoint.user or None,
                    password=self._endpoint.password or None,
                    user_credentials=credentials,
                    tls=self._endpoint.tls,
                    error_cb=self._on_error,
                    closed_cb=self._on_closed,
                )
            self._inbox = self._client.new_inbox()
            await self.listen(f"{self._inbox}.*", _Answers(self._answers))
        except (NatsError, OSError, TimeoutError) as fault:
            raise ServiceUnreachable("NATS", _words(fault)) from fault

    async def close(self) -> None:
        """Disconnect, and wait until the socket and the client's tasks are gone.

        A cancellation ends the wait only: nats-py, interrupted here, would leave its socket open.
        """
        self._lose()
        if self._closing is None:
            self._closing = asyncio.create_task(self._disconnect())
        await asyncio.wait([self._closing])

    def new_inbox(self) -> str:
        """A subject that nobody else uses."""
        return self._client.new_inbox()

    async def listen(self, pattern: str, listener: Listener) -> "Listening":
        """Have messages under `pattern` arrive at `listener`. Call `settle` before relying on it."""
        self._check()

        async def arrive(message: Msg) -> None:
            listener.arrive(message)

        subscribe = cast(_Subscribe, self._client.subscribe)  # pyright: ignore[reportUnknownMemberType]

        try:
            subscription = await subscribe(
                pattern, cb=arrive, pending_msgs_limit=_CLIENT_MESSAGES, pending_bytes_limit=_CLIENT_BYTES
            )
        except NatsError as fault:
            raise ServiceUnreachable("NATS", _words(fault)) from fault
        self._listeners[subscription] = listener
        self._client.arrivals[_number(subscription)] = listener.arrive
        return Listening(self._listeners, self._client.arrivals, subscription)

    async def settle(self, deadline: timedelta) -> None:
        """Return once the server has seen all that was written before. Raises as `request` does."""
        # Not nats-py's flush: a pong that comes after its deadline ends the client's read loop.
        await self._exchange("", b"", {}, "the server's echo", deadline)

    def has_room(self) -> bool:
        """Whether what was written is being taken off by the server."""
        return self._client.pending_data_size < _MOST_UNSENT

    async def send(self, subject: str, payload: bytes, headers: Mapping[str, str], reply_to: str = "") -> None:
        """Write one message. Raises ServiceUnreachable if the link is lost, RequestTooLarge."""
        self._check()
        size = len(payload) + (16 + sum(len(name) + len(value) + 4 for name, value in headers.items()))
        # The server would cut the connection, and with it everybody else's messages.
        if size > self.most_payload:
            raise RequestTooLarge(size, self.most_payload)
        try:
            await self._client.publish(subject, payload, reply=reply_to, headers=dict(headers) if headers else None)
        except NatsError as fault:
            raise ServiceUnreachable("NATS", _words(fault)) from fault

    def write(self, commands: bytes) -> None:
        """Write encoded publishes: the caller has checked them. Raises ServiceUnreachable if the link is lost."""
        self._check()
        try:
            self._client.write(commands)
        except (NatsError, OSError, RuntimeError) as fault:  # the last from a transport that is closing
            raise ServiceUnreachable("NATS", _words(fault)) from fault

    async def request(self, subject: str, payload: bytes, *, headers: Mapping[str, str], deadline: timedelta) -> Msg:
        """The first answer.

        Raises NobodyListens, DeadlinePassed, RequestTooLarge, and ServiceUnreachable if the link is lost
        first.
        """
        message = await self._exchange(subject, payload, headers, f"the request to {subject}", deadline)
        if is_unheard(message):
            raise NobodyListens
        return message

    async def api(self, method: str, body: Mapping[str, object], deadline: timedelta) -> ApiAnswer:
        """Ask JetStream. Raises ServiceUnreachable if it is not there or the link is lost, DeadlinePassed."""
        payload = json.dumps(body).encode() if body else b""
        try:
            message = await self.request(f"$JS.API.{method}", payload, headers={}, deadline=deadline)
        except NobodyListens:
            raise ServiceUnreachable("JetStream", "the server does not answer for it") from None
        return api_answer(message.data)

    async def _exchange(
        self, subject: str, payload: bytes, headers: Mapping[str, str], what: str, deadline: timedelta
    ) -> Msg:
        """Send to `subject` and wait for an answer; without a subject, to the very inbox of the answer."""
        self._check()
        token = str(next(self._numbers))
        inbox = f"{self._inbox}.{token}"
        future: asyncio.Future[Msg | None] = asyncio.get_running_loop().create_future()
        self._answers[token] = future
        try:
            async with asyncio.timeout(deadline.total_seconds()):
                await self.send(subject or inbox, payload, headers, reply_to=inbox if subject else "")
                message = await future
        except TimeoutError:
            raise DeadlinePassed(what) from None
        finally:
            del self._answers[token]
        if message is None:
            raise ServiceUnreachable("NATS", f"the connection broke before {what} was answered")
        return message

    async def _disconnect(self) -> None:
        if not self._opening:
            return
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._client.close()
                if self._inbox:
                    await self._ended.wait()
        except (NatsError, OSError, TimeoutError) as fault:
            _log.info("closing the connection to NATS: %s", _words(fault))
        # nats-py cancels its tasks without waiting for them: let them take note.
        for _ in range(3):
            await asyncio.sleep(0)

    def _check(self) -> None:
        # The client knows a little earlier than it tells.
        if self._client.is_closed:
            self._lose()
        if self._lost:
            raise ServiceUnreachable("NATS", "the connection broke")

    def _lose(self) -> None:
        if self._lost:
            return
        self._lost = True
        for future in self._answers.values():
            if not future.done():
                # A value, not an exception: one that nobody comes to fetch must not be complained about.
                future.set_result(None)
        for listener in list(self._listeners.values()):
            listener.lost()
        self._on_lost()

    async def _on_closed(self) -> None:
        self._lose()
        self._ended.set()

    async def _on_error(self, fault: Exception) -> None:
        if isinstance(fault, SlowConsumerError):
            listener = self._listeners.get(fault.sub)
            if listener is not None:
                listener.dropped()
            return
        _log.info("NATS: %s", _words(fault))


class Listening:
    """That a link delivers to a listener; ends with the link at the latest."""

    def __init__(
        self,
        listeners: dict[ClientSubscription, Listener],
        arrivals: dict[int, Callable[[Msg], None]],
        subscription: ClientSubscription,
    ) -> None:
        self._listeners = listeners
        self._arrivals = arrivals
        self._subscription = subscription

    async def end(self) -> None:
        """Deliver nothing more."""
        if self._listeners.pop(self._subscription, None) is None:
            return
        self._arrivals.pop(_number(self._subscription), None)
        try:
            await self._subscription.unsubscribe()
        except NatsError as fault:
            _log.debug("unsubscribing: %s", _words(fault))


class _Answers:
    """Gives each answer to whoever waits for it; the last level of the subject tells who."""

    def __init__(self, waiting: dict[str, asyncio.Future[Msg | None]]) -> None:
        self._waiting = waiting

    def arrive(self, message: Msg) -> None:
        future = self._waiting.get(message.subject.rpartition(".")[2])
        if future is not None and not future.done():
            future.set_result(message)

    def dropped(self) -> None:
        _log.info("NATS: answers were dropped; those who wait for them run into their deadline")

    def lost(self) -> None:
        pass


def _number(subscription: ClientSubscription) -> int:
    """What the server calls a subscription by."""
    return subscription._id  # pyright: ignore[reportPrivateUsage] - it has no other name


def _words(fault: BaseException) -> str:
    return str(fault) or type(fault).__name__
