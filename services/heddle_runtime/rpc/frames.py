"""A reader's batches as frames of the contract, and the life of a stream: replay, live, checkpoints, its end."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from random import Random

from heddle.runtime.v1 import stream_pb2
from heddle_core.errors import Draining, SlowReader, StreamRotated
from heddle_core.ids import ThreadId
from heddle_grpc.drain import Drain
from heddle_runtime.codec.codec import fill_event_message
from heddle_runtime.codec.cuts import cut
from heddle_runtime.threads.deltas import Delta
from heddle_runtime.threads.events import Event
from heddle_runtime.threads.follow import Batch, Follower, Item, Opening, Reading

Frame = stream_pb2.StreamFrame

FRAME_BYTES = 2 * 1024 * 1024
"""A frame is closed before it holds more; an event that is larger by itself is cut (SEMANTICS 24)."""


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """How long streams live."""

    checkpoint_every: timedelta = timedelta(seconds=15)
    rotate_after: timedelta = timedelta(minutes=15)
    """Give or take a tenth, so that readers do not all come back at once (SEMANTICS 23)."""


@dataclass(frozen=True, slots=True)
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
    ) -> AsyncGenerator[Frame]:
        """Frames from the reading's cursor on.

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
        async for frame in self._live(reading, follower, opening, over, deltas):
            yield frame

    async def _live(
        self,
        reading: Reading,
        follower: Follower,
        opening: Opening,
        over: Callable[[Iterable[Item], bool], bool],
        deltas: bool,
    ) -> AsyncGenerator[Frame]:
        loop = asyncio.get_running_loop()
        lifetime = self.settings.rotate_after.total_seconds() * self.random.uniform(0.9, 1.1)
        until = loop.time() + lifetime
        with self.drain.ringing(follower.doorbell):
            while True:
                rung = await _rung(follower.doorbell, min(self.settings.checkpoint_every.total_seconds(), lifetime))
                try:
                    batch = reading.take()
                except SlowReader:
                    yield _closing(stream_pb2.CLOSING_REASON_SLOW_READER, reading.cursor)
                    raise
                for frame in _frames(opening.thread_id, batch, deltas):
                    yield frame
                if batch.items and over(batch.items, True):
                    yield _closing(stream_pb2.CLOSING_REASON_SETTLED, reading.cursor)
                    return
                if self.drain.started.is_set():
                    yield _closing(stream_pb2.CLOSING_REASON_DRAINING, reading.cursor)
                    raise Draining
                if loop.time() >= until:
                    yield _closing(stream_pb2.CLOSING_REASON_ROTATED, reading.cursor)
                    raise StreamRotated(reading.cursor)
                if not rung:
                    yield _checkpoint(reading.cursor)


async def _rung(doorbell: asyncio.Event, seconds: float) -> bool:
    if doorbell.is_set():
        return True
    try:
        async with asyncio.timeout(seconds):
            await doorbell.wait()
    except TimeoutError:
        return False
    return True


def _opened(opening: Opening) -> Frame:
    return Frame(
        opened=stream_pb2.Opened(
            thread_id=opening.thread_id, run_id=opening.run_id, head_sequence=opening.head_sequence
        )
    )


def _checkpoint(sequence: int) -> Frame:
    return Frame(checkpoint=stream_pb2.Checkpoint(sequence=sequence, caught_up=True))


def _closing(reason: stream_pb2.ClosingReason.ValueType, sequence: int) -> Frame:
    return Frame(closing=stream_pb2.Closing(reason=reason, resume_after_sequence=sequence))


def _frames(thread_id: ThreadId, batch: Batch, deltas: bool) -> Iterator[Frame]:
    """Frames of a batch: neighbours of one kind travel together, as far as a frame's size allows."""
    events: list[Event] = []
    words: list[Delta] = []
    size = 0
    for item in batch.items:
        if isinstance(item, Event):
            if words:
                yield _delta_frame(words)
                words, size = [], 0
            if events and size + len(item.raw) > FRAME_BYTES:
                yield _event_frame(thread_id, events)
                events, size = [], 0
            events.append(item)
            size += len(item.raw) + 256
        elif deltas:
            if events:
                yield _event_frame(thread_id, events)
                events, size = [], 0
            words.append(item)
            size += len(item.text) + 256
        if size > FRAME_BYTES:
            yield _event_frame(thread_id, events) if events else _delta_frame(words)
            events, words, size = [], [], 0
    if events:
        yield _event_frame(thread_id, events)
    if words:
        yield _delta_frame(words)


def _event_frame(thread_id: ThreadId, events: Iterable[Event]) -> Frame:
    frame = Frame()
    batch = frame.events.events
    for each in events:
        message = batch.add()  # filled in its place: a message that is handed to another is copied, deep
        fill_event_message(message, thread_id, each)
        if len(each.raw) > FRAME_BYTES:
            whole = f"event {each.sequence} of thread {thread_id}: call ListEvents with include_raw"
            cut(message, FRAME_BYTES, whole)
    return frame


def _delta_frame(words: Iterable[Delta]) -> Frame:
    return Frame(
        deltas=stream_pb2.DeltaBatch(
            deltas=[
                stream_pb2.Delta(
                    run_id=each.run_id,
                    step_id=each.step_id,
                    attempt=each.attempt,
                    message_id=each.message_id,
                    channel=stream_pb2.DeltaChannel.ValueType(each.channel),
                    call_id=each.call_id,
                    offset=each.offset,
                    text=each.text,
                    after_sequence=each.after_sequence,
                    reset=each.reset,
                )
                for each in words
            ]
        )
    )
