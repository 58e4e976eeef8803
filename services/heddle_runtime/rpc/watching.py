"""Streams of what exists already: a thread or a run, from a cursor, then live."""

from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from typing import Protocol

from heddle_core.clock import Micros
from heddle_core.errors import invalid
from heddle_core.ids import RunId, TenantId, ThreadId
from heddle_core.values import value
from heddle_runtime.rpc.frames import Streams
from heddle_runtime.runs.run import Run
from heddle_runtime.runs.state import RunState
from heddle_runtime.threads.events import (
    RUN_ENDS,
    Event,
    InputResolved,
    RunCancelled,
    RunCancelRequested,
    RunCompleted,
    RunFailed,
    RunResumed,
    RunWaiting,
)
from heddle_runtime.threads.follow import Followers, Item
from heddle_runtime.threads.reading import EventSource, Reading

Over = Callable[[Iterable[Item], bool], bool]
"""Whether a stream is over behind some items and all before them, given whether they reach the log's end."""

_DECISIVE = frozenset((*RUN_ENDS, RunWaiting, InputResolved, RunResumed, RunCancelRequested))
"""Kinds that say whether a run's stream goes on."""

_WAITS = Event(0, RunId(""), Micros(0), RunWaiting(("any",)))


class RunReads(EventSource, Protocol):
    """What is read of runs and their events."""

    async def get_run(self, tenant: TenantId, run_id: RunId) -> Run:
        """A run by its id. Raises RunNotFound."""
        ...


@value
class Watching:
    """Opens streams over the log."""

    reads: RunReads
    followers: Followers
    streams: Streams

    async def thread(self, tenant: TenantId, thread_id: ThreadId, after: int, *, deltas: bool) -> AsyncGenerator[bytes]:
        """A whole thread, until the reader leaves.

        Raises:
            ThreadNotFound, CursorAhead, CursorTooOld, SlowReader, StreamRotated, Draining.
        """
        _require_cursor(after)
        with self.followers.join(tenant, thread_id, after) as follower:
            reading = Reading(self.reads, follower, (tenant, thread_id), after)
            opening = await reading.open()
            async with aclosing(
                self.streams.frames(reading, follower, opening, over=never_over, deltas=deltas)
            ) as frames:
                async for frame in frames:
                    yield frame

    async def run(self, run: Run, after: int, over: Over) -> AsyncGenerator[bytes]:
        """One run; where it has settled before the cursor, the stream ends at once.

        Raises:
            CursorAhead, CursorTooOld, SlowReader, StreamRotated, Draining.
        """
        _require_cursor(after)
        begin = max(after, run.request_sequence - 1)
        with self.followers.join(run.tenant, run.thread_id, begin) as follower:
            reading = Reading(self.reads, follower, (run.tenant, run.thread_id), begin, run.run_id)
            opening = await reading.open()
            settled = await self._settled(run, begin, over)
            async with aclosing(self.streams.frames(reading, follower, opening, over=over, settled=settled)) as frames:
                async for frame in frames:
                    yield frame

    async def _settled(self, run: Run, after: int, over: Over) -> bool:
        """Whether nothing is to come behind the cursor: the run has ended, or it waits and so ends the stream."""
        now = await self.reads.get_run(run.tenant, run.run_id)
        if not now.state.terminal and now.state is not RunState.WAITING:
            return False
        if await self.reads.read_events(run.tenant, run.thread_id, after, 1, run.run_id):
            return False
        return now.state.terminal or over((_WAITS,), True)


def run_is_over(end_on_waiting: bool) -> Over:
    """The rule by which a run's stream ends: at its terminal event, or where it waits at the log's end."""
    waits_for: set[str] = set()

    def over(items: Iterable[Item], caught_up: bool) -> bool:
        nonlocal waits_for
        for item in items:
            if not isinstance(item, Event) or type(item.payload) not in _DECISIVE:
                continue
            match item.payload:
                case RunCompleted() | RunFailed() | RunCancelled():
                    return True
                case RunWaiting(input_ids):
                    waits_for = set(input_ids)
                case InputResolved(input_id):
                    waits_for.discard(input_id)
                case RunResumed() | RunCancelRequested():
                    waits_for = set()
                case _:
                    pass
        return caught_up and end_on_waiting and bool(waits_for)

    return over


def never_over(_items: Iterable[Item], _caught_up: bool) -> bool:
    """The rule of a thread's stream: it has no end."""
    return False


def _require_cursor(after: int) -> None:
    if after < 0:
        raise invalid("after_sequence", "zero for the start, or the last sequence that was seen")
