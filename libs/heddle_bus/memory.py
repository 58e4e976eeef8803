"""The bus without a server: for tests, and for a Heddle that runs in one process with NATS switched off."""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Self

from heddle_bus import subjects
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
from heddle_bus.positions import resume
from heddle_core.clock import Clock, Micros
from heddle_core.errors import DeadlinePassed, RequestTooLarge, ServiceUnreachable
from heddle_core.faults import HeddleError
from heddle_core.values import value

_NAME = "the in-process bus"


@value
class ServerState:
    """Whether a MemoryServer can be reached, and how often it was started."""

    running: bool
    starts: int


class MemoryServer:
    """What the buses of one process share: the stream, and who listens. Tests may stop and wipe it."""

    def __init__(
        self,
        clock: Clock,
        *,
        most_stored: int = 100_000,
        most_stored_bytes: int = 64 * 1024 * 1024,
        most_payload: int = 5 * 1024 * 1024,
        duplicate_window: timedelta = timedelta(minutes=2),
    ) -> None:
        self._clock = clock
        self._most_stored = most_stored
        self._most_stored_bytes = most_stored_bytes
        self._duplicate_window = duplicate_window.total_seconds()
        self._created = clock.now()
        self._stored: OrderedDict[int, StoredMessage] = OrderedDict()
        self._stored_bytes = 0
        self._by_message_id: OrderedDict[str, tuple[float, int]] = OrderedDict()
        self._listeners: dict[Mailbox, str] = {}
        self._inboxes = 0
        self._last_sequence = 0
        self.most_payload = most_payload
        self.state = Observed(ServerState(running=True, starts=1))
        self.pulse = Observed(0)

    def stop(self) -> None:
        """Be unreachable, and keep what is stored."""
        self.state.set(ServerState(running=False, starts=self.state.value.starts))

    def start(self) -> None:
        """Be reachable again; every subscription is told that it may have missed something."""
        if not self.state.value.running:
            self.state.set(ServerState(running=True, starts=self.state.value.starts + 1))
            self.beat()
            for mailbox in list(self._listeners):
                mailbox.mark(Gap(GapReason.DISCONNECTED))

    def wipe(self) -> None:
        """Lose the stream, as a server whose disk was replaced."""
        self._stored.clear()
        self._stored_bytes = 0
        self._by_message_id.clear()
        self._created = Micros(max(self._clock.now(), self._created + 1))
        self._last_sequence = 0
        self.beat()

    def beat(self) -> None:
        """Make every reader of the stream look again."""
        self.pulse.set(self.pulse.value + 1)

    @property
    def identity(self) -> StreamIdentity:
        """Which stream this is, and what it holds."""
        first = next(iter(self._stored), self._last_sequence + 1)
        return StreamIdentity(self._created, first, self._last_sequence)

    def store(self, subject: str, payload: bytes, headers: Mapping[str, str]) -> Acknowledgement:
        """Append to the stream, unless the message id was seen within the duplicate window."""
        message_id = headers[subjects.MESSAGE_ID]
        now = self._clock.monotonic()
        while self._by_message_id:
            oldest, (seen, _) = next(iter(self._by_message_id.items()))
            if now - seen < self._duplicate_window:
                break
            del self._by_message_id[oldest]
        if message_id in self._by_message_id:
            return Acknowledgement(self._by_message_id[message_id][1], duplicate=True)
        sequence = self._last_sequence + 1
        position = StreamPosition(self._created, sequence)
        self._stored[sequence] = StoredMessage(subject, payload, headers, position)
        self._stored_bytes += len(payload)
        self._by_message_id[message_id] = (now, sequence)
        while len(self._stored) > self._most_stored or self._stored_bytes > self._most_stored_bytes:
            self._remove(next(iter(self._stored)))
        self._last_sequence = sequence
        self.beat()
        self.deliver(Message(subject, payload, headers))
        return Acknowledgement(sequence, duplicate=False)

    def stored(self, sequence: int) -> StoredMessage | None:
        """The message there, if there is one."""
        return self._stored.get(sequence)

    def purge(self, pattern: str, before: int) -> int:
        """Remove what is stored under the pattern, in front of a place if that is not zero."""
        doomed = [
            sequence
            for sequence, each in self._stored.items()
            if (not before or sequence < before) and subjects.matches(pattern, each.subject)
        ]
        for sequence in doomed:
            self._remove(sequence)
        return len(doomed)

    def deliver(self, message: Message) -> bool:
        """Give the message to all who listen; says whether anybody did."""
        listeners = [
            mailbox for mailbox, pattern in self._listeners.items() if subjects.matches(pattern, message.subject)
        ]
        for mailbox in listeners:
            mailbox.offer(message)
        return bool(listeners)

    def listen(self, pattern: str, *, most_messages: int, most_bytes: int) -> Mailbox:
        """A mailbox for everything under the pattern."""

        async def forget() -> None:
            self._listeners.pop(mailbox, None)

        mailbox = Mailbox(most_messages=most_messages, most_bytes=most_bytes, on_close=forget)
        self._listeners[mailbox] = pattern
        return mailbox

    def new_inbox(self) -> str:
        """A subject for one answer."""
        self._inboxes += 1
        return f"_INBOX.memory.{self._inboxes}"

    def _remove(self, sequence: int) -> None:
        self._stored_bytes -= len(self._stored.pop(sequence).payload)


class MemoryBus:
    """The port over a MemoryServer."""

    def __init__(self, server: MemoryServer) -> None:
        self._server = server
        self._open: set[Mailbox | _MemoryFollowing] = set()
        self._connection = Observed(_connection(server.state.value))
        self._watch: asyncio.Task[None] | None = None
        self._closed = False

    async def __aenter__(self) -> Self:
        self._watch = asyncio.create_task(self._watch_server())
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
        self._check_size(payload)
        await self._reach(deadline, over)
        return self._server.store(subject, payload, stamped)

    async def publish_in_order(
        self,
        queues: Sequence[Sequence[Publication]],
        *,
        deadline: timedelta = ACKNOWLEDGEMENT_DEADLINE,
        over: int | None = None,
    ) -> list[Progress]:
        return list(await asyncio.gather(*(self._publish_queue(queue, deadline, over) for queue in queues)))

    async def send(self, subject: str, payload: bytes, *, headers: Mapping[str, str] = NO_HEADERS) -> None:
        subjects.checked_subject(subject)
        checked_headers(headers)
        self._check_size(payload)
        if self._server.state.value.running and not self._closed:
            self._server.deliver(Message(subject, payload, headers))

    async def subscribe(
        self, pattern: str, *, most_messages: int = MOST_MESSAGES, most_bytes: int = MOST_BYTES
    ) -> Subscription:
        subjects.checked_pattern(pattern)
        self._check_open()
        self._forget_closed()
        mailbox = self._server.listen(pattern, most_messages=most_messages, most_bytes=most_bytes)
        self._open.add(mailbox)
        return mailbox

    async def ask(self, subject: str, payload: bytes, *, deadline: timedelta) -> Message:
        subjects.checked_subject(subject)
        self._check_size(payload)
        if not self._server.state.value.running:
            raise ServiceUnreachable(_NAME, "it is stopped")
        inbox = self._server.new_inbox()
        async with self._server.listen(inbox, most_messages=1, most_bytes=MOST_BYTES) as answers:
            if not self._server.deliver(Message(subject, payload, reply_to=inbox)):
                raise ServiceUnreachable(subject, "nobody listens there")
            try:
                async with asyncio.timeout(deadline.total_seconds()):
                    answer = await anext(answers)
            except TimeoutError:
                raise DeadlinePassed(f"the question to {subject}") from None
        if isinstance(answer, Gap):
            raise ServiceUnreachable(_NAME, "it was stopped before the answer came")
        return answer

    async def answer(self, question: Message, payload: bytes) -> None:
        if question.reply_to:
            await self.send(question.reply_to, payload)

    def follow(self, patterns: tuple[str, ...], *, after: StreamPosition | None) -> Following:
        for pattern in patterns:
            subjects.checked_pattern(pattern)
        self._check_open()
        self._forget_closed()
        following = _MemoryFollowing(self._server, patterns, after)
        self._open.add(following)
        return following

    async def identity(self) -> StreamIdentity:
        await self._reach(ACKNOWLEDGEMENT_DEADLINE)
        return self._server.identity

    async def read(self, stream_sequence: int) -> StoredMessage | None:
        await self._reach(ACKNOWLEDGEMENT_DEADLINE)
        return self._server.stored(stream_sequence)

    async def purge(self, pattern: str, *, before: int = 0, over: int | None = None) -> int:
        subjects.checked_pattern(pattern)
        await self._reach(ACKNOWLEDGEMENT_DEADLINE, over)
        return self._server.purge(pattern, before)

    async def close(self) -> None:
        self._closed = True
        self._server.state.wake()
        for each in list(self._open):
            await each.close()
        self._open.clear()
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait([self._watch])
            self._watch = None
        self._connection.set(Connection(False, False, self._server.state.value.starts, "the bus is closed"))

    async def _publish_queue(self, queue: Sequence[Publication], deadline: timedelta, over: int | None) -> Progress:
        last: Acknowledgement | None = None
        for place, each in enumerate(queue):
            try:
                last = await self.publish(
                    each.subject,
                    each.payload,
                    message_id=each.message_id,
                    headers=each.headers,
                    deadline=deadline,
                    over=over,
                )
            except HeddleError as fault:
                return Progress(place, last, fault)
        return Progress(len(queue), last, None)

    async def _watch_server(self) -> None:
        while True:
            state = self._server.state.value
            self._connection.set(_connection(state))
            await self._server.state.change_from(state)

    async def _reach(self, deadline: timedelta, over: int | None = None) -> None:
        state = self._server.state.value
        if over is not None and (not state.running or state.starts != over):
            raise ServiceUnreachable(_NAME, "it was started anew" if state.running else "it is stopped")
        try:
            async with asyncio.timeout(deadline.total_seconds()):
                await self._server.state.until(lambda state: state.running or self._closed)
        except TimeoutError:
            raise ServiceUnreachable(_NAME, "it is stopped") from None
        self._check_open()

    def _check_open(self) -> None:
        if self._closed:
            raise ServiceUnreachable(_NAME, "this end of it is closed")

    def _check_size(self, payload: bytes) -> None:
        if len(payload) > self._server.most_payload:
            raise RequestTooLarge(len(payload), self._server.most_payload)

    def _forget_closed(self) -> None:
        self._open = {each for each in self._open if not each.closed}


class _MemoryFollowing:
    """Reads the shared stream in place: there is nothing to buffer."""

    def __init__(self, server: MemoryServer, patterns: tuple[str, ...], after: StreamPosition | None) -> None:
        self._server = server
        self._patterns = patterns
        self._position = after
        self._closed = False

    @property
    def closed(self) -> bool:
        return self._closed

    async def close(self) -> None:
        self._closed = True
        self._server.beat()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> StoredMessage | Gap:
        while not self._closed:
            seen = self._server.pulse.value
            item = self._next_stored() if self._server.state.value.running else None
            if item is not None:
                return item
            await self._server.pulse.change_from(seen)
        raise StopAsyncIteration

    def _next_stored(self) -> StoredMessage | Gap | None:
        stream = self._server.identity
        self._position, gap = resume(self._position, stream)
        if gap is not None:
            return gap
        for sequence in range(self._position.sequence + 1, stream.last_sequence + 1):
            self._position = StreamPosition(stream.created, sequence)
            stored = self._server.stored(sequence)
            if stored is not None and self._wanted(stored):
                return stored
        return None

    def _wanted(self, stored: StoredMessage) -> bool:
        return any(subjects.matches(pattern, stored.subject) for pattern in self._patterns)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def _connection(state: ServerState) -> Connection:
    problem = "" if state.running else "the server is stopped"
    return Connection(state.running, state.running, state.starts, problem)
