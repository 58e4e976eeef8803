"""What clients were told, against what the log holds: nothing acknowledged is missing, nothing shown was wrong."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from heddle.runtime.v1.agent_runtime_pb2 import TurnDisposition
from heddle.runtime.v1.event_pb2 import ThreadEvent
from heddle.runtime.v1.input_pb2 import InputDecision, InputState
from heddle_client.transcript_lines import text_of
from tests.kit.property_calls import Outcome, Told
from tests.kit.property_fold import moment
from tests.kit.property_invariants import ENDS
from tests.kit.property_log import Logged, Tables
from tests.kit.property_readers import ENDED, Connection, Reader
from tests.kit.property_scenario import line_of, sayable

_NEW = (TurnDisposition.TURN_DISPOSITION_STARTED, TurnDisposition.TURN_DISPOSITION_QUEUED)

_DECIDED = {
    InputDecision.INPUT_DECISION_UNSPECIFIED: InputState.INPUT_STATE_ANSWERED,
    InputDecision.INPUT_DECISION_ANSWER: InputState.INPUT_STATE_ANSWERED,
    InputDecision.INPUT_DECISION_APPROVE: InputState.INPUT_STATE_APPROVED,
    InputDecision.INPUT_DECISION_DENY: InputState.INPUT_STATE_DENIED,
}

_STANDS = ("run_started", "run_resumed", "run_waiting", *ENDS)
"""Kinds of events that say whether a run is at work, waits or has ended."""

_ENVELOPE = ("thread_id", "sequence", "run_id", "commit_time", "previous_hash", "hash", "redacted")


def check_calls(journal: Iterable[Told], tables: Tables) -> None:
    """Every acknowledgement is true, and every refusal has left nothing (P1, P7, P13, P14)."""
    turns: dict[str, list[Told]] = defaultdict(list)
    for told in journal:
        if told.method in ("StartTurn", "RetryRun") and not getattr(told.request, "validate_only", False):
            turns[told.request.request_id].append(told)
        elif told.done:
            _check_done(told, tables)
    events: dict[str, Logged] = {}
    for log in tables.logs.values():
        for event in log:
            if event.kind in ("turn_requested", "turn_steered"):
                events[event.payload.request_id] = event
    for request_id, tellings in turns.items():
        _check_turn(tellings, events.get(request_id), tables)
    for told in journal:
        if getattr(told.request, "validate_only", False) and told.request.request_id not in turns:
            assert told.request.request_id not in events, f"{told}: something was started"


def _check_turn(tellings: list[Told], event: Logged | None, tables: Tables) -> None:
    answers = [told for told in tellings if told.done]
    if all(told.outcome is Outcome.REFUSED for told in tellings):
        assert event is None, f"{tellings[0]}: refused, and it took effect at {event}"
    if not answers:
        return
    assert event is not None, f"{answers[0]}: acknowledged, and the log has nothing of it"
    for told in answers:
        run = told.response.run
        assert run.run_id == event.run_id, f"{told}: answered {run.run_id}, the log has {event.run_id}"
        if told.response.disposition in _NEW:
            assert event.kind == "turn_requested", f"{told}: {event.kind}"
            assert run.request_sequence == event.sequence, f"{told}: request_sequence {run.request_sequence}"
        elif told.response.disposition == TurnDisposition.TURN_DISPOSITION_STEERED:
            assert event.kind == "turn_steered", f"{told}: {event.kind}"
        assert tables.runs[run.run_id].thread_id == run.thread_id
    new = [told for told in answers if told.response.disposition != TurnDisposition.TURN_DISPOSITION_EXISTING]
    assert len(new) <= 1, f"{tellings[0].request.request_id} was new {len(new)} times"


def _check_done(told: Told, tables: Tables) -> None:
    match told.method:
        case "CancelRun" | "BatchCancelRuns":
            for each in told.response.cancelled:
                _check_cancelled(told, each, tables)
        case "ResolveInput" if told.request.HasField("answer"):
            input_id, log = told.request.input_id, tables.log_of(told.response.run.run_id)
            found = [each for each in log if each.kind == "input_resolved" and each.payload.input_id == input_id]
            assert len(found) == 1, f"{told}: acknowledged, and resolved {len(found)} times"
            assert found[0].payload.state == _DECIDED[told.request.answer.decision], f"{told}: {found[0].payload}"
            assert found[0].payload.answer == told.request.answer, f"{told}: another answer took effect"
            assert told.response.input.state == found[0].payload.state, f"{told}: answered {told.response.input}"
        case "ForkThread":
            log = tables.logs[told.response.thread.thread_id]
            assert log[0].kind == "thread_forked", f"{told}: it begins with {log[0].kind}"
            assert log[0].payload.source_thread_id == told.request.source_thread_id
        case "ArchiveThread" | "UnarchiveThread":
            kind = "thread_archived" if told.method == "ArchiveThread" else "thread_unarchived"
            log = tables.logs[told.request.thread_id]
            was = "thread_unarchived" if kind == "thread_archived" else "thread_archived"
            assert any(event.kind == kind for event in log) or not any(event.kind == was for event in log), f"{told}"
        case "RedactMessage":
            _check_redacted(told, tables.logs[told.request.thread_id])
        case _:
            pass


def _check_redacted(told: Told, log: list[Logged]) -> None:
    sequence: int = told.response.sequence
    event = log[sequence - 1]
    assert event.kind == "message_redacted", f"{told}: event {sequence} is {event.kind}"
    assert event.payload.message_id == told.request.message_id, f"{told}"
    for place in event.payload.sequences:
        assert log[int(place) - 1].redacted, f"{told}: {place} is not"


def _check_cancelled(told: Told, each: Any, tables: Tables) -> None:
    log = tables.log_of(each.run_id)
    if each.cancel_sequence == 0:
        assert any(event.kind in ENDS for event in log), f"{told}: {each.run_id} had not ended"
        return
    marks = [event.sequence for event in log if event.kind == "run_cancel_requested"]
    assert marks == [each.cancel_sequence], f"{told}: told {each.cancel_sequence}, the log has {marks}"
    late = [event for event in log if event.kind == "tool_call_started" and event.sequence > each.cancel_sequence]
    assert not late, f"{told}: a tool call started after it"


def check_readers(readers: Iterable[Reader], tables: Tables) -> None:
    """Each stream told each event once, in order, as it is in the log; and no screen ever showed wrong words (P11)."""
    originals: dict[str, str] = {}
    for reader in readers:
        for connection in reader.connections:
            assert not connection.faults, f"{reader.name}: {connection.faults}"
            _check_connection(reader, connection, tables, originals)
    for reader in readers:
        _check_words(reader, tables, originals)


def _check_connection(reader: Reader, connection: Connection, tables: Tables, originals: dict[str, str]) -> None:
    if connection.opened is None:
        return
    log = tables.logs[connection.opened.thread_id]
    expected = [event for event in log if event.sequence > connection.after]
    if connection.of_run:
        expected = [event for event in expected if event.run_id == connection.opened.run_id]
    told = connection.events
    where = f"{reader.name} after {connection.after}"
    assert len(told) <= len(expected), f"{where}: more events than the log has"
    for event, logged in zip(told, expected, strict=False):
        assert event.sequence == logged.sequence, f"{where}: {event.sequence} came, {logged.sequence} was due"
        _check_event(where, event, logged, log, originals)
    if connection.end == ENDED:
        cursor = told[-1].sequence if told else connection.after
        stands = [each.kind for each in log if each.run_id == connection.opened.run_id and each.sequence <= cursor]
        stand = next((kind for kind in reversed(stands) if kind in _STANDS), "nothing")
        waits = stand == "run_waiting" and reader.request.end_on_waiting
        ended = stand in ENDS and len(told) == len(expected)
        assert waits or ended, f"{where}: ended with OK after {stand}"


def _check_event(where: str, event: ThreadEvent, logged: Logged, log: list[Logged], originals: dict[str, str]) -> None:
    bare = ThreadEvent()
    bare.CopyFrom(event)
    for name in _ENVELOPE:
        bare.ClearField(name)
    previous = log[logged.sequence - 2].hash if logged.sequence > 1 else b"\0" * 32
    same = (event.run_id, event.hash, event.previous_hash, event.commit_time)
    assert same == (logged.run_id, logged.hash, previous, moment(logged.commit_time)), f"{where}: {event}"
    if not logged.redacted:
        assert bare == logged.message and not event.redacted, f"{where}: {event} is not what the log holds"
    elif not event.redacted:
        raw = bare.SerializeToString(deterministic=True)
        assert hashlib.sha256(raw).digest() == logged.digest, f"{where}: {event} never was in the log"
    else:
        assert bare == logged.message, f"{where}: {event} is redacted otherwise than the log"
    if not event.redacted and event.WhichOneof("payload") == "assistant_message_completed":
        completed = event.assistant_message_completed
        originals[completed.message_id] = text_of(completed.content)


def _check_words(reader: Reader, tables: Tables, originals: dict[str, str]) -> None:
    finals: dict[str, str] = {}
    redacted: set[str] = set()
    asked: set[str] = set()
    lines: dict[str, list[str]] = defaultdict(list)
    for log in tables.logs.values():
        for event in log:
            match event.kind:
                case "assistant_message_completed" if not event.redacted:
                    finals[event.payload.message_id] = text_of(event.payload.content)
                case "message_redacted":
                    redacted.add(event.payload.message_id)
                case "turn_requested":
                    asked.add(event.payload.message_id)
                    lines[event.run_id].append(line_of(event.payload.turn.content))
                case "turn_steered":
                    asked.add(event.payload.message_id)
                    lines[event.run_id].append(line_of(event.payload.content))
                case _:
                    pass
    for message_id, texts in reader.shown.items():
        if message_id in asked or message_id in redacted:
            continue
        whole = finals.get(message_id, originals.get(message_id))
        for text in texts:
            if whole is not None:
                assert whole.startswith(text), f"{reader.name}: showed {text!r} of {whole!r}"
            elif not redacted:
                may = sayable(lines[reader.run_of[message_id]])
                assert any(each.startswith(text) for each in may), f"{reader.name}: {text!r} is nobody's words"
    for line in reader.transcript.messages.values():
        if line.settled and line.message_id in finals and line.message_id not in redacted:
            assert line.text == finals[line.message_id], f"{reader.name}: {line.text!r} in the end"
