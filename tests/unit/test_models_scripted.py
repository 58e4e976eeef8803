"""The scripted model: steps, templates, faults, and the errors of a scenario file."""

import asyncio
import json
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path

import pytest

from heddle_core.errors import InvalidField
from heddle_core.ids import CountingIds
from heddle_runtime.models.port import (
    AssistantMessage,
    FaultKind,
    FinishReason,
    JsonPart,
    Message,
    ModelCall,
    ModelEvent,
    ModelFault,
    ModelReply,
    ModelRequest,
    TextDelta,
    TextPart,
    ToolMessage,
    UserMessage,
)
from heddle_runtime.models.scenario import load, read
from heddle_runtime.models.scripted import ScriptedModel
from heddle_runtime.models.template import TurnView, parse

SHIPPED = Path(__file__).parents[2] / "examples" / "scenarios"


def user(text: str) -> UserMessage:
    return UserMessage((TextPart(text),))


def called(tool: str, call_id: str = "c1") -> AssistantMessage:
    return AssistantMessage("", calls=(ModelCall(call_id, tool, "{}"),))


def result(tool: str, content: str, *, is_error: bool = False) -> ToolMessage:
    return ToolMessage("c1", tool, content, is_error)


def model(yaml: str) -> ScriptedModel:
    return ScriptedModel("scripted:test", read(yaml, "test.yaml"), CountingIds())


def shipped(name: str) -> ScriptedModel:
    return ScriptedModel(f"scripted:{name}", load(SHIPPED / f"{name}.yaml"), CountingIds())


async def play(subject: ScriptedModel, *messages: Message) -> list[ModelEvent]:
    async with aclosing(subject.stream(ModelRequest("scripted:test", "", messages))) as events:
        return [event async for event in events]


async def reply(subject: ScriptedModel, *messages: Message) -> ModelReply:
    last = (await play(subject, *messages))[-1]
    assert isinstance(last, ModelReply)
    return last


async def test_the_next_step_is_read_off_the_messages_so_a_fresh_model_goes_on() -> None:
    history = (user("one"), AssistantMessage("first"), user("two"), called("lookup"), result("lookup", "found"))
    for _ in range(2):
        answered = await reply(shipped("reference-turn"), *history)
        assert answered.text.startswith("In a loom")
    assert (await reply(shipped("reference-turn"), *history[:3])).calls[0].tool == "lookup"


async def test_the_reference_turn_asks_one_tool_and_then_streams_twenty_deltas() -> None:
    first = await reply(shipped("reference-turn"), user("go"))
    assert [(call.tool, json.loads(call.arguments_json)) for call in first.calls] == [("lookup", {"q": "heddle"})]
    events = await play(shipped("reference-turn"), user("go"), called("lookup"), result("lookup", "x"))
    deltas = [event for event in events if isinstance(event, TextDelta)]
    assert len(deltas) == 20
    assert "".join(delta.text for delta in deltas) == events[-1].text  # type: ignore[union-attr]


async def test_the_brief_gives_the_arguments_and_the_plan() -> None:
    brief = user("Please:\nTopic: trail shoes\n- audience: hikers\nPlatform: instagram")
    asked = await reply(shipped("brief"), brief)
    assert json.loads(asked.calls[0].arguments_json) == {
        "topic": "trail shoes",
        "audience": "hikers",
        "platform": "instagram",
        "date": "the next free day",
    }
    history = (brief, called("schedule_post"))
    approved = await reply(shipped("brief"), *history, result("schedule_post", "on Friday"))
    assert approved.text.startswith("Scheduled: on Friday")
    denied = await reply(shipped("brief"), *history, result("schedule_post", "denied by ana", is_error=True))
    assert denied.text.startswith("It was not scheduled: denied by ana")
    assert "Please send a brief" in (await reply(shipped("brief"), user("hello"))).text


async def test_the_questions_ask_and_go_by_the_answer() -> None:
    asked = await reply(shipped("questions"), user("A draft on looms, please"))
    assert asked.calls[0].tool == "ask_user"
    assert json.loads(asked.calls[0].arguments_json)["recommended"] == "LinkedIn"
    told = await reply(shipped("questions"), user("A draft"), called("ask_user"), result("ask_user", "X"))
    assert "You answered: X" in told.text


async def test_hello_repeats_the_first_line() -> None:
    assert "You said: good day." in (await reply(shipped("hello"), user("good day\nmore"))).text


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{user}}", "first\nTopic:  looms \nthird"),
        ("[{{ user.line 2 }}]", "[Topic:  looms]"),
        ("{{user.line 9 | none}}", "none"),
        ("{{user.field topic}}", "looms"),
        ("{{user.field date | today}} and {{user.field date}}", "today and "),
        ("{{tool.find}}", '{"a": {"b": [1, "two"]}}'),
        ("{{tool.find field a.b.1}} {{tool.find field a}}", 'two {"b": [1, "two"]}'),
        ("{{tool.find field a.x | nothing}}", "nothing"),
        ("{{tool.other | nothing}}", "nothing"),
        ("no holes { } }}", "no holes { } }}"),
    ],
)
def test_templates_quote_the_turn(template: str, text: str) -> None:
    said = user("first\nTopic:  looms \nthird")
    view = TurnView((said, called("find"), result("find", '{"a": {"b": [1, "two"]}}')))
    assert parse(template).fill(view) == text


@pytest.mark.parametrize("template", ["{{import os}}", "{{user.name}}", "{{}}", "{{tool.}}", "{{user.line 0}}"])
def test_nothing_else_is_understood(template: str) -> None:
    with pytest.raises(ValueError, match="is not understood"):
        parse(template)


async def test_a_result_with_braces_is_quoted_and_never_read_as_a_template() -> None:
    subject = model("steps: [{text: '{{tool.find}}'}]")
    assert (await reply(subject, user("x"), result("find", "{{user}}"))).text == "{{user}}"


async def test_structured_parts_are_quoted_as_json() -> None:
    subject = model("steps: [{text: '{{user}}'}]")
    assert (await reply(subject, UserMessage((JsonPart('{"a":1}'),)))).text == '{"a":1}'


async def test_a_fault_that_happens_once_is_over_at_the_next_attempt() -> None:
    subject = model("steps: [{text: a b c, fault: {kind: retryable, after_deltas: 2, times: 1, retry_after: 2}}]")
    heard: list[ModelEvent] = []
    with pytest.raises(ModelFault) as raised:
        async with aclosing(subject.stream(ModelRequest("m", "", (user("x"),)))) as events:
            async for event in events:
                heard.append(event)
    assert [event.text for event in heard if isinstance(event, TextDelta)] == ["a ", "b "]
    assert (raised.value.kind, raised.value.retry_after) == (FaultKind.RETRYABLE, timedelta(seconds=2))
    assert (await reply(subject, user("x"))).text == "a b c"
    with pytest.raises(ModelFault):
        await reply(subject, user("another request"))


async def test_a_hanging_step_waits_until_it_is_cancelled() -> None:
    subject = model("steps: [{fault: {kind: hang}}]")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await reply(subject, user("x"))


async def test_mangled_arguments_and_repeated_ids_play_a_bad_provider() -> None:
    subject = model("""
steps:
  - calls:
      - {tool: find, raw_arguments: '{"q": ', id: same}
      - {tool: find, arguments: {q: "{{user}}", n: [1, "{{user}}"]}, id: same, pieces: 3}
""")
    answered = await reply(subject, user('say "hi"'))
    first, second = answered.calls
    assert first.problem is not None
    assert json.loads(second.arguments_json) == {"q": 'say "hi"', "n": [1, 'say "hi"']}
    assert (first.call_id, second.call_id) == ("same", "call_1")
    assert answered.finish_reason is FinishReason.TOOL_CALLS


async def test_words_that_no_turn_fits_are_refused() -> None:
    with pytest.raises(ModelFault, match="add a turn without 'when'") as raised:
        await reply(model("turns: [{when: {user: aye}, steps: [{text: a}]}]"), user("no"))
    assert raised.value.kind is FaultKind.REFUSED


async def test_usage_is_estimated_from_characters_where_none_is_given() -> None:
    usage = (await reply(model("steps: [{text: 12345678}]".replace("12345678", "'12345678'")), user("1234"))).usage
    assert (usage.input_tokens, usage.output_tokens) == (1, 2)


@pytest.mark.parametrize(
    ("yaml", "place", "remedy"),
    [
        ("steps:\n  - text: a\n    colour: red", "bad.yaml:3 steps[0].colour", "correct its spelling"),
        ("steps:\n  - text: a\n  - text: '{{nobody}}'", "bad.yaml:3 steps[1].text", "is not understood"),
        ("steps:\n  - calls:\n      - arguments: {}", "bad.yaml:3 steps[0].calls[0].tool", "is required"),
        ("steps:\n  - text: a\n    fault: {kind: odd}", "bad.yaml:3 steps[0].fault.kind", "'hang'"),
        ("steps:\n  - {}", "bad.yaml:2 steps[0]", "a step needs text"),
        ("steps: [", "bad.yaml:1", "is not YAML"),
        ("- a", "bad.yaml:1", "must be a mapping"),
        ("description: x", "bad.yaml:1 the whole file", "write either steps"),
        ("turns:\n- when:\n    user: '('\n  steps: [{text: a}]", "bad.yaml:3 turns[0].when.user", "regular expression"),
    ],
)
def test_a_bad_scenario_is_refused_with_line_and_remedy(yaml: str, place: str, remedy: str) -> None:
    with pytest.raises(InvalidField) as raised:
        read(yaml, "bad.yaml")
    (violation,) = raised.value.violations
    assert violation.field == place
    assert remedy in violation.remedy


def test_a_missing_scenario_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InvalidField, match=r"gone\.yaml.*cannot be read"):
        load(tmp_path / "gone.yaml")


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_scenario_reads(path: Path) -> None:
    assert load(path).description
