"""The facade over gRPC: what services and Python programs use to reach a runtime.

async with connect("127.0.0.1:7450") as runtime:
    answer = await runtime.start_turn(StartTurnRequest(...))
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Protocol, Self

from heddle.runtime.v1.agent_runtime_pb2 import (
    CancelRunRequest,
    CancelRunResponse,
    GetSnapshotRequest,
    GetSnapshotResponse,
    ResolveInputRequest,
    ResolveInputResponse,
    StartStreamingTurnRequest,
    StartTurnRequest,
    StartTurnResponse,
)
from heddle.runtime.v1.run_service_pb2 import (
    GetRunRequest,
    GetRunResponse,
    ListRunsRequest,
    ListRunsResponse,
    WaitRunRequest,
    WaitRunResponse,
)
from heddle.runtime.v1.stream_pb2 import StreamFrame
from heddle.runtime.v1.thread_service_pb2 import (
    CreateThreadRequest,
    CreateThreadResponse,
    ListEventsRequest,
    ListEventsResponse,
    WatchThreadRequest,
)
from heddle_client.port import FrameStream
from heddle_client.stubs import RuntimeStubs
from heddle_core.errors import ServiceUnreachable
from heddle_core.ids import PrincipalId, TenantId
from heddle_grpc.channel import Metadata, TokenSource, act_as, open_channel
from heddle_grpc.identity import Identity
from heddle_grpc.settings import ChannelSettings, ChannelTls

SILENCE = timedelta(seconds=45)
"""A stream on which nothing comes for so long is taken for dead: three of the server's checkpoints."""

_UNARY_DEADLINE = timedelta(seconds=30)


@asynccontextmanager
async def connect(
    target: str,
    *,
    token: str | TokenSource | None = None,
    tls: ChannelTls | None = None,
    settings: ChannelSettings | None = None,
    silence: timedelta = SILENCE,
) -> AsyncGenerator["GrpcAgentRuntime"]:
    """A runtime at `target` (`host:port` or `unix:/path`); its channel is closed when the block is left.

    Connects at the first call. `token` is a bearer token, or gives the one to send now; `tls` says whom to
    trust. `settings`, when given, brings everything but the address. Raises CannotServe for a token that would
    travel in plaintext.
    """
    base = settings or ChannelSettings(tls=tls)
    source = (lambda: token) if isinstance(token, str) else token
    channel = open_channel(base.model_copy(update={"address": target}), token=source)
    try:
        yield GrpcAgentRuntime(RuntimeStubs.on(channel), target=target, deadline=base.unary_deadline, silence=silence)
    finally:
        await channel.close()


@dataclass(frozen=True)
class GrpcAgentRuntime:
    """`heddle_client.port.AgentRuntime` over the stubs of one channel, whose calls raise Heddle's errors."""

    stubs: RuntimeStubs
    target: str = "the runtime"
    """Where it is, for messages."""
    deadline: timedelta = _UNARY_DEADLINE
    """Of a unary call, beside the time that it asks the server to wait."""
    silence: timedelta = SILENCE
    """How long a stream may bring nothing."""
    metadata: Metadata = ()
    """Sent with every call, after the channel's own."""

    def acting_as(self, tenant: str, principal: str) -> Self:
        """See the port."""
        return replace(self, metadata=act_as(Identity(TenantId(tenant), PrincipalId(principal))))

    async def create_thread(self, request: CreateThreadRequest) -> CreateThreadResponse:
        """See the port."""
        return await self.stubs.threads.CreateThread(request, timeout=self._limit(), metadata=self.metadata)

    async def start_turn(self, request: StartTurnRequest) -> StartTurnResponse:
        """See the port."""
        limit = self._limit(request.wait_seconds)
        return await self.stubs.agent_runtime.StartTurn(request, timeout=limit, metadata=self.metadata)

    def stream_turn(self, request: StartStreamingTurnRequest) -> FrameStream:
        """See the port."""
        return _frames(
            lambda: self.stubs.agent_runtime.StartStreamingTurn(request, metadata=self.metadata),
            target=self.target,
            silence=self.silence,
        )

    async def cancel_run(self, request: CancelRunRequest) -> CancelRunResponse:
        """See the port."""
        return await self.stubs.agent_runtime.CancelRun(request, timeout=self._limit(), metadata=self.metadata)

    async def resolve_input(self, request: ResolveInputRequest) -> ResolveInputResponse:
        """See the port."""
        return await self.stubs.agent_runtime.ResolveInput(request, timeout=self._limit(), metadata=self.metadata)

    async def get_snapshot(self, request: GetSnapshotRequest) -> GetSnapshotResponse:
        """See the port."""
        return await self.stubs.agent_runtime.GetSnapshot(request, timeout=self._limit(), metadata=self.metadata)

    async def list_events(self, request: ListEventsRequest) -> ListEventsResponse:
        """See the port."""
        limit = self._limit(request.wait_seconds)
        return await self.stubs.threads.ListEvents(request, timeout=limit, metadata=self.metadata)

    async def get_run(self, request: GetRunRequest) -> GetRunResponse:
        """See the port."""
        return await self.stubs.runs.GetRun(request, timeout=self._limit(), metadata=self.metadata)

    async def list_runs(self, request: ListRunsRequest) -> ListRunsResponse:
        """See the port."""
        return await self.stubs.runs.ListRuns(request, timeout=self._limit(), metadata=self.metadata)

    async def wait_run(self, request: WaitRunRequest) -> WaitRunResponse:
        """See the port."""
        limit = self._limit(request.wait_seconds)
        return await self.stubs.runs.WaitRun(request, timeout=limit, metadata=self.metadata)

    def watch_thread(self, thread_id: str, *, after_sequence: int = 0, deltas: bool = True) -> FrameStream:
        """See the port."""
        request = WatchThreadRequest(thread_id=thread_id, after_sequence=after_sequence, deltas=deltas)
        return _frames(
            lambda: self.stubs.threads.WatchThread(request, metadata=self.metadata),
            target=self.target,
            silence=self.silence,
        )

    def _limit(self, wait_seconds: int = 0) -> float:
        return self.deadline.total_seconds() + max(wait_seconds, 0)


class _Framed(Protocol):
    """A streamed answer of any RPC: it wraps one frame."""

    @property
    def frame(self) -> StreamFrame: ...


class _Frames(Protocol):
    """What is used of a streaming call."""

    def __aiter__(self) -> AsyncIterator[_Framed]: ...

    def cancel(self) -> bool: ...


async def _frames(begin: Callable[[], _Frames], *, target: str, silence: timedelta) -> FrameStream:
    """The frames of a call, which begins when the first is asked for and ends with this generator.

    Raises ServiceUnreachable when nothing comes.
    """
    call = begin()
    answers = aiter(call)
    try:
        while True:
            try:
                # The call is over if this runs out: cutting a read short breaks it for good.
                async with asyncio.timeout(silence.total_seconds()):
                    answer = await anext(answers, None)
            except TimeoutError:
                problem = f"nothing came on the stream for {silence.total_seconds():g} s"
                raise ServiceUnreachable(target, problem) from None
            if answer is None:
                return
            yield answer.frame
    finally:
        call.cancel()
