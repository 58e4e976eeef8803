"""What the command line shows: pure renderings of transcripts, errors and facts."""

from collections.abc import Iterable
from io import StringIO

import pytest
from rich.console import Console

from heddle.common.v1.content_pb2 import ContentPart
from heddle.runtime.v1.call_events_pb2 import InputRequested, ToolCallCompleted, ToolCallRequested, ToolCallStarted
from heddle.runtime.v1.event_pb2 import ThreadEvent
from heddle.runtime.v1.input_pb2 import InputKind, InputOption, InputRequest
from heddle.runtime.v1.run_events_pb2 import (
    AssistantMessageCompleted,
    ReasoningRecorded,
    RunFailed,
    RunStarted,
    StepStarted,
    TurnRequested,
)
from heddle.runtime.v1.run_pb2 import FailureReason, RunFailure
from heddle.runtime.v1.stream_pb2 import Delta
from heddle.runtime.v1.tool_call_pb2 import ToolCallOutcome
from heddle.runtime.v1.turn_pb2 import Turn
from heddle_cli.display.blocks import BlockKind, blocks_of, input_text
from heddle_cli.display.following import LiveFollowing, PlainFollowing, Silent, following
from heddle_cli.display.screen import Screen, clean
from heddle_cli.display.timeline import event_line
from heddle_client.transcript import Transcript


def facts(*payloads: ThreadEvent, run_id: str = "r1") -> list[ThreadEvent]:
    told: list[ThreadEvent] = []
    for sequence, event in enumerate(payloads, 1):
        event.sequence, event.run_id = sequence, run_id
        told.append(event)
    return told


def asked(text: str) -> ThreadEvent:
    return ThreadEvent(turn_requested=TurnRequested(message_id="u1", turn=Turn(content=[ContentPart(text=text)])))


def step(message_id: str, discards: str = "") -> ThreadEvent:
    return ThreadEvent(step_started=StepStarted(message_id=message_id, discards_message_id=discards))


def said(message_id: str, text: str) -> ThreadEvent:
    told = AssistantMessageCompleted(message_id=message_id, content=[ContentPart(text=text)])
    return ThreadEvent(assistant_message_completed=told)


def words(text: str, offset: int = 0, message_id: str = "m1") -> Delta:
    return Delta(run_id="r1", message_id=message_id, offset=offset, text=text)


def shown(transcript: Transcript) -> list[tuple[BlockKind, str, bool]]:
    return [(each.kind, each.text.plain, each.settled) for each in blocks_of(transcript)]


def tool_call() -> Iterable[ThreadEvent]:
    requested = ToolCallRequested(call_id="c1", message_id="m1", tool="lookup", arguments_json='{"q":1}')
    yield ThreadEvent(tool_call_requested=requested)
    yield ThreadEvent(tool_call_started=ToolCallStarted(call_id="c1", tool="lookup"))
    yield ThreadEvent(
        tool_call_completed=ToolCallCompleted(
            call_id="c1", outcome=ToolCallOutcome.TOOL_CALL_OUTCOME_OK, content=[ContentPart(text="found")]
        )
    )


def test_words_are_unsettled_until_their_fact_comes() -> None:
    begun = Transcript().after_events(facts(asked("hi"), ThreadEvent(run_started=RunStarted()), step("m1")))
    writing = begun.after_deltas([words("Hel")])
    assert shown(writing) == [(BlockKind.USER, "> hi", True), (BlockKind.ANSWER, "Hel", False)]
    done = writing.after_events([*facts(asked("hi"), step("m1"), step("m1"), said("m1", "Hello"))[3:]])
    assert shown(done)[-1] == (BlockKind.ANSWER, "Hello", True)


def test_a_message_comes_as_thoughts_then_words_then_calls() -> None:
    events = facts(
        asked("hi"),
        step("m1"),
        ThreadEvent(reasoning_recorded=ReasoningRecorded(message_id="m1", text="hm")),
        said("m1", "Let me look."),
        *tool_call(),
    )
    kinds = [kind for kind, _, _ in shown(Transcript().after_events(events))]
    assert kinds == [BlockKind.USER, BlockKind.REASONING, BlockKind.ANSWER, BlockKind.TOOL]


@pytest.mark.parametrize(("count", "state"), [(1, "is asked for"), (2, "is at work"), (3, "ok")])
def test_a_tool_call_tells_how_far_it_is(count: int, state: str) -> None:
    events = facts(step("m1"), said("m1", ""), *list(tool_call())[:count])
    kind, text, settled = shown(Transcript().after_events(events))[-1]
    assert kind is BlockKind.TOOL
    assert "lookup" in text
    assert state in text
    assert settled == (count == 3)


def test_a_failed_run_says_why_at_the_end() -> None:
    failure = RunFailure(reason=FailureReason.FAILURE_REASON_STEP_LIMIT, message="too many steps")
    events = facts(asked("hi"), ThreadEvent(run_failed=RunFailed(failure=failure)))
    assert shown(Transcript().after_events(events))[-1] == (
        BlockKind.END,
        "run r1 failed: STEP_LIMIT: too many steps",
        True,
    )


def test_a_question_shows_its_options_and_which_is_recommended() -> None:
    question = InputRequest(
        input_id="i1",
        run_id="r1",
        kind=InputKind.INPUT_KIND_QUESTION,
        prompt="Which?",
        options=[InputOption(value="a", label="Apples"), InputOption(value="b", recommended=True)],
    )
    text = input_text(question).plain
    assert "question i1" in text
    assert "[a] Apples" in text
    assert "[b] b (recommended)" in text
    events = facts(ThreadEvent(input_requested=InputRequested(input=question)))
    assert shown(Transcript().after_events(events))[-1][0] is BlockKind.INPUT


def test_words_of_a_model_cannot_steer_the_terminal() -> None:
    assert clean("a\x1b[2Jb\x07\tc\nd\x9b") == "a[2Jb\tc\nd"
    events = facts(step("m1"), said("m1", "\x1b]0;owned\x07hello"))
    assert "\x1b" not in shown(Transcript().after_events(events))[-1][1]


def test_plain_words_are_written_once_and_only_grow(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen()
    plain = PlainFollowing(screen, "r1", users=False)
    begun = Transcript().after_events(facts(asked("hi"), step("m1")))
    for transcript in (
        begun,
        first := begun.after_deltas([words("Hel")]),
        second := first.after_deltas([words("lo", 3)]),
        second,
        second.after_events(facts(asked("hi"), step("m1"), said("m1", "Hello there"))[2:]),
    ):
        plain.show(transcript)
    assert capsys.readouterr().out == "Hello there\n"


def test_plain_words_of_a_discarded_attempt_stay_on_a_line_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    plain = PlainFollowing(Screen(), "r1", users=False)
    first = Transcript().after_events(facts(asked("hi"), step("m1"))).after_deltas([words("Wro")])
    plain.show(first)
    again = first.after_events(facts(asked("hi"), step("m1"), step("m2", "m1"))[2:])
    plain.show(again)
    plain.show(again.after_events(facts(asked("hi"), step("m1"), step("m2"), said("m2", "Right"))[3:]))
    told = capsys.readouterr()
    assert told.out == "Wro\nRight\n"
    assert "count no more" in told.err


def test_a_terminal_ends_with_each_settled_block_once() -> None:
    screen = Screen()
    screen.out = Console(file=(out := StringIO()), force_terminal=True, width=60, height=20, color_system=None)
    live = LiveFollowing(screen, "r1", users=False)
    begun = Transcript().after_events(facts(asked("hi"), step("m1")))
    writing = begun.after_deltas([words("Hello")])
    done = writing.after_events(facts(asked("hi"), step("m1"), said("m1", "Hello there"), *tool_call())[2:])
    for transcript in (begun, writing, done, done):
        live.show(transcript)
    live.pause()
    assert out.getvalue().count("Hello there\n") == 1
    assert out.getvalue().count("✓ lookup ok") == 1


def test_json_is_not_mixed_with_words() -> None:
    assert isinstance(following(Screen(machine=True), "r1"), Silent)
    assert isinstance(following(Screen(), "r1"), PlainFollowing)


def test_a_fact_is_one_line_with_what_matters() -> None:
    event = facts(ThreadEvent(run_started=RunStarted(attempt=2, worker_id="w7")))[0]
    line = event_line(event).plain
    assert "run_started" in line
    assert "attempt=2" in line
    assert "worker_id=w7" in line
    assert "\n" not in line
