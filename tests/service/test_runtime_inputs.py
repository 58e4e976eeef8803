"""Inputs over a served runtime: questions, approvals, client tools, deferrals, and calls in doubt."""

import asyncio
import json
from collections.abc import AsyncGenerator
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio

from heddle.common.v1.content_pb2 import ContentPart
from heddle.runtime.v1.agent_runtime_pb2 import ResolveInputRequest
from heddle.runtime.v1.input_pb2 import (
    ApprovalScope,
    InputAnswer,
    InputDecision,
    InputKind,
    InputProgress,
    InputState,
)
from heddle.runtime.v1.run_pb2 import RunState
from heddle.runtime.v1.thread_service_pb2 import ListEventsRequest
from heddle.runtime.v1.tool_call_pb2 import ClientTool, ToolCallOutcome
from heddle.runtime.v1.turn_pb2 import Limits
from heddle.tools.v1 import tool_pb2
from heddle_core.errors import InvalidField, RequestIdReused
from heddle_core.runtime_errors import InputAlreadyResolved, InputNotFound, ResolutionTokenInvalid
from heddle_runtime.settings import LaneTimes, ToolSettings
from tests.kit.running_runtime import House, house, payloads
from tests.kit.tool_servers import ToolServer, Visit, aborts, declared, deferral, hangs, result, serving
from tests.kit.tool_servers import says as tool_says

pytestmark = pytest.mark.timeout(60)

SCENARIO = """
turns:
  - when: {user: '^ask'}
    steps:
      - calls:
          - tool: ask_user
            arguments: {question: "Which?", options: [{value: red}, {value: blue}]}
      - text: "Answer: {{tool.ask_user}}"
  - when: {user: '^two questions'}
    steps:
      - calls:
          - {tool: ask_user, arguments: {question: "One?"}}
          - {tool: ask_user, arguments: {question: "Two?"}}
      - text: "Answer: {{tool.ask_user}}"
  - when: {user: '^client'}
    steps:
      - calls: [{tool: browse, arguments: {url: "x"}}]
      - text: "Result: {{tool.browse}}"
  - steps:
      - text: "You said {{user}}."
"""

WHERE = json.dumps({"type": "object", "properties": {"where": {"type": "string"}}, "required": ["where"]})
APPROVE, DENY = InputDecision.INPUT_DECISION_APPROVE, InputDecision.INPUT_DECISION_DENY
COMPLETED, WAITING = RunState.RUN_STATE_COMPLETED, RunState.RUN_STATE_WAITING
BROWSE = ClientTool(name="browse", description="Opens a page.", parameters_json='{"type":"object"}')


def scenario_of(tool: str) -> str:
    return f"""
steps:
  - calls: [{{tool: {tool}, arguments: {{where: home}}}}]
  - text: "Result: {{{{tool.{tool}}}}}"
"""


def tool(name: str, **fields: Any) -> Any:
    return declared(name, parameters_json=WHERE, **fields)


@pytest_asyncio.fixture
async def here(tmp_path: Path) -> AsyncGenerator[House]:
    async with house(tmp_path, SCENARIO) as running:
        yield running


async def asked(running: House, text: str = "go", **fields: Any) -> tuple[str, Any]:
    """A run that waits, and its first input."""
    answer = await running.start(text, "t1", **fields)
    assert answer.run.state == WAITING, answer.run
    return answer.run.run_id, (await running.pending("t1"))[0]


async def answer_of(running: House, run_id: str) -> str:
    ended = await running.wait(run_id)
    assert ended.state == COMPLETED, ended
    return ended.result.parts[0].text


async def test_a_question_is_answered_once_and_the_run_goes_on(here: House) -> None:
    run_id, question = await asked(here, "ask")
    assert (question.kind, question.prompt) == (InputKind.INPUT_KIND_QUESTION, "Which?")
    assert [option.value for option in question.options] == ["red", "blue"]
    with pytest.raises(InvalidField, match="one of blue, red"):
        await here.resolve(question.input_id, options=["green"])
    await here.resolve(question.input_id, options=["red"], request_id="first")
    repeated = await here.resolve(question.input_id, options=["red"], request_id="first")
    assert repeated.input.state == InputState.INPUT_STATE_ANSWERED
    with pytest.raises(RequestIdReused):
        await here.resolve(question.input_id, options=["blue"], request_id="first")
    with pytest.raises(InputAlreadyResolved):
        await here.resolve(question.input_id, options=["blue"])
    assert (await here.resolve(question.input_id, options=["red"])).input.answer.options == ["red"]
    assert await answer_of(here, run_id) == "Answer: red"
    assert (await here.kinds("t1")).count("input_resolved") == 1


async def test_a_run_resumes_when_all_its_questions_are_answered(here: House) -> None:
    run_id, _ = await asked(here, "two questions")
    waiting = {question.prompt: question.input_id for question in await here.pending("t1")}
    await here.resolve(waiting["Two?"], text="two")
    assert (await here.run(run_id)).state == WAITING
    await here.resolve(waiting["One?"], text="one")
    assert await answer_of(here, run_id) == "Answer: two"


async def test_an_unknown_input_is_not_found(here: House) -> None:
    for input_id in ("inp_none", "inp_x_1", "nonsense"):
        with pytest.raises(InputNotFound):
            await here.resolve(input_id, text="x")


async def test_a_client_performs_its_own_tools(here: House) -> None:
    run_id, call = await asked(here, "client", client_tools=[BROWSE])
    assert (call.kind, call.tool, json.loads(call.arguments_json)) == (
        InputKind.INPUT_KIND_CLIENT_TOOL,
        "browse",
        {"url": "x"},
    )
    await here.resolve(call.input_id, content=[ContentPart(text="the page")])
    assert await answer_of(here, run_id) == "Result: the page"


async def test_a_client_tool_that_fails_is_told_to_the_model(here: House) -> None:
    run_id, call = await asked(here, "client", client_tools=[BROWSE])
    await here.resolve(call.input_id, content=[ContentPart(text="no such page")], is_error=True)
    assert await answer_of(here, run_id) == "Result: [ERROR] no such page"


async def test_an_approved_call_is_sent_with_the_arguments_that_were_approved(tmp_path: Path) -> None:
    tools = ToolServer()
    tools.offer(tool("guarded", needs_approval=True), tool_says(result("did it")))
    async with house(tmp_path, scenario_of("guarded"), tools=tools) as running:
        run_id, approval = await asked(running)
        assert approval.kind == InputKind.INPUT_KIND_APPROVAL
        assert not tools.visits
        with pytest.raises(InvalidField, match="decision"):
            await running.resolve(approval.input_id, text="perhaps")
        await running.resolve(approval.input_id, decision=APPROVE, edited_arguments_json='{"where": "away"}')
        assert await answer_of(running, run_id) == "Result: did it"
        assert json.loads(tools.visits[0].request.arguments_json) == {"where": "away"}
        again, second = await asked(running)
        assert again != run_id
        await running.resolve(second.input_id, decision=APPROVE, edited_arguments_json='{"where": 7}')
        assert "The approved arguments are not valid" in await answer_of(running, again)
        assert len(tools.visits) == 1


async def test_a_refused_call_is_never_sent(tmp_path: Path) -> None:
    tools = ToolServer()
    tools.offer(tool("guarded", needs_approval=True), tool_says(result("did it")))
    async with house(tmp_path, scenario_of("guarded"), tools=tools) as running:
        run_id, approval = await asked(running)
        await running.resolve(approval.input_id, decision=DENY, text="too far")
        assert await answer_of(running, run_id) == "Result: [DENIED] A person refused this call: too far."
        assert not tools.visits


async def test_an_approval_for_the_thread_holds_for_later_calls_of_that_thread_alone(tmp_path: Path) -> None:
    tools = ToolServer()
    tools.offer(tool("guarded", needs_approval=True), tool_says(result("did it")))
    async with house(tmp_path, scenario_of("guarded"), tools=tools) as running:
        run_id, approval = await asked(running)
        await running.resolve(approval.input_id, decision=APPROVE, scope=ApprovalScope.APPROVAL_SCOPE_THREAD)
        await answer_of(running, run_id)
        assert (await running.start("again", "t1")).run.state == COMPLETED
        assert (await running.start("elsewhere", "t2")).run.state == WAITING
        assert len(tools.visits) == 2


async def test_what_publishes_is_approved_call_by_call(tmp_path: Path) -> None:
    tools = ToolServer()
    tools.offer(tool("publish", risk=tool_pb2.RISK_CLASS_PUBLISH), tool_says(result("out")))
    async with house(tmp_path, scenario_of("publish"), tools=tools) as running:
        run_id, approval = await asked(running)
        with pytest.raises(InvalidField, match="scope"):
            await running.resolve(approval.input_id, decision=APPROVE, scope=ApprovalScope.APPROVAL_SCOPE_THREAD)
        await running.resolve(approval.input_id, decision=APPROVE)
        assert await answer_of(running, run_id) == "Result: out"
        assert (await running.start("again", "t1")).run.state == WAITING


async def test_an_approval_that_nobody_gives_in_time_is_no_refusal(tmp_path: Path) -> None:
    tools = ToolServer()
    tools.offer(tool("guarded", needs_approval=True), tool_says(result("did it")))
    soon = ToolSettings(input_expiry=timedelta(milliseconds=200))
    quick = LaneTimes(sweep_every=timedelta(milliseconds=50), drain_grace=timedelta(milliseconds=100))
    async with house(tmp_path, scenario_of("guarded"), tools=tools, tool_settings=soon, lanes=quick) as running:
        run_id = (await running.start("go", "t1", wait=0)).run.run_id
        async with asyncio.timeout(20):
            while (ended := await running.wait(run_id)).state == WAITING:
                await asyncio.wait_for(_next_event(running, len(await running.events("t1"))), 20)
        assert "TIMED_OUT" in ended.result.parts[0].text
        resolved = payloads(await running.events("t1"), "input_resolved")
        assert [each.state for each in resolved] == [InputState.INPUT_STATE_TIMED_OUT]
        assert not tools.visits


async def _next_event(running: House, after: int) -> None:
    await running.stubs.threads.ListEvents(ListEventsRequest(thread_id="t1", after_sequence=after, wait_seconds=10))


async def test_a_deferred_tool_answers_with_the_token_of_its_call(tmp_path: Path) -> None:
    tools = ToolServer()
    tools.offer(tool("later"), tool_says(deferral("in the works")))
    async with house(tmp_path, scenario_of("later"), tools=tools) as running:
        run_id, waiting = await asked(running)
        request = tools.visits[0].request
        assert (waiting.kind, waiting.input_id) == (InputKind.INPUT_KIND_EXTERNAL, request.context.input_id)
        answer = InputAnswer(content=[ContentPart(text="here it is")])
        with pytest.raises(ResolutionTokenInvalid):
            await running.resolve(waiting.input_id, answer, token="0" * 64)
        await running.resolve(waiting.input_id, answer, token=request.context.resolution_token)
        assert await answer_of(running, run_id) == "Result: here it is"


async def test_a_deferred_tool_may_answer_before_it_has_said_that_it_defers(tmp_path: Path) -> None:
    tools = ToolServer()
    answered = asyncio.Event()

    async def behave(visit: Visit) -> Any:
        await answered.wait()
        yield deferral()

    tools.offer(tool("later"), behave)
    async with house(tmp_path, scenario_of("later"), tools=tools) as running:
        run_id = (await running.start("go", "t1", wait=0)).run.run_id
        context = (await tools.visited()).request.context
        answer = InputAnswer(content=[ContentPart(text="early")])
        early = await running.resolve(context.input_id, answer, token=context.resolution_token)
        assert early.input.state == InputState.INPUT_STATE_ANSWERED
        answered.set()
        assert await answer_of(running, run_id) == "Result: early"
        with pytest.raises(InputAlreadyResolved):
            await running.resolve(context.input_id, text="late", token=context.resolution_token)


async def test_progress_of_a_deferred_tool_is_shown_and_resolves_nothing(tmp_path: Path) -> None:
    tools = ToolServer()
    tools.offer(tool("later"), tool_says(deferral()))
    async with house(tmp_path, scenario_of("later"), tools=tools) as running:
        run_id, waiting = await asked(running)
        await running.stubs.agent_runtime.ResolveInput(
            ResolveInputRequest(
                request_id="p1",
                input_id=waiting.input_id,
                progress=InputProgress(fraction=0.5, message="half"),
            )
        )
        assert (await running.run(run_id)).state == WAITING
        assert [each.message for each in payloads(await running.events("t1"), "work_updated")] == ["half"]


async def test_a_call_in_doubt_is_reconciled_by_a_person(tmp_path: Path) -> None:
    tools = ToolServer()
    tools.offer(tool("doubt"), aborts(grpc.StatusCode.INTERNAL))
    async with house(tmp_path, scenario_of("doubt"), tools=tools) as running:
        run_id, doubt = await asked(running)
        assert doubt.kind == InputKind.INPUT_KIND_RECONCILE
        await running.resolve(doubt.input_id, content=[ContentPart(text="it did arrive")])
        assert await answer_of(running, run_id) == "Result: it did arrive"
        assert len(tools.visits) == 1, "what is in doubt is never sent again"


async def test_a_harmless_call_in_doubt_is_told_to_the_model(tmp_path: Path) -> None:
    tools = ToolServer()
    tools.offer(tool("doubt", risk=tool_pb2.RISK_CLASS_READ), aborts(grpc.StatusCode.INTERNAL))
    async with house(tmp_path, scenario_of("doubt"), tools=tools) as running:
        ended = (await running.start("go", "t1")).run
        assert ended.result.parts[0].text.startswith("Result: [UNKNOWN]")


async def test_fifty_answers_at_once_have_one_winner(here: House) -> None:
    run_id, question = await asked(here, "ask")
    answers = [
        here.resolve(question.input_id, options=["red"] if number % 2 else ["blue"], text=str(number))
        for number in range(50)
    ]
    outcomes = await asyncio.gather(*answers, return_exceptions=True)
    won = [each for each in outcomes if not isinstance(each, BaseException)]
    assert len(won) == 1
    assert all(isinstance(each, InputAlreadyResolved) for each in outcomes if isinstance(each, BaseException))
    assert (await here.wait(run_id)).state == COMPLETED


async def test_a_worker_that_dies_with_a_call_in_flight_leaves_it_in_doubt(tmp_path: Path) -> None:
    tools = ToolServer()
    tools.offer(tool("doubt"), hangs())
    quick = LaneTimes(drain_grace=timedelta(milliseconds=10))
    async with serving(tools):
        async with house(tmp_path, scenario_of("doubt"), tools=tools, lanes=quick) as running:
            run_id = (await running.start("go", "t1", wait=0)).run.run_id
            await tools.visited()
        async with house(tmp_path, scenario_of("doubt"), tools=tools, lanes=quick, first=False) as running:
            assert (await running.wait(run_id)).state == WAITING
            assert (await running.pending("t1"))[0].kind == InputKind.INPUT_KIND_RECONCILE
            assert len(tools.visits) == 1


async def test_a_worker_that_dies_with_a_repeatable_call_sends_it_again_under_the_same_key(tmp_path: Path) -> None:
    tools = ToolServer()
    again = asyncio.Event()

    async def behave(visit: Visit) -> Any:
        if len(tools.visits) == 1:
            again.set()
            await asyncio.Event().wait()
        yield result("twice")

    tools.offer(tool("again", idempotent=True), behave)
    quick = LaneTimes(drain_grace=timedelta(milliseconds=10))
    async with serving(tools):
        async with house(tmp_path, scenario_of("again"), tools=tools, lanes=quick) as running:
            run_id = (await running.start("go", "t1", wait=0, limits=Limits(tool_calls=1))).run.run_id
            await again.wait()
        async with house(tmp_path, scenario_of("again"), tools=tools, lanes=quick, first=False) as running:
            assert await answer_of(running, run_id) == "Result: twice"
            assert len({visit.request.idempotency_key for visit in tools.visits}) == 1
            assert [visit.request.context.fence for visit in tools.visits] == [1, 2]
            events = await running.events("t1")
            assert [each.attempt for each in payloads(events, "tool_call_started")] == [1, 2]
            outcomes = [each.outcome for each in payloads(events, "tool_call_completed")]
            assert outcomes == [ToolCallOutcome.TOOL_CALL_OUTCOME_OK]
            await running.verify("t1")
