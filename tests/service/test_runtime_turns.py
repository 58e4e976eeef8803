"""Turns over a served runtime: conflict policies, limits, formats, plans, and faults of models."""

import json
from collections.abc import AsyncGenerator
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from heddle.common.v1.content_pb2 import ContentPart
from heddle.runtime.v1 import run_pb2, thread_service_pb2
from heddle.runtime.v1.agent_runtime_pb2 import TurnDisposition
from heddle.runtime.v1.agent_service_pb2 import ArchiveAgentRequest
from heddle.runtime.v1.run_pb2 import RunState
from heddle.runtime.v1.thread_pb2 import ThreadSettings
from heddle.runtime.v1.turn_pb2 import ConflictPolicy, Limits, ResponseFormat, Turn
from heddle_core.errors import InvalidField, RequestIdReused
from heddle_core.runtime_errors import ThreadBusy, ThreadNotFound
from tests.kit.running_runtime import House, house, new_id, payloads, says
from tests.kit.tool_servers import ToolServer, declared, read_only, result
from tests.kit.tool_servers import says as tool_says

pytestmark = pytest.mark.timeout(60)

SCENARIO = """
turns:
  - when: {user: '^hang'}
    steps:
      - text: "I begin to say much more"
        stream: {pieces: words}
        fault: {kind: hang, after_deltas: 4}
  - when: {user: '^wait'}
    steps:
      - calls: [{tool: ask_user, arguments: {question: "Which?", free_text: true}}]
      - text: "You said {{tool.ask_user}}."
  - when: {user: '^loop'}
    steps:
      - calls: [{tool: current_time, arguments: {}}]
  - when: {user: '^right'}
    steps:
      - text: '{"n": 1}'
  - when: {user: '^(wrong once|Your answer did not have)'}
    steps:
      - text: '{"n": 2}'
        cases:
          - when: {user: '^wrong once'}
            text: 'not json'
  - when: {user: '^flaky'}
    steps:
      - text: "Recovered."
        fault: {kind: retryable, message: "overloaded", times: 2}
  - when: {user: '^broken'}
    steps:
      - text: "never"
        fault: {kind: retryable, message: "overloaded"}
  - when: {user: '^refused'}
    steps:
      - text: "never"
        fault: {kind: refused, message: "not this"}
  - when: {user: '^mangled'}
    steps:
      - calls: [{tool: look, raw_arguments: '{"where": '}]
      - text: "The tool said: {{tool.look}}"
  - when: {user: '^unknown'}
    steps:
      - calls: [{tool: lok, arguments: {}}]
      - text: "The tool said: {{tool.lok}}"
  - when: {user: '^fifty'}
    steps:
      - calls: [CALLS]
      - text: "All done."
  - when: {user: '^cut'}
    steps:
      - text: "Not quite"
        finish: length
  - steps:
      - text: "You said {{user}}."
""".replace("CALLS", ", ".join(f"{{tool: look, arguments: {{where: '{number}'}}}}" for number in range(50)))

WHERE = json.dumps({"type": "object", "properties": {"where": {"type": "string"}}, "required": ["where"]})
SHAPE = json.dumps({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]})

COMPLETED = RunState.RUN_STATE_COMPLETED
CANCELLED = RunState.RUN_STATE_CANCELLED
WAITING = RunState.RUN_STATE_WAITING
FAILED = RunState.RUN_STATE_FAILED


@pytest_asyncio.fixture
async def here(tmp_path: Path) -> AsyncGenerator[House]:
    tools = ToolServer()
    tools.offer(read_only("look", parameters_json=WHERE), tool_says(result("seen")))
    tools.offer(declared("act"), tool_says(result("acted")))
    async with house(tmp_path, SCENARIO, tools=tools) as running:
        yield running


async def test_a_turn_is_answered_and_its_log_verifies(here: House) -> None:
    answer = await here.start("hello", "t1")
    assert answer.disposition == TurnDisposition.TURN_DISPOSITION_STARTED
    assert answer.run.state == COMPLETED
    assert answer.run.result.parts[0].text == "You said hello."
    assert await here.kinds("t1") == [
        "thread_created",
        "turn_requested",
        "run_started",
        "step_started",
        "assistant_message_completed",
        "step_completed",
        "run_completed",
    ]
    await here.verify("t1")


async def test_a_repeated_request_gives_the_same_run_and_an_edited_one_is_refused(here: House) -> None:
    first = await here.start("hello", "t1", request_id="same")
    again = await here.start("hello", "t1", request_id="same")
    assert again.disposition == TurnDisposition.TURN_DISPOSITION_EXISTING
    assert again.run.run_id == first.run.run_id
    with pytest.raises(RequestIdReused):
        await here.start("hello!", "t1", request_id="same")


async def test_a_repeat_is_answered_even_when_its_agent_takes_no_turns_any_more(here: House) -> None:
    first = await here.start("hello", "t1", request_id="same")
    await here.stubs.agents.ArchiveAgent(ArchiveAgentRequest(request_id=new_id(), agent_id="tester"))
    again = await here.start("hello", "t1", request_id="same")
    assert again.run.run_id == first.run.run_id
    with pytest.raises(RequestIdReused):
        await here.start("hello!", "t1", request_id="same")


async def test_turns_on_a_busy_thread_wait_their_turn_and_name_what_blocks_them(here: House) -> None:
    waiting = await here.start("wait", "t1")
    second = await here.start("second", "t1", wait=0)
    third = await here.start("third", "t1", wait=0)
    assert [second.queue_position, third.queue_position] == [1, 2]
    asked = (await here.pending("t1"))[0]
    assert list(second.blocking_input_ids) == [asked.input_id]
    await here.resolve(asked.input_id, text="blue")
    ends = [await here.wait(each.run.run_id) for each in (waiting, second, third)]
    assert [run.state for run in ends] == [COMPLETED] * 3
    assert ends[0].result.parts[0].text == "You said blue."
    started = [event.run_id for event in await here.events("t1") if event.WhichOneof("payload") == "run_started"]
    assert started == [run.run_id for run in ends]


async def test_a_turn_that_wants_no_queue_is_refused_with_the_run_that_is_in_its_way(here: House) -> None:
    blocking = await here.start("wait", "t1")
    with pytest.raises(ThreadBusy, match=blocking.run.run_id):
        await here.start("second", "t1", conflict_policy=ConflictPolicy.CONFLICT_POLICY_REJECT)
    assert (await here.kinds("t1")).count("turn_requested") == 1


async def test_an_interrupting_turn_cancels_the_holder_and_runs_before_those_that_waited(here: House) -> None:
    holder = await here.words("hang", "t1", "I begin to say ")
    queued = await here.start("queued", "t1", wait=0)
    urgent = await here.start("urgent", "t1", conflict_policy=ConflictPolicy.CONFLICT_POLICY_INTERRUPT)
    assert urgent.run.state == COMPLETED
    stopped, after = await here.wait(holder), await here.wait(queued.run.run_id)
    assert (stopped.state, stopped.cancel_cause) == (CANCELLED, run_pb2.CANCEL_CAUSE_INTERRUPTED)
    assert urgent.run.end_time.ToMicroseconds() <= after.start_time.ToMicroseconds()
    said = [message.content[0].text for message in (await here.snapshot("t1")).messages]
    assert said == ["hang", "I begin to say ", "urgent", "You said urgent.", "queued", "You said queued."]
    await here.verify("t1")


async def test_a_turn_that_rolls_back_also_drops_the_holder_from_the_history(here: House) -> None:
    holder = await here.words("hang", "t1", "I begin to say ")
    instead = await here.start("instead", "t1", conflict_policy=ConflictPolicy.CONFLICT_POLICY_ROLLBACK)
    assert (await here.run(holder)).cancel_cause == run_pb2.CANCEL_CAUSE_ROLLED_BACK
    assert instead.run.state == COMPLETED
    said = [message.content[0].text for message in (await here.snapshot("t1")).messages]
    assert said == ["instead", "You said instead."]
    assert (await here.kinds("t1")).count("assistant_message_completed") == 2, "the log keeps what was said"


async def test_a_steering_message_is_read_by_the_run_that_waits_when_it_goes_on(here: House) -> None:
    waiting = await here.start("wait", "t1")
    steered = await here.start("be brief", "t1", conflict_policy=ConflictPolicy.CONFLICT_POLICY_STEER, wait=0)
    assert steered.disposition == TurnDisposition.TURN_DISPOSITION_STEERED
    assert steered.run.run_id == waiting.run.run_id
    await here.resolve((await here.pending("t1"))[0].input_id, text="blue")
    ended = await here.wait(waiting.run.run_id)
    assert ended.result.parts[0].text == "You said be brief.", (
        "the model's last words of the user are the steering ones"
    )


async def test_a_thread_without_a_title_gets_one_from_its_first_turn_and_a_given_one_stays(here: House) -> None:
    for thread_id, title in (("t1", ""), ("t2", "Mine")):
        request = thread_service_pb2.CreateThreadRequest(
            request_id=new_id(), thread_id=thread_id, settings=ThreadSettings(title=title, labels={"a": "b"})
        )
        await here.stubs.threads.CreateThread(request)
        await here.start("What is new?", thread_id)
        await here.start("And what else?", thread_id)
    first, second = [
        (await here.stubs.threads.GetThread(thread_service_pb2.GetThreadRequest(thread_id=each))).thread
        for each in ("t1", "t2")
    ]
    assert (first.settings.title, dict(first.settings.labels), first.etag) == ("What is new?", {"a": "b"}, "2")
    assert (second.settings.title, second.etag) == ("Mine", "1")
    assert (await here.snapshot("t1")).thread == first
    assert (await here.kinds("t1"))[:3] == ["thread_created", "thread_updated", "turn_requested"]


async def test_an_automatic_title_gives_way_to_a_persons_and_never_comes_back(here: House) -> None:
    await here.start("First words", "t1")
    for title in ("Mine", ""):
        request = thread_service_pb2.UpdateThreadRequest(
            request_id=new_id(), thread_id="t1", settings=ThreadSettings(title=title), update_mask={"paths": ["title"]}
        )
        await here.stubs.threads.UpdateThread(request)
        await here.start("More words", "t1")
        assert (await here.snapshot("t1")).thread.settings.title == title


async def test_a_run_stops_at_its_step_limit_with_every_call_answered(here: House) -> None:
    ended = (await here.start("loop", "t1", limits=Limits(steps=3))).run
    assert (ended.state, ended.failure.reason) == (FAILED, run_pb2.FAILURE_REASON_STEP_LIMIT)
    events = await here.events("t1")
    assert len(payloads(events, "tool_call_completed")) == len(payloads(events, "tool_call_requested")) == 3
    assert payloads(events, "budget_exceeded")[0].which == "steps"


async def test_a_run_stops_at_its_token_budget_before_it_spends_more(here: House) -> None:
    ended = (await here.start("loop", "t1", limits=Limits(tokens=1))).run
    assert (ended.state, ended.failure.reason) == (FAILED, run_pb2.FAILURE_REASON_BUDGET_EXCEEDED)
    assert ended.usage.model_calls == 1


async def test_a_run_stops_at_its_limit_of_tool_calls(here: House) -> None:
    ended = (await here.start("loop", "t1", limits=Limits(tool_calls=2, steps=50))).run
    assert (ended.state, ended.failure.reason) == (FAILED, run_pb2.FAILURE_REASON_TOOL_CALL_LIMIT)
    assert ended.usage.tool_calls == 2


async def test_a_run_that_is_out_of_time_ends_with_the_words_so_far(here: House) -> None:
    wall = Duration()
    wall.FromTimedelta(timedelta(milliseconds=300))
    ended = (await here.start("hang", "t1", limits=Limits(wall_time=wall))).run
    assert (ended.state, ended.failure.reason) == (FAILED, run_pb2.FAILURE_REASON_DEADLINE_EXCEEDED)
    said = payloads(await here.events("t1"), "assistant_message_completed")
    assert [(each.content[0].text, each.incomplete) for each in said] == [("I begin to say ", True)]


async def test_the_wait_that_a_model_asks_for_does_not_outlast_the_run(tmp_path: Path) -> None:
    scenario = "steps: [{text: never, fault: {kind: retryable, retry_after: 3600}}]"
    wall = Duration()
    wall.FromTimedelta(timedelta(milliseconds=300))
    async with house(tmp_path, scenario) as running:
        ended = (await running.start("hello", "t1", limits=Limits(wall_time=wall))).run
    assert (ended.state, ended.failure.reason) == (FAILED, run_pb2.FAILURE_REASON_DEADLINE_EXCEEDED)


async def test_an_answer_of_the_wanted_shape_is_structured(here: House) -> None:
    ended = (await here.start("right", "t1", response_format=ResponseFormat(json_schema=SHAPE))).run
    assert (ended.state, ended.result.structured_json) == (COMPLETED, '{"n": 1}')


async def test_an_answer_of_another_shape_is_asked_for_again_once_with_the_reason(here: House) -> None:
    ended = (await here.start("wrong once", "t1", response_format=ResponseFormat(json_schema=SHAPE))).run
    assert (ended.state, ended.result.structured_json) == (COMPLETED, '{"n": 2}')
    assert (await here.kinds("t1")).count("error_recorded") == 1


async def test_two_answers_of_another_shape_fail_the_run(tmp_path: Path) -> None:
    async with house(tmp_path, """steps: [{text: '{"n": "two"}'}]""") as running:
        ended = (await running.start("wrong", "t1", response_format=ResponseFormat(json_schema=SHAPE))).run
    assert (ended.state, ended.failure.reason) == (FAILED, run_pb2.FAILURE_REASON_OUTPUT_SCHEMA_MISMATCH)
    assert ended.usage.model_calls == 2


async def test_a_reply_that_was_cut_says_so_in_the_result(here: House) -> None:
    ended = (await here.start("cut", "t1")).run
    assert ended.result.finish_reason == run_pb2.FINISH_REASON_LENGTH


async def test_a_model_call_is_tried_three_times_and_each_attempt_is_billed(here: House) -> None:
    ended = (await here.start("flaky", "t1")).run
    assert (ended.state, ended.usage.model_calls) == (COMPLETED, 3)
    started = payloads(await here.events("t1"), "step_started")
    assert [each.attempt for each in started] == [1, 2, 3]
    assert [each.discards_message_id for each in started] == ["", started[0].message_id, started[1].message_id]


async def test_a_model_that_fails_three_times_fails_the_run(here: House) -> None:
    ended = (await here.start("broken", "t1")).run
    assert (ended.state, ended.failure.reason) == (FAILED, run_pb2.FAILURE_REASON_MODEL_UNAVAILABLE)
    assert ended.usage.model_calls == 3


async def test_a_refused_request_is_not_tried_again(here: House) -> None:
    ended = (await here.start("refused", "t1")).run
    assert (ended.failure.reason, ended.usage.model_calls) == (run_pb2.FAILURE_REASON_MODEL_REFUSED, 1)


async def test_mangled_arguments_are_given_back_to_the_model(here: House) -> None:
    ended = (await here.start("mangled", "t1")).run
    assert ended.result.parts[0].text.startswith("The tool said: [ERROR] The arguments are not valid")
    assert not here.tools.visits


async def test_an_unknown_tool_is_answered_with_the_nearest_names(here: House) -> None:
    ended = (await here.start("unknown", "t1")).run
    assert "look" in ended.result.parts[0].text
    assert "There is no tool 'lok'" in ended.result.parts[0].text


async def test_fifty_calls_in_one_reply_have_fifty_results(here: House) -> None:
    ended = (await here.start("fifty", "t1")).run
    assert (ended.state, ended.usage.tool_calls) == (COMPLETED, 50)
    events = await here.events("t1")
    requested = [each.call_id for each in payloads(events, "tool_call_requested")]
    completed = [each.call_id for each in payloads(events, "tool_call_completed")]
    assert len(set(requested)) == 50 and sorted(requested) == sorted(completed)
    await here.verify("t1")


async def test_a_validated_turn_says_what_would_run_and_starts_nothing(here: House) -> None:
    answer = await here.send(says("hello", limits=Limits(steps=5)), "t1", validate_only=True)
    assert answer.disposition == TurnDisposition.TURN_DISPOSITION_VALIDATED
    assert (answer.estimate.agent.agent_id, answer.estimate.limits.steps) == ("general", 5)
    assert "ask_user" in answer.estimate.tools
    assert answer.estimate.input_tokens > 0
    with pytest.raises(ThreadNotFound):
        await here.snapshot("t1")


async def test_a_validated_turn_is_refused_for_what_a_started_one_would_be(here: House) -> None:
    silent = Turn(content=[])
    bad_schema = says("hello", response_format=ResponseFormat(json_schema="{"))
    for turn in (silent, bad_schema):
        with pytest.raises(InvalidField):
            await here.send(turn, "t1", validate_only=True)


async def test_a_call_is_held_for_at_most_a_minute(here: House) -> None:
    with pytest.raises(InvalidField, match="wait_seconds"):
        await here.send(says("hello"), "t1", wait=61)
    with pytest.raises(InvalidField, match="wait_seconds"):
        await here.send(says("hello"), "t1", wait=-1)


async def test_a_held_call_returns_when_the_run_waits(here: House) -> None:
    assert (await here.start("wait", "t1", wait=30)).run.state == WAITING


async def test_a_call_that_is_not_held_returns_at_once(here: House) -> None:
    answer = await here.start("hang", "t1", wait=0)
    assert answer.run.state == RunState.RUN_STATE_RUNNING
    assert (await here.start("hang", "t2", wait=1)).run.state == RunState.RUN_STATE_RUNNING


async def test_a_turn_for_later_waits_until_then(here: House) -> None:
    later = Timestamp()
    later.GetCurrentTime()
    later.FromMicroseconds(later.ToMicroseconds() + 700_000)
    answer = await here.start("later", "t1", wait=0, not_before=later)
    assert (answer.disposition, answer.run.state) == (
        TurnDisposition.TURN_DISPOSITION_QUEUED,
        RunState.RUN_STATE_QUEUED,
    )
    ended = await here.wait(answer.run.run_id)
    assert ended.state == COMPLETED
    assert ended.start_time.ToMicroseconds() >= later.ToMicroseconds()


async def test_structured_content_reaches_the_model(here: House) -> None:
    turn = Turn(content=[ContentPart(text="see"), ContentPart(json='{"a":1}')])
    assert (await here.send(turn, "t1")).run.result.parts[0].text == 'You said see\n{"a":1}.'
