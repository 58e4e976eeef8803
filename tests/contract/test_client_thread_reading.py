"""What every implementation of the facade promises to those who read a thread: events, snapshots, watching."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from heddle.runtime.v1.agent_runtime_pb2 import (
    CancelRunRequest,
    GetSnapshotRequest,
    StartStreamingTurnRequest,
)
from heddle.runtime.v1.run_pb2 import RunState
from heddle.runtime.v1.run_service_pb2 import ListRunsRequest, WaitRunRequest
from heddle.runtime.v1.thread_pb2 import ThreadActivity
from heddle.runtime.v1.thread_service_pb2 import ListEventsRequest
from heddle_client.port import AgentRuntime
from heddle_client.transcript import Transcript
from heddle_core import runtime_errors
from tests.kit.runtime_calls import (
    all_events,
    at_work,
    events_in,
    new_id,
    read,
    read_through,
    resolving,
    start,
    streamed,
    waiting,
)
from tests.kit.runtime_targets import TARGETS

SCENARIO = Path(__file__).with_name("client_agent_runtime.yaml")


@pytest.fixture(params=sorted(TARGETS))
async def runtime(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[AgentRuntime]:
    async with TARGETS[request.param](SCENARIO, tmp_path) as target:
        yield target


async def test_sequences_are_gapless_from_one_and_chained(runtime: AgentRuntime) -> None:
    await runtime.start_turn(start("hello", "t_1", wait=20))
    events = await all_events(runtime, "t_1")
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert events[0].previous_hash == bytes(32)
    assert [each.previous_hash for each in events[1:]] == [each.hash for each in events[:-1]]


async def test_events_come_in_pages_that_join_without_a_seam(runtime: AgentRuntime) -> None:
    await runtime.start_turn(start("hello", "t_1", wait=20))
    whole, paged, cursor = await all_events(runtime, "t_1"), [], 0
    while True:
        request = ListEventsRequest(thread_id="t_1", after_sequence=cursor, page_size=2)
        page = await runtime.list_events(request)
        assert len(page.events) <= 2
        assert page.last_sequence == len(whole)
        if not page.events:
            break
        paged += page.events
        cursor = page.next_after_sequence
    assert paged == whole


async def test_events_of_one_run_are_listed_alone(runtime: AgentRuntime) -> None:
    await runtime.start_turn(start("one", "t_1", wait=20))
    second = (await runtime.start_turn(start("two", "t_1", wait=20))).run.run_id
    page = await runtime.list_events(ListEventsRequest(thread_id="t_1", run_id=second))
    assert {event.run_id for event in page.events} == {second}
    assert page.events[0].HasField("turn_requested")


async def test_listing_can_wait_for_the_next_event(runtime: AgentRuntime) -> None:
    await at_work(runtime, "t_1")
    last = len(await all_events(runtime, "t_1"))
    request = ListEventsRequest(thread_id="t_1", after_sequence=last, wait_seconds=20)
    async with asyncio.TaskGroup() as tasks:
        page = tasks.create_task(runtime.list_events(request))
        cancel = CancelRunRequest(request_id=new_id(), thread_id="t_1")
        tasks.create_task(runtime.cancel_run(cancel))
    assert page.result().events[0].sequence == last + 1


async def test_a_watcher_at_any_cursor_sees_every_event_once_and_in_order(runtime: AgentRuntime) -> None:
    await runtime.start_turn(start("hello", "t_1", wait=20))
    whole = await all_events(runtime, "t_1")
    for cursor in range(len(whole)):
        frames = runtime.watch_thread("t_1", after_sequence=cursor)
        assert await read_through(frames, len(whole)) == whole[cursor:]


async def test_a_watcher_sees_what_happens_after_it_came(runtime: AgentRuntime) -> None:
    await runtime.start_turn(start("one", "t_1", wait=20))
    transcript, told = Transcript(), False
    async with asyncio.timeout(20), aclosing(runtime.watch_thread("t_1")) as frames:
        async for frame in frames:
            transcript = transcript.after(frame)
            if frame.checkpoint.caught_up and not told:
                told = True
                await runtime.start_turn(start("two", "t_1"))
            ended = [line for line in transcript.runs.values() if line.ended]
            if len(ended) == 2:
                break
    shown = [line.text for line in transcript.shown]
    assert shown == ["one", "You said: one", "two", "You said: two"]


async def test_a_watcher_may_do_without_the_words(runtime: AgentRuntime) -> None:
    await at_work(runtime, "t_1")
    async with asyncio.timeout(20), aclosing(runtime.watch_thread("t_1", deltas=False)) as frames:
        async for frame in frames:
            assert not frame.HasField("deltas")
            if frame.checkpoint.caught_up:
                break


async def test_a_cursor_beyond_the_log_is_refused_everywhere(runtime: AgentRuntime) -> None:
    request_id = new_id()
    await read(runtime.stream_turn(streamed("hello", "t_1", request_id)))
    last = len(await all_events(runtime, "t_1"))
    ahead = last + 1
    with pytest.raises(runtime_errors.CursorAhead) as refused:
        await read(runtime.watch_thread("t_1", after_sequence=ahead))
    assert (refused.value.cursor, refused.value.last) == (ahead, last)
    with pytest.raises(runtime_errors.CursorAhead):
        await runtime.list_events(ListEventsRequest(thread_id="t_1", after_sequence=ahead))
    join = StartStreamingTurnRequest(request_id=request_id, after_sequence=ahead)
    with pytest.raises(runtime_errors.CursorAhead):
        await read(runtime.stream_turn(join))


async def test_an_unknown_thread_is_not_found_by_any_reader(runtime: AgentRuntime) -> None:
    with pytest.raises(runtime_errors.ThreadNotFound):
        await read(runtime.watch_thread("t_none"))
    with pytest.raises(runtime_errors.ThreadNotFound):
        await runtime.list_events(ListEventsRequest(thread_id="t_none"))


async def test_a_snapshot_tells_what_the_events_tell(runtime: AgentRuntime) -> None:
    await runtime.start_turn(start("hello", "t_1", wait=20))
    answer, asked = await waiting(runtime, "t_1")
    snapshot = (await runtime.get_snapshot(GetSnapshotRequest(thread_id="t_1"))).snapshot
    events = await all_events(runtime, "t_1")
    transcript = Transcript().after_events(events)
    assert (snapshot.sequence, snapshot.hash) == (events[-1].sequence, events[-1].hash)
    assert snapshot.resume_after_sequence == snapshot.sequence
    assert [each.message_id for each in snapshot.messages] == [line.message_id for line in transcript.shown]
    assert [[part.text for part in each.content] for each in snapshot.messages] == [
        [line.text] for line in transcript.shown
    ]
    assert [each.input_id for each in snapshot.pending_inputs] == [asked.input_id]
    assert list(transcript.inputs) == [asked.input_id]
    assert (snapshot.active_run.run_id, snapshot.active_run.state) == (
        answer.run.run_id,
        transcript.runs[answer.run.run_id].state,
    )
    assert snapshot.thread.activity == ThreadActivity.THREAD_ACTIVITY_WAITING


async def test_a_snapshot_of_the_past_is_what_it_was_then(runtime: AgentRuntime) -> None:
    _, asked = await waiting(runtime, "t_1")
    then = (await runtime.get_snapshot(GetSnapshotRequest(thread_id="t_1"))).snapshot
    resolved = await runtime.resolve_input(resolving(asked.input_id, "stars"))
    await runtime.wait_run(WaitRunRequest(run_id=resolved.run.run_id, wait_seconds=20))
    now = (await runtime.get_snapshot(GetSnapshotRequest(thread_id="t_1"))).snapshot
    request = GetSnapshotRequest(thread_id="t_1", at_sequence=then.sequence)
    past = (await runtime.get_snapshot(request)).snapshot
    assert past.pending_inputs == then.pending_inputs
    assert past.messages == then.messages
    assert past.active_run == then.active_run
    assert now.last_assistant_message.content[0].text == "I saw stars."
    assert not now.HasField("active_run")
    assert now.last_run.state == RunState.RUN_STATE_COMPLETED


async def test_a_snapshot_ends_where_a_watcher_goes_on(runtime: AgentRuntime) -> None:
    _, asked = await waiting(runtime, "t_1")
    snapshot = (await runtime.get_snapshot(GetSnapshotRequest(thread_id="t_1"))).snapshot
    resolved = await runtime.resolve_input(resolving(asked.input_id, "stars"))
    await runtime.wait_run(WaitRunRequest(run_id=resolved.run.run_id, wait_seconds=20))
    events = await all_events(runtime, "t_1")
    later = await read_through(runtime.watch_thread("t_1", after_sequence=snapshot.resume_after_sequence), len(events))
    resumed = Transcript.of_snapshot(snapshot).after_events(later)
    whole = Transcript().after_events(events)
    assert [line.text for line in resumed.shown] == [line.text for line in whole.shown]
    assert resumed.runs[resolved.run.run_id].state == whole.runs[resolved.run.run_id].state
    assert not resumed.inputs


async def test_a_snapshot_holds_no_more_than_was_asked_for(runtime: AgentRuntime) -> None:
    await runtime.start_turn(start("hello", "t_1", wait=20))
    request = GetSnapshotRequest(thread_id="t_1", read_mask=FieldMask(paths=["sequence"]))
    snapshot = (await runtime.get_snapshot(request)).snapshot
    assert snapshot.sequence > 0
    assert not snapshot.messages
    assert not snapshot.HasField("thread")
    short = GetSnapshotRequest(thread_id="t_1", message_window=1)
    window = (await runtime.get_snapshot(short)).snapshot.messages
    assert [part.text for each in window for part in each.content] == ["You said: hello"]


async def test_runs_are_listed_newest_first_in_pages(runtime: AgentRuntime) -> None:
    made = [(await runtime.start_turn(start(said, "t_1", wait=20))).run.run_id for said in ("1", "2", "3")]
    await runtime.start_turn(start("elsewhere", "t_2", wait=20))
    found: list[str] = []
    request = ListRunsRequest(thread_id="t_1", page_size=2)
    while True:
        page = await runtime.list_runs(request)
        found += [run.run_id for run in page.runs]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert found == made[::-1]


async def test_runs_are_found_by_state(runtime: AgentRuntime) -> None:
    answer, _ = await waiting(runtime, "t_1")
    await runtime.start_turn(start("hello", "t_2", wait=20))
    request = ListRunsRequest(states=[RunState.RUN_STATE_WAITING])
    assert [run.run_id for run in (await runtime.list_runs(request)).runs] == [answer.run.run_id]


async def test_a_turns_own_stream_tells_what_the_log_holds_of_it(runtime: AgentRuntime) -> None:
    frames = await read(runtime.stream_turn(streamed("hello", "t_1")))
    ours = [each for each in await all_events(runtime, "t_1") if each.run_id == frames[0].opened.run_id]
    assert events_in(frames) == ours
