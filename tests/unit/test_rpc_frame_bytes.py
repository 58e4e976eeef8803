"""Frames that are written as bytes are those that protobuf would write."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from heddle.runtime.v1 import agent_runtime_pb2, run_service_pb2, stream_pb2, thread_service_pb2
from heddle_core.clock import Micros
from heddle_core.ids import CallId, MessageId, RunId, StepId, ThreadId
from heddle_runtime.codec.codec import event_message, stored_payload
from heddle_runtime.rpc import frame_bytes
from heddle_runtime.threads.deltas import Channel, Delta
from heddle_runtime.threads.events import Event, StepStarted, ToolCallProgressed

IDS = st.text("abcXYZ019_-", max_size=64)
NUMBERS = st.integers(0, 2**63 - 1) | st.sampled_from((127, 128, 16_383, 16_384))
MODESTLY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
HASHES = st.binary(min_size=32, max_size=32) | st.just(b"")


def payloads() -> st.SearchStrategy[StepStarted | ToolCallProgressed]:
    steps = st.builds(
        StepStarted,
        IDS.map(StepId),
        st.integers(0, 9),
        st.integers(0, 9),
        IDS.map(MessageId),
        model=st.text(max_size=300),
    )
    return steps | st.builds(ToolCallProgressed, IDS.map(CallId), message=st.text(max_size=200))


@st.composite
def events(draw: st.DrawFn) -> Event:
    payload = draw(payloads())
    return Event(
        sequence=draw(NUMBERS) or 1,
        run_id=RunId(draw(IDS)),
        commit_time=Micros(draw(st.integers(0, 4 * 10**15))),
        payload=payload,
        hash=draw(HASHES),
        previous_hash=draw(HASHES),
        redacted=draw(st.booleans()),
        raw=stored_payload(payload),
    )


def deltas() -> st.SearchStrategy[Delta]:
    return st.builds(
        Delta,
        IDS.map(RunId),
        IDS.map(StepId),
        st.integers(0, 300),
        IDS.map(MessageId),
        st.sampled_from(Channel),
        NUMBERS,
        st.text(max_size=400),
        NUMBERS,
        IDS.map(CallId),
        st.booleans(),
    )


@MODESTLY
@given(st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True).map(ThreadId), st.lists(events(), min_size=1, max_size=4))
def test_a_frame_of_events_is_what_protobuf_writes(thread_id: ThreadId, given_events: list[Event]) -> None:
    batch = stream_pb2.EventBatch(events=[event_message(thread_id, each) for each in given_events])
    expected = agent_runtime_pb2.StartStreamingTurnResponse(frame=stream_pb2.StreamFrame(events=batch))
    found = frame_bytes.event_response([frame_bytes.event(thread_id, each) for each in given_events])
    assert found == expected.SerializeToString(deterministic=True)


@MODESTLY
@given(st.lists(deltas(), min_size=1, max_size=4))
def test_a_frame_of_deltas_is_what_protobuf_writes(given_deltas: list[Delta]) -> None:
    batch = stream_pb2.DeltaBatch(
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
            for each in given_deltas
        ]
    )
    expected = agent_runtime_pb2.StartStreamingTurnResponse(frame=stream_pb2.StreamFrame(deltas=batch))
    found = frame_bytes.delta_response([frame_bytes.delta(each) for each in given_deltas])
    assert found == expected.SerializeToString(deterministic=True)


def test_one_response_is_that_of_every_rpc_that_streams_frames() -> None:
    frame = stream_pb2.StreamFrame(checkpoint=stream_pb2.Checkpoint(sequence=300, caught_up=True))
    raw = frame_bytes.response(frame)
    assert agent_runtime_pb2.StartStreamingTurnResponse.FromString(raw).frame == frame
    assert thread_service_pb2.WatchThreadResponse.FromString(raw).frame == frame
    assert run_service_pb2.WatchRunResponse.FromString(raw).frame == frame
