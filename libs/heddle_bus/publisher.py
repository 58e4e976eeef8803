"""Publishing many queues of messages over one link: no task and no timer for a message, and no header made twice.

A relay publishes thousands of messages a second beside the turns that made them, so what a message costs counts.
"""

import asyncio
from collections.abc import Sequence
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
        self._answered: list[_Queue] = []
        """Queues whose next message is about to be written."""

    async def open(self) -> None:
        """Have acknowledgements delivered. Raises ServiceUnreachable."""
        self._inbox = self._link.new_inbox()
        await self._link.listen(f"{self._inbox}.*", self)

    async def publish(self, queues: Sequence[Sequence[Publication]], deadline: timedelta) -> Published:
        """Publish as `Bus.publish_in_order` says."""
        round_ = _Round()
        given = [_Queue(messages, round_) for messages in queues]
        begun = [queue for queue in given if queue.messages]
        round_.unfinished = len(begun)
        try:
            async with asyncio.timeout(deadline.total_seconds()):
                self._write(begun)
                if round_.unfinished:
                    await round_.finished.wait()
        except TimeoutError:
            for queue in given:
                if queue.fault is None and queue.stored < len(queue.messages):
                    queue.fail(DeadlinePassed(f"publishing {queue.next.message_id}"))
        finally:
            round_.over = True
            for queue in given:
                self._waiting.pop(queue.token, None)
        return Published([Progress(each.stored, each.last, each.fault) for each in given], round_.stream_missing)

    def _write(self, queues: list["_Queue"]) -> None:
        """Write the next message of each, in one piece: each write is a call of the system, and wakes the server."""
        commands: list[bytes] = []
        written: list[_Queue] = []
        for queue in queues:
            self._numbers += 1
            queue.token = str(self._numbers)
            try:
                commands.append(self._command(queue.next, queue.token))
            except HeddleError as fault:
                queue.fail(fault)
            else:
                written.append(queue)
        if not written:
            return
        try:
            self._link.write(b"".join(commands))
        except ServiceUnreachable as lost:
            for queue in written:
                queue.fail(lost)
        else:
            self._waiting.update({queue.token: queue for queue in written})

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
        fault = self._fault_in(queue, message)
        if fault is not None:
            queue.fail(fault)
        elif queue.stored == len(queue.messages):
            queue.round.finish_one()
        else:
            # From here, so that nobody has to be woken for it; together with all whose answers came with this one.
            if not self._answered:
                asyncio.get_running_loop().call_soon(self._write_next)
            self._answered.append(queue)

    def _write_next(self) -> None:
        answered, self._answered = self._answered, []
        self._write([queue for queue in answered if not queue.round.over])

    def _fault_in(self, queue: "_Queue", message: "Msg") -> HeddleError | None:
        """What an answer says is wrong; where nothing is, the queue's next message is stored."""
        if is_unheard(message):
            queue.round.stream_missing = True
            return ServiceUnreachable("the event stream", "it is gone")
        try:
            body = api_answer(message.data).checked()
        except ServiceUnreachable as fault:
            return fault
        queue.stored += 1
        queue.last = Acknowledgement(int(body["seq"]), bool(body.get("duplicate", False)))
        return None

    def dropped(self) -> None:
        """Whoever waits for an acknowledgement that was dropped runs into the deadline."""

    def lost(self) -> None:
        waiting, self._waiting = list(self._waiting.values()), {}
        for queue in waiting:
            message_id = queue.next.message_id
            queue.fail(ServiceUnreachable("NATS", f"the connection broke before {message_id} was stored"))


@dataclass(slots=True, eq=False)
class _Round:
    unfinished: int = 0
    """Queues of which something is still to be stored."""
    stream_missing: bool = False
    over: bool = False
    """Whether nobody waits for it any more, so that nothing more is written."""
    finished: asyncio.Event = field(default_factory=asyncio.Event)

    def finish_one(self) -> None:
        self.unfinished -= 1
        if not self.unfinished:
            self.finished.set()


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

    def fail(self, fault: HeddleError) -> None:
        """Nothing more of it is published."""
        self.fault = fault
        self.round.finish_one()
