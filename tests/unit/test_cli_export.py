"""A thread as a scenario: what the model said then, it says again."""

from typing import Any

import pytest
import yaml

from heddle.common.v1.content_pb2 import ContentPart
from heddle.runtime.v1.call_events_pb2 import PlanProposed, ToolCallRequested
from heddle.runtime.v1.event_pb2 import ThreadEvent
from heddle.runtime.v1.run_events_pb2 import (
    AssistantMessageCompleted,
    RunSuperseded,
    StepCompleted,
    StepStarted,
    TurnRequested,
    TurnSteered,
)
from heddle.runtime.v1.turn_pb2 import Turn
from heddle_cli.scenario_export import Exported, export
from heddle_core.clock import SystemClock
from heddle_core.ids import TimeOrderedIds
from heddle_runtime.models.port import (
    AssistantMessage,
    Message,
    ModelReply,
    ModelRequest,
    TextPart,
    ToolMessage,
    UserMessage,
)
from heddle_runtime.models.scenario import read
from heddle_runtime.models.scripted import ScriptedModel


def asked(run_id: str, text: str) -> ThreadEvent:
    return ThreadEvent(run_id=run_id, turn_requested=TurnRequested(turn=Turn(content=[ContentPart(text=text)])))


def spoke(run_id: str, message_id: str, text: str, *calls: tuple[str, str]) -> list[ThreadEvent]:
    return [
        ThreadEvent(run_id=run_id, step_started=StepStarted(message_id=message_id)),
        ThreadEvent(
            run_id=run_id,
            assistant_message_completed=AssistantMessageCompleted(
                message_id=message_id, content=[ContentPart(text=text)] if text else []
            ),
        ),
        *(
            ThreadEvent(
                run_id=run_id,
                tool_call_requested=ToolCallRequested(
                    call_id=f"c{place}", message_id=message_id, tool=tool, arguments_json=raw
                ),
            )
            for place, (tool, raw) in enumerate(calls)
        ),
        ThreadEvent(run_id=run_id, step_completed=StepCompleted(attempt=1)),
    ]


async def played(told: Exported, *messages: Message) -> ModelReply:
    """What a scripted model says that plays the scenario, as written to and read from a file."""
    scenario = read(yaml.safe_dump(told.scenario, sort_keys=False, allow_unicode=True), "exported")
    model = ScriptedModel("scripted:exported", scenario, TimeOrderedIds(SystemClock()))
    last: Any = None
    async for event in model.stream(ModelRequest(model="scripted:exported", instructions="", messages=messages)):
        last = event
    assert isinstance(last, ModelReply)
    return last


def user(text: str) -> UserMessage:
    return UserMessage((TextPart(text),))


@pytest.mark.parametrize("text", ["Hello.", "Say {{user}} and {{{triple}}} and }}", "two\nlines: - a\n", "Grüße 🌧"])
async def test_the_same_words_are_said_again_to_the_letter(text: str) -> None:
    told = export([asked("r1", "What (now)?*"), *spoke("r1", "m1", text)], "")
    assert (await played(told, user("What (now)?*"))).text == text


async def test_calls_are_repeated_with_the_very_arguments() -> None:
    raw = '{"a": 1,  "b": "{{user}}"}'
    events = [
        asked("r1", "go"),
        *spoke("r1", "m1", "Let me.", ("look", raw), ("seek", '{"x":1}')),
        *spoke("r1", "m2", "Done"),
    ]
    told = export(events, "")
    first = await played(told, user("go"))
    assert [(each.tool, each.arguments_json) for each in first.calls] == [("look", raw), ("seek", '{"x":1}')]
    then = (
        user("go"),
        AssistantMessage("Let me.", calls=first.calls),
        *(ToolMessage(each.call_id, each.tool, "ok", is_error=False) for each in first.calls),
    )
    assert (await played(told, *then)).text == "Done"


async def test_a_message_that_steered_a_run_begins_a_turn_of_its_own() -> None:
    steered = ThreadEvent(run_id="r1", turn_steered=TurnSteered(content=[ContentPart(text="shorter")]))
    told = export([asked("r1", "go"), *spoke("r1", "m1", "long"), steered, *spoke("r1", "m2", "short")], "")
    assert (await played(told, user("go"), AssistantMessage("long"), user("shorter"))).text == "short"


async def test_a_discarded_attempt_is_not_replayed() -> None:
    first = ThreadEvent(run_id="r1", step_started=StepStarted(message_id="m0"))
    events = spoke("r1", "m1", "right")
    events[0].step_started.discards_message_id = "m0"
    assert (await played(export([asked("r1", "go"), first, *events], ""), user("go"))).text == "right"


async def test_a_superseded_run_is_left_out() -> None:
    left = ThreadEvent(run_id="r2", run_superseded=RunSuperseded(superseded_run_id="r1"))
    told = export(
        [asked("r1", "go"), *spoke("r1", "m1", "old"), asked("r2", "go"), left, *spoke("r2", "m2", "new")], ""
    )
    assert (await played(told, user("go"))).text == "new"
    assert told.notes == ()


def test_what_cannot_be_replayed_is_said() -> None:
    again = export([asked("r1", "go"), *spoke("r1", "m1", "one"), asked("r2", "go"), *spoke("r2", "m2", "two")], "")
    assert len(again.scenario["turns"]) == 1
    assert "more than once" in again.notes[0]
    plan = ThreadEvent(run_id="r1", plan_proposed=PlanProposed())
    assert "plan" in export([asked("r1", "go"), plan], "").notes[0]
