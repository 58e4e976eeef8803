"""RunService and InputService over a real store: runs are found, waited for, retried, explained and summed up."""

import asyncio
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from heddle.common.v1.content_pb2 import ContentPart
from heddle.runtime.v1 import input_service_pb2 as inputs_pb
from heddle.runtime.v1 import run_service_pb2 as pb
from heddle.runtime.v1.agent_runtime_pb2 import TurnDisposition
from heddle.runtime.v1.input_pb2 import InputKind, InputState
from heddle.runtime.v1.run_pb2 import RunState
from heddle_core.clock import SystemClock
from heddle_core.errors import IllegalTransition, InvalidField, RequestIdReused
from heddle_core.ids import PrincipalId, RequestId, TenantId, ThreadId
from heddle_core.runtime_errors import InputNotFound, RunNotFound
from heddle_core.usage import MicroUsd, Usage
from heddle_runtime.facade.commands import Caller, RedactMessage, RequestKey, ResolveInput
from heddle_runtime.runs.content import Actor, Text
from heddle_runtime.runs.inputs import InputAnswer
from heddle_runtime.runs.run import FailureReason, RunFailure
from tests.kit.runtime_services import ACME, WORKER, Office, new_id, serving

pytestmark = pytest.mark.timeout(60)


@pytest_asyncio.fixture
async def office(tmp_path: Path) -> AsyncGenerator[Office]:
    async with serving(tmp_path) as running:
        yield running


async def wait_run(office: Office, run_id: str, seconds: int) -> Any:
    return (await office.stubs.runs.WaitRun(pb.WaitRunRequest(run_id=run_id, wait_seconds=seconds))).run


async def explain(office: Office, run_id: str) -> Any:
    return await office.stubs.runs.ExplainRun(pb.ExplainRunRequest(run_id=run_id))


async def listed(office: Office, **fields: Any) -> list[str]:
    found: list[str] = []
    request = pb.ListRunsRequest(**fields)
    while True:
        page = await office.stubs.runs.ListRuns(request)
        found += [run.run_id for run in page.runs]
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


async def test_a_run_is_told_with_its_result_and_is_nobody_elses(office: Office) -> None:
    run = await office.exchange("t1", "hello", "hi there", "m1")
    told = (await office.stubs.runs.GetRun(pb.GetRunRequest(run_id=run.run_id))).run
    assert (told.state, told.thread_id, told.attempt) == (RunState.RUN_STATE_COMPLETED, "t1", 1)
    assert (told.result.message_id, told.result.parts[0].text) == ("m1", "hi there")
    assert (told.usage.input_tokens, told.agent.agent_id, told.root_run_id) == (10, "general", run.run_id)
    assert told.HasField("start_time") and told.HasField("end_time") and not told.HasField("not_before")
    with pytest.raises(RunNotFound):
        await office.reach("globex/bob").runs.GetRun(pb.GetRunRequest(run_id=run.run_id))


async def test_runs_are_listed_newest_first_and_by_every_filter(office: Office) -> None:
    first = await office.exchange("t1", "one", "answer")
    second = await office.turn("t1", "two", labels={"kind": "x", "by": "ada"})
    third = await office.turn("t2", "three")
    child = await office.turn("t3", "child", parent=third.run_id)
    await office.turn("g1", "theirs", tenant=TenantId("globex"))
    everything = [child.run_id, third.run_id, second.run_id, first.run_id]
    assert await listed(office) == everything
    assert await listed(office, page_size=1) == everything
    assert await listed(office, page_size=3, order_by="create_time") == everything[::-1]
    assert await listed(office, thread_id="t1") == [second.run_id, first.run_id]
    assert await listed(office, states=[RunState.RUN_STATE_COMPLETED]) == [first.run_id]
    assert await listed(office, parent_run_id=third.run_id) == [child.run_id]
    assert await listed(office, labels={"kind": "x"}) == [second.run_id]
    assert await listed(office, labels={"kind": "y"}) == []
    assert await listed(office, agent_id="writer") == []
    with pytest.raises(InvalidField, match="order_by"):
        await listed(office, order_by="cost")


async def test_waiting_ends_with_the_run_and_not_with_the_time(office: Office) -> None:
    run = await office.turn("t1", "hello")
    work = await office.work("t1")
    began = time.monotonic()
    waiting = asyncio.ensure_future(wait_run(office, run.run_id, 30))
    assert (await wait_run(office, run.run_id, 0)).state == RunState.RUN_STATE_RUNNING
    assert (await wait_run(office, run.run_id, 1)).state == RunState.RUN_STATE_RUNNING
    assert not waiting.done()
    await work.complete("hi", "m1")
    assert (await waiting).state == RunState.RUN_STATE_COMPLETED
    assert time.monotonic() - began < 20
    with pytest.raises(InvalidField):
        await wait_run(office, run.run_id, 61)
    with pytest.raises(RunNotFound):
        await wait_run(office, "ghost", 5)


async def test_waiting_ends_when_the_run_asks_and_before_the_callers_own_deadline(office: Office) -> None:
    run = await office.turn("t1", "hello")
    work = await office.work("t1")
    began = time.monotonic()
    request = pb.WaitRunRequest(run_id=run.run_id, wait_seconds=60)
    told = await office.stubs.runs.WaitRun(request, timeout=1.5)
    assert (told.run.state, time.monotonic() - began < 1.5) == (RunState.RUN_STATE_RUNNING, True)
    waiting = asyncio.ensure_future(wait_run(office, run.run_id, 30))
    await work.ask("inp_1")
    assert (await waiting).state == RunState.RUN_STATE_WAITING


async def test_a_retry_takes_the_place_of_the_old_run_once(office: Office) -> None:
    old = await office.exchange("t1", "one", "bad answer")
    request = pb.RetryRunRequest(request_id="r1", run_id=old.run_id)
    retried = await office.stubs.runs.RetryRun(request)
    assert retried.run.retry_of_run_id == old.run_id
    again = await office.stubs.runs.RetryRun(request)
    assert (again.run.run_id, again.disposition) == (retried.run.run_id, TurnDisposition.TURN_DISPOSITION_EXISTING)
    await (await office.work("t1")).complete("good answer", "m2")
    fold = await office.store.load_fold(ACME, ThreadId("t1"))
    assert [message.parts for message in fold.messages] == [(Text("one"),), (Text("good answer"),)]
    assert (await office.store.get_run(ACME, old.run_id)).superseded_by_run_id == retried.run.run_id
    with pytest.raises(IllegalTransition, match="superseded"):
        await office.stubs.runs.RetryRun(pb.RetryRunRequest(request_id="r2", run_id=old.run_id))
    with pytest.raises(RequestIdReused):
        await office.stubs.runs.RetryRun(pb.RetryRunRequest(request_id="r1", run_id=old.run_id, model="other"))


async def test_a_retry_can_be_edited_and_asks_another_model(office: Office) -> None:
    old = await office.turn("t1", "one", message_id="m1")
    running = pb.RetryRunRequest(request_id="r0", run_id=old.run_id)
    with pytest.raises(IllegalTransition, match="cannot be retried"):
        await office.stubs.runs.RetryRun(running)
    await (await office.work("t1")).fail(RunFailure(FailureReason.MODEL_UNAVAILABLE, "down"))
    edited = pb.RetryRunRequest(
        request_id="r1", run_id=old.run_id, content=[ContentPart(text="uno")], model="scripted:other"
    )
    await office.stubs.runs.RetryRun(edited)
    asked = office.desk.asked[-1]
    assert (asked.turn.content, asked.turn.model) == ((Text("uno"),), "scripted:other")
    assert (asked.turn.message_id, asked.thread_id, asked.retry_of) == ("", "t1", old.run_id)


async def test_a_redacted_turn_is_retried_with_new_words_only(office: Office) -> None:
    old = await office.turn("t1", "secret", message_id="m1")
    await (await office.work("t1")).complete("fine", "m2")
    caller = Caller(ACME, Actor(PrincipalId("ada")))
    key = RequestKey("RedactMessage", RequestId("x"), b"x")
    await office.threads.redact_message(RedactMessage(caller, key, old.thread_id, "m1", ""))
    with pytest.raises(IllegalTransition, match="send `content`"):
        await office.stubs.runs.RetryRun(pb.RetryRunRequest(request_id="r1", run_id=old.run_id))
    edited = pb.RetryRunRequest(request_id="r2", run_id=old.run_id, content=[ContentPart(text="new")])
    assert (await office.stubs.runs.RetryRun(edited)).run.retry_of_run_id == old.run_id


async def test_a_batch_cancels_what_it_can_and_names_what_it_cannot(office: Office) -> None:
    one, two = await office.turn("t1", "one"), await office.turn("t2", "two")
    child = await office.turn("t3", "child", parent=two.run_id)
    request = pb.BatchCancelRunsRequest(request_id="c", run_ids=[one.run_id, "ghost", two.run_id, one.run_id])
    done = await office.stubs.runs.BatchCancelRuns(request)
    assert {each.run_id for each in done.cancelled} == {one.run_id, two.run_id, child.run_id}
    assert all(each.cancel_sequence for each in done.cancelled)
    assert list(done.unknown_run_ids) == ["ghost"]
    alone = await office.stubs.runs.BatchCancelRuns(pb.BatchCancelRunsRequest(request_id="d", run_ids=["ghost"]))
    assert list(alone.unknown_run_ids) == ["ghost"]
    other = office.reach("globex/bob").runs
    foreign = await other.BatchCancelRuns(pb.BatchCancelRunsRequest(request_id="c", run_ids=[one.run_id]))
    assert (list(foreign.unknown_run_ids), list(foreign.cancelled)) == ([one.run_id], [])


async def test_an_explanation_names_what_blocks_a_run_and_what_would_move_it(office: Office) -> None:
    first, second = await office.turn("t1", "one"), await office.turn("t1", "two")
    third = await office.turn("t1", "three")
    assert "as soon as a worker takes it" in (await explain(office, first.run_id)).explanation
    why = await explain(office, third.run_id)
    assert (why.queue_position, why.blocking_run_id) == (3, second.run_id)
    await office.store.renew_lease(WORKER, "127.0.0.1:1", 10_000_000)
    work = await office.work("t1")
    why = await explain(office, first.run_id)
    assert (why.owner_worker_id, why.HasField("lease_expire_time")) == (WORKER, True)
    assert "at work" in why.explanation
    await work.ask("inp_1")
    why = await explain(office, second.run_id)
    assert (why.blocking_run_id, why.queue_position, list(why.pending_input_ids)) == (first.run_id, 1, ["inp_1"])
    assert "call ResolveInput for inp_1" in why.explanation
    assert "Call ResolveInput for inp_1" in (await explain(office, first.run_id)).explanation
    delayed = await office.turn("t9", "later", not_before=SystemClock().now() + 60_000_000)
    assert "not_before" in (await explain(office, delayed.run_id)).explanation
    with pytest.raises(RunNotFound):
        await explain(office, "ghost")


async def test_usage_counts_a_child_once_with_and_without_its_parent(office: Office) -> None:
    parent = await office.turn("t1", "parent")
    parent_work = await office.work("t1")
    await office.turn("t2", "child", parent=parent.run_id)
    child_work = await office.work("t2")
    await child_work.complete("done", "m1", Usage(input_tokens=100, cost=MicroUsd(5)))

    async def used(**fields: Any) -> tuple[int, int, int]:
        told = await office.stubs.runs.QueryUsage(pb.QueryUsageRequest(**fields))
        return told.usage.input_tokens, told.usage.cost.nanos, told.runs

    assert await used() == (100, 5_000, 1)
    parent_work.known = (await office.store.log_bounds(ACME, ThreadId("t1")))[0]
    await parent_work.complete("done", "m2", Usage(input_tokens=10, cost=MicroUsd(1)))
    assert await used() == (110, 6_000, 2)
    assert await used(thread_id="t1") == (110, 6_000, 1)
    assert await used(thread_id="t2") == (100, 5_000, 1)
    assert await used(agent_id="nobody") == (0, 0, 0)
    past = {"end_time": {"seconds": 1_000}}
    assert await used(**past) == (0, 0, 0)


async def test_the_inbox_lists_what_is_pending_across_threads(office: Office) -> None:
    now = SystemClock().now()
    for number, expire in enumerate((0, 2, 1)):
        await office.turn(f"t{number}", "hello")
        work = await office.work(f"t{number}")
        await work.ask(f"inp_{number}", **({"expire_time": now + expire * 60_000_000} if expire else {}))

    async def inbox(reach: Any = None, **fields: Any) -> list[str]:
        found: list[str] = []
        request = inputs_pb.ListInputsRequest(page_size=2, **fields)
        while True:
            page = await (reach or office.stubs).inputs.ListInputs(request)
            found += [each.input_id for each in page.inputs]
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    assert await inbox() == ["inp_0", "inp_1", "inp_2"]
    assert await inbox(order_by="create_time desc") == ["inp_2", "inp_1", "inp_0"]
    assert await inbox(order_by="expire_time") == ["inp_2", "inp_1", "inp_0"]
    assert await inbox(thread_id="t1") == ["inp_1"]
    assert await inbox(kinds=[InputKind.INPUT_KIND_APPROVAL]) == []
    assert await inbox(office.reach("globex/bob")) == []
    caller = Caller(ACME, Actor(PrincipalId("ada")))
    key = RequestKey("ResolveInput", RequestId(new_id()), b"x")
    await office.store.resolve_input(ResolveInput(caller, key, "inp_1", InputAnswer(text="blue")))
    assert await inbox() == ["inp_0", "inp_2"]
    assert await inbox(states=[InputState.INPUT_STATE_ANSWERED]) == ["inp_1"]
    told = (await office.stubs.inputs.GetInput(inputs_pb.GetInputRequest(input_id="inp_1"))).input
    assert (told.answer.text, told.resolved_by.principal, told.prompt) == ("blue", "ada", "Which one?")
    for who, input_id in ((office.stubs, "ghost"), (office.reach("globex/bob"), "inp_1")):
        with pytest.raises(InputNotFound):
            await who.inputs.GetInput(inputs_pb.GetInputRequest(input_id=input_id))
