"""The demonstration's checks: each of them fails when what it claims is not so."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from heddle.common.v1.content_pb2 import ContentPart
from heddle.runtime.v1.call_events_pb2 import InputResolved, ToolCallCompleted, ToolCallRequested, ToolCallStarted
from heddle.runtime.v1.event_pb2 import ThreadEvent
from heddle.runtime.v1.input_pb2 import InputState
from heddle.runtime.v1.run_events_pb2 import (
    AssistantMessageCompleted,
    RunCompleted,
    RunResumed,
    RunStarted,
    StepStarted,
)
from heddle.runtime.v1.run_pb2 import RunResult
from heddle.runtime.v1.thread_service_pb2 import VerifyThreadResponse
from heddle.runtime.v1.tool_call_pb2 import ToolCallOutcome
from heddle_cli.demo.checks import Evidence, check
from heddle_cli.demo.crash import Killed
from heddle_cli.demo.examples import find_examples

ANSWER = "A long letter."


def log() -> list[ThreadEvent]:
    parts = [ContentPart(text=ANSWER)]
    payloads = [
        ThreadEvent(run_started=RunStarted(attempt=1, worker_id="w1")),
        ThreadEvent(tool_call_requested=ToolCallRequested(arguments_json='{"path":"a.md","content":"x"}')),
        ThreadEvent(input_resolved=InputResolved(state=InputState.INPUT_STATE_APPROVED)),
        ThreadEvent(tool_call_started=ToolCallStarted(call_id="c1")),
        ThreadEvent(tool_call_completed=ToolCallCompleted(outcome=ToolCallOutcome.TOOL_CALL_OUTCOME_OK)),
        ThreadEvent(step_started=StepStarted(attempt=1, message_id="m1")),
        ThreadEvent(run_resumed=RunResumed(attempt=2, worker_id="w2")),
        ThreadEvent(step_started=StepStarted(attempt=2, message_id="m2", discards_message_id="m1")),
        ThreadEvent(assistant_message_completed=AssistantMessageCompleted(message_id="m2", content=parts)),
        ThreadEvent(run_completed=RunCompleted(result=RunResult(parts=parts))),
    ]
    for sequence, event in enumerate(payloads, 1):
        event.sequence, event.run_id = sequence, "r1"
        event.previous_hash, event.hash = bytes([sequence - 1]), bytes([sequence])
    return payloads


def sound() -> Evidence:
    events = log()
    return Evidence(
        run_id="r1",
        brief="Write the file a.md",
        log=events,
        seen=[each.sequence for each in events],
        killed=Killed(pid=1, message_id="m1", words="A lo", sequence=6),
        answer=ANSWER,
        provisional=ANSWER[:5],
        verified=VerifyThreadResponse(events=len(events), last_hash=events[-1].hash),
        file_text="x",
    )


def without(place: int) -> Callable[[Evidence], Evidence]:
    return lambda evidence: replace(evidence, log=[*evidence.log[:place], *evidence.log[place + 1 :]])


def unlinked(evidence: Evidence) -> Evidence:
    events = log()
    events[4].previous_hash = b"other"
    return replace(evidence, log=events)


def same_worker(evidence: Evidence) -> Evidence:
    events = log()
    events[6].run_resumed.worker_id = "w1"
    return replace(evidence, log=events)


def test_everything_holds_when_everything_is_so() -> None:
    assert [each.claim for each in check(sound()) if not each.holds] == []


@pytest.mark.parametrize(
    ("spoil", "claim"),
    [
        (lambda each: replace(each, killed=None), "killed while words"),
        (lambda each: replace(each, killed=Killed(1, "m2", "A", 9)), "killed while words"),
        (same_worker, "another process"),
        (without(6), "another process"),
        (without(9), "ended once"),
        (without(4), "gapless"),
        (lambda each: replace(each, seen=[*each.seen, 3]), "stream had every fact"),
        (lambda each: replace(each, seen=each.seen[1:]), "stream had every fact"),
        (lambda each: replace(each, verified=None), "hash chain"),
        (unlinked, "hash chain"),
        (without(2), "tool ran once"),
        (lambda each: replace(each, file_text="y"), "tool ran once"),
        (lambda each: replace(each, file_text=None), "tool ran once"),
        (lambda each: replace(each, brief="nothing about files"), "come from the brief"),
        (lambda each: replace(each, answer="A short letter."), "text in the log"),
        (lambda each: replace(each, provisional=""), "text in the log"),
        (lambda each: replace(each, provisional="Other words"), "text in the log"),
    ],
)
def test_a_check_fails_when_its_claim_is_not_so(spoil: Callable[[Evidence], Evidence], claim: str) -> None:
    broken = [each.claim for each in check(spoil(sound())) if not each.holds]
    assert any(claim in each for each in broken), broken


def test_the_example_files_are_found() -> None:
    found = find_examples()
    assert "trail-shoes.md" in found.brief.read_text()
    assert (found.scenarios / "demo.yaml").is_file()
