"""What Heddle asks of a message bus, and no more: the two implementations pass one contract suite.

The SQL log is the truth. Whatever the bus loses is found again there, so every loss must show: as an error, a
`Gap`, or another `StreamIdentity`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import field
from datetime import timedelta
from enum import Enum
from typing import Protocol, Self, TypeAlias, TypeVar

from heddle_bus.observed import Observed
from heddle_core.clock import Micros
from heddle_core.faults import HeddleError
from heddle_core.values import value

ACKNOWLEDGEMENT_DEADLINE = timedelta(seconds=5)
"""How long a durable publish or a question to the stream may take by default."""

MOST_MESSAGES = 4_096
MOST_BYTES = 8 * 1024 * 1024
"""What one subscription buffers by default before it drops, and says so with a `Gap`."""

NO_HEADERS: Mapping[str, str] = {}


@value
class Acknowledgement:
    """The bus has stored a message."""

    stream_sequence: int
    """Its place in the stream, from 1; of a duplicate, the place of the first."""
    duplicate: bool
    """Whether a message with this id was there already, and nothing was added."""


@value
class Publication:
    """A message that is to be stored."""

    subject: str
    payload: bytes
    message_id: str
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


@value
class Progress:
    """How far one queue of messages came."""

    stored: int
    """How many of its messages are acknowledged: the first so many."""
    last: Acknowledgement | None
    """Of the last of these; None if there is none."""
    fault: HeddleError | None
    """Why the next one was not acknowledged; None if all were. Read it as `Bus.publish` says of its errors."""


@value
class Message:
    """What arrived on a subject that is not stored."""

    subject: str
    payload: bytes
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    reply_to: str = ""
    """Where an answer is expected; empty if none is."""


@value
class StreamPosition:
    """A place in one incarnation of the stream. Keep both: the sequence alone means nothing after a wipe."""

    created: Micros
    sequence: int
    """The last message that was read; 0 for none."""


@value
class StoredMessage:
    """What stands in the stream."""

    subject: str
    payload: bytes
    headers: Mapping[str, str]
    position: StreamPosition


@value
class StreamIdentity:
    """Which stream this is, and what it holds."""

    created: Micros
    """When this stream was made. Another time means another stream: what was published before is gone."""
    first_sequence: int
    last_sequence: int
    """0 if nothing was ever stored. Lower than one seen before: an old copy was put back."""

    @property
    def end(self) -> StreamPosition:
        """The position from which only what comes later is read."""
        return StreamPosition(self.created, self.last_sequence)


class GapReason(Enum):
    """Why messages may be missing."""

    OVERFLOW = "overflow"
    """The reader was slower than the writers."""
    DISCONNECTED = "disconnected"
    """There was no connection for a while."""
    TRIMMED = "trimmed"
    """The stream's limits have dropped what was not read yet."""
    REPLACED = "replaced"
    """The stream was wiped or an old copy was put back; reading starts again at its beginning."""


@value
class Gap:
    """Messages may be missing here: look at the log."""

    reason: GapReason
    missed: int | None = None
    """How many at most, where that is known."""

    def joined(self, later: "Gap") -> "Gap":
        """One mark for two with nothing between them; the later reason stands."""
        known = self.missed is not None and later.missed is not None
        return Gap(later.reason, (self.missed or 0) + (later.missed or 0) if known else None)


Item = TypeVar("Item", covariant=True)


class Feed(Protocol[Item]):
    """Items as they come, for one reader; it ends when it is closed.

    Cancelling a wait for the next item loses nothing: the next wait goes on where that one was.
    """

    def __aiter__(self) -> Self: ...

    async def __anext__(self) -> Item: ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *_: object) -> None: ...

    async def close(self) -> None:
        """Stop, and drop what was not read. A reader that waits is told that this is the end."""
        ...


Subscription: TypeAlias = Feed[Message | Gap]
"""Messages that are not stored, in order per sender, with marks for what is missing."""

Following: TypeAlias = Feed[StoredMessage | Gap]
"""The event stream in its own order, with marks for what it does not hold any more."""


@value
class Connection:
    """How the bus stands with its server."""

    connected: bool
    """Doorbells, deltas and questions travel."""
    durable: bool
    """The event stream is there and takes messages."""
    count: int
    """How often it was connected so far: it rises with every reconnect."""
    problem: str = ""
    """Why it is not connected or not durable; empty if it is both."""


class Bus(Protocol):
    """The message bus. Errors are of `heddle_core.errors`; it connects again for ever until it is closed.

    What changes the stream may be held to one `over`: the `Connection.count` over which the caller has judged the
    stream. It then waits for no other connection, since behind that may be another stream, or an old copy of it, and
    raises ServiceUnreachable unless that one is durable, with nothing stored.
    """

    @property
    def connection(self) -> Observed[Connection]:
        """The state of the connection, to look at and to watch."""
        ...

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
        """Store one message in the event stream, and return once the bus has it.

        Waits for a connection as long as the deadline allows. Raises DeadlinePassed or ServiceUnreachable
        when it is unknown whether the message was stored: publish it again with the same id. RequestTooLarge
        and InvalidField are final. Calls that wait side by side may be stored in any order.
        """
        ...

    async def publish_in_order(
        self,
        queues: Sequence[Sequence[Publication]],
        *,
        deadline: timedelta = ACKNOWLEDGEMENT_DEADLINE,
        over: int | None = None,
    ) -> list[Progress]:
        """Store many queues side by side, each in its own order; the progress of each, in the order given.

        Within a queue a message is sent when the one before it is acknowledged (SEMANTICS 30), so that after a fault
        nothing stands in the stream behind what is missing. The deadline is that of all of them together. What goes
        wrong with a message is told in its queue's progress, and leaves the other queues alone.
        """
        ...

    async def send(self, subject: str, payload: bytes, *, headers: Mapping[str, str] = NO_HEADERS) -> None:
        """Give one message to whoever listens now; dropped without a word if there is no connection."""
        ...

    async def subscribe(
        self, pattern: str, *, most_messages: int = MOST_MESSAGES, most_bytes: int = MOST_BYTES
    ) -> Subscription:
        """Receive what is sent to subjects under `pattern`, from the return of this call on.

        Without a connection it returns at once, and the first item will be a `Gap`.
        """
        ...

    async def ask(self, subject: str, payload: bytes, *, deadline: timedelta) -> Message:
        """The first answer to a question.

        Raises ServiceUnreachable if nobody listens or the connection breaks, DeadlinePassed if nobody
        answers.
        """
        ...

    async def answer(self, question: Message, payload: bytes) -> None:
        """Answer a message that has `reply_to`; dropped if whoever asked is gone."""
        ...

    def follow(self, patterns: tuple[str, ...], *, after: StreamPosition | None) -> Following:
        """Read the event stream in order, after a position (None: from its beginning), then live, for ever.

        A position in another stream gives `Gap(REPLACED)` and reading from the beginning; what the stream's
        limits have dropped gives `Gap(TRIMMED)`. The patterns must not overlap. A lost connection is waited
        out.
        """
        ...

    async def identity(self) -> StreamIdentity:
        """Which stream the server has. Raises ServiceUnreachable or DeadlinePassed."""
        ...

    async def read(self, stream_sequence: int) -> StoredMessage | None:
        """The message stored there, or None if there is none. Raises ServiceUnreachable or DeadlinePassed."""
        ...

    async def purge(self, pattern: str, *, before: int = 0, over: int | None = None) -> int:
        """Remove the stored messages under `pattern`, and say how many. Raises as `identity` does.

        With `before`, only those in front of that place in the stream.
        """
        ...

    async def close(self) -> None:
        """End every subscription and the connection. Nothing stays behind."""
        ...
