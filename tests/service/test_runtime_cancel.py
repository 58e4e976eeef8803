"""CancelRun over a served runtime, in every state that a run can be in."""

import asyncio
import json
from collections.abc import AsyncGenerator
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from heddle.runtime.v1 import run_pb2
from heddle.runtime.v1.agent_runtime_pb2 import CancelRunRequest
from heddle.runtime.v1.input_pb2 import InputState
from heddle.runtime.v1.run_pb2 import RunState
from heddle.runtime.v1.tool_call_pb2 import ToolCallOutcome
from heddle.runtime.v1.turn_pb2 import ConflictPolicy, Limits, ParentReference
from heddle_core.errors import RequestIdReused
from heddle_core.runtime_errors import (
    InputAlreadyResolved,
    ParentCancelled,
    ParentFinished,
    RequestCancelled,
    RunNotFound,
    ThreadNotFound,
)
from heddle_runtime.settings import LaneTimes
from tests.kit.running_runtime import House, house, new_id, payloads, says
from tests.kit.tool_servers import ToolServer, declared, hangs, read_only

pytestmark = pytest.mark.timeout(60)

SCENARIO = """
turns:
  - when: {user: '^hang'}
    steps:
      - text: "I begin to say much more"
        fault: {kind: hang, after_deltas: 4}
  - when: {user: '^silent'}
    steps:
      - text: "never"
        fault: {kind: hang}
  - when: {user: '^wait'}
    steps:
      - calls: [{tool: ask_user, arguments: {question: "Which?"}}]
      - text: "You said {{tool.ask_user}}."
  - when: {user: '^act'}
    steps:
      - calls: [{tool: act, arguments: {}}, {tool: act, arguments: {}}]
      - text: "Done."
  - when: {user: '^look'}
    steps:
      - calls: [{tool: look, arguments: {}}]
      - text: "Done."
  - steps:
      - text: "You said {{user}}."
"""

CANCELLED, COMPLETED = RunState.RUN_STATE_CANCELLED, RunState.RUN_STATE_COMPLETED
OBJECT = json.dumps({"type": "object"})


@pytest_asyncio.fixture
async def here(tmp_path: Path) -> AsyncGenerator[House]:
    tools = ToolServer()
    tools.offer(declared("act", parameters_json=OBJECT), hangs())
    tools.offer(read_only("look", parameters_json=OBJECT), hangs())
    async with house(tmp_path, SCENARIO, tools=tools) as running:
        yield running


async def nothing_starts_behind(here: House, thread_id: str, sequence: int) -> None:
    """Promise P13: after the fence sequence there is no ToolCallStarted, and one terminal event ends the run."""
    events = await here.events(thread_id)
    run_id = next(event.run_id for event in events if event.sequence == sequence)
    behind = [str(e.WhichOneof("payload")) for e in events if e.sequence > sequence and e.run_id == run_id]
    admitted = {
        "tool_call_completed",
        "assistant_message_completed",
        "input_resolved",
        "step_completed",
        "run_cancelled",
    }
    assert set(behind) <= admitted
    assert behind.count("run_cancelled") == 1 and behind[-1] == "run_cancelled"
    await here.verify(thread_id)


async def test_a_run_in_the_middle_of_its_words_keeps_what_it_said(here: House) -> None:
    run_id = await here.words("hang", "t1", "I begin to say ")
    done = await here.cancel(run_id)
    ended = await here.wait(run_id)
    assert (ended.state, ended.cancel_cause) == (CANCELLED, run_pb2.CANCEL_CAUSE_REQUESTED)
    said = payloads(await here.events("t1"), "assistant_message_completed")
    assert [(each.content[0].text, each.incomplete, each.finish_reason) for each in said] == [
        ("I begin to say ", True, run_pb2.FINISH_REASON_CANCELLED)
    ]
    await nothing_starts_behind(here, "t1", done.cancelled[0].cancel_sequence)
    assert ended.usage.model_calls == 1


async def test_a_run_that_has_said_nothing_yet_leaves_no_message(here: House) -> None:
    run_id = (await here.start("silent", "t1", wait=0)).run.run_id
    done = await here.cancel(run_id)
    assert (await here.wait(run_id)).state == CANCELLED
    assert "assistant_message_completed" not in await here.kinds("t1")
    await nothing_starts_behind(here, "t1", done.cancelled[0].cancel_sequence)


async def test_a_queued_run_ends_at_once_and_never_starts(here: House) -> None:
    await here.words("hang", "t1", "I begin")
    queued = (await here.start("second", "t1", wait=0)).run.run_id
    done = await here.cancel(queued)
    assert done.run.state == CANCELLED
    kinds = [e.WhichOneof("payload") for e in await here.events("t1") if e.run_id == queued]
    assert kinds == ["turn_requested", "run_cancel_requested", "run_cancelled"]
    assert (await here.snapshot("t1")).active_run.run_id != queued


async def test_a_waiting_run_closes_its_question(here: House) -> None:
    run_id = (await here.start("wait", "t1")).run.run_id
    question = (await here.pending("t1"))[0]
    done = await here.cancel(run_id)
    assert (await here.wait(run_id)).state == CANCELLED
    with pytest.raises(InputAlreadyResolved):
        await here.resolve(question.input_id, text="late")
    events = await here.events("t1")
    assert [each.state for each in payloads(events, "input_resolved")] == [InputState.INPUT_STATE_CANCELLED]
    assert len(payloads(events, "tool_call_completed")) == 1
    await nothing_starts_behind(here, "t1", done.cancelled[0].cancel_sequence)
    assert (await here.start("hello", "t1")).run.state == COMPLETED, "the lane is free, and the history is valid"


async def test_a_tool_in_flight_is_told_to_stop_and_what_was_not_sent_is_not_sent(here: House) -> None:
    run_id = (await here.start("act", "t1", wait=0)).run.run_id
    visit = await here.tools.visited()
    done = await here.cancel(run_id)
    assert (await here.wait(run_id)).state == CANCELLED
    await asyncio.wait_for(visit.stopped.wait(), 10)
    outcomes = [each.outcome for each in payloads(await here.events("t1"), "tool_call_completed")]
    assert outcomes == [
        ToolCallOutcome.TOOL_CALL_OUTCOME_UNKNOWN,
        ToolCallOutcome.TOOL_CALL_OUTCOME_CANCELLED,
    ]
    assert len(here.tools.visits) == 1
    await nothing_starts_behind(here, "t1", done.cancelled[0].cancel_sequence)


async def test_a_tool_that_only_reads_is_simply_stopped(here: House) -> None:
    run_id = (await here.start("look", "t1", wait=0)).run.run_id
    await here.tools.visited()
    await here.cancel(run_id)
    assert (await here.wait(run_id)).state == CANCELLED
    outcomes = [each.outcome for each in payloads(await here.events("t1"), "tool_call_completed")]
    assert outcomes == [ToolCallOutcome.TOOL_CALL_OUTCOME_CANCELLED]


async def test_the_active_run_of_a_thread_can_be_cancelled_and_a_repeat_spares_the_next(here: House) -> None:
    first = await here.words("hang", "t1", "I begin")
    request = CancelRunRequest(request_id="c1", thread_id="t1")
    told = await here.stubs.agent_runtime.CancelRun(request)
    assert [each.run_id for each in told.cancelled] == [first]
    await here.wait(first)
    second = await here.words("hang", "t1", "I begin")
    again = await here.stubs.agent_runtime.CancelRun(request)
    assert list(again.cancelled) == list(told.cancelled)
    assert (await here.run(second)).state == RunState.RUN_STATE_RUNNING
    with pytest.raises(RequestIdReused):
        await here.stubs.agent_runtime.CancelRun(CancelRunRequest(request_id="c1", run_id=second))


async def test_a_turn_that_was_cancelled_before_it_arrived_never_starts(here: House) -> None:
    for cancel in ("c1", "c2", "c1"):
        done = await here.stubs.agent_runtime.CancelRun(
            CancelRunRequest(request_id=cancel, turn_request_id="turn_1", note="changed my mind")
        )
        assert not done.HasField("run") and not done.cancelled
    with pytest.raises(RequestCancelled):
        await here.start("hello", "t1", request_id="turn_1")
    with pytest.raises(ThreadNotFound):
        await here.snapshot("t1")


async def test_a_run_that_has_ended_is_left_as_it_is(here: House) -> None:
    run_id = (await here.start("hello", "t1")).run.run_id
    before = await here.kinds("t1")
    done = await here.cancel(run_id)
    assert (done.run.state, done.cancelled[0].cancel_sequence) == (COMPLETED, 0)
    assert await here.kinds("t1") == before
    with pytest.raises(RunNotFound):
        await here.cancel("run_unknown")


async def test_cancelling_twice_gives_the_first_sequence(here: House) -> None:
    run_id = await here.words("hang", "t1", "I begin")
    first = await here.cancel(run_id)
    second = await here.cancel(run_id)
    assert first.cancelled[0].cancel_sequence == second.cancelled[0].cancel_sequence
    await here.wait(run_id)
    assert (await here.kinds("t1")).count("run_cancel_requested") == 1


async def test_a_cancel_reaches_children_and_their_children(here: House) -> None:
    parent = await here.words("hang", "t1", "I begin")
    child = await here.words("hang", "t2", "I begin", parent=ParentReference(run_id=parent))
    grandchild = await here.words("hang", "t3", "I begin", parent=ParentReference(run_id=child))
    free = await here.words("hang", "t4", "I begin", parent=ParentReference(run_id=parent, cascade=False))
    done = await here.cancel(parent)
    assert [each.run_id for each in done.cancelled] == [parent, child, grandchild]
    for each in done.cancelled:
        assert (await here.wait(each.run_id)).state == CANCELLED
        await nothing_starts_behind(here, each.thread_id, each.cancel_sequence)
    assert (await here.run(child)).cancel_cause == run_pb2.CANCEL_CAUSE_PARENT
    assert (await here.run(free)).state == RunState.RUN_STATE_RUNNING
    with pytest.raises((ParentCancelled, ParentFinished)):
        await here.start("late", "t5", parent=ParentReference(run_id=parent))


async def test_an_interrupt_reaches_the_holders_children(here: House) -> None:
    parent = await here.words("hang", "t1", "I begin")
    child = await here.words("hang", "t2", "I begin", parent=ParentReference(run_id=parent))
    await here.start("urgent", "t1", conflict_policy=ConflictPolicy.CONFLICT_POLICY_INTERRUPT)
    assert (await here.wait(child)).state == CANCELLED


async def test_a_childs_grant_binds_it_and_is_given_back(here: House) -> None:
    parent = await here.words("hang", "t1", "I begin", limits=Limits(tokens=1000))
    reference = ParentReference(run_id=parent, budget=Limits(tokens=1))
    ended = (await here.start("wait", "t2", parent=reference, limits=Limits(tokens=500))).run
    assert ended.limits.tokens == 1
    question = (await here.pending("t2"))[0]
    await here.resolve(question.input_id, text="blue")
    ended = await here.wait(ended.run_id)
    assert ended.failure.reason == run_pb2.FAILURE_REASON_BUDGET_EXCEEDED
    whole = ParentReference(run_id=parent, budget=Limits(tokens=900))
    assert (await here.start("hello", "t3", parent=whole)).run.state == COMPLETED
    assert payloads(await here.events("t1"), "child_finished")[0].run_id == ended.run_id


async def test_a_run_whose_owner_does_not_stop_is_taken_from_it(tmp_path: Path) -> None:
    tools = ToolServer()
    held = asyncio.Event()

    async def deaf(visit):
        try:
            await asyncio.Event().wait()
        finally:
            held.set()
        yield

    tools.offer(declared("act", parameters_json=OBJECT), deaf)
    quick = LaneTimes(
        cancel_grace=timedelta(milliseconds=1),
        sweep_every=timedelta(milliseconds=20),
        drain_grace=timedelta(milliseconds=100),
    )
    async with house(tmp_path, SCENARIO, tools=tools, lanes=quick) as running:
        run_id = (await running.start("act", "t1", wait=0)).run.run_id
        await tools.visited()
        done = await running.cancel(run_id)
        ended = await running.wait(run_id)
        assert ended.state == CANCELLED
        await nothing_starts_behind(running, "t1", done.cancelled[0].cancel_sequence)
        assert (await running.kinds("t1")).count("run_cancelled") == 1


async def test_a_steering_turn_that_names_a_parent_reserves_nothing(here: House) -> None:
    parent = await here.words("hang", "t1", "I begin", limits=Limits(tokens=1000))
    await here.start("wait", "t2")
    steer = says(
        "be brief",
        conflict_policy=ConflictPolicy.CONFLICT_POLICY_STEER,
        parent=ParentReference(run_id=parent, budget=Limits(tokens=900)),
    )
    await here.send(steer, "t2", wait=0, request_id=new_id())
    whole = ParentReference(run_id=parent, budget=Limits(tokens=900))
    assert (await here.start("hello", "t3", parent=whole)).run.state == COMPLETED
