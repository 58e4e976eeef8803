"""A gRPC server of the runtime's facade whose streams break where a test wants them to.

What it serves comes from any implementation of the port, usually the fake.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import Any

import grpc

from heddle.runtime.v1 import agent_runtime_pb2, run_service_pb2, thread_service_pb2
from heddle.runtime.v1.stream_pb2 import Closing, ClosingReason, Delta, DeltaBatch, StreamFrame
from heddle_client.port import AgentRuntime, FrameStream
from heddle_client.words import Words
from heddle_core.errors import Draining
from heddle_core.ids import CountingIds, PrincipalId, TenantId
from heddle_core.runtime_errors import SlowReader, StreamRotated
from heddle_grpc.calls import current
from heddle_grpc.identity import ACT_AS, Development, Identity
from heddle_grpc.routes import Service
from heddle_grpc.server import Server
from heddle_grpc.settings import ServerSettings

SCOPE = "runtime"

GRACE = timedelta(milliseconds=50)
"""For open calls when the server goes away: the facade behind it never ends a stream by itself."""


class Kind(Enum):
    CUT = "the connection breaks, and the server has said nothing"
    ROTATE = "the stream has reached its age limit"
    DRAIN = "the server goes away"
    SLOW = "the reader was too slow"
    STALL = "nothing comes any more"
    RESET = "the words so far are told again, as a reset"
    LOSE = "one frame is lost"
    REPEAT = "one frame is told twice"


ENDS = {
    Kind.ROTATE: (ClosingReason.CLOSING_REASON_ROTATED, StreamRotated),
    Kind.DRAIN: (ClosingReason.CLOSING_REASON_DRAINING, Draining),
    Kind.SLOW: (ClosingReason.CLOSING_REASON_SLOW_READER, SlowReader),
}


@dataclass(frozen=True)
class Mishap:
    kind: Kind
    after_frames: int
    """Frames of the stream that are told before it happens."""


@dataclass(frozen=True)
class Disconnected(Exception):
    """Ends a call with UNAVAILABLE and nothing of Heddle's, as a broken connection does."""


class Streams:
    """Deals one mishap to each stream that is opened, in order; then none."""

    def __init__(self, mishaps: Iterable[Mishap] = ()) -> None:
        self.mishaps = list(mishaps)
        self.opened: list[Any] = []
        self.left = asyncio.Event()
        """Set when a stream has ended, in whatever way."""

    async def broken(self, request: Any, frames: FrameStream) -> AsyncIterator[StreamFrame]:
        mishap = self.mishaps.pop(0) if self.mishaps else None
        self.opened.append(request)
        told, last, words = 0, 0, dict[str, Words]()
        async with aclosing(frames):
            async for frame in frames:
                strikes = mishap is not None and told == mishap.after_frames
                told += 1
                if strikes and mishap is not None:
                    match mishap.kind:
                        case Kind.CUT:
                            raise Disconnected
                        case Kind.STALL:
                            await asyncio.Event().wait()
                        case Kind.RESET:
                            yield reset_of(frame, words)
                            continue
                        case Kind.LOSE:
                            continue
                        case Kind.REPEAT:
                            yield frame
                        case _:
                            reason, error = ENDS[mishap.kind]
                            yield StreamFrame(closing=Closing(reason=reason, resume_after_sequence=last))
                            raise error() if error is Draining else error(last)
                for delta in frame.deltas.deltas:
                    known = words.get(delta.message_id, Words())
                    words[delta.message_id] = known.joined(delta.offset, delta.text)
                for event in frame.events.events:
                    last = event.sequence
                yield frame


def reset_of(frame: StreamFrame, words: dict[str, Words]) -> StreamFrame:
    """The delta frame `frame` as a server tells it that has lost count: everything again, as a reset."""
    assert frame.WhichOneof("frame") == "deltas", "a reset takes the place of a delta frame"
    told: list[Delta] = []
    for delta in frame.deltas.deltas:
        words[delta.message_id] = words.get(delta.message_id, Words()).joined(delta.offset, delta.text)
        again = Delta()
        again.CopyFrom(delta)
        again.reset, again.offset, again.text = True, 0, words[delta.message_id].text
        told.append(again)
    return StreamFrame(deltas=DeltaBatch(deltas=told))


class RuntimeServicer:
    """The facade's RPCs, each handed to the port."""

    def __init__(self, runtime: AgentRuntime, streams: Streams) -> None:
        self._runtime = runtime
        self._streams = streams

    async def CreateThread(self, request: Any, context: Any) -> Any:
        return await self._named().create_thread(request)

    async def StartTurn(self, request: Any, context: Any) -> Any:
        return await self._named().start_turn(request)

    async def CancelRun(self, request: Any, context: Any) -> Any:
        return await self._named().cancel_run(request)

    async def ResolveInput(self, request: Any, context: Any) -> Any:
        return await self._named().resolve_input(request)

    async def GetSnapshot(self, request: Any, context: Any) -> Any:
        return await self._named().get_snapshot(request)

    async def ListEvents(self, request: Any, context: Any) -> Any:
        return await self._named().list_events(request)

    async def GetRun(self, request: Any, context: Any) -> Any:
        return await self._named().get_run(request)

    async def ListRuns(self, request: Any, context: Any) -> Any:
        return await self._named().list_runs(request)

    async def WaitRun(self, request: Any, context: Any) -> Any:
        return await self._named().wait_run(request)

    async def StartStreamingTurn(self, request: Any, context: Any) -> AsyncIterator[Any]:
        async for frame in self._told(request, context, self._named().stream_turn(request)):
            yield agent_runtime_pb2.StartStreamingTurnResponse(frame=frame)

    async def WatchThread(self, request: Any, context: Any) -> AsyncIterator[Any]:
        deltas = request.deltas or not request.HasField("deltas")
        frames = self._named().watch_thread(request.thread_id, after_sequence=request.after_sequence, deltas=deltas)
        async for frame in self._told(request, context, frames):
            yield thread_service_pb2.WatchThreadResponse(frame=frame)

    async def _told(self, request: Any, context: Any, frames: FrameStream) -> AsyncIterator[StreamFrame]:
        try:
            async for frame in self._streams.broken(request, frames):
                yield frame
        except Disconnected:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "Connection reset by peer")
        finally:
            self._streams.left.set()

    def _named(self) -> AgentRuntime:
        identity = current().identity
        if not identity.acted_by:
            return self._runtime
        return self._runtime.acting_as(identity.tenant, identity.principal)


@asynccontextmanager
async def serving(
    runtime: AgentRuntime, mishaps: Iterable[Mishap] = (), *, listen: str = "127.0.0.1:0"
) -> AsyncGenerator[tuple[str, Streams]]:
    """Serve `runtime`; gives the address, and what happened on its streams."""
    streams = Streams(mishaps)
    servicer = RuntimeServicer(runtime, streams)
    identity = Identity(TenantId("acme"), PrincipalId("ann"), frozenset({SCOPE, ACT_AS}))
    services = [
        Service(name, servicer, dict.fromkeys(_methods(module, name), SCOPE))
        for module, name in (
            (agent_runtime_pb2, "heddle.runtime.v1.AgentRuntime"),
            (thread_service_pb2, "heddle.runtime.v1.ThreadService"),
            (run_service_pb2, "heddle.runtime.v1.RunService"),
        )
    ]
    server = Server(
        ServerSettings(listen=(listen,), stream_grace=GRACE, grace=GRACE),
        services,
        authenticators=[Development(identity)],
        ids=CountingIds(),
    )
    async with server.running():
        yield f"127.0.0.1:{server.ports[0]}", streams


def _methods(module: Any, name: str) -> list[str]:
    service = module.DESCRIPTOR.services_by_name[name.rpartition(".")[2]]
    return [method.name for method in service.methods]
