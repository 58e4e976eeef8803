"""What must hold of every log by itself: P2 to P5, P8, P9, P13 and P14 as far as events and rows show them."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator

from tests.faults.checker import rows, wire
from tests.faults.checker.evidence import Evidence, Violation
from tests.faults.checker.rows import Event

_AFTER_CANCEL = (
    rows.TOOL_CALL_COMPLETED,
    rows.ASSISTANT_MESSAGE_COMPLETED,
    rows.INPUT_RESOLVED,
    rows.RUN_CANCELLED,
    rows.STEP_COMPLETED,
)
_OWNERS = (
    rows.STEP_STARTED,
    rows.STEP_COMPLETED,
    rows.TOOL_CALL_STARTED,
    rows.RUN_WAITING,
    rows.RUN_COMPLETED,
)
_ORDERED = ("StartTurn", "RetryRun", "ResolveInput")
"""Methods whose events are known by what the request names."""
_ANSWERED = (3, 4, 5)
"""States of an input that somebody has brought about by an answer."""
_INPUT_CANCELLED = 7
_TIMES_APART = 5_000_000
"""Microseconds that a transaction on PostgreSQL waits for a lock at most; on SQLite nobody waits within one."""
_INPUT_PENDING = 2


def p2_sequences(evidence: Evidence) -> Iterator[Violation]:
    """A thread's sequence is 1..n, without gap or repeat, and its row knows n.

    What stands in front of the first sequence may be there still: it is removed behind the transaction that says so.
    """
    for thread in evidence.tables.threads:
        log = evidence.logs.get((thread.tenant, thread.thread_id), [])
        found = [event.sequence for event in log]
        if found != list(range(1, thread.last_sequence + 1)):
            yield Violation("P2", f"{thread.tenant}/{thread.thread_id}: 1..{thread.last_sequence} but {found}")
    known = {(thread.tenant, thread.thread_id) for thread in evidence.tables.threads}
    for key in evidence.logs.keys() - known:
        yield Violation("P2", f"{key} has events and no row")


def p2_commit_order(evidence: Evidence) -> Iterator[Violation]:
    """Read order is commit order: what was acknowledged before something else was even asked for stands in front of it.

    This is the order that somebody outside can know. `commit_time` is no proof of it: it is read once in each
    transaction, before the wait for the thread's row, so that of two processes the later one may bear the earlier
    time. By how much is bounded, by the wait that a lock is given; and no clock goes back by itself.
    """
    asked, told = _known_moments(evidence) if not evidence.restored else ({}, {})
    for log in evidence.logs.values():
        soonest, behind = float("inf"), ""
        for event in reversed(log):
            if asked.get(event.place, float("-inf")) > soonest:
                yield Violation("P2", f"{event.place} was asked for after {behind} was acknowledged")
            if told.get(event.place, float("inf")) < soonest:
                soonest, behind = told[event.place], event.place
        latest = 0
        for event in log if not evidence.clock_jumps else ():
            if event.commit_time < latest - _TIMES_APART:
                yield Violation("P2", f"{event.place} was committed {(latest - event.commit_time) / 1e6:.3f} s before")
            latest = max(latest, event.commit_time)


def p3_chain(evidence: Evidence) -> Iterator[Violation]:
    """Every hash follows from the event and the hash before it; only a redacted payload may differ from its digest."""
    bases = {(each.tenant, each.thread_id, each.sequence): each.hash for each in evidence.tables.snapshots}
    heads = {(thread.tenant, thread.thread_id): thread for thread in evidence.tables.threads}
    for key, log in evidence.logs.items():
        previous = bases.get((*key, log[0].sequence - 1), bytes(32))
        for event in log:
            if event.hash != _hash(previous, event):
                yield Violation("P3", f"{event.place}: its hash does not follow from it")
            if not event.redacted and hashlib.sha256(event.payload).digest() != event.digest:
                yield Violation("P3", f"{event.place}: its payload changed, and it is not marked as redacted")
            previous = event.hash
        if key in heads and heads[key].head_hash != previous:
            yield Violation("P3", f"{key}: the thread's head hash is not its last event's")


def p3_seen(evidence: Evidence) -> Iterator[Violation]:
    """What any client was ever shown at a place of a log still stands there, unchanged."""
    for stream in evidence.streams:
        for sequence, shown, _, kind in stream.events:
            event = evidence.by_place.get((stream.tenant, stream.thread_id, sequence))
            if event is None:
                yield Violation("P3", f"{stream.name} was shown {stream.thread_id}:{sequence}, which the log lacks")
            elif event.hash.hex() != shown:
                yield Violation("P3", f"{stream.name} was shown another {kind} at {event.place}")


def p4_lane(evidence: Evidence) -> Iterator[Violation]:
    """At most one run of a thread is active, from its start to its end, and each claim has a higher fence."""
    for log in evidence.logs.values():
        active = ""
        fences: dict[str, int] = {}
        for event in log:
            if event.kind in (rows.RUN_STARTED, rows.RUN_RESUMED):
                if active not in ("", event.run_id):
                    yield Violation("P4", f"{event.place}: {event.run_id} goes on while {active} is active")
                active = event.run_id
                if event.integer(2) <= fences.get(event.run_id, 0):
                    yield Violation("P4", f"{event.place}: fence {event.integer(2)} is not above the one before")
                fences[event.run_id] = event.integer(2)
            elif event.kind in rows.ENDS and active == event.run_id:
                active = ""
            elif event.kind in _OWNERS and active != event.run_id:
                yield Violation("P4", f"{event.place}: {event.run_id} acts while {active or 'nobody'} is active")


def p4_stale_owner(evidence: Evidence) -> Iterator[Violation]:
    """Nothing is written by an owner that has lost its run: what an older claim has begun, it does not carry on."""
    for events in evidence.run_events.values():
        fence, steps, calls = 0, dict[tuple[str, int], int](), set[str]()
        for event in events:
            match event.kind:
                case rows.RUN_STARTED | rows.RUN_RESUMED:
                    fence, calls = event.integer(2), set()
                case rows.STEP_STARTED:
                    steps[event.text(1), event.integer(3)] = fence
                case rows.STEP_COMPLETED:
                    if steps.get((event.text(1), event.integer(2)), fence) != fence:
                        yield Violation("P4", f"{event.place}: completes a step that an older claim has begun")
                case rows.TOOL_CALL_STARTED:
                    calls.add(event.text(1))
                    if event.integer(6) != fence:
                        yield Violation("P4", f"{event.place}: dispatched under {event.integer(6)}, claimed {fence}")
                case rows.TOOL_CALL_PROGRESSED:
                    if event.text(1) not in calls:
                        yield Violation("P4", f"{event.place}: progress of a call that this claim has not sent")
                case _:
                    pass


def p5_terminal(evidence: Evidence) -> Iterator[Violation]:
    """A run ends exactly once, nothing of it follows, and its row says the same."""
    states = {
        rows.RUN_COMPLETED: rows.COMPLETED,
        rows.RUN_FAILED: rows.FAILED,
        rows.RUN_CANCELLED: rows.CANCELLED,
    }
    for key, run in evidence.runs.items():
        events = evidence.run_events.get(key, [])
        ends = [event for event in events if event.kind in rows.ENDS]
        if len(ends) > 1:
            yield Violation("P5", f"{key} ends at {[event.sequence for event in ends]}")
        if ends and events[-1] is not ends[0]:
            yield Violation("P5", f"{events[-1].place}: kind {events[-1].kind} after the end of {run.run_id}")
        said = states[ends[0].kind] if ends else 0
        if (run.state in rows.TERMINAL or said) and run.state != said:
            yield Violation("P5", f"{key}: its row is in state {run.state}, its log in {said or 'none that ends'}")
    for key in evidence.run_events.keys() - evidence.runs.keys():
        yield Violation("P5", f"{key} has events and no row")


def p8_dispatches(evidence: Evidence) -> Iterator[Violation]:
    """The log sends a call again only under the same key, and never one that may not be repeated."""
    for events in evidence.run_events.values():
        sent: dict[str, Event] = {}
        for event in events:
            if event.kind != rows.TOOL_CALL_STARTED:
                continue
            before = sent.setdefault(event.text(1), event)
            if before is event:
                continue
            if event.text(3) != before.text(3) or event.text(4) != before.text(4):
                yield Violation("P8", f"{event.place}: call {event.text(1)} is sent again with another key or body")
            if not is_repeatable(event.text(2)):
                yield Violation("P8", f"{event.place}: {event.text(2)} is sent again")


def is_repeatable(tool: str) -> bool:
    """Whether the suite's tool of this path says that it is idempotent or only reads."""
    return tool.rpartition("/")[2] in ("once", "read", "ask_user", "spawn_agent", "spawn_group")


def p9_results(evidence: Evidence) -> Iterator[Violation]:
    """Every tool call has exactly one result before the next step and before the run's end."""
    for events in evidence.run_events.values():
        owed: set[str] = set()
        known: set[str] = set()
        for event in events:
            match event.kind:
                case rows.TOOL_CALL_REQUESTED:
                    if event.text(1) in known:
                        yield Violation("P9", f"{event.place}: call id {event.text(1)} is used twice in a run")
                    owed.add(event.text(1))
                    known.add(event.text(1))
                case rows.TOOL_CALL_COMPLETED:
                    if event.text(1) not in owed:
                        yield Violation("P9", f"{event.place}: a result of {event.text(1)}, which is not open")
                    owed.discard(event.text(1))
                case rows.STEP_STARTED | rows.RUN_COMPLETED | rows.RUN_FAILED | rows.RUN_CANCELLED:
                    if owed:
                        yield Violation("P9", f"{event.place}: kind {event.kind} while {sorted(owed)} are open")
                case _:
                    pass


def p13_after_cancel(evidence: Evidence) -> Iterator[Violation]:
    """Behind a cancel a run only closes what is open, and ends as cancelled."""
    for key, events in evidence.run_events.items():
        marks = [event for event in events if event.kind == rows.RUN_CANCEL_REQUESTED]
        if len(marks) > 1:
            yield Violation("P13", f"{key} is cancelled twice")
        for event in events:
            if not marks or event.sequence <= marks[0].sequence:
                continue
            closes = event.kind in _AFTER_CANCEL
            if event.kind == rows.INPUT_RESOLVED:
                closes = event.integer(2) == _INPUT_CANCELLED
            if not closes:
                yield Violation("P13", f"{event.place}: kind {event.kind} after the cancel of {event.run_id}")


def p14_inputs(evidence: Evidence) -> Iterator[Violation]:
    """An input is asked once and resolved once, and its row names the same outcome."""
    asked: dict[tuple[str, str], int] = defaultdict(int)
    resolved: dict[tuple[str, str], list[Event]] = defaultdict(list)
    cancelled = {(event.tenant, event.run_id) for event in evidence.tables.events if event.kind == rows.RUN_CANCELLED}
    for event in evidence.tables.events:
        if event.kind == rows.INPUT_REQUESTED:
            asked[event.tenant, wire.text(wire.inner(event.body, 1), 1)] += 1
        elif event.kind == rows.INPUT_RESOLVED:
            resolved[event.tenant, event.text(1)].append(event)
    for key, times in asked.items():
        if times > 1:
            yield Violation("P14", f"{key} is asked {times} times")
    for key, events in resolved.items():
        if len(events) > 1:
            yield Violation("P14", f"{key} is resolved at {[event.place for event in events]}")
    for row in evidence.tables.inputs:
        told = resolved.get((row.tenant, row.input_id))
        if told and told[0].integer(2) != row.state:
            yield Violation("P14", f"{row.input_id}: row {row.state}, log {told[0].integer(2)}")
        if not told and row.state not in (1, _INPUT_PENDING) and (row.tenant, row.run_id) not in cancelled:
            yield Violation("P14", f"{row.input_id}: row {row.state}, and the log does not say so")


def _known_moments(evidence: Evidence) -> tuple[dict[str, float], dict[str, float]]:
    """By place, when an event was first asked for, and when it was first acknowledged."""
    places: dict[tuple[str, str], str] = {}
    for event in evidence.tables.events:
        answered = event.kind == rows.INPUT_RESOLVED and event.integer(2) in _ANSWERED
        if answered or event.kind in (rows.TURN_REQUESTED, rows.TURN_STEERED):
            places[event.tenant, event.text(1)] = event.place
    asked: dict[str, float] = {}
    told: dict[str, float] = {}
    for call in evidence.calls:
        named = call["asked"].get("input_id" if call["method"] == "ResolveInput" else "request_id", "")
        place = places.get((call["tenant"], named))
        if place is None or call["method"] not in _ORDERED:
            continue
        asked[place] = min(call["began"], asked.get(place, call["began"]))
        if call["outcome"] == "ok":
            told[place] = min(call["at"], told.get(place, call["at"]))
    for stream in evidence.streams:  # a turn may have come by a stream
        place = places.get((stream.tenant, stream.opened.get("request_id", "")))
        if place is not None:
            asked[place] = min(stream.opened["at"], asked.get(place, stream.opened["at"]))
    return asked, told


def _hash(previous: bytes, event: Event) -> bytes:
    """The rule of SEMANTICS 33, written down a second time."""
    chain = hashlib.sha256(previous)
    for name in (event.tenant, event.thread_id, event.run_id):
        chain.update(len(name.encode()).to_bytes(4, "big") + name.encode())
    for number in (event.sequence, event.commit_time, event.kind):
        chain.update(number.to_bytes(8, "big"))
    chain.update(event.digest)
    return chain.digest()
