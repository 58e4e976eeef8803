"""What the fake does beyond the contract suite: children, approvals, delays, and the levers of tests."""

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from heddle.common.v1.content_pb2 import ContentPart
from heddle.runtime.v1.agent_runtime_pb2 import (
    CancelRunRequest,
    GetSnapshotRequest,
    ResolveInputRequest,
    StartTurnRequest,
)
from heddle.runtime.v1.input_pb2 import InputAnswer, InputDecision, InputKind, InputProgress, InputState
from heddle.runtime.v1.run_pb2 import CancelCause, FailureReason, Run, RunState
from heddle.runtime.v1.run_service_pb2 import GetRunRequest
from heddle.runtime.v1.turn_pb2 import ConflictPolicy, ParentReference, Turn
from heddle_client.fake import FakeRuntime
from heddle_client.fake_script import Call, Exchange, Reply, script_of
from heddle_core import errors, runtime_errors
from heddle_core.clock import ManualClock
from tests.kit.runtime_calls import all_events, kinds_in, new_id, resolving, start

SCRIPT = script_of(
    {
        "hold": [Reply("Begun. ", holds=True)],
        "ask first": [Reply(calls=(Call("send", asks=InputKind.INPUT_KIND_APPROVAL, result="sent"),)), Reply("Done.")],
        "defer": [Reply(calls=(Call("film", asks=InputKind.INPUT_KIND_EXTERNAL),)), Reply("Filmed.")],
        "tool": [Reply("Wait. ", calls=(Call("find", result="42"),)), Reply("Found it.")],
        "fail": [Reply("Oh", fails=FailureReason.FAILURE_REASON_MODEL_REFUSED)],
    }
)


def child_of(run_id: str, said: str, *, cascade: bool = True) -> StartTurnRequest:
    parent = ParentReference(run_id=run_id, cascade=cascade)
    return StartTurnRequest(request_id=new_id(), turn=Turn(content=[ContentPart(text=said)], parent=parent))


async def run_now(runtime: FakeRuntime, run_id: str) -> Run:
    return (await runtime.get_run(GetRunRequest(run_id=run_id))).run


async def test_a_script_is_a_function_of_what_was_said() -> None:
    def script(exchange: Exchange) -> Reply:
        return Reply(exchange.said.upper())

    done = await FakeRuntime(script).start_turn(start("loud"))
    assert done.run.result.parts[0].text == "LOUD"


async def test_a_held_run_goes_on_when_it_is_let_go() -> None:
    runtime = FakeRuntime(SCRIPT)
    held = (await runtime.start_turn(start("hold", "t_1"))).run
    behind = (await runtime.start_turn(start("next", "t_1"))).run
    assert (held.state, behind.state) == (RunState.RUN_STATE_RUNNING, RunState.RUN_STATE_QUEUED)
    runtime.go_on(held.run_id)
    assert (await run_now(runtime, held.run_id)).result.parts[0].text == "Begun. "
    assert (await run_now(runtime, behind.run_id)).state == RunState.RUN_STATE_COMPLETED


async def test_a_delayed_run_starts_at_the_sweep_after_its_time() -> None:
    clock = ManualClock()
    runtime = FakeRuntime(clock=clock)
    request = start("later", "t_1")
    time = Timestamp()
    time.FromMicroseconds(clock.now() + 5_000_000)
    request.turn.not_before.CopyFrom(time)
    run = (await runtime.start_turn(request)).run
    runtime.sweep()
    assert (await run_now(runtime, run.run_id)).state == RunState.RUN_STATE_QUEUED
    clock.advance(5)
    runtime.sweep()
    assert (await run_now(runtime, run.run_id)).state == RunState.RUN_STATE_COMPLETED


async def test_a_failing_run_says_why_and_frees_its_lane() -> None:
    runtime = FakeRuntime(SCRIPT)
    run = (await runtime.start_turn(start("fail", "t_1"))).run
    assert run.failure.reason == FailureReason.FAILURE_REASON_MODEL_REFUSED
    assert (await runtime.start_turn(start("next", "t_1"))).run.state == RunState.RUN_STATE_COMPLETED


async def test_a_tool_that_answers_at_once_leads_to_the_next_step() -> None:
    runtime = FakeRuntime(SCRIPT)
    run = (await runtime.start_turn(start("tool", "t_1"))).run
    assert run.result.parts[0].text == "Found it."
    assert (run.usage.model_calls, run.usage.tool_calls) == (2, 1)


async def test_an_approved_call_is_started_after_the_approval_and_a_denied_one_never() -> None:
    for decision, state, is_started in (
        (InputDecision.INPUT_DECISION_APPROVE, InputState.INPUT_STATE_APPROVED, True),
        (InputDecision.INPUT_DECISION_DENY, InputState.INPUT_STATE_DENIED, False),
    ):
        runtime = FakeRuntime(SCRIPT)
        await runtime.start_turn(start("ask first", "t_1"))
        snapshot = (await runtime.get_snapshot(GetSnapshotRequest(thread_id="t_1"))).snapshot
        (asked,) = snapshot.pending_inputs
        answer = InputAnswer(decision=decision)
        request = ResolveInputRequest(request_id=new_id(), input_id=asked.input_id, answer=answer)
        resolved = await runtime.resolve_input(request)
        assert (resolved.input.state, resolved.run.state) == (state, RunState.RUN_STATE_COMPLETED)
        assert ("tool_call_started" in kinds_in(await all_events(runtime, "t_1"))) is is_started


async def test_progress_leaves_an_input_pending() -> None:
    runtime = FakeRuntime(SCRIPT)
    await runtime.start_turn(start("defer", "t_1"))
    snapshot = (await runtime.get_snapshot(GetSnapshotRequest(thread_id="t_1"))).snapshot
    input_id = snapshot.pending_inputs[0].input_id
    progress = InputProgress(fraction=0.5, message="half")
    told = await runtime.resolve_input(ResolveInputRequest(request_id=new_id(), input_id=input_id, progress=progress))
    assert told.input.state == InputState.INPUT_STATE_PENDING
    assert kinds_in(await all_events(runtime, "t_1"))[-1] == "work_updated"
    done = await runtime.resolve_input(resolving(input_id, "film"))
    assert done.run.result.parts[0].text == "Filmed."


async def test_a_steered_message_is_answered_before_the_run_ends() -> None:
    runtime = FakeRuntime(SCRIPT)
    held = (await runtime.start_turn(start("hold", "t_1"))).run
    await runtime.start_turn(start("more", "t_1", policy=ConflictPolicy.CONFLICT_POLICY_STEER))
    runtime.go_on(held.run_id)
    assert (await run_now(runtime, held.run_id)).result.parts[0].text == "more"


async def test_a_cancel_reaches_cascading_children_only() -> None:
    runtime = FakeRuntime(SCRIPT)
    parent = (await runtime.start_turn(start("hold", "t_1"))).run
    child = (await runtime.start_turn(child_of(parent.run_id, "hold"))).run
    free = (await runtime.start_turn(child_of(parent.run_id, "hold", cascade=False))).run
    assert (child.root_run_id, child.depth) == (parent.run_id, 1)
    answer = await runtime.cancel_run(CancelRunRequest(request_id=new_id(), run_id=parent.run_id))
    assert [each.run_id for each in answer.cancelled] == [parent.run_id, child.run_id]
    assert (await run_now(runtime, child.run_id)).cancel_cause == CancelCause.CANCEL_CAUSE_PARENT
    assert (await run_now(runtime, free.run_id)).state == RunState.RUN_STATE_RUNNING
    with pytest.raises(runtime_errors.ParentCancelled):
        await runtime.start_turn(child_of(parent.run_id, "hello"))


async def test_a_parent_knows_its_open_children_and_takes_none_when_it_has_ended() -> None:
    runtime = FakeRuntime(SCRIPT)
    parent = (await runtime.start_turn(start("hold", "t_1"))).run
    child = (await runtime.start_turn(child_of(parent.run_id, "hold"))).run
    before = (await runtime.get_snapshot(GetSnapshotRequest(thread_id="t_1"))).snapshot
    assert list(before.open_child_run_ids) == [child.run_id]
    runtime.go_on(child.run_id)
    after = (await runtime.get_snapshot(GetSnapshotRequest(thread_id="t_1"))).snapshot
    assert not after.open_child_run_ids
    runtime.go_on(parent.run_id)
    with pytest.raises(runtime_errors.ParentFinished):
        await runtime.start_turn(child_of(parent.run_id, "hello"))


async def test_another_tenant_sees_nothing_and_uses_the_same_ids_freely() -> None:
    runtime = FakeRuntime()
    other = runtime.acting_as("beta", "bob")
    request = start("hello", "t_1", request_id="r_1")
    ours, theirs = await runtime.start_turn(request), await other.start_turn(request)
    assert ours.run.run_id != theirs.run.run_id
    with pytest.raises(runtime_errors.RunNotFound):
        await other.get_run(GetRunRequest(run_id=ours.run.run_id))


@pytest.mark.parametrize("request_id", ["", "no spaces", "x" * 65])
async def test_a_request_needs_an_id_of_the_alphabet(request_id: str) -> None:
    request = start("hello")
    request.request_id = request_id
    with pytest.raises(errors.InvalidField):
        await FakeRuntime().start_turn(request)
