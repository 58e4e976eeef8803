from hypothesis import given

from heddle.common.v1.content_pb2 import ContentPart
from heddle.runtime.v1.call_events_pb2 import (
    InputRequested,
    InputResolved,
    ToolCallCompleted,
    ToolCallProgressed,
    ToolCallRequested,
    ToolCallStarted,
)
from heddle.runtime.v1.input_pb2 import InputRequest
from heddle.runtime.v1.run_events_pb2 import (
    AssistantMessageCompleted,
    MessageRedacted,
    ReasoningRecorded,
    RunCancelled,
    RunCompleted,
    RunFailed,
    RunSuperseded,
    StepStarted,
    TurnRequested,
    TurnSteered,
)
from heddle.runtime.v1.run_pb2 import FailureReason, RunFailure, RunResult, RunState
from heddle.runtime.v1.stream_pb2 import Delta, DeltaChannel
from heddle.runtime.v1.tool_call_pb2 import ToolCallOutcome
from heddle.runtime.v1.turn_pb2 import Turn
from heddle_client.transcript import Transcript
from heddle_client.transcript_lines import ToolState
from tests.kit.stream_tellings import RUN, Telling, delta, event, tellings


def asked(sequence: int, said: str = "Hi") -> object:
    turn = Turn(content=[ContentPart(text=said)])
    return event(sequence, turn_requested=TurnRequested(message_id=f"u{sequence}", turn=turn))


def answered(message_id: str, text: str, sequence: int) -> object:
    told = AssistantMessageCompleted(message_id=message_id, content=[ContentPart(text=text)])
    return event(sequence, assistant_message_completed=told)


def folded(*events: object) -> Transcript:
    return Transcript().after_events(events)  # type: ignore[arg-type]


@given(tellings())
def test_no_telling_ever_shows_a_wrong_word_and_all_end_alike(telling: Telling) -> None:
    transcript = Transcript()
    for frame in telling.frames:
        transcript = transcript.after(frame)
        for message_id, text in telling.written.items():
            shown = transcript.text(message_id)
            final = telling.final.get(message_id)
            settled = message_id in transcript.messages and transcript.messages[message_id].settled
            assert shown == final if settled else text.startswith(shown)
            if transcript.sequence >= telling.discards.get(message_id, transcript.sequence + 1):
                assert shown == ""
    for message_id in telling.written:
        assert transcript.text(message_id) == telling.final.get(message_id, "")
    assert transcript.runs[RUN].ended


@given(tellings())
def test_folding_the_same_frames_again_changes_nothing(telling: Telling) -> None:
    once = Transcript()
    for frame in telling.frames:
        once = once.after(frame)
    twice = once
    for frame in telling.frames:
        twice = twice.after(frame)
    assert twice == once


def test_the_final_text_wins_over_other_words() -> None:
    transcript = folded(asked(1)).after_deltas([delta("m1", "Helpless", 0, 8)])
    transcript = transcript.after_events([answered("m1", "Hello", 2)])  # type: ignore[list-item]
    assert transcript.text("m1") == "Hello"
    assert transcript.after_deltas([delta("m1", "Hello, you", 5, 10)]) == transcript


def test_words_of_a_discarded_attempt_are_dropped_even_when_late() -> None:
    started = event(2, step_started=StepStarted(message_id="m2", attempt=2, discards_message_id="m1"))
    transcript = folded(asked(1)).after_deltas([delta("m1", "Wrong", 0, 5)]).after_events([started])
    assert transcript.text("m1") == ""
    assert transcript.after_deltas([delta("m1", "Wrong again", 0, 11)]) == transcript


def test_what_no_fact_confirmed_is_gone_when_the_run_ends() -> None:
    thoughts = Delta(run_id=RUN, message_id="m1", channel=DeltaChannel.DELTA_CHANNEL_REASONING, text="Hm")
    writing = folded(asked(1)).after_deltas([delta("m1", "Half a w", 0, 8), thoughts])
    failure = RunFailure(reason=FailureReason.FAILURE_REASON_MODEL_UNAVAILABLE)
    ended = writing.after_events([event(2, run_failed=RunFailed(failure=failure))])
    assert [line.message_id for line in ended.shown] == ["u1"]
    assert ended.runs[RUN].failure == failure
    assert ended.after_deltas([delta("m1", "Half a word", 0, 11)]) == ended


def test_recorded_reasoning_replaces_the_thoughts_that_were_streamed() -> None:
    streamed = Delta(run_id=RUN, message_id="m1", channel=DeltaChannel.DELTA_CHANNEL_REASONING, text="Hmm")
    transcript = folded(asked(1)).after_deltas([streamed])
    assert transcript.messages["m1"].reasoning == "Hmm"
    recorded = event(2, reasoning_recorded=ReasoningRecorded(message_id="m1", text="I see"))
    transcript = transcript.after_events([recorded])
    assert transcript.messages["m1"].reasoning == "I see"
    assert transcript.after_deltas([streamed]).messages["m1"].reasoning == "I see"


def test_a_tool_call_goes_from_writing_to_its_result() -> None:
    writing = Delta(
        run_id=RUN,
        message_id="m1",
        call_id="c1",
        channel=DeltaChannel.DELTA_CHANNEL_TOOL_ARGUMENTS,
        text='{"q":',
    )
    transcript = folded(asked(1)).after_deltas([writing])
    line = transcript.tools[RUN, "c1"]
    assert (line.state, line.arguments_json) == (ToolState.WRITING, '{"q":')
    requested = ToolCallRequested(call_id="c1", message_id="m1", tool="find", arguments_json='{"q":1}')
    states: list[tuple[ToolState, str, float]] = []
    for sequence, payload in enumerate(
        (
            {"tool_call_requested": requested},
            {"tool_call_started": ToolCallStarted(call_id="c1", tool="find")},
            {"tool_call_progressed": ToolCallProgressed(call_id="c1", fraction=0.5, message="half")},
            {
                "tool_call_completed": ToolCallCompleted(
                    call_id="c1",
                    outcome=ToolCallOutcome.TOOL_CALL_OUTCOME_OK,
                    content=[ContentPart(text="found")],
                )
            },
        ),
        2,
    ):
        transcript = transcript.after_events([event(sequence, **payload)]).after_deltas([writing])
        line = transcript.tools[RUN, "c1"]
        states.append((line.state, line.arguments_json, line.fraction))
    assert states == [
        (ToolState.REQUESTED, '{"q":1}', 0.0),
        (ToolState.STARTED, '{"q":1}', 0.0),
        (ToolState.STARTED, '{"q":1}', 0.5),
        (ToolState.ENDED, '{"q":1}', 0.5),
    ]
    assert (line.outcome, line.content[0].text) == (ToolCallOutcome.TOOL_CALL_OUTCOME_OK, "found")


def test_calls_that_a_discarded_attempt_had_begun_to_write_are_gone() -> None:
    writing = Delta(
        run_id=RUN,
        message_id="m1",
        call_id="c1",
        channel=DeltaChannel.DELTA_CHANNEL_TOOL_ARGUMENTS,
        text="{",
    )
    started = event(2, step_started=StepStarted(message_id="m2", attempt=2, discards_message_id="m1"))
    assert not folded(asked(1)).after_deltas([writing]).after_events([started]).tools


def test_inputs_are_pending_until_they_are_resolved_or_their_run_ends() -> None:
    one = event(2, input_requested=InputRequested(input=InputRequest(input_id="i1", run_id=RUN)))
    two = event(3, input_requested=InputRequested(input=InputRequest(input_id="i2", run_id=RUN)))
    resolved = event(4, input_resolved=InputResolved(input_id="i1"))
    transcript = folded(asked(1), one, two, resolved)
    assert list(transcript.inputs) == ["i2"]
    assert not transcript.after_events([event(5, run_cancelled=RunCancelled())]).inputs


def test_a_rolled_back_run_is_not_shown() -> None:
    cancelled = event(3, run_cancelled=RunCancelled(rolled_back=True))
    transcript = folded(asked(1), answered("m1", "Hello", 2), cancelled)
    assert transcript.shown == ()
    assert transcript.runs[RUN].state == RunState.RUN_STATE_CANCELLED


def test_a_superseded_run_is_not_shown() -> None:
    later = event(3, run_superseded=RunSuperseded(superseded_run_id=RUN))
    later.run_id = "run_2"
    transcript = folded(asked(1), answered("m1", "Hello", 2), later)
    assert transcript.shown == ()
    assert transcript.runs[RUN].superseded_by_run_id == "run_2"


def test_a_steered_message_stands_where_it_came() -> None:
    steered = TurnSteered(message_id="u2", content=[ContentPart(text="Faster")])
    transcript = folded(asked(1), answered("m1", "Well", 2), event(3, turn_steered=steered))
    assert [line.text for line in transcript.shown] == ["Hi", "Well", "Faster"]


def test_a_redacted_message_keeps_its_place_and_loses_its_words() -> None:
    redacted = event(3, message_redacted=MessageRedacted(message_id="m1"))
    transcript = folded(asked(1), answered("m1", "Secret", 2), redacted)
    assert [(line.text, line.redacted) for line in transcript.shown] == [("Hi", False), ("", True)]


def test_an_unknown_kind_of_fact_moves_the_cursor_only() -> None:
    before = folded(asked(1))
    after = before.after_events([event(2)])
    assert after.sequence == 2
    assert after.messages == before.messages


def test_the_result_of_a_run_is_kept() -> None:
    result = RunResult(message_id="m1", structured_json="{}")
    transcript = folded(asked(1), event(2, run_completed=RunCompleted(result=result)))
    assert transcript.runs[RUN].result == result


def test_a_fact_that_comes_again_is_not_folded_again() -> None:
    requested = event(2, input_requested=InputRequested(input=InputRequest(input_id="i1", run_id=RUN)))
    resolved = event(3, input_resolved=InputResolved(input_id="i1"))
    transcript = folded(asked(1), requested, resolved)
    assert transcript.after_events([requested]) == transcript
