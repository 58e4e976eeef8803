"""Publishing many queues of messages over one link: no task and no timer for a message, and no header made twice.

A relay publishes thousands of messages a second beside the turns that made them, so what a message costs counts.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from heddle_bus import subjects
from heddle_bus.answers import api_answer, is_unheard
from heddle_bus.headers import stored_headers
from heddle_bus.port import Acknowledgement, Progress, Publication
from heddle_core.errors import DeadlinePassed, RequestTooLarge, ServiceUnreachable
from heddle_core.faults import HeddleError
from heddle_core.values import value

if TYPE_CHECKING:
    from nats.aio.msg import Msg

    from heddle_bus.link import Link

_START = f"NATS/1.0\r\n{subjects.EXPECTED_STREAM}: {subjects.EVENT_STREAM}\r\n"


@value
class Published:
    """What became of some queues."""

    progress: list[Progress]
    stream_missing: bool
    """Whether the server said that it has no such stream."""


class Publisher:
    """Publishes over a link until that is lost. Calls may overlap."""

    def __init__(self, link: "Link") -> None:
        self._link = link
        self._inbox = ""
        self._numbers = 0
        self._waiting: dict[str, _Queue] = {}

    async def open(self) -> None:
        """Have acknowledgements delivered. Raises ServiceUnreachable."""
        self._inbox = self._link.new_inbox()
        await self._link.listen(f"{self._inbox}.*", self)

    async def publish(self, queues: Sequence[Sequence[Publication]], deadline: timedelta) -> Published:
        """Publish as `Bus.publish_in_order` says."""
        round_ = _Round()
        given = [_Queue(messages, round_) for messages in queues]
        try:
            async with asyncio.timeout(deadline.total_seconds()):
                self._write([queue for queue in given if queue.messages])
                while round_.in_flight:
                    # Clear before waiting, after the look: an answer in between cannot be lost on one loop.
                    round_.changed.clear()
                    await round_.changed.wait()
        except TimeoutError:
            _fail(given, lambda queue: DeadlinePassed(f"publishing {queue.next.message_id}"))
        except ServiceUnreachable as lost:
            _fail(given, lambda _, lost=lost: lost)
        finally:
            for queue in given:
                self._waiting.pop(queue.token, None)
        return Published([Progress(each.stored, each.last, each.fault) for each in given], round_.stream_missing)

    def _write(self, queues: list["_Queue"]) -> None:
        commands: list[bytes] = []
        for queue in queues:
            self._numbers += 1
            token = str(self._numbers)
            try:
                commands.append(self._command(queue.next, token))
            except HeddleError as fault:
                queue.fault = fault
            else:
                queue.token = token
                self._waiting[token] = queue
                queue.round.in_flight += 1
        if commands:
            self._link.write(b"".join(commands))

    def _command(self, message: Publication, token: str) -> bytes:
        subject = subjects.checked_event_subject(message.subject)
        headers = stored_headers(message.headers, message.message_id)
        lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        block = f"{_START}{lines}\r\n".encode()
        size = len(block) + len(message.payload)
        # The server would cut the connection, and with it everybody else's messages.
        if size > self._link.most_payload:
            raise RequestTooLarge(size, self._link.most_payload)
        command = f"HPUB {subject} {self._inbox}.{token} {len(block)} {size}\r\n"
        return b"".join((command.encode(), block, message.payload, b"\r\n"))

    # --- the listener -----------------------------------------------------------------------------------------

    def arrive(self, message: "Msg") -> None:
        queue = self._waiting.pop(message.subject.rpartition(".")[2], None)
        if queue is None:
            return
        round_ = queue.round
        round_.in_flight -= 1
        self._take_answer(queue, message)
        if queue.fault is None and queue.stored < len(queue.messages):
            self._write_next(queue)
        if queue.fault is not None or not round_.in_flight:
            round_.changed.set()

    def _write_next(self, queue: "_Queue") -> None:
        """Write a thread's next message from where the last one's answer came: nobody has to be woken for it."""
        try:
            self._write([queue])
        except ServiceUnreachable as lost:
            queue.fault = lost

    def _take_answer(self, queue: "_Queue", message: "Msg") -> None:
        round_ = queue.round
        if is_unheard(message):
            round_.stream_missing = True
            queue.fault = ServiceUnreachable("the event stream", "it is gone")
            return
        try:
            body = api_answer(message.data).checked()
        except ServiceUnreachable as fault:
            queue.fault = fault
            return
        queue.stored += 1
        queue.last = Acknowledgement(int(body["seq"]), bool(body.get("duplicate", False)))

    def dropped(self) -> None:
        """Whoever waits for an acknowledgement that was dropped runs into the deadline."""

    def lost(self) -> None:
        waiting, self._waiting = list(self._waiting.values()), {}
        for queue in waiting:
            queue.fault = ServiceUnreachable("NATS", f"the connection broke before {queue.next.message_id} was stored")
            queue.round.in_flight -= 1
            queue.round.changed.set()


@dataclass(slots=True, eq=False)
class _Round:
    in_flight: int = 0
    stream_missing: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(slots=True, eq=False)
class _Queue:
    messages: Sequence[Publication]
    round: _Round
    stored: int = 0
    last: Acknowledgement | None = None
    fault: HeddleError | None = None
    token: str = ""

    @property
    def next(self) -> Publication:
        return self.messages[self.stored]


def _fail(queues: list[_Queue], fault: Callable[[_Queue], HeddleError]) -> None:
    for queue in queues:
        if queue.fault is None and queue.stored < len(queue.messages):
            queue.fault = fault(queue)
