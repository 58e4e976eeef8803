"""Streams that go on by themselves: over rotation, drains, slow reading and lost connections.

Works over any implementation of the port. What comes out is one stream: every fact once and in order, and words
that each continue exactly where the last ones ended.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import timedelta
from itertools import cycle
from typing import Protocol

from heddle.runtime.v1.agent_runtime_pb2 import StartStreamingTurnRequest
from heddle.runtime.v1.event_pb2 import ThreadEvent
from heddle.runtime.v1.stream_pb2 import ClosingReason, DeltaBatch, EventBatch, StreamFrame
from heddle.runtime.v1.thread_service_pb2 import ListEventsRequest
from heddle_client.persistence import USUAL, Persistence
from heddle_client.port import AgentRuntime, FrameStream
from heddle_client.stream_progress import Hole, StreamProgress
from heddle_core.errors import CallCancelled, Overloaded, ServiceUnreachable
from heddle_core.faults import HeddleError, StatusCode
from heddle_core.runtime_errors import CursorAhead, CursorTooOld, SlowReader

_REFETCH_PAGE = 500
"""Facts a page when a hole is filled."""


async def follow_turn(
    runtime: AgentRuntime,
    request: StartStreamingTurnRequest,
    *,
    elsewhere: Sequence[AgentRuntime] = (),
    persistence: Persistence = USUAL,
) -> FrameStream:
    """Start a turn, or join one, and follow its run until it settles or waits.

    Yields frames as `AgentRuntime.stream_turn` does, with one Opened, and Closing only for SETTLED. `elsewhere` are
    other replicas of the same deployment: when one is unavailable the stream goes on at the next.

    Raises:
        CursorAhead, CursorTooOld: the cursor is not in the log; nothing else would help.
        ServiceUnreachable: nothing came for `persistence.give_up_after`.
        HeddleError: what the runtime refuses for good.
    """
    async with aclosing(_follow(_Turn(runtime, request), elsewhere, persistence)) as frames:
        async for frame in frames:
            yield frame


async def follow_thread(
    runtime: AgentRuntime,
    thread_id: str,
    *,
    after_sequence: int = 0,
    deltas: bool = True,
    elsewhere: Sequence[AgentRuntime] = (),
    persistence: Persistence = USUAL,
) -> FrameStream:
    """Follow a thread from a cursor for as long as the reader wants. Goes on and raises as `follow_turn` does."""
    source = _Thread(runtime, thread_id, after_sequence, deltas)
    async with aclosing(_follow(source, elsewhere, persistence)) as frames:
        async for frame in frames:
            yield frame


class _Source(Protocol):
    """A stream that can be opened after any fact."""

    runtime: AgentRuntime
    progress: StreamProgress
    thread_id: str
    run_id: str
    opened: bool

    def open(self) -> FrameStream: ...

    @property
    def may_end(self) -> bool: ...


class _Turn:
    may_end = True

    def __init__(self, runtime: AgentRuntime, request: StartStreamingTurnRequest) -> None:
        self.runtime = runtime
        self.progress = StreamProgress(sequence=request.after_sequence, contiguous=False)
        self.thread_id = ""
        self.run_id = ""
        self.opened = False
        self._request = request

    def open(self) -> FrameStream:
        if not self.opened:
            # Nobody knows whether the turn was accepted: the same request again settles it either way.
            return self.runtime.stream_turn(self._request)
        join = StartStreamingTurnRequest(request_id=self._request.request_id, after_sequence=self.progress.sequence)
        if self._request.HasField("end_on_waiting"):
            join.end_on_waiting = self._request.end_on_waiting
        return self.runtime.stream_turn(join)


class _Thread:
    may_end = False

    def __init__(self, runtime: AgentRuntime, thread_id: str, after_sequence: int, deltas: bool) -> None:
        self.runtime = runtime
        self.progress = StreamProgress(sequence=after_sequence, contiguous=True)
        self.thread_id = thread_id
        self.run_id = ""
        self.opened = False
        self._deltas = deltas

    def open(self) -> FrameStream:
        return self.runtime.watch_thread(self.thread_id, after_sequence=self.progress.sequence, deltas=self._deltas)


async def _follow(source: _Source, elsewhere: Sequence[AgentRuntime], persistence: Persistence) -> FrameStream:
    pauses = _Pauses(persistence)
    replicas = cycle((*elsewhere, source.runtime))
    while True:
        problem: HeddleError | None = None
        pauses.begin()
        try:
            async with aclosing(source.open()) as frames:
                async for frame in frames:
                    async for new in _sifted(source, frame):
                        yield new
                    if frame.WhichOneof("frame") not in ("opened", "closing"):
                        pauses.reset()
            if source.may_end:
                return
        except HeddleError as error:
            if source.progress.ended:
                return
            if not _passes(error):
                raise
            problem = error
            if error.status is StatusCode.UNAVAILABLE:
                source.runtime = next(replicas)
        await pauses.pause(source, problem)


async def _sifted(source: _Source, frame: StreamFrame) -> AsyncGenerator[StreamFrame, None]:
    """What of `frame` the reader does not have yet, after what was missing before it."""
    progress = source.progress
    match frame.WhichOneof("frame"):
        case "opened":
            if frame.opened.head_sequence < progress.sequence:
                raise CursorAhead(progress.sequence, frame.opened.head_sequence)
            source.thread_id, source.run_id = frame.opened.thread_id, frame.opened.run_id
            if not source.opened:
                yield frame
            source.opened = True
        case "events":
            new = [event async for event in _with_holes_filled(source, frame)]
            if new:
                yield StreamFrame(events=EventBatch(events=new))
        case "deltas":
            words = list(progress.new_words(frame.deltas.deltas))
            if words:
                yield StreamFrame(deltas=DeltaBatch(deltas=words))
        case "checkpoint":
            hole = progress.hole_up_to(frame.checkpoint.sequence)
            missed = [event async for event in _missed(source, hole)] if hole else []
            if missed:
                yield StreamFrame(events=EventBatch(events=missed))
            yield frame
        case "closing" if frame.closing.reason == ClosingReason.CLOSING_REASON_SETTLED:
            yield frame
        case _:
            pass


async def _with_holes_filled(source: _Source, frame: StreamFrame) -> AsyncGenerator[ThreadEvent, None]:
    for event in frame.events.events:
        hole = source.progress.hole_before(event.sequence)
        if hole is not None:
            async for missed in _missed(source, hole):
                yield missed
        if source.progress.take(event):
            yield event


async def _missed(source: _Source, hole: Hole) -> AsyncGenerator[ThreadEvent, None]:
    """The facts in a hole, read from the log. Raises CursorTooOld when the log keeps them no more."""
    cursor = hole.after
    while cursor < hole.before - 1:
        page = await source.runtime.list_events(
            ListEventsRequest(
                thread_id=source.thread_id,
                after_sequence=cursor,
                page_size=min(_REFETCH_PAGE, hole.before - 1 - cursor),
                run_id=source.run_id,
            )
        )
        for event in page.events:
            if event.sequence >= hole.before:
                break
            if not source.run_id and event.sequence != source.progress.sequence + 1:
                raise CursorTooOld(source.progress.sequence, event.sequence)
            if source.progress.take(event):
                yield event
        if page.next_after_sequence <= cursor:
            break
        cursor = page.next_after_sequence
    if not source.run_id and source.progress.sequence < hole.before - 1:
        raise CursorTooOld(source.progress.sequence, hole.before)


def _passes(error: HeddleError) -> bool:
    """Whether opening again may help: a server that is away or busy, or a connection that broke."""
    if error.status in (StatusCode.UNAVAILABLE, StatusCode.ABORTED):
        return True
    # A proxy that resets a stream shows as CANCELLED or, without any reason of Heddle's, as INTERNAL.
    torn = error.status is StatusCode.INTERNAL and not error.reason
    return torn or isinstance(error, SlowReader | Overloaded | CallCancelled)


class _Pauses:
    """Counts failures and time without news, for one follower."""

    def __init__(self, persistence: Persistence) -> None:
        self._with = persistence
        self._failures = 0
        self._lost_since: float | None = None
        self._begun = 0.0

    def begin(self) -> None:
        """A connection is opened."""
        self._begun = self._with.clock.monotonic()

    def reset(self) -> None:
        """Something came."""
        self._failures = 0
        self._lost_since = None

    async def pause(self, source: _Source, problem: HeddleError | None) -> None:
        """Wait before the next try; raises ServiceUnreachable when there should be none."""
        now = self._with.clock.monotonic()
        if now - self._begun >= self._with.steady_after.total_seconds():
            self.reset()
        if self._lost_since is None:
            self._lost_since = now
        left = self._lost_since + self._with.give_up_after.total_seconds() - now
        if left <= 0:
            raise _given_up(source, self._with.give_up_after, problem) from problem
        bound = self._with.first_delay.total_seconds() * 2 ** min(self._failures, 30)
        delay = self._with.random() * min(bound, self._with.most_delay.total_seconds())
        self._failures += 1
        asked = problem.retry_after.total_seconds() if problem and problem.retry_after else 0.0
        await self._with.sleep(min(max(delay, asked), left))


def _given_up(source: _Source, limit: timedelta, problem: HeddleError | None) -> HeddleError:
    what = f"the stream of thread {source.thread_id}" if source.thread_id else "the stream"
    last = str(problem) if problem else "the server ended it"
    return ServiceUnreachable(
        what,
        f"nothing for {limit.total_seconds():g} s; resume after sequence {source.progress.sequence}; {last}",
    )
