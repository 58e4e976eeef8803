"""What must hold of every log, whatever was asked for: the promises that can be read off the events alone."""

from collections import defaultdict

from heddle.runtime.v1.call_events_pb2 import InputResolved
from heddle.runtime.v1.input_pb2 import InputState
from heddle.runtime.v1.run_pb2 import RunState
from tests.kit.property_log import Logged, Tables

ENDS = ("run_completed", "run_failed", "run_cancelled")
REQUESTED = "turn_requested"

_AFTER_CANCEL = (
    "tool_call_completed",
    "assistant_message_completed",  # mostly partial; whole where the model had finished when the cancel came
    "input_resolved",
    "run_cancelled",
    "step_completed",  # the bill of the step that was cut short
)

_ONLY_READ = ("builtin/current_time", "builtin/ask_user")
"""Tools of the suite that may be dispatched again after a crash (P8)."""

_STATES = {
    "run_completed": RunState.RUN_STATE_COMPLETED,
    "run_failed": RunState.RUN_STATE_FAILED,
    "run_cancelled": RunState.RUN_STATE_CANCELLED,
}


def check_invariants(tables: Tables) -> None:
    """P4, P5, P8, P9, P13, P14 and SEMANTICS 7, 15 and 18, for every thread and run of a tenant."""
    for thread_id, log in tables.logs.items():
        _check_lane(thread_id, log)
        by_run: dict[str, list[Logged]] = defaultdict(list)
        for event in log:
            if event.run_id:
                by_run[event.run_id].append(event)
        for run_id, events in by_run.items():
            where = f"{thread_id}, run {run_id}"
            _check_ends(where, events, tables)
            _check_cancel(where, events)
            _check_calls(where, events)
            _check_steps(where, events)
            _check_plans(where, events)
    _check_inputs(tables)
    _check_requests(tables)


def _check_lane(thread_id: str, log: list[Logged]) -> None:
    """At most one run is active, from its start to its end (P4)."""
    active = ""
    fences: dict[str, int] = {}
    for event in log:
        where = f"{thread_id}:{event.sequence} {event.kind} of {event.run_id}"
        if event.kind in ("run_started", "run_resumed"):
            assert active in ("", event.run_id), f"{where}: {active} is active"
            active = event.run_id
            fence = event.payload.fence
            assert fence > fences.get(event.run_id, 0), f"{where}: fence {fence} is not above the one before"
            fences[event.run_id] = fence
        elif event.kind in ENDS and active == event.run_id:
            active = ""
        elif event.run_id and event.kind in ("step_started", "tool_call_started", "run_waiting"):
            assert active == event.run_id, f"{where}: active is {active or 'nobody'}"


def _check_ends(where: str, events: list[Logged], tables: Tables) -> None:
    """One request first, one end last, and the run's row says the same (P5)."""
    requests = [event for event in events if event.kind == REQUESTED]
    assert [event.sequence for event in requests] == [events[0].sequence], f"{where}: TurnRequested once and first"
    ends = [event for event in events if event.kind in ENDS]
    assert len(ends) <= 1, f"{where}: ends at {[event.sequence for event in ends]}"
    run_id = events[0].run_id
    row = tables.runs.get(run_id)
    assert row is not None, f"{where}: it has no row"
    assert row.request_sequence == events[0].sequence, f"{where}: its row names another request"
    if ends:
        assert events[-1] is ends[0], f"{where}: {events[-1].kind} after its end"
        assert row.state == _STATES[ends[0].kind], f"{where}: its row is in state {row.state}"
        assert not _asked(events), f"{where}: ended with open inputs {_asked(events)}"
    else:
        assert row.state not in _STATES.values(), f"{where}: its row has ended, its log has not"


def _check_cancel(where: str, events: list[Logged]) -> None:
    marks = [event for event in events if event.kind == "run_cancel_requested"]
    assert len(marks) <= 1, f"{where}: cancelled twice"
    for mark in marks:
        for event in events:
            if event.sequence <= mark.sequence:
                continue
            assert event.kind in _AFTER_CANCEL, f"{where}: {event.kind} after its cancel"
            if event.kind == "input_resolved":
                assert event.payload.state == InputState.INPUT_STATE_CANCELLED, f"{where}: {event.payload}"
        assert events[-1].kind not in ("run_completed", "run_failed"), f"{where}: ended otherwise than cancelled"


def _check_calls(where: str, events: list[Logged]) -> None:
    """Each call has one result before the next step, and is dispatched once unless it may be repeated (P8, P9)."""
    open_calls: dict[str, int] = {}
    ended: set[str] = set()
    for event in events:
        told = event.payload
        at = f"{where}:{event.sequence}"
        match event.kind:
            case "tool_call_requested":
                assert told.call_id not in open_calls and told.call_id not in ended, f"{at}: {told.call_id} again"
                open_calls[told.call_id] = 0
            case "tool_call_started":
                assert told.call_id in open_calls, f"{at}: {told.call_id} is not open"
                open_calls[told.call_id] += 1
                assert told.attempt == open_calls[told.call_id], f"{at}: dispatch {told.attempt} of {told.call_id}"
                assert told.attempt == 1 or told.tool in _ONLY_READ, f"{at}: {told.tool} was dispatched again"
            case "tool_call_completed":
                assert told.call_id in open_calls, f"{at}: a second result of {told.call_id}"
                assert told.outcome, f"{at}: {told.call_id} ended without an outcome"
                del open_calls[told.call_id]
                ended.add(told.call_id)
            case "step_started" | "run_completed" | "run_failed" | "run_cancelled":
                assert not open_calls, f"{at}: {event.kind} while {list(open_calls)} are open"
            case _:
                pass


def _check_steps(where: str, events: list[Logged]) -> None:
    """Messages, inputs and steered words are told once; nothing steered is left unread (SEMANTICS 8, 18)."""
    messages: list[str] = []
    attempts: dict[str, int] = {}
    unread: list[str] = []
    for event in events:
        told = event.payload
        match event.kind:
            case "step_started":
                before = attempts.get(told.step_id, 0)
                assert told.attempt == before + 1, f"{where}: attempt {told.attempt} after {before} of {told.step_id}"
                attempts[told.step_id] = told.attempt
                unread.clear()
            case "assistant_message_completed":
                messages.append(told.message_id)
            case "turn_steered":
                unread.append(told.message_id)
            case "run_completed":
                assert not unread, f"{where}: completed with {unread} unread"
                assert told.result.message_id == messages[-1], f"{where}: its result is not its last message"
            case _:
                pass
    assert len(messages) == len(set(messages)), f"{where}: a message was completed twice: {messages}"


def _check_plans(where: str, events: list[Logged]) -> None:
    """Only the version that was put forward last is approved: what was seen is what is done."""
    version = 0
    for event in events:
        if event.kind in ("plan_proposed", "plan_revised"):
            version = event.payload.plan.version
        elif event.kind == "plan_approved":
            assert event.payload.version == version, f"{where}: {event.payload.version} approved, {version} proposed"


def _asked(events: list[Logged]) -> set[str]:
    asked = {event.payload.input.input_id for event in events if event.kind == "input_requested"}
    return asked - {event.payload.input_id for event in events if event.kind == "input_resolved"}


def _check_inputs(tables: Tables) -> None:
    """An input is asked and resolved at most once, and its row says so (P14)."""
    asked: set[str] = set()
    resolved: dict[str, InputResolved] = {}
    for log in tables.logs.values():
        for event in log:
            if event.kind == "input_requested":
                assert event.payload.input.input_id not in asked, f"{event.payload.input.input_id} was asked twice"
                asked.add(event.payload.input.input_id)
            elif event.kind == "input_resolved":
                assert event.payload.input_id not in resolved, f"{event.payload.input_id} was resolved twice"
                resolved[event.payload.input_id] = event.payload
    assert asked == set(tables.inputs), "inputs of the log and inputs of the table differ"
    for input_id, row in tables.inputs.items():
        told = resolved.get(input_id)
        mark = any(event.kind == "run_cancel_requested" for event in tables.log_of(row.run_id))
        if told is not None:
            assert row.state == told.state, f"{input_id}: row {row.state}, log {told.state}"
        else:
            assert row.state == InputState.INPUT_STATE_PENDING or mark, f"{input_id}: row {row.state}, log open"


def _check_requests(tables: Tables) -> None:
    """A request is in the log exactly where it is remembered (P7): all of it, or nothing."""
    told: dict[tuple[str, str], list[str]] = defaultdict(list)
    for log in tables.logs.values():
        for event in log:
            if event.kind in (REQUESTED, "turn_steered"):
                principal = event.payload.actor.principal
                told[principal, event.payload.request_id].append(event.run_id)
    remembered = {
        (row.principal, row.request_id): row.run_id
        for row in tables.requests
        if row.method in ("StartTurn", "RetryRun") and not row.cancelled
    }
    for key, runs in told.items():
        assert len(runs) == 1, f"request {key} took effect {len(runs)} times: {runs}"
        assert remembered.get(key) == runs[0], f"request {key} took effect and is not remembered"
    for key, run_id in remembered.items():
        assert told.get(key) == [run_id], f"request {key} is remembered and has no event"
    for row in tables.requests:
        if row.cancelled:
            assert (row.principal, row.request_id) not in told, f"{row.request_id} started after its cancel"
    known = {event.run_id for log in tables.logs.values() for event in log if event.run_id}
    assert known == set(tables.runs), "runs of the log and runs of the table differ"
