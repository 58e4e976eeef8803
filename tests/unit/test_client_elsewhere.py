"""A stream goes on at another replica when its own is unavailable, and stays where it is for any other reason."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, cast

from heddle.runtime.v1.stream_pb2 import EventBatch, Opened, StreamFrame
from heddle_client.persistence import USUAL
from heddle_client.port import AgentRuntime, FrameStream
from heddle_client.resume import follow_thread
from heddle_core import errors, runtime_errors
from heddle_core.faults import HeddleError
from tests.kit.stream_tellings import event


async def at_once(_seconds: float) -> None:
    await asyncio.sleep(0)


@dataclass
class Replica:
    """Tells one list of frames and errors a connection, then is gone."""

    connections: list[Sequence[StreamFrame | HeddleError]]
    cursors: list[int] = field(default_factory=list[int])

    async def watch_thread(self, thread_id: str, *, after_sequence: int = 0, deltas: bool = True) -> FrameStream:
        self.cursors.append(after_sequence)
        if not self.connections:
            raise errors.ServiceUnreachable("here", "connection refused")
        for item in self.connections.pop(0):
            if isinstance(item, HeddleError):
                raise item
            yield item


def opened(head: int) -> StreamFrame:
    return StreamFrame(opened=Opened(thread_id="t_1", head_sequence=head))


def fact(sequence: int) -> StreamFrame:
    return StreamFrame(events=EventBatch(events=[event(sequence)]))


async def read(first: Replica, *others: Replica, until: int) -> list[int]:
    seen: list[int] = []
    runtimes = [cast(AgentRuntime, cast(Any, each)) for each in (first, *others)]
    patient = replace(USUAL, sleep=at_once)
    frames = follow_thread(runtimes[0], "t_1", elsewhere=runtimes[1:], persistence=patient)
    async with asyncio.timeout(10), aclosing(frames):
        async for frame in frames:
            seen += [each.sequence for each in frame.events.events]
            if until in seen:
                break
    return seen


async def test_a_stream_goes_on_at_the_next_replica_and_comes_round() -> None:
    a = Replica([[opened(2), fact(1), fact(2), errors.Draining()], [opened(4), fact(4), fact(5)]])
    b = Replica([[opened(3), fact(3), errors.ServiceUnreachable("b", "connection reset")]])
    c = Replica([])
    assert await read(a, b, c, until=5) == [1, 2, 3, 4, 5]
    assert (a.cursors, b.cursors, c.cursors) == ([0, 3], [2], [3])


async def test_a_slow_reader_comes_back_to_the_same_replica() -> None:
    a = Replica([[opened(1), fact(1), runtime_errors.SlowReader(1)], [opened(2), fact(2)]])
    b = Replica([])
    assert await read(a, b, until=2) == [1, 2]
    assert (a.cursors, b.cursors) == ([0, 1], [])
