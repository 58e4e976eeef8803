"""Requests to the facade and readings of its streams, as the contract suite and the tests of streams make them."""

import asyncio
from contextlib import aclosing
from uuid import uuid4

from heddle.common.v1.content_pb2 import ContentPart
from heddle.runtime.v1.agent_runtime_pb2 import (
    GetSnapshotRequest,
    ResolveInputRequest,
    StartStreamingTurnRequest,
    StartTurnRequest,
    StartTurnResponse,
)
from heddle.runtime.v1.event_pb2 import ThreadEvent
from heddle.runtime.v1.input_pb2 import InputAnswer, InputRequest
from heddle.runtime.v1.run_pb2 import RunState
from heddle.runtime.v1.stream_pb2 import StreamFrame
from heddle.runtime.v1.thread_service_pb2 import ListEventsRequest
from heddle.runtime.v1.tool_call_pb2 import ClientTool
from heddle.runtime.v1.turn_pb2 import ConflictPolicy, Turn
from heddle_client.port import AgentRuntime, FrameStream
from heddle_client.transcript import Transcript

LOOK = ClientTool(name="look", description="Looks somewhere.", parameters_json='{"type":"object"}')


def new_id(prefix: str = "r") -> str:
    return f"{prefix}_{uuid4().hex}"


def turn(said: str, policy: ConflictPolicy.ValueType = ConflictPolicy.CONFLICT_POLICY_ENQUEUE) -> Turn:
    tools = [LOOK] if "look" in said else []
    return Turn(content=[ContentPart(text=said)], conflict_policy=policy, client_tools=tools)


def start(
    said: str,
    thread_id: str = "",
    *,
    request_id: str = "",
    policy: ConflictPolicy.ValueType = ConflictPolicy.CONFLICT_POLICY_ENQUEUE,
    wait: int = 0,
) -> StartTurnRequest:
    return StartTurnRequest(
        request_id=request_id or new_id(),
        thread_id=thread_id,
        create_if_missing=bool(thread_id),
        turn=turn(said, policy),
        wait_seconds=wait,
    )


def streamed(said: str, thread_id: str, request_id: str = "") -> StartStreamingTurnRequest:
    return StartStreamingTurnRequest(
        request_id=request_id or new_id(), thread_id=thread_id, create_if_missing=True, turn=turn(said)
    )


def events_in(frames: list[StreamFrame]) -> list[ThreadEvent]:
    return [event for frame in frames for event in frame.events.events]


def kinds_in(events: list[ThreadEvent]) -> list[str | None]:
    return [event.WhichOneof("payload") for event in events]


async def read(frames: FrameStream) -> list[StreamFrame]:
    async with asyncio.timeout(20), aclosing(frames):
        return [frame async for frame in frames]


async def read_through(frames: FrameStream, sequence: int) -> list[ThreadEvent]:
    """Facts of a stream that does not end by itself, up to a sequence."""
    found: list[ThreadEvent] = []
    async with asyncio.timeout(20), aclosing(frames):
        async for frame in frames:
            found += frame.events.events
            if found and found[-1].sequence >= sequence:
                return found
    raise AssertionError("the stream ended")


async def at_work(runtime: AgentRuntime, thread_id: str, request_id: str = "") -> str:
    """The id of a run that is in the middle of its words, and stays there. The caller has hung up."""
    run_id, transcript = "", Transcript()
    async with (
        asyncio.timeout(20),
        aclosing(runtime.stream_turn(streamed("hang", thread_id, request_id))) as frames,
    ):
        async for frame in frames:
            run_id = run_id or frame.opened.run_id
            transcript = transcript.after(frame)
            if transcript.answer(run_id) == "I begin to say ":
                return run_id
    raise AssertionError("the stream ended before the words came")


async def waiting(runtime: AgentRuntime, thread_id: str) -> tuple[StartTurnResponse, InputRequest]:
    """A run that waits for its client to look, and what it asks."""
    answer = await runtime.start_turn(start("look", thread_id, wait=20))
    assert answer.run.state == RunState.RUN_STATE_WAITING
    snapshot = (await runtime.get_snapshot(GetSnapshotRequest(thread_id=thread_id))).snapshot
    return answer, snapshot.pending_inputs[0]


def resolving(input_id: str, said: str) -> ResolveInputRequest:
    answer = InputAnswer(content=[ContentPart(text=said)])
    return ResolveInputRequest(request_id=new_id(), input_id=input_id, answer=answer)


async def all_events(runtime: AgentRuntime, thread_id: str) -> list[ThreadEvent]:
    return list((await runtime.list_events(ListEventsRequest(thread_id=thread_id, page_size=1000))).events)
