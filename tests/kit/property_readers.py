"""Screens: readers of streams that keep all they were told, and everything that they have shown for a moment."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import grpc

from heddle.runtime.v1.event_pb2 import ThreadEvent
from heddle.runtime.v1.stream_pb2 import ClosingReason, DeltaChannel, StreamFrame
from heddle_client.transcript import Transcript
from tests.kit.property_calls import NEVER, reason_of

LEFT = "the reader has left"
ENDED = "OK"
CUT = "UNAVAILABLE "
"""The transport's own end, as when the server dies behind its last frame: a code without a reason."""


class StreamCall(Protocol):
    """What is used of a streaming call."""

    def __aiter__(self) -> AsyncIterator[Any]: ...
    def cancel(self) -> bool: ...


@dataclass
class Connection:
    """One stream, from its opening to its end."""

    after: int
    """The cursor that it was asked for."""
    of_run: bool
    opened: Any = None
    events: list[ThreadEvent] = field(default_factory=list[ThreadEvent])
    closing: Any = None
    end: str = ""
    """`ENDED`, `LEFT`, or code and reason; empty while it lasts."""
    faults: list[str] = field(default_factory=list[str])
    """What was wrong with it, told at the check."""
    _written: dict[str, None] = field(default_factory=dict[str, None])
    _completed: dict[str, None] = field(default_factory=dict[str, None])

    def take(self, frame: StreamFrame) -> None:
        """Keep a frame, and look whether it may come here."""
        kind = frame.WhichOneof("frame")
        if (kind == "opened") != (self.opened is None):
            self.faults.append(f"{kind} where {'Opened' if self.opened is None else 'another frame'} should be")
        if self.closing is not None:
            self.faults.append(f"{kind} after Closing")
        match kind:
            case "opened":
                self.opened = frame.opened
            case "events":
                for event in frame.events.events:
                    self._take_event(event)
            case "deltas":
                for delta in frame.deltas.deltas:
                    self._take_delta(delta.message_id, delta.channel)
            case "closing":
                self.closing = frame.closing
            case "checkpoint":
                last = self.events[-1].sequence if self.events else 0
                if frame.checkpoint.sequence < last:
                    self.faults.append(f"checkpoint {frame.checkpoint.sequence} after event {last}")
            case _:
                self.faults.append("an empty frame")

    def finish(self, end: str) -> None:
        """Note how it ended."""
        self.end = end
        settled = self.closing is not None and self.closing.reason == ClosingReason.CLOSING_REASON_SETTLED
        if (end == ENDED) != settled and not (settled and end in (LEFT, CUT)):
            self.faults.append(f"ended with {end} and closing {self.closing}")
        if end == ENDED and not self.of_run:
            self.faults.append("a stream of a whole thread ended with OK")

    def _take_event(self, event: ThreadEvent) -> None:
        last = self.events[-1].sequence if self.events else self.after
        if event.sequence <= last or (not self.of_run and event.sequence != last + 1):
            self.faults.append(f"event {event.sequence} after {last}")
        if self.of_run and self.opened is not None and event.run_id != self.opened.run_id:
            self.faults.append(f"event {event.sequence} of run {event.run_id} in the stream of {self.opened.run_id}")
        self.events.append(event)
        if event.WhichOneof("payload") == "assistant_message_completed":
            self._completed[event.assistant_message_completed.message_id] = None
        elif event.WhichOneof("payload") == "step_started" and event.step_started.message_id in self._written:
            self.faults.append(f"words of {event.step_started.message_id} before its StepStarted")

    def _take_delta(self, message_id: str, channel: DeltaChannel.ValueType) -> None:
        self._written[message_id] = None
        if message_id in self._completed and channel == DeltaChannel.DELTA_CHANNEL_TEXT:
            self.faults.append(f"words of {message_id} after its completion")


class Reader:
    """One screen, which may lose its connection and come back."""

    def __init__(self, name: str, request: Any, *, of_run: bool, thread_id: str, after: int = 0) -> None:
        self.name = name
        self.request = request
        """What it asks for, but for the cursor."""
        self.of_run = of_run
        self.thread_id = thread_id
        self.transcript = Transcript(sequence=after)
        self.shown: dict[str, set[str]] = defaultdict(set)
        """Every text that stood on the screen for a moment, by message."""
        self.run_of: dict[str, str] = {}
        self.connections: list[Connection] = []
        self._changed = asyncio.Event()
        self._call: StreamCall | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def reads(self) -> bool:
        """Whether a stream is open."""
        return self._task is not None and not self._task.done()

    @property
    def cursor(self) -> int:
        return self.transcript.sequence

    @property
    def run_id(self) -> str:
        """The run that it watches; empty before it is known, or for a whole thread."""
        return next((each.opened.run_id for each in self.connections if each.opened is not None), "")

    def open(self, begin: Callable[[], StreamCall], after: int) -> None:
        """Read one more stream, from a cursor on."""
        assert not self.reads
        connection = Connection(after, self.of_run)
        self.connections.append(connection)
        self._call = begin()
        self._task = asyncio.create_task(self._read(self._call, connection))

    async def leave(self) -> None:
        """Hang up, if a stream is open."""
        if self._call is not None and self._task is not None:
            self._call.cancel()
            await self._task

    async def until(self, holds: Callable[["Reader"], bool], seconds: float) -> bool:
        """Wait until something holds or the stream has ended; whether it holds."""
        try:
            async with asyncio.timeout(seconds):
                while not holds(self) and self.reads:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            pass
        return holds(self)

    async def _read(self, call: StreamCall, connection: Connection) -> None:
        try:
            async for answer in call:
                self._take(answer.frame, connection)
            connection.finish(ENDED)
        except asyncio.CancelledError:
            connection.finish(LEFT)
        except grpc.aio.AioRpcError as error:
            if error.code() in NEVER:
                connection.faults.append(f"{error.code()}: {error.details()}")
            connection.finish(f"{error.code().name} {reason_of(error)}")
        finally:
            self._changed.set()

    def _take(self, frame: StreamFrame, connection: Connection) -> None:
        connection.take(frame)
        self.transcript = self.transcript.after(frame)
        for line in self.transcript.messages.values():
            if line.words.in_doubt or line.thoughts.in_doubt:
                connection.faults.append(f"two tellings of message {line.message_id} differ")
            if line.words.held:
                connection.faults.append(f"a hole in the words of message {line.message_id}")
            if line.text:
                self.shown[line.message_id].add(line.text)
                self.run_of[line.message_id] = line.run_id
        self._changed.set()
