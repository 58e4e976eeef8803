"""The fake runtime's memory of one thread: its facts, and those who follow them."""

import asyncio
import hashlib
from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager

from heddle.runtime.v1.event_pb2 import ThreadEvent
from heddle.runtime.v1.stream_pb2 import (
    Checkpoint,
    Closing,
    ClosingReason,
    Delta,
    DeltaBatch,
    EventBatch,
    Opened,
    StreamFrame,
)
from heddle_client.port import FrameStream
from heddle_core.clock import Clock
from heddle_core.runtime_errors import CursorAhead

_NO_HASH = bytes(32)


class FakeLog:
    """The facts of one thread, numbered from 1."""

    def __init__(self, thread_id: str, clock: Clock) -> None:
        self.thread_id = thread_id
        self.events: list[ThreadEvent] = []
        self._clock = clock
        self._followers: set[_Follower] = set()

    @property
    def last(self) -> int:
        """Sequence of the last fact; 0 for none."""
        return len(self.events)

    def append(self, run_id: str, *payloads: ThreadEvent) -> ThreadEvent:
        """Commit facts at once; returns the last one. Each payload is an event with nothing else set."""
        batch = [self._sealed(run_id, payload) for payload in payloads]
        for follower in self._followers:
            follower.tell_events(batch)
        return batch[-1]

    def write(self, delta: Delta) -> None:
        """Tell words that are being written."""
        delta.after_sequence = self.last
        for follower in self._followers:
            follower.tell_delta(delta)

    def after(self, sequence: int, run_id: str = "") -> list[ThreadEvent]:
        """Facts after a cursor, of one run or of all. Raises CursorAhead."""
        if sequence > self.last:
            raise CursorAhead(sequence, self.last)
        return [event for event in self.events[sequence:] if run_id in ("", event.run_id)]

    async def stream(
        self,
        *,
        after: int,
        run_id: str = "",
        deltas: bool = True,
        begin: Callable[[], None] | None = None,
        unfinished: Callable[[], list[Delta]],
        settled: Callable[[], bool],
    ) -> FrameStream:
        """Replay, then follow, until `settled` once everything is told.

        `begin` starts the work that is to be followed from its first word; `unfinished` gives the words of
        messages that have no fact yet.
        """
        with self._following(run_id, deltas) as follower:
            head, replay, words = self.last, self.after(after, run_id), unfinished()
            if begin is not None:
                begin()
            yield StreamFrame(opened=Opened(thread_id=self.thread_id, run_id=run_id, head_sequence=head))
            if replay:
                yield StreamFrame(events=EventBatch(events=replay))
            if words and deltas:
                yield StreamFrame(deltas=DeltaBatch(deltas=words))
            yield StreamFrame(checkpoint=Checkpoint(sequence=head, caught_up=self.last == head))
            while True:
                # Clear before reading, or a ring in between is lost.
                follower.ring.clear()
                while follower.frames:
                    yield follower.frames.popleft()
                if settled():
                    settled_closing = Closing(
                        reason=ClosingReason.CLOSING_REASON_SETTLED, resume_after_sequence=self.last
                    )
                    yield StreamFrame(closing=settled_closing)
                    return
                await follower.ring.wait()

    async def until(self, done: Callable[[], bool], seconds: float) -> None:
        """Return when `done`, which is asked after each append, or when the time is over."""
        with self._following("", deltas=False) as follower:
            try:
                async with asyncio.timeout(seconds):
                    while not done():
                        follower.ring.clear()
                        await follower.ring.wait()
            except TimeoutError:
                return

    @contextmanager
    def _following(self, run_id: str, deltas: bool) -> "Generator[_Follower]":
        follower = _Follower(run_id, deltas)
        self._followers.add(follower)
        try:
            yield follower
        finally:
            self._followers.discard(follower)

    def _sealed(self, run_id: str, payload: ThreadEvent) -> ThreadEvent:
        event = ThreadEvent()
        event.CopyFrom(payload)
        event.thread_id, event.run_id, event.sequence = self.thread_id, run_id, self.last + 1
        event.commit_time.FromMicroseconds(self._clock.now())
        event.previous_hash = self.events[-1].hash if self.events else _NO_HASH
        # Opaque to clients: unlike the runtime's, this hash can be verified by nobody else.
        event.hash = hashlib.sha256(event.previous_hash + str(event).encode()).digest()
        self.events.append(event)
        return event


class _Follower:
    """One open stream: what it has still to tell."""

    def __init__(self, run_id: str, deltas: bool) -> None:
        self.frames: deque[StreamFrame] = deque()
        self.ring = asyncio.Event()
        self._run_id = run_id
        self._deltas = deltas

    def tell_events(self, events: list[ThreadEvent]) -> None:
        ours = [event for event in events if self._run_id in ("", event.run_id)]
        if ours:
            self.frames.append(StreamFrame(events=EventBatch(events=ours)))
        self.ring.set()

    def tell_delta(self, delta: Delta) -> None:
        if self._deltas and self._run_id in ("", delta.run_id):
            self.frames.append(StreamFrame(deltas=DeltaBatch(deltas=[delta])))
            self.ring.set()
