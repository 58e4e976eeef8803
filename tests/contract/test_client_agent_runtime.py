"""What every implementation of the facade promises. The implementations stand in tests/kit/runtime_targets.py."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest

from heddle.runtime.v1.agent_runtime_pb2 import (
    CancelRunRequest,
    GetSnapshotRequest,
    StartStreamingTurnRequest,
    TurnDisposition,
)
from heddle.runtime.v1.input_pb2 import InputKind, InputState
from heddle.runtime.v1.run_pb2 import CancelCause, RunState
from heddle.runtime.v1.run_service_pb2 import GetRunRequest, ListRunsRequest, WaitRunRequest
from heddle.runtime.v1.stream_pb2 import ClosingReason, StreamFrame
from heddle.runtime.v1.thread_service_pb2 import CreateThreadRequest
from heddle.runtime.v1.tool_call_pb2 import ToolCallOutcome
from heddle.runtime.v1.turn_pb2 import ConflictPolicy
from heddle_client import values as v
from heddle_client.port import AgentRuntime
from heddle_client.runs import Runs
from heddle_client.transcript import Transcript
from heddle_core import errors, runtime_errors
from tests.kit.runtime_calls import (
    all_events,
    at_work,
    events_in,
    kinds_in,
    new_id,
    read,
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


async def test_a_turn_is_answered(runtime: AgentRuntime) -> None:
    answer = await runtime.start_turn(start("hello", wait=20))
    assert answer.disposition == TurnDisposition.TURN_DISPOSITION_STARTED
    assert answer.run.state == RunState.RUN_STATE_COMPLETED
    assert [part.text for part in answer.run.result.parts] == ["You said: hello"]


async def test_an_exact_repeat_gives_the_same_run(runtime: AgentRuntime) -> None:
    request = start("hello", wait=20)
    first = await runtime.start_turn(request)
    again = await runtime.start_turn(request)
    assert again.disposition == TurnDisposition.TURN_DISPOSITION_EXISTING
    assert again.run == first.run
    assert len((await runtime.list_runs(ListRunsRequest(thread_id=first.run.thread_id))).runs) == 1


async def test_another_wait_is_still_an_exact_repeat(runtime: AgentRuntime) -> None:
    request = start("hello")
    first = await runtime.start_turn(request)
    request.wait_seconds = 20
    again = await runtime.start_turn(request)
    assert (again.run.run_id, again.run.state) == (first.run.run_id, RunState.RUN_STATE_COMPLETED)


async def test_a_request_id_with_another_body_is_refused(runtime: AgentRuntime) -> None:
    request_id = new_id()
    await runtime.start_turn(start("hello", request_id=request_id))
    with pytest.raises(errors.RequestIdReused) as refused:
        await runtime.start_turn(start("goodbye", request_id=request_id))
    assert refused.value.request_id == request_id


async def test_a_thread_is_made_once_and_answers_turns_under_its_own_title_and_labels(runtime: AgentRuntime) -> None:
    thread = v.NewThread(new_id(), "t_made", "Spring: shoes", {"team": "red"})
    for each in (thread, thread, replace(thread, title="Other"), replace(thread, request_id=new_id())):
        await Runs(runtime).open_thread(each)
    await runtime.start_turn(start("hello", "t_made", wait=20))
    found = (await runtime.get_snapshot(GetSnapshotRequest(thread_id="t_made"))).snapshot.thread.settings
    assert (found.title, dict(found.labels)) == ("Spring: shoes", {"team": "red"})
    request = CreateThreadRequest(request_id=new_id(), thread_id="t_made")
    with pytest.raises(errors.AlreadyExists):
        await runtime.create_thread(request)


async def test_an_unknown_thread_is_made_only_when_asked_for(runtime: AgentRuntime) -> None:
    request = start("hello", "t_none")
    request.create_if_missing = False
    with pytest.raises(runtime_errors.ThreadNotFound):
        await runtime.start_turn(request)
    with pytest.raises(runtime_errors.ThreadNotFound):
        await runtime.get_snapshot(GetSnapshotRequest(thread_id="t_none"))


async def test_validating_only_starts_nothing(runtime: AgentRuntime) -> None:
    request = start("hello", "t_1")
    request.validate_only = True
    answer = await runtime.start_turn(request)
    assert answer.disposition == TurnDisposition.TURN_DISPOSITION_VALIDATED
    assert answer.estimate.input_tokens > 0
    with pytest.raises(runtime_errors.ThreadNotFound):
        await runtime.get_snapshot(GetSnapshotRequest(thread_id="t_1"))


async def test_a_busy_thread_refuses_under_reject_and_names_the_run(runtime: AgentRuntime) -> None:
    holder = await at_work(runtime, "t_1")
    with pytest.raises(runtime_errors.ThreadBusy) as refused:
        await runtime.start_turn(start("hello", "t_1", policy=ConflictPolicy.CONFLICT_POLICY_REJECT))
    assert refused.value.run_id == holder


async def test_a_busy_thread_queues_under_enqueue_and_goes_on_in_order(runtime: AgentRuntime) -> None:
    await at_work(runtime, "t_1")
    first = await runtime.start_turn(start("one", "t_1"))
    second = await runtime.start_turn(start("two", "t_1"))
    assert first.disposition == TurnDisposition.TURN_DISPOSITION_QUEUED
    assert (first.queue_position, second.queue_position) == (1, 2)
    await runtime.cancel_run(CancelRunRequest(request_id=new_id(), thread_id="t_1"))
    done = await runtime.wait_run(WaitRunRequest(run_id=second.run.run_id, wait_seconds=20))
    assert done.run.state == RunState.RUN_STATE_COMPLETED
    started = [each.run_id for each in await all_events(runtime, "t_1") if each.HasField("run_started")]
    assert started[1:] == [first.run.run_id, second.run.run_id]


async def test_a_turn_behind_a_waiting_run_is_told_what_it_waits_for(runtime: AgentRuntime) -> None:
    _, asked = await waiting(runtime, "t_1")
    behind = await runtime.start_turn(start("hello", "t_1"))
    assert behind.disposition == TurnDisposition.TURN_DISPOSITION_QUEUED
    assert list(behind.blocking_input_ids) == [asked.input_id]


async def test_interrupting_cancels_the_active_run_and_keeps_its_words(runtime: AgentRuntime) -> None:
    holder = await at_work(runtime, "t_1")
    queued = await runtime.start_turn(start("later", "t_1"))
    policy = ConflictPolicy.CONFLICT_POLICY_INTERRUPT
    done = await runtime.start_turn(start("hello", "t_1", policy=policy, wait=20))
    await runtime.wait_run(WaitRunRequest(run_id=queued.run.run_id, wait_seconds=20))
    assert done.run.state == RunState.RUN_STATE_COMPLETED
    stopped = (await runtime.get_run(GetRunRequest(run_id=holder))).run
    assert stopped.state == RunState.RUN_STATE_CANCELLED
    assert stopped.cancel_cause == CancelCause.CANCEL_CAUSE_INTERRUPTED
    events = await all_events(runtime, "t_1")
    started = [each.run_id for each in events if each.HasField("run_started")]
    assert started == [holder, done.run.run_id, queued.run.run_id]
    shown = [line.text for line in Transcript().after_events(events).shown]
    assert "I begin to say " in shown


async def test_rolling_back_leaves_the_active_run_out_of_the_history(runtime: AgentRuntime) -> None:
    holder = await at_work(runtime, "t_1")
    policy = ConflictPolicy.CONFLICT_POLICY_ROLLBACK
    done = await runtime.start_turn(start("hello", "t_1", policy=policy, wait=20))
    snapshot = (await runtime.get_snapshot(GetSnapshotRequest(thread_id="t_1"))).snapshot
    assert {each.run_id for each in snapshot.messages} == {done.run.run_id}
    shown = Transcript().after_events(await all_events(runtime, "t_1")).shown
    assert {line.run_id for line in shown} == {done.run.run_id}
    assert (await runtime.get_run(GetRunRequest(run_id=holder))).run.cancel_sequence > 0


async def test_steering_gives_the_message_to_the_active_run(runtime: AgentRuntime) -> None:
    holder = await at_work(runtime, "t_1")
    request = start("rather this", "t_1", policy=ConflictPolicy.CONFLICT_POLICY_STEER)
    steered = await runtime.start_turn(request)
    assert steered.disposition == TurnDisposition.TURN_DISPOSITION_STEERED
    assert steered.run.run_id == holder
    again = await runtime.start_turn(request)
    assert (again.disposition, again.run.run_id) == (TurnDisposition.TURN_DISPOSITION_EXISTING, holder)


async def test_a_stream_tells_the_run_whole_and_ends_with_it(runtime: AgentRuntime) -> None:
    frames = await read(runtime.stream_turn(streamed("hello", "t_1")))
    events = events_in(frames)
    assert frames[0].opened.thread_id == "t_1"
    assert frames[-1].closing.reason == ClosingReason.CLOSING_REASON_SETTLED
    assert kinds_in(events)[0] == "turn_requested"
    assert kinds_in(events)[-1] == "run_completed"
    assert {event.run_id for event in events} == {frames[0].opened.run_id}
    words = "".join(delta.text for frame in frames for delta in frame.deltas.deltas)
    assert words == "You said: hello"


async def test_a_stream_ends_where_its_run_waits(runtime: AgentRuntime) -> None:
    frames = await read(runtime.stream_turn(streamed("look", "t_1")))
    assert kinds_in(events_in(frames))[-1] == "run_waiting"
    assert frames[-1].closing.reason == ClosingReason.CLOSING_REASON_SETTLED


async def test_a_stream_goes_on_over_waiting_when_asked_to(runtime: AgentRuntime) -> None:
    request = streamed("look", "t_1")
    request.end_on_waiting = False
    seen: list[StreamFrame] = []
    async with asyncio.timeout(20), aclosing(runtime.stream_turn(request)) as frames:
        async for frame in frames:
            seen.append(frame)
            for event in frame.events.events:
                if event.HasField("run_waiting"):
                    await runtime.resolve_input(resolving(event.run_waiting.input_ids[0], "stars"))
    assert kinds_in(events_in(seen))[-1] == "run_completed"


async def test_an_old_waiting_in_the_replay_ends_nothing(runtime: AgentRuntime) -> None:
    request_id = new_id()
    await read(runtime.stream_turn(streamed("look", "t_1", request_id)))
    snapshot = (await runtime.get_snapshot(GetSnapshotRequest(thread_id="t_1"))).snapshot
    await runtime.resolve_input(resolving(snapshot.pending_inputs[0].input_id, "stars"))
    joined = StartStreamingTurnRequest(request_id=request_id, after_sequence=0)
    assert kinds_in(events_in(await read(runtime.stream_turn(joined))))[-1] == "run_completed"


async def test_joining_by_request_id_gives_exactly_the_rest(runtime: AgentRuntime) -> None:
    request_id = new_id()
    whole = events_in(await read(runtime.stream_turn(streamed("hello", "t_1", request_id))))
    for place, event in enumerate(whole[:-1]):
        join = StartStreamingTurnRequest(request_id=request_id, after_sequence=event.sequence)
        assert events_in(await read(runtime.stream_turn(join))) == whole[place + 1 :]


async def test_joining_in_the_middle_of_words_gives_the_words_so_far(runtime: AgentRuntime) -> None:
    request_id = new_id()
    run_id = await at_work(runtime, "t_1", request_id)
    last = (await all_events(runtime, "t_1"))[-1].sequence
    join = StartStreamingTurnRequest(request_id=request_id, after_sequence=last)
    transcript = Transcript()
    async with asyncio.timeout(20), aclosing(runtime.stream_turn(join)) as frames:
        async for frame in frames:
            transcript = transcript.after(frame)
            if transcript.answer(run_id):
                break
    assert transcript.answer(run_id) == "I begin to say "


async def test_a_turn_that_was_started_without_a_stream_can_be_joined(runtime: AgentRuntime) -> None:
    request = start("hello", wait=20)
    run_id = (await runtime.start_turn(request)).run.run_id
    join = StartStreamingTurnRequest(request_id=request.request_id, after_sequence=0)
    frames = await read(runtime.stream_turn(join))
    assert frames[0].opened.run_id == run_id
    assert kinds_in(events_in(frames))[-1] == "run_completed"


async def test_joining_an_unknown_request_is_not_found(runtime: AgentRuntime) -> None:
    with pytest.raises(runtime_errors.RequestNotFound):
        await read(runtime.stream_turn(StartStreamingTurnRequest(request_id="r_none", after_sequence=0)))


async def test_hanging_up_cancels_nothing(runtime: AgentRuntime) -> None:
    run_id = await at_work(runtime, "t_1")
    run = (await runtime.get_run(GetRunRequest(run_id=run_id))).run
    assert run.state == RunState.RUN_STATE_RUNNING
    assert run.cancel_sequence == 0


@pytest.mark.parametrize("target", ["run_id", "turn_request_id", "thread_id"])
async def test_a_cancel_stops_the_run_and_keeps_its_words(runtime: AgentRuntime, target: str) -> None:
    request_id = new_id()
    run_id = await at_work(runtime, "t_1", request_id)
    named = {"run_id": run_id, "turn_request_id": request_id, "thread_id": "t_1"}[target]
    cancel = CancelRunRequest(request_id=new_id(), **{target: named})
    answer = await runtime.cancel_run(cancel)
    done = (await runtime.wait_run(WaitRunRequest(run_id=run_id, wait_seconds=20))).run
    assert done.state == RunState.RUN_STATE_CANCELLED
    assert done.cancel_cause == CancelCause.CANCEL_CAUSE_REQUESTED
    assert [(each.run_id, each.cancel_sequence) for each in answer.cancelled] == [(run_id, done.cancel_sequence)]
    again = await runtime.cancel_run(cancel)
    assert again.cancelled == answer.cancelled
    events = await all_events(runtime, "t_1")
    assert events[done.cancel_sequence - 1].HasField("run_cancel_requested")
    assert kinds_in(events)[-1] == "run_cancelled"
    transcript = Transcript().after_events(events)
    assert transcript.answer(run_id) == "I begin to say "


async def test_a_cancel_before_arrival_keeps_the_turn_from_starting(runtime: AgentRuntime) -> None:
    request_id = new_id()
    answer = await runtime.cancel_run(CancelRunRequest(request_id=new_id(), turn_request_id=request_id))
    assert not answer.HasField("run")
    with pytest.raises(runtime_errors.RequestCancelled):
        await runtime.start_turn(start("hello", "t_1", request_id=request_id))


async def test_cancelling_a_run_that_has_ended_changes_nothing(runtime: AgentRuntime) -> None:
    run = (await runtime.start_turn(start("hello", wait=20))).run
    answer = await runtime.cancel_run(CancelRunRequest(request_id=new_id(), run_id=run.run_id))
    assert answer.run.state == RunState.RUN_STATE_COMPLETED
    assert [each.cancel_sequence for each in answer.cancelled] in ([], [0])


async def test_cancelling_a_waiting_run_ends_its_question_and_its_call(runtime: AgentRuntime) -> None:
    answer, asked = await waiting(runtime, "t_1")
    await runtime.cancel_run(CancelRunRequest(request_id=new_id(), run_id=answer.run.run_id))
    await runtime.wait_run(WaitRunRequest(run_id=answer.run.run_id, wait_seconds=20))
    with pytest.raises(runtime_errors.InputAlreadyResolved):
        await runtime.resolve_input(resolving(asked.input_id, "stars"))
    outcomes = [
        each.tool_call_completed.outcome
        for each in await all_events(runtime, "t_1")
        if each.HasField("tool_call_completed")
    ]
    assert outcomes == [ToolCallOutcome.TOOL_CALL_OUTCOME_CANCELLED]


async def test_unknown_runs_are_not_found(runtime: AgentRuntime) -> None:
    with pytest.raises(runtime_errors.RunNotFound):
        await runtime.get_run(GetRunRequest(run_id="run_none"))
    with pytest.raises(runtime_errors.RunNotFound):
        await runtime.wait_run(WaitRunRequest(run_id="run_none"))
    with pytest.raises(runtime_errors.RunNotFound):
        await runtime.cancel_run(CancelRunRequest(request_id=new_id(), run_id="run_none"))


async def test_an_answer_makes_the_run_go_on(runtime: AgentRuntime) -> None:
    answer, asked = await waiting(runtime, "t_1")
    assert (asked.kind, asked.tool) == (InputKind.INPUT_KIND_CLIENT_TOOL, "look")
    assert asked.arguments_json == '{"at":"sky"}'
    resolved = await runtime.resolve_input(resolving(asked.input_id, "stars"))
    assert resolved.input.state == InputState.INPUT_STATE_ANSWERED
    done = await runtime.wait_run(WaitRunRequest(run_id=answer.run.run_id, wait_seconds=20))
    assert [part.text for part in done.run.result.parts] == ["I saw stars."]


async def test_an_exact_repeat_of_the_answer_succeeds_and_changes_nothing(runtime: AgentRuntime) -> None:
    answer, asked = await waiting(runtime, "t_1")
    request = resolving(asked.input_id, "stars")
    first = await runtime.resolve_input(request)
    await runtime.wait_run(WaitRunRequest(run_id=answer.run.run_id, wait_seconds=20))
    before = len(await all_events(runtime, "t_1"))
    again = await runtime.resolve_input(request)
    assert again.input.state == first.input.state
    assert len(await all_events(runtime, "t_1")) == before


async def test_a_late_answer_is_refused_and_names_the_state(runtime: AgentRuntime) -> None:
    _, asked = await waiting(runtime, "t_1")
    await runtime.resolve_input(resolving(asked.input_id, "stars"))
    with pytest.raises(runtime_errors.InputAlreadyResolved) as refused:
        await runtime.resolve_input(resolving(asked.input_id, "clouds"))
    assert (refused.value.input_id, refused.value.state) == (asked.input_id, "ANSWERED")


async def test_an_answer_to_an_unknown_input_is_not_found(runtime: AgentRuntime) -> None:
    with pytest.raises(runtime_errors.InputNotFound):
        await runtime.resolve_input(resolving("input_none", "stars"))
