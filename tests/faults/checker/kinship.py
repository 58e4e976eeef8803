"""What logs say of parents and of calls to spawn tools: read once for all checks of families."""

import json
from dataclasses import dataclass, field
from typing import Any

from tests.faults.checker import family_rows as f
from tests.faults.checker import rows, wire
from tests.faults.checker.evidence import Evidence, Key
from tests.faults.checker.rows import Event

_CHILD_SPAWNED, _CHILD_FINISHED = 42, 43
"""Kinds of events in a parent's log."""


@dataclass
class Call:
    """A call of a spawn tool, as the log of its run has it."""

    key: Key
    call_id: str
    deferred: bool = False
    result: str = ""


@dataclass
class Parent:
    """A run with children, as its log has it."""

    accounts: list[tuple[str, int, int]] = field(default_factory=list)
    """At each child's start: where, what was used, what was given away."""
    granted: dict[f.Place, int] = field(default_factory=dict)
    biggest_step: int = 0
    most_open: int = 0
    open_at_cancel: list[f.Place] = field(default_factory=list)
    late: list[f.Place] = field(default_factory=list)


def parents(evidence: Evidence) -> dict[Key, Parent]:
    """Every run of a family, by its key."""
    found: dict[Key, Parent] = {}
    for key, events in evidence.run_events.items():
        if key in evidence.families.by_key:
            found[key] = _parent(evidence, events)
    return found


def _parent(evidence: Evidence, events: list[Event]) -> Parent:
    family, used, over = Parent(), 0, False
    held: dict[str, int] = {}
    for event in events:
        match event.kind:
            case rows.STEP_COMPLETED:
                step = _tokens(wire.inner(event.body, 4))
                used, family.biggest_step = used + step, max(family.biggest_step, step)
            case kind if kind == _CHILD_SPAWNED:
                child = evidence.families.by_key.get((event.tenant, event.text(1)))
                tokens = wire.integer(wire.inner(event.body, 4), 2)
                held[event.text(1)] = tokens
                family.accounts.append((event.place, used, sum(held.values())))
                family.most_open = max(family.most_open, len(held))
                if child is not None:
                    family.granted[child] = tokens
                    family.late += [child] if over else []
            case kind if kind == _CHILD_FINISHED:
                held.pop(event.text(1), None)
                used += _tokens(wire.inner(event.body, 3))
            case rows.RUN_CANCEL_REQUESTED:
                over = True
                places = (evidence.families.by_key.get((event.tenant, each)) for each in held)
                family.open_at_cancel = [each for each in places if each is not None]
            case kind if kind in rows.ENDS:
                over = True
            case _:
                pass
    return family


def calls_of_tools(evidence: Evidence) -> dict[Key, Call]:
    """Calls of spawn tools, by their inputs."""
    found: dict[Key, Call] = {}
    for key, events in evidence.run_events.items():
        open_calls: dict[str, Call] = {}
        for event in events:
            if event.kind == rows.TOOL_CALL_STARTED and event.text(2).startswith("spawn/"):
                call = open_calls.setdefault(event.text(1), Call(key, event.text(1)))
                found[event.tenant, event.text(5)] = call
            elif event.kind == rows.INPUT_REQUESTED:
                asked = wire.inner(event.body, 1)
                call = open_calls.get(wire.text(asked, 4))
                if call is not None:
                    call.deferred = True
            elif event.kind == rows.TOOL_CALL_COMPLETED and event.text(1) in open_calls:
                part = next(iter(wire.inners(event.body, 3)), {})
                open_calls[event.text(1)].result = wire.text(part, 4) or wire.text(part, 1) or "{}"
    return found


def _tokens(usage: wire.Fields) -> int:
    return wire.integer(usage, 1) + wire.integer(usage, 2)


def json_object(text: str) -> dict[str, Any]:
    """What a tool has said; empty where that is no JSON object."""
    try:
        said = json.loads(text or "{}")
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}
