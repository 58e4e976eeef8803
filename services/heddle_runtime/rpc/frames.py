"""A reader's batches as frames of the contract, and the life of a stream: replay, live, checkpoints, its end."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from enum import Enum
from itertools import groupby
from random import Random

from heddle.runtime.v1 import stream_pb2
from heddle.runtime.v1.stream_pb2 import StreamFrame
from heddle_core.errors import Draining
from heddle_core.ids import ThreadId
from heddle_core.runtime_errors import SlowReader, StreamRotated
from heddle_core.values import value
from heddle_grpc.drain import Drain
from heddle_runtime.codec.codec import event_message
from heddle_runtime.codec.cuts import cut
from heddle_runtime.rpc import frame_bytes
from heddle_runtime.rpc.frame_bytes import response
from heddle_runtime.threads.events import Event
from heddle_runtime.threads.follow import Follower, Item
from heddle_runtime.threads.reading import Batch, Opening, Reading

FRAME_BYTES = 2 * 1024 * 1024
"""A frame is closed before it holds more; an event that is larger by itself is cut (SEMANTICS 24)."""

DELTA_CHARACTERS = FRAME_BYTES // 8
"""Words that are longer travel as several deltas; a character takes up to 4 bytes."""


@value
class StreamSettings:
    """How long streams live."""

    checkpoint_every: timedelta = timedelta(seconds=15)
    rotate_after: timedelta = timedelta(minutes=15)
    """Give or take a tenth, so that readers do not all come back at once (SEMANTICS 23)."""


@value
class Streams:
    """Turns readings into frames."""

    drain: Drain
    settings: StreamSettings
    random: Random

    async def frames(
        self,
        reading: Reading,
        follower: Follower,
        opening: Opening,
        *,
        over: Callable[[Iterable[Item], bool], bool],
        deltas: bool = True,
        settled: bool = False,
    ) -> AsyncGenerator[bytes]:
        """Frames from the reading's cursor on, each as the bytes of a response.

        Args:
            reading: where the reader stands.
            follower: its queue; joined before the log was looked at.
            opening: what it is told first.
            over: whether the stream is over behind these items; asked with whether they reach the log's end.
            deltas: whether to send words that are being written.
            settled: whether nothing more can come behind the cursor, so that the stream ends at once.

        Raises:
            SlowReader, StreamRotated, Draining: after a Closing frame that says so.
        """
        yield _opened(opening)
        if settled:
            yield _closing(stream_pb2.CLOSING_REASON_SETTLED, reading.cursor)
            return
        async for batch in reading.replay(opening.head_sequence):
            for frame in _frames(opening.thread_id, batch, deltas):
                yield frame
            if over(batch.items, batch.caught_up):
                yield _closing(stream_pb2.CLOSING_REASON_SETTLED, reading.cursor)
                return
        if opening.head_sequence and not opening.fresh:
            yield _checkpoint(reading.cursor)
        doorbell = follower.doorbell
        with self.drain.ringing(doorbell), self._alarm(doorbell) as alarm:
            while True:
                await doorbell.wait()
                try:
                    batch = reading.take()
                except SlowReader:
                    yield _closing(stream_pb2.CLOSING_REASON_SLOW_READER, reading.cursor)
                    raise
                sent = bool(batch.items)
                while True:
                    for frame in _frames(opening.thread_id, batch, deltas):
                        yield frame
                    if over(batch.items, batch.caught_up):
                        yield _closing(stream_pb2.CLOSING_REASON_SETTLED, reading.cursor)
                        return
                    if batch.caught_up:
                        break
                    batch = await reading.read_on()  # other processes have written, too
                    sent = sent or bool(batch.items)
                if self.drain.started.is_set():
                    yield _closing(stream_pb2.CLOSING_REASON_DRAINING, reading.cursor)
                    raise Draining
                match alarm.due(sent=sent):
                    case _Due.ROTATION:
                        yield _closing(stream_pb2.CLOSING_REASON_ROTATED, reading.cursor)
                        raise StreamRotated(reading.cursor)
                    case _Due.CHECKPOINT:
                        yield _checkpoint(reading.cursor)
                    case None:
                        pass

    @contextmanager
    def _alarm(self, doorbell: asyncio.Event) -> Generator["_Alarm"]:
        lifetime = self.settings.rotate_after.total_seconds() * self.random.uniform(0.9, 1.1)
        alarm = _Alarm(doorbell, self.settings.checkpoint_every.total_seconds(), lifetime)
        try:
            yield alarm
        finally:
            alarm.cancel()


class _Due(Enum):
    CHECKPOINT = "checkpoint"
    ROTATION = "rotation"


class _Alarm:
    """Rings when a stream has been silent for long, or is old. One timer at a time, however often the bell rings."""

    def __init__(self, doorbell: asyncio.Event, silence: float, lifetime: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._doorbell = doorbell
        self._silence = silence
        self._silent_since = self._loop.time()
        self._end = self._silent_since + lifetime
        self._struck = False
        self._timer = self._next()

    def due(self, *, sent: bool) -> _Due | None:
        """What the stream has to do now, given whether it has just sent something."""
        now = self._loop.time()
        if sent:
            self._silent_since = now
        if not self._struck:
            return None
        self._struck = False
        checkpoint = now >= self._silent_since + self._silence - _EARLY
        if checkpoint:
            self._silent_since = now
        self._timer = self._next()
        if now >= self._end - _EARLY:
            return _Due.ROTATION
        return _Due.CHECKPOINT if checkpoint else None

    def cancel(self) -> None:
        """Ring no more."""
        self._timer.cancel()

    def _next(self) -> asyncio.TimerHandle:
        return self._loop.call_at(min(self._silent_since + self._silence, self._end), self._strike)

    def _strike(self) -> None:
        self._struck = True
        self._doorbell.set()


_EARLY = 0.001
"""Seconds: the event loop's timers may ring by its clock's resolution too soon."""


def _opened(opening: Opening) -> bytes:
    return response(
        StreamFrame(
            opened=stream_pb2.Opened(
                thread_id=opening.thread_id, run_id=opening.run_id, head_sequence=opening.head_sequence
            )
        )
    )


def _checkpoint(sequence: int) -> bytes:
    return response(StreamFrame(checkpoint=stream_pb2.Checkpoint(sequence=sequence, caught_up=True)))


def _closing(reason: stream_pb2.ClosingReason.ValueType, sequence: int) -> bytes:
    return response(StreamFrame(closing=stream_pb2.Closing(reason=reason, resume_after_sequence=sequence)))


def _frames(thread_id: ThreadId, batch: Batch, deltas: bool) -> Iterator[bytes]:
    """Frames of a batch: neighbours of one kind travel together, as far as a frame's size allows."""
    for are_events, items in groupby(batch.items, key=_is_event):
        if not are_events and not deltas:
            continue
        frame_of = frame_bytes.event_response if are_events else frame_bytes.delta_response
        waiting: list[bytes] = []
        size = 0
        for encoded in _encoded(thread_id, items):
            if waiting and size + len(encoded) > FRAME_BYTES:
                yield frame_of(waiting)
                waiting, size = [], 0
            waiting.append(encoded)
            size += len(encoded)
        yield frame_of(waiting)


def _is_event(item: Item) -> bool:
    return isinstance(item, Event)


def _encoded(thread_id: ThreadId, items: Iterable[Item]) -> Iterator[bytes]:
    for item in items:
        if isinstance(item, Event):
            yield _event(thread_id, item)
        elif len(item.text) <= DELTA_CHARACTERS:
            yield frame_bytes.delta(item)
        else:
            yield from map(frame_bytes.delta, item.parts(DELTA_CHARACTERS))


def _event(thread_id: ThreadId, event: Event) -> bytes:
    if len(event.raw) <= FRAME_BYTES:
        return frame_bytes.event(thread_id, event)
    message = event_message(thread_id, event)
    cut(message, FRAME_BYTES, f"event {event.sequence} of thread {thread_id}: call ListEvents with include_raw")
    return message.SerializeToString()
