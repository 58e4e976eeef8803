"""Callers of several replicas: what each says to one of them."""

from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from heddle.runtime.v1 import run_service_pb2
from heddle.runtime.v1.agent_runtime_pb2 import (
    CancelRunRequest,
    CancelRunResponse,
    GetSnapshotRequest,
    ResolveInputRequest,
    StartStreamingTurnRequest,
    StartTurnRequest,
)
from heddle.runtime.v1.event_pb2 import ThreadEvent
from heddle.runtime.v1.input_pb2 import InputAnswer
from heddle.runtime.v1.run_pb2 import Run, RunState
from heddle.runtime.v1.snapshot_pb2 import ThreadSnapshot
from heddle.runtime.v1.stream_pb2 import StreamFrame
from heddle.runtime.v1.thread_service_pb2 import ListEventsRequest
from heddle_client.stubs import RuntimeStubs
from heddle_client.transcript import Transcript
from heddle_grpc.channel import open_channel
from heddle_grpc.settings import ChannelSettings
from tests.kit.running_runtime import new_id, says


@dataclass(frozen=True)
class Started:
    """A turn that was accepted."""

    request_id: str
    run: Run


@dataclass(frozen=True)
class Desk:
    """One replica as a caller sees it."""

    stubs: RuntimeStubs
    address: str
    worker_id: str

    async def start(self, text: str, thread_id: str, **fields: Any) -> Started:
        """Start a turn, and wait for nothing."""
        request = StartTurnRequest(
            request_id=new_id(), thread_id=thread_id, create_if_missing=True, turn=says(text, **fields)
        )
        return Started(request.request_id, (await self.stubs.agent_runtime.StartTurn(request)).run)

    async def stream(self, request: StartStreamingTurnRequest) -> AsyncGenerator[StreamFrame, None]:
        """One connection's frames."""
        call = self.stubs.agent_runtime.StartStreamingTurn(request)
        try:
            async for response in call:
                yield response.frame
        finally:
            call.cancel()

    def join(self, request_id: str) -> AsyncGenerator[StreamFrame, None]:
        """The stream of a turn that was started before."""
        return self.stream(StartStreamingTurnRequest(request_id=request_id, after_sequence=0))

    async def words(self, started: Started, until: str, *, again: bool = False) -> str:
        """What is shown of a turn's answer once it holds `until`; `again`: in a second attempt at it."""
        shown, resumed = Transcript(), not again
        async with aclosing(self.join(started.request_id)) as frames:
            async for frame in frames:
                shown = shown.after(frame)
                resumed = resumed or any(event.HasField("run_resumed") for event in frame.events.events)
                if resumed and until in shown.answer(started.run.run_id):
                    return shown.answer(started.run.run_id)
        raise AssertionError(f"the stream ended behind {shown.answer(started.run.run_id)!r}")

    async def ended(self, run_id: str, state: RunState.ValueType | None = None) -> Run:
        """The run once it has ended, or is in a state."""
        while True:
            request = run_service_pb2.WaitRunRequest(run_id=run_id, wait_seconds=20)
            run = (await self.stubs.runs.WaitRun(request)).run
            if run.state == state or run.state >= RunState.RUN_STATE_COMPLETED:
                return run

    async def run(self, run_id: str) -> Run:
        return (await self.stubs.runs.GetRun(run_service_pb2.GetRunRequest(run_id=run_id))).run

    async def cancel(self, run_id: str) -> CancelRunResponse:
        return await self.stubs.agent_runtime.CancelRun(CancelRunRequest(request_id=new_id(), run_id=run_id))

    async def answer(self, input_id: str, text: str) -> None:
        request = ResolveInputRequest(request_id=new_id(), input_id=input_id, answer=InputAnswer(text=text))
        await self.stubs.agent_runtime.ResolveInput(request)

    async def snapshot(self, thread_id: str, at: int = 0) -> ThreadSnapshot:
        request = GetSnapshotRequest(thread_id=thread_id, at_sequence=at, message_window=100)
        return (await self.stubs.agent_runtime.GetSnapshot(request)).snapshot

    async def events(self, thread_id: str) -> list[ThreadEvent]:
        request = ListEventsRequest(thread_id=thread_id, page_size=1000)
        return list((await self.stubs.threads.ListEvents(request)).events)


@asynccontextmanager
async def desk_at(address: str, worker_id: str) -> AsyncGenerator[Desk]:
    """A caller of the replica at an address."""
    channel = open_channel(ChannelSettings.model_validate({"address": address, "attempts": 1}))
    try:
        yield Desk(RuntimeStubs.on(channel), address, worker_id)
    finally:
        await channel.close()
