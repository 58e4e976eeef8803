"""P10: a snapshot is the fold of its events. The fold here is our own, of what matters, made from the rows."""

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.faults.checker import rows, wire
from tests.faults.checker.evidence import Evidence, Line, Violation
from tests.faults.checker.rows import Event

_REQUESTED_COST, _STEP_USAGE = 4, 4
_REDACTED = "[redacted]"


@dataclass
class Fold:
    """A thread at a sequence."""

    active: str = ""
    queued: set[str] = field(default_factory=set)
    pending: dict[str, str] = field(default_factory=dict)
    """Inputs that are asked and open, with their runs."""
    usage: list[int] = field(default_factory=lambda: [0, 0, 0, 0])
    """Input tokens, output tokens, model calls, tool calls."""
    last_said: str = ""


def fold(events: list[Event]) -> Fold:
    """The state that events lead to."""
    state = Fold()
    for event in events:
        match event.kind:
            case rows.TURN_REQUESTED:
                state.queued.add(event.run_id)
            case rows.RUN_STARTED | rows.RUN_RESUMED:
                state.queued.discard(event.run_id)
                state.active = event.run_id
            case rows.RUN_COMPLETED | rows.RUN_FAILED | rows.RUN_CANCELLED:
                state.queued.discard(event.run_id)
                state.active = "" if state.active == event.run_id else state.active
                state.pending = {each: run for each, run in state.pending.items() if run != event.run_id}
            case rows.INPUT_REQUESTED:
                state.pending[wire.text(wire.inner(event.body, 1), 1)] = event.run_id
            case rows.INPUT_RESOLVED:
                state.pending.pop(event.text(1), None)
            case rows.STEP_COMPLETED:
                used = wire.inner(event.body, _STEP_USAGE)
                for place, number in enumerate((1, 2, 5, 6)):
                    state.usage[place] += wire.integer(used, number)
            case rows.TOOL_CALL_STARTED:
                state.usage[3] += event.integer(7) == 1
            case _:
                pass
    return state


def p10_fold(evidence: Evidence) -> Iterator[Violation]:
    """What GetSnapshot said, on any node, is what the events up to its sequence lead to."""
    for call in evidence.answered("GetSnapshot"):
        said = call["said"]
        key = (call["tenant"], said["thread_id"])
        where = f"snapshot of {said['thread_id']} at {said['sequence']}"
        last = evidence.by_place.get((*key, said["sequence"]))
        if last is None or last.hash.hex() != said["hash"]:
            yield Violation("P10", f"{where}: its hash is not that of the log")
            continue
        state = fold(evidence.logs[key][: said["sequence"] - evidence.logs[key][0].sequence + 1])
        if sorted(state.pending) != said["pending"]:
            yield Violation("P10", f"{where}: pending {said['pending']}, the log says {sorted(state.pending)}")
        if state.usage != said["usage"]:
            yield Violation("P10", f"{where}: usage {said['usage']}, the log says {state.usage}")
        if state.active and said["active"][0] != state.active:
            yield Violation("P10", f"{where}: active {said['active']}, the log says {state.active}")
        known = set(said["queued"]) | {said["active"][0]} - {""}
        if known != state.queued | {state.active} - {""}:
            yield Violation("P10", f"{where}: open runs {sorted(known)}, the log says {sorted(state.queued)}")


def p10_same(evidence: Evidence) -> Iterator[Violation]:
    """Two snapshots at one sequence are the same, to the byte, whoever made them and when; but for a redaction.

    And where the log begins only rises: who asks after an answer is told of no earlier sequence.
    """
    yield from _first_rises(evidence)
    redacted = {(event.tenant, event.thread_id) for event in evidence.tables.events if event.redacted}
    said: dict[tuple[str, str, int], set[str]] = defaultdict(set)
    first: dict[tuple[str, str, int], Line] = {}
    for call in evidence.answered("GetSnapshot"):
        key = (call["tenant"], call["said"]["thread_id"], call["said"]["sequence"])
        said[key].add(call["said"]["digest"])
        before = first.setdefault(key, call)
        if len(said[key]) > 1 and before["said"]["digest"] != call["said"]["digest"] and key[:2] not in redacted:
            parts, parts_before = call["said"].get("fields", {}), before["said"].get("fields", {})
            names = sorted({*parts, *parts_before})
            differs = [name for name in names if parts.get(name) != parts_before.get(name)]
            yield Violation("P10", f"{key}: two snapshots differ in {differs or 'something'}")


def _first_rises(evidence: Evidence) -> Iterator[Violation]:
    highest: dict[tuple[str, str], list[tuple[float, int]]] = defaultdict(list)
    for call in evidence.answered("GetSnapshot"):
        key, first = (call["tenant"], call["said"]["thread_id"]), call["said"].get("first", 0)
        known = highest[key]
        if any(first < each for at, each in known if at < call["began"]):
            yield Violation("P3", f"{key} is said to begin at {first}, and began later before")
        if not known or first > known[-1][1]:
            known.append((call["at"], first))


def p10_stored(evidence: Evidence) -> Iterator[Violation]:
    """A stored snapshot names the hash of the event that it was made at, and was made at that event."""
    for row in evidence.tables.snapshots:
        event = evidence.by_place.get((row.tenant, row.thread_id, row.sequence))
        where = f"stored snapshot of {row.thread_id} at {row.sequence}"
        if event is not None and event.hash != row.hash:
            yield Violation("P10", f"{where}: its hash is not that of the log")
        if json.loads(row.body).get("last_sequence") != row.sequence:
            yield Violation("P10", f"{where} is of another sequence")
