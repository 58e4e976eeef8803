"""The bus over NATS with JetStream: one `Link` after another for ever, and readers told what they missed."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from importlib import import_module
from typing import TYPE_CHECKING, Self

from heddle_bus import subjects
from heddle_bus.answers import NobodyListens, api_answer
from heddle_bus.endpoint import Endpoint
from heddle_bus.following import JetStreamFollowing
from heddle_bus.headers import checked_headers, stored_headers
from heddle_bus.mailbox import Mailbox
from heddle_bus.observed import Observed
from heddle_bus.port import (
    ACKNOWLEDGEMENT_DEADLINE,
    MOST_BYTES,
    MOST_MESSAGES,
    NO_HEADERS,
    Acknowledgement,
    Connection,
    Following,
    Gap,
    GapReason,
    Message,
    Progress,
    Publication,
    StoredMessage,
    StreamIdentity,
    StreamPosition,
    Subscription,
)
from heddle_bus.publisher import Publisher
from heddle_bus.stream import StreamSettings, ensure_stream, find_stream, purge_subject, read_message, stream_identity
from heddle_core.errors import ServiceUnreachable
from heddle_core.faults import HeddleError

if TYPE_CHECKING:
    from nats.aio.msg import Msg

    from heddle_bus.link import Link, Listening

_log = logging.getLogger(__name__)

_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 2.0
_STREAM_PAUSE_SECONDS = 0.1
_CANCEL_AGAIN_SECONDS = 0.5
_SERVER_DEADLINE = timedelta(seconds=5)


class JetStreamBus:
    """The port over NATS. `endpoint` is asked before each connection, so that a server may move."""

    def __init__(
        self,
        endpoint: Callable[[], Endpoint],
        *,
        name: str = "heddle",
        stream: StreamSettings | None = None,
        keeps_stream: bool = True,
    ) -> None:
        """`keeps_stream`: whether this process makes the event stream and sets its limits; one that only listens must
        not, or it would undo the settings of the one that publishes.
        """
        self._keeps_stream = keeps_stream
        self._endpoint = endpoint
        self._name = name
        self._settings = stream or StreamSettings()
        self._connection = Observed(Connection(False, False, 0, "not connected yet"))
        self._link: Link | None = None
        self._newest: Link | None = None
        self._publisher: Publisher | None = None
        self._mailboxes: dict[Mailbox, str] = {}
        self._listening: dict[Mailbox, Listening] = {}
        self._followings: set[JetStreamFollowing] = set()
        self._attention = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._closed = False

    async def __aenter__(self) -> Self:
        """Start connecting; does not wait for it: services start in any order."""
        self._keeper = asyncio.create_task(self._keep_connected())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def connection(self) -> Observed[Connection]:
        return self._connection

    async def publish(
        self,
        subject: str,
        payload: bytes,
        *,
        message_id: str,
        headers: Mapping[str, str] = NO_HEADERS,
        deadline: timedelta = ACKNOWLEDGEMENT_DEADLINE,
        over: int | None = None,
    ) -> Acknowledgement:
        subjects.checked_event_subject(subject)
        stamped = stored_headers(headers, message_id)
        stamped[subjects.EXPECTED_STREAM] = subjects.EVENT_STREAM
        answer = await self._store(subject, payload, stamped, deadline, over)
        body = api_answer(answer.data).checked()
        return Acknowledgement(int(body["seq"]), bool(body.get("duplicate", False)))

    async def publish_in_order(
        self,
        queues: Sequence[Sequence[Publication]],
        *,
        deadline: timedelta = ACKNOWLEDGEMENT_DEADLINE,
        over: int | None = None,
    ) -> list[Progress]:
        clock = asyncio.get_running_loop()
        end = clock.time() + deadline.total_seconds()
        try:
            link = await self._reach(deadline, over)
        except ServiceUnreachable as fault:
            return [Progress(0, None, fault if queue else None) for queue in queues]
        assert self._publisher is not None, "a link that is durable has a publisher"
        done = await self._publisher.publish(queues, timedelta(seconds=end - clock.time()))
        if done.stream_missing:
            self._distrust_stream(link)
        return done.progress

    async def send(self, subject: str, payload: bytes, *, headers: Mapping[str, str] = NO_HEADERS) -> None:
        subjects.checked_subject(subject)
        checked_headers(headers)
        link = self._link
        if link is None or not link.has_room():
            return
        try:
            await link.send(subject, payload, headers)
        except ServiceUnreachable as fault:
            _log.debug("a message to %s was dropped: %s", subject, fault)

    async def subscribe(
        self, pattern: str, *, most_messages: int = MOST_MESSAGES, most_bytes: int = MOST_BYTES
    ) -> Subscription:
        subjects.checked_pattern(pattern)
        self._check_open()

        async def forget() -> None:
            self._mailboxes.pop(mailbox, None)
            listening = self._listening.pop(mailbox, None)
            if listening is not None:
                await listening.end()

        mailbox = Mailbox(most_messages=most_messages, most_bytes=most_bytes, on_close=forget)
        self._mailboxes[mailbox] = pattern
        link = self._link
        if link is not None:
            try:
                await self._listen(link, mailbox, pattern)
                await link.settle(_SERVER_DEADLINE)
            except HeddleError as fault:
                # It stands in the list: the next connection takes it up, with a mark.
                _log.debug("subscribing to %s: %s", pattern, fault)
                mailbox.mark(Gap(GapReason.DISCONNECTED))
        return mailbox

    async def ask(self, subject: str, payload: bytes, *, deadline: timedelta) -> Message:
        subjects.checked_subject(subject)
        link = self._link
        if link is None:
            raise ServiceUnreachable("NATS", self._connection.value.problem)
        try:
            return _message(await link.request(subject, payload, headers={}, deadline=deadline))
        except NobodyListens:
            raise ServiceUnreachable(subject, "nobody listens there") from None

    async def answer(self, question: Message, payload: bytes) -> None:
        if question.reply_to:
            await self.send(question.reply_to, payload)

    def follow(self, patterns: tuple[str, ...], *, after: StreamPosition | None) -> Following:
        for pattern in patterns:
            subjects.checked_pattern(pattern)
        self._check_open()
        following = JetStreamFollowing(self._reach_for, patterns, after, self._followings.discard)
        self._followings.add(following)
        return following

    async def identity(self) -> StreamIdentity:
        link = await self._reach(_SERVER_DEADLINE)
        found = await find_stream(link, _SERVER_DEADLINE)
        if found is None:
            self._distrust_stream(link)  # or nobody would make it again who does not publish
            raise ServiceUnreachable("the event stream", "somebody removed it")
        return found

    async def read(self, stream_sequence: int) -> StoredMessage | None:
        link = await self._reach(_SERVER_DEADLINE)
        stream = await stream_identity(link, _SERVER_DEADLINE)
        position = StreamPosition(stream.created, stream_sequence)
        return await read_message(link, position, _SERVER_DEADLINE)

    async def purge(self, pattern: str, *, before: int = 0, over: int | None = None) -> int:
        subjects.checked_pattern(pattern)
        return await purge_subject(await self._reach(_SERVER_DEADLINE, over), pattern, before, _SERVER_DEADLINE)

    async def close(self) -> None:
        self._closed = True
        for each in [*self._followings, *self._mailboxes]:
            await each.close()
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            while not keeper.done():
                # Again and again, because `asyncio.wait_for` of Python 3.11, inside nats-py, may swallow one.
                keeper.cancel()
                await asyncio.wait([keeper], timeout=_CANCEL_AGAIN_SECONDS)
        if self._newest is not None:
            await self._newest.close()
        self._disconnected("the bus is closed")

    # --- the connection ----------------------------------------------------------------------------------

    async def _keep_connected(self) -> None:
        # In a thread: nats-py takes long to load, and whoever opens a bus has better things to do meanwhile.
        open_link = (await asyncio.to_thread(import_module, "heddle_bus.link")).Link
        pause = _FIRST_PAUSE_SECONDS
        while True:
            problem = "the connection broke"
            link: Link = open_link(self._endpoint(), name=self._name, on_lost=self._on_lost)
            self._newest = link
            try:
                await link.open()
                await self._resume(link)
                pause = _FIRST_PAUSE_SECONDS
                await self._keep_stream(link)
            except HeddleError as fault:
                problem = str(fault)
            except Exception:  # whatever it is: a bus whose keeper has ended would never speak again, nor say so
                _log.exception("the connection to NATS is opened again after an unexpected fault")
                problem = "an unexpected fault, see the log"
            finally:
                self._listening.clear()
                self._disconnected(problem)
                await link.close()
            _log.info("not connected to NATS: %s", problem)
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    async def _resume(self, link: "Link") -> None:
        missed = list(self._mailboxes)
        # Those who subscribe meanwhile are taken up by the next round.
        while waiting := [each for each in self._mailboxes if each not in self._listening]:
            for mailbox in waiting:
                if mailbox in self._mailboxes:
                    await self._listen(link, mailbox, self._mailboxes[mailbox])
            await link.settle(_SERVER_DEADLINE)
            missed += waiting
        publisher = Publisher(link)
        await publisher.open()
        self._link, self._publisher = link, publisher
        for mailbox in dict.fromkeys(missed):
            mailbox.mark(Gap(GapReason.DISCONNECTED))
        count = self._connection.value.count + 1
        self._connection.set(Connection(True, False, count, "the event stream is not ready yet"))

    async def _keep_stream(self, link: "Link") -> None:
        """Make sure of the stream, and again whenever somebody finds it missing, until the link is lost."""
        while not link.lost:
            self._attention.clear()
            count = self._connection.value.count
            try:
                if self._keeps_stream:
                    await ensure_stream(link, self._settings, _SERVER_DEADLINE)
            except HeddleError as fault:
                self._connection.set(Connection(True, False, count, str(fault)))
                await asyncio.sleep(_STREAM_PAUSE_SECONDS)
            else:
                self._connection.set(Connection(True, True, count))
                if not link.lost:
                    await self._attention.wait()

    def _on_lost(self) -> None:
        # At once, not when the keeper gets its turn: who tries again meanwhile must wait, not spin.
        if self._link is not None:
            self._disconnected("the connection broke")
        self._attention.set()

    def _disconnected(self, problem: str) -> None:
        self._link = None
        self._connection.set(Connection(False, False, self._connection.value.count, problem))

    async def _listen(self, link: "Link", mailbox: Mailbox, pattern: str) -> None:
        listening = await link.listen(pattern, _Delivery(mailbox))
        if mailbox.closed or link.lost:
            await listening.end()
        else:
            self._listening[mailbox] = listening

    # --- the stream --------------------------------------------------------------------------------------

    async def _store(
        self, subject: str, payload: bytes, headers: Mapping[str, str], deadline: timedelta, over: int | None
    ) -> "Msg":
        clock = asyncio.get_running_loop()
        end = clock.time() + deadline.total_seconds()
        while True:
            link = await self._reach(timedelta(seconds=end - clock.time()), over)
            left = timedelta(seconds=end - clock.time())
            try:
                return await link.request(subject, payload, headers=headers, deadline=left)
            except NobodyListens:
                # Nothing was stored, so this may be tried again: somebody removed the stream.
                self._distrust_stream(link)
                if over is not None:
                    raise ServiceUnreachable("the event stream", "it is gone") from None
                await asyncio.sleep(_STREAM_PAUSE_SECONDS)

    def _distrust_stream(self, link: "Link") -> None:
        if link is self._link:
            count = self._connection.value.count
            self._connection.set(Connection(True, False, count, "the event stream is gone"))
            self._attention.set()

    async def _reach(self, deadline: timedelta, over: int | None = None) -> "Link":
        link, state = self._durable_link(), self._connection.value
        if over is not None and (link is None or state.count != over):
            raise ServiceUnreachable("the event stream", state.problem or "it was connected anew")
        if link is not None:
            return link
        try:
            async with asyncio.timeout(deadline.total_seconds()):
                while link is None:
                    await self._connection.until(lambda state: state.durable or self._closed)
                    link = self._durable_link()
        except TimeoutError:
            raise ServiceUnreachable("the event stream", self._connection.value.problem) from None
        return link

    def _durable_link(self) -> "Link | None":
        self._check_open()
        return self._link if self._connection.value.durable else None

    async def _reach_for(self, following: JetStreamFollowing) -> "Link | None":
        await self._connection.until(lambda state: state.durable or following.closed)
        return None if following.closed else self._link

    def _check_open(self) -> None:
        if self._closed:
            raise ServiceUnreachable("NATS", "the bus is closed")


class _Delivery:
    """Puts what a link receives into a mailbox."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox

    def arrive(self, message: "Msg") -> None:
        self._mailbox.offer(_message(message))

    def dropped(self) -> None:
        self._mailbox.mark(Gap(GapReason.OVERFLOW))

    def lost(self) -> None:
        pass


def _message(message: "Msg") -> Message:
    return Message(message.subject, message.data, message.headers or {}, message.reply)
