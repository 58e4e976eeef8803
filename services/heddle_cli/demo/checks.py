"""What must be true after the crash. Pure: from the log, what the client had, and the file on disk.

Nothing here knows what the model said: every expectation comes from the brief, the client or the log itself.
"""

import json
from collections.abc import Sequence

from heddle.runtime.v1.event_pb2 import ThreadEvent
from heddle.runtime.v1.input_pb2 import InputState
from heddle.runtime.v1.thread_service_pb2 import VerifyThreadResponse
from heddle.runtime.v1.tool_call_pb2 import ToolCallOutcome
from heddle_cli.demo.crash import Killed
from heddle_client.transcript_lines import text_of
from heddle_core.values import value

_TERMINAL = ("run_completed", "run_failed", "run_cancelled")
_CLAIMS = ("run_started", "run_resumed")


@value
class Evidence:
    """Everything that the checks go by."""

    run_id: str
    brief: str
    log: Sequence[ThreadEvent]
    """The whole thread as the server tells it after the crash."""
    seen: Sequence[int]
    """Sequences of this run as the client's stream told them, in the order of arrival."""
    killed: Killed | None
    answer: str
    """The answer that the client shows."""
    provisional: str
    """What the client showed of that answer before its fact came."""
    verified: VerifyThreadResponse | None
    """What VerifyThread said; None when the chain is broken."""
    file_text: str | None
    """What lies in the file that the tool wrote; None when there is no such file."""


@value
class Check:
    """One thing that was checked."""

    claim: str
    holds: bool
    detail: str


def check(evidence: Evidence) -> list[Check]:
    """All checks, in the order of the story."""
    return [
        _killed_in_the_middle(evidence),
        _another_process_finished(evidence),
        _one_end(evidence),
        _gapless(evidence),
        _nothing_missed(evidence),
        _chain(evidence),
        _tool_once(evidence),
        _arguments_from_brief(evidence),
        _same_text(evidence),
    ]


def _run_events(evidence: Evidence) -> list[ThreadEvent]:
    return [each for each in evidence.log if each.run_id == evidence.run_id]


def _of(evidence: Evidence, *kinds: str) -> list[ThreadEvent]:
    return [each for each in _run_events(evidence) if each.WhichOneof("payload") in kinds]


def _killed_in_the_middle(evidence: Evidence) -> Check:
    claim = "the server was killed while words arrived"
    killed = evidence.killed
    if killed is None:
        return Check(claim, False, "the answer was complete before there was time to kill it")
    finished = {each.assistant_message_completed.message_id for each in _of(evidence, "assistant_message_completed")}
    holds = killed.message_id not in finished and bool(killed.words)
    return Check(claim, holds, f"process {killed.pid}, after {len(killed.words.encode())} bytes of the answer")


def _another_process_finished(evidence: Evidence) -> Check:
    claim = "another process took the run over and finished it"
    claims = [getattr(each, each.WhichOneof("payload") or "") for each in _of(evidence, *_CLAIMS)]
    told = [f"attempt {each.attempt} by {each.worker_id}" for each in claims]
    sequence = evidence.killed.sequence if evidence.killed else 0
    after = [each for each in _of(evidence, *_CLAIMS) if each.sequence > sequence]
    attempts = [each.attempt for each in claims]
    holds = (
        bool(after)
        and len({each.worker_id for each in claims}) == 2
        and attempts == sorted(attempts)
        and (attempts[0], attempts[-1]) == (1, 2)
        and any(each.step_started.attempt > 1 for each in _of(evidence, "step_started"))
    )
    return Check(claim, holds, "; ".join(told))


def _one_end(evidence: Evidence) -> Check:
    ends = _of(evidence, *_TERMINAL)
    told = ", ".join(f"{each.WhichOneof('payload')} at {each.sequence}" for each in ends) or "none"
    last = _run_events(evidence)[-1].sequence if ends else 0
    holds = len(ends) == 1 and ends[0].WhichOneof("payload") == "run_completed" and ends[0].sequence == last
    return Check("the run ended once, completed, and nothing came after", holds, told)


def _gapless(evidence: Evidence) -> Check:
    sequences = [each.sequence for each in evidence.log]
    holds = bool(sequences) and sequences == list(range(1, len(sequences) + 1))
    return Check("the log is gapless", holds, f"sequences {sequences[:1]} to {sequences[-1:]}, {len(sequences)} facts")


def _nothing_missed(evidence: Evidence) -> Check:
    told = [each.sequence for each in _run_events(evidence)]
    holds = list(evidence.seen) == told
    return Check(
        "the client's stream had every fact once and in order, across the crash",
        holds,
        f"{len(evidence.seen)} of {len(told)}",
    )


def _chain(evidence: Evidence) -> Check:
    linked = all(
        later.previous_hash == earlier.hash for earlier, later in zip(evidence.log, evidence.log[1:], strict=False)
    )
    verified = evidence.verified
    if verified is None:
        return Check("the hash chain verifies", False, "VerifyThread says that it is broken")
    holds = linked and bool(evidence.log) and verified.last_hash == evidence.log[-1].hash
    return Check(
        "the hash chain verifies",
        holds and verified.events == len(evidence.log),
        f"head {verified.last_hash.hex()[:16]}…",
    )


def _tool_once(evidence: Evidence) -> Check:
    claim = "the tool ran once, after somebody approved it, and its file is there"
    approved = [
        each.sequence
        for each in _of(evidence, "input_resolved")
        if each.input_resolved.state == InputState.INPUT_STATE_APPROVED
    ]
    started = [each.sequence for each in _of(evidence, "tool_call_started")]
    ended = [
        each
        for each in _of(evidence, "tool_call_completed")
        if each.tool_call_completed.outcome == ToolCallOutcome.TOOL_CALL_OUTCOME_OK
    ]
    once = len(approved) == len(started) == len(ended) == 1 and approved[0] < started[0]
    written = _arguments(evidence).get("content")
    holds = once and evidence.file_text is not None and evidence.file_text == written
    told = f"approved at {approved}, sent at {started}, {len(evidence.file_text or '')} characters on disk"
    return Check(claim, holds, told)


def _arguments_from_brief(evidence: Evidence) -> Check:
    path = str(_arguments(evidence).get("path", ""))
    holds = bool(path) and path in evidence.brief
    return Check("the tool's arguments come from the brief", holds, f"path {path!r}")


def _arguments(evidence: Evidence) -> dict[str, object]:
    asked = _of(evidence, "tool_call_requested")
    if not asked:
        return {}
    try:
        value: object = json.loads(asked[0].tool_call_requested.arguments_json)
    except ValueError:
        return {}
    return dict(value) if isinstance(value, dict) else {}  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]


def _same_text(evidence: Evidence) -> Check:
    claim = "the text that the client shows is the text in the log"
    said = _of(evidence, "assistant_message_completed")
    ends = _of(evidence, "run_completed")
    if not said or not ends:
        return Check(claim, False, "there is no answer")
    logged = text_of(said[-1].assistant_message_completed.content)
    result = text_of(ends[-1].run_completed.result.parts)
    streamed = evidence.provisional
    holds = bool(logged) and logged == evidence.answer == result and bool(streamed) and logged.startswith(streamed)
    size = len(logged.encode())
    return Check(claim, holds, f"{size} bytes, {len(streamed.encode())} of them streamed word by word before the fact")
