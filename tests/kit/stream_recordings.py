"""The recordings of tests/contract/golden, written by hand: what comes on the wire, and what a screen then shows.

python -m tests.kit.stream_recordings      writes the files anew
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf.json_format import MessageToDict

from heddle.common.v1.content_pb2 import ContentPart
from heddle.runtime.v1.call_events_pb2 import InputRequested, InputResolved, ToolCallRequested
from heddle.runtime.v1.event_pb2 import ThreadEvent
from heddle.runtime.v1.input_pb2 import InputKind, InputRequest, InputState
from heddle.runtime.v1.run_events_pb2 import (
    AssistantMessageCompleted,
    RunCancelled,
    RunCancelRequested,
    RunCompleted,
    RunResumed,
    RunStarted,
    RunWaiting,
    StepStarted,
    TurnRequested,
)
from heddle.runtime.v1.run_pb2 import CancelCause, FinishReason, RunResult
from heddle.runtime.v1.stream_pb2 import (
    Checkpoint,
    Closing,
    ClosingReason,
    DeltaBatch,
    EventBatch,
    Opened,
    StreamFrame,
)
from heddle.runtime.v1.turn_pb2 import Turn
from tests.kit.stream_tellings import RUN, delta, event

FOLDER = Path(__file__).parents[1] / "contract" / "golden"

SAID = "Grüße aus Köln 🌦, es regnet."


@dataclass(frozen=True)
class Opens:
    """A connection begins; the client asks for what comes after this sequence."""

    after_sequence: int | None = None
    """None: the request that starts the turn."""


@dataclass(frozen=True)
class Tells:
    """A frame comes."""

    frame: StreamFrame
    shown: dict[str, str]
    """After it: the text of each message of the agent that shows any, by message id."""


@dataclass(frozen=True)
class Ends:
    """A connection ends with this status; `reason` is Heddle's own, if the server could still say one."""

    status: str
    reason: str = ""


Line = Opens | Tells | Ends


@dataclass(frozen=True)
class Recording:
    name: str
    about: str
    lines: tuple[Line, ...]
    run_state: str


def recordings() -> list[Recording]:
    return [whole(), cut(), overtaken(), reset(), rotated(), retried(), failover(), cancelled(), asked()]


def as_text(recording: Recording) -> str:
    lines: list[dict[str, Any]] = [{"recording": recording.name, "about": recording.about}]
    shown: dict[str, str] = {}
    for line in recording.lines:
        match line:
            case Opens(after_sequence=None):
                lines.append({"opens": {}})
            case Opens(after_sequence=sequence):
                lines.append({"opens": {"afterSequence": str(sequence)}})
            case Tells(frame, shown):
                lines.append({"frame": MessageToDict(frame), "shown": shown})
            case Ends(status, reason):
                lines.append({"ends": {"status": status, **({"reason": reason} if reason else {})}})
    lines.append({"final": {"shown": shown, "runState": recording.run_state}})
    return "".join(json.dumps(each, ensure_ascii=False, sort_keys=True) + "\n" for each in lines)


def whole() -> Recording:
    lines = (
        Opens(),
        *begin(),
        tells(words(0, 6), "Grüße "),
        tells(words(6, 15), "Grüße aus Köln "),
        tells(words(15, len(SAID)), SAID),
        *finish(),
    )
    return Recording("whole", "Nothing goes wrong.", lines, "RUN_STATE_COMPLETED")


def cut() -> Recording:
    lines = (
        Opens(),
        *begin(),
        tells(words(0, 3), "Grü"),
        Ends("UNAVAILABLE"),
        Opens(3),
        tells(opened(3), "Grü"),
        tells(words(0, 9), "Grüße aus"),
        tells(words(9, 16), "Grüße aus Köln 🌦"),
        Ends("UNAVAILABLE"),
        Opens(3),
        tells(opened(4), "Grüße aus Köln 🌦"),
        *finish(),
    )
    about = "The connection breaks in the middle of a word: the words so far come from their first byte again."
    return Recording("cut", about, lines, "RUN_STATE_COMPLETED")


def overtaken() -> Recording:
    lines = (
        Opens(3),
        tells(opened(3)),
        tells(words(10, 15)),
        tells(words(15, 16)),
        tells(words(0, 5), "Grüße"),
        tells(words(5, 10), "Grüße aus Köln 🌦"),
        tells(words(10, 15), "Grüße aus Köln 🌦"),
        tells(words(16, len(SAID)), SAID),
        *finish(),
    )
    about = "A late joiner: new words come before the words so far, and wait for them."
    return Recording("overtaken", about, lines, "RUN_STATE_COMPLETED")


def reset() -> Recording:
    lines = (
        Opens(),
        *begin(),
        tells(words(0, 9), "Grüße aus"),
        tells(words(0, 6, reset=True), "Grüße "),
        tells(words(6, 15), "Grüße aus Köln "),
        tells(words(16, 18), "Grüße aus Köln "),
        tells(words(0, 18, reset=True), SAID[:18]),
        *finish(),
    )
    about = "The server lost count and starts its words anew: `reset` replaces all that was shown, held pieces too."
    return Recording("reset", about, lines, "RUN_STATE_COMPLETED")


def rotated() -> Recording:
    closing = Closing(reason=ClosingReason.CLOSING_REASON_ROTATED, resume_after_sequence=3)
    again = EventBatch(events=[fact for line in begin()[1:] for fact in line.frame.events.events][1:])
    lines = (
        Opens(),
        *begin(),
        tells(words(0, 6), "Grüße "),
        tells(StreamFrame(closing=closing), "Grüße "),
        Ends("UNAVAILABLE", "STREAM_ROTATED"),
        Opens(1),
        tells(opened(3), "Grüße "),
        tells(StreamFrame(events=again), "Grüße "),
        tells(StreamFrame(checkpoint=Checkpoint(sequence=3, caught_up=True)), "Grüße "),
        tells(words(0, 15), "Grüße aus Köln "),
        *finish(),
    )
    about = "The server rotates the stream; the client asks from an older cursor, and gets facts that it has."
    return Recording("rotated", about, lines, "RUN_STATE_COMPLETED")


def retried() -> Recording:
    second = StepStarted(step_id="s1", number=1, attempt=2, message_id="m2", discards_message_id="m1")
    late = StreamFrame(deltas=DeltaBatch(deltas=[delta("m1", "Hallo aus Bonn", 9, 14)]))
    first = StreamFrame(deltas=DeltaBatch(deltas=[delta("m1", "Hallo aus Bonn", 0, 9)]))
    lines = (
        Opens(),
        *begin(),
        Tells(first, {"m1": "Hallo aus"}),
        tells(facts(event(4, step_started=second))),
        tells(late),
        tells(words(0, 9, message_id="m2"), "Grüße aus", message_id="m2"),
        *finish(5, message_id="m2"),
    )
    about = "The first attempt at a step fails: its words go, and those of it that come late are dropped."
    return Recording("retried", about, lines, "RUN_STATE_COMPLETED")


def failover() -> Recording:
    resumed = RunResumed(attempt=2, fence=2, worker_id="w2")
    again = StepStarted(step_id="s1", number=1, attempt=2, message_id="m2", discards_message_id="m1")
    late = StreamFrame(deltas=DeltaBatch(deltas=[delta("m1", SAID, 9, 14)]))
    lines = (
        Opens(),
        *begin(),
        tells(words(0, 9), "Grüße aus"),
        Ends("UNAVAILABLE"),
        Opens(3),
        tells(opened(3), "Grüße aus"),
        tells(StreamFrame(checkpoint=Checkpoint(sequence=3, caught_up=True)), "Grüße aus"),
        tells(facts(event(4, run_resumed=resumed)), "Grüße aus"),
        tells(facts(event(5, step_started=again))),
        tells(late),
        tells(words(0, 3, message_id="m2"), "Grü", message_id="m2"),
        Ends("UNAVAILABLE"),
        Opens(5),
        tells(opened(5), "Grü", message_id="m2"),
        tells(words(0, 9, message_id="m2"), "Grüße aus", message_id="m2"),
        *finish(6, message_id="m2"),
    )
    about = (
        "The worker dies inside a word and takes the connection along; elsewhere another one takes the run over and"
        " says it anew. What the dead one still says is dropped."
    )
    return Recording("failover", about, lines, "RUN_STATE_COMPLETED")


def cancelled() -> Recording:
    kept = SAID[:12]
    requested = RunCancelRequested(cause=CancelCause.CANCEL_CAUSE_REQUESTED)
    said = AssistantMessageCompleted(
        message_id="m1",
        content=[ContentPart(text=kept)],
        incomplete=True,
        finish_reason=FinishReason.FINISH_REASON_CANCELLED,
    )
    ended = RunCancelled(cause=CancelCause.CANCEL_CAUSE_REQUESTED)
    lines = (
        Opens(),
        *begin(),
        tells(words(0, 10), "Grüße aus "),
        tells(words(10, 14), "Grüße aus Köln"),
        tells(facts(event(4, run_cancel_requested=requested)), "Grüße aus Köln"),
        tells(facts(event(5, assistant_message_completed=said)), kept),
        tells(words(14, 16), kept),
        tells(facts(event(6, run_cancelled=ended)), kept),
        tells(settled(6), kept),
        Ends("OK"),
    )
    about = "Cancelled in mid-word: the fact holds fewer words than were shown, and wins."
    return Recording("cancelled_in_mid_word", about, lines, "RUN_STATE_CANCELLED")


def asked() -> Recording:
    call = ToolCallRequested(call_id="c1", message_id="m1", tool="look", arguments_json="{}")
    question = InputRequest(
        input_id="i1",
        thread_id="t_1",
        run_id=RUN,
        call_id="c1",
        kind=InputKind.INPUT_KIND_CLIENT_TOOL,
        state=InputState.INPUT_STATE_PENDING,
        tool="look",
        arguments_json="{}",
    )
    answer = InputResolved(input_id="i1", state=InputState.INPUT_STATE_ANSWERED)
    second = StepStarted(step_id="s2", number=2, attempt=1, message_id="m2")
    first = {"m1": "Ich sehe nach. "}
    told = AssistantMessageCompleted(message_id="m1", content=[ContentPart(text=first["m1"])])
    both = {**first, "m2": SAID}
    lines = (
        Opens(),
        *begin(),
        Tells(facts(event(4, assistant_message_completed=told)), first),
        Tells(facts(event(5, tool_call_requested=call)), first),
        Tells(facts(event(6, input_requested=InputRequested(input=question))), first),
        Tells(facts(event(7, run_waiting=RunWaiting(input_ids=["i1"]))), first),
        Tells(settled(7), first),
        Ends("OK"),
        Opens(7),
        Tells(opened(10), first),
        Tells(facts(event(8, input_resolved=answer), event(9, run_resumed=RunResumed(attempt=2))), first),
        Tells(facts(event(10, step_started=second)), first),
        Tells(words(0, 6, message_id="m2"), {**first, "m2": "Grüße "}),
        *(Tells(line.frame, both) if isinstance(line, Tells) else line for line in finish(11, message_id="m2")),
    )
    about = "The stream ends well where the run waits, and is joined again after the answer."
    return Recording("asked", about, lines, "RUN_STATE_COMPLETED")


def begin() -> tuple[Tells, ...]:
    """Facts 1 to 3, with the model about to write m1."""
    turn = Turn(content=[ContentPart(text="Wie ist das Wetter?")])
    return (
        tells(opened(1)),
        tells(facts(event(1, turn_requested=TurnRequested(request_id="r1", message_id="u1", turn=turn)))),
        tells(facts(event(2, run_started=RunStarted(attempt=1, fence=1)))),
        tells(facts(event(3, step_started=StepStarted(step_id="s1", number=1, attempt=1, message_id="m1")))),
    )


def finish(sequence: int = 4, message_id: str = "m1") -> tuple[Line, ...]:
    said = AssistantMessageCompleted(
        message_id=message_id,
        content=[ContentPart(text=SAID)],
        finish_reason=FinishReason.FINISH_REASON_STOP,
    )
    result = RunResult(message_id=message_id, parts=[ContentPart(text=SAID)])
    completed = RunCompleted(result=result)
    return (
        tells(facts(event(sequence, assistant_message_completed=said)), SAID, message_id),
        tells(facts(event(sequence + 1, run_completed=completed)), SAID, message_id),
        tells(settled(sequence + 1), SAID, message_id),
        Ends("OK"),
    )


def tells(frame: StreamFrame, text: str = "", message_id: str = "m1") -> Tells:
    return Tells(frame, {message_id: text} if text else {})


def opened(head: int) -> StreamFrame:
    return StreamFrame(opened=Opened(thread_id="t_1", run_id=RUN, head_sequence=head))


def facts(*events: ThreadEvent) -> StreamFrame:
    return StreamFrame(events=EventBatch(events=events))


def words(start: int, end: int, *, reset: bool = False, message_id: str = "m1") -> StreamFrame:
    return StreamFrame(deltas=DeltaBatch(deltas=[delta(message_id, SAID, start, end, reset=reset)]))


def settled(sequence: int) -> StreamFrame:
    reason = ClosingReason.CLOSING_REASON_SETTLED
    return StreamFrame(closing=Closing(reason=reason, resume_after_sequence=sequence))


def write() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for recording in recordings():
        (FOLDER / f"{recording.name}.jsonl").write_text(as_text(recording), encoding="utf-8")


if __name__ == "__main__":
    write()
