"""Evidence for the fault suite's checker, made by hand: a small true story, and pens to falsify it with."""

import hashlib
from dataclasses import dataclass, field, replace
from typing import Any

from tests.faults.checker import rows
from tests.faults.checker.check import CHECKS
from tests.faults.checker.evidence import Evidence, Line
from tests.faults.checker.rows import Event, Input, Run, Snapshot, Tables, Thread

TENANT, THREAD, RUN = "acme", "t1", "run_1"
SECOND = 1_000_000


def message(*fields: tuple[int, int | str | bytes]) -> bytes:
    """A message in protobuf's wire format, from field numbers and values."""
    data = b""
    for number, value in fields:
        if isinstance(value, int):
            data += _varint(number << 3) + _varint(value)
        else:
            raw = value.encode() if isinstance(value, str) else value
            data += _varint(number << 3 | 2) + _varint(len(raw)) + raw
    return data


@dataclass
class Story:
    """One thread's log, and what was said about it."""

    events: list[Event] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    inputs: list[Input] = field(default_factory=list)
    snapshots: list[Snapshot] = field(default_factory=list)
    clients: list[Line] = field(default_factory=list)
    ledger: list[Line] = field(default_factory=list)
    model: list[Line] = field(default_factory=list)
    broker: list[Line] = field(default_factory=list)
    supervisor: list[Line] = field(default_factory=lambda: [{"kind": "up", "at": 0.0, "node": "n"}])
    published: int = 0

    def tell(
        self,
        kind: int,
        *fields: tuple[int, int | str | bytes],
        run: str = RUN,
        at: int | None = None,
        tenant: str = TENANT,
        thread: str = THREAD,
    ) -> Event:
        """Add an event behind the others of its thread, a second later unless `at` says when."""
        log = [event for event in self.events if (event.tenant, event.thread_id) == (tenant, thread)]
        payload = message((kind, message(*fields)))
        time = at if at is not None else (log[-1].commit_time + SECOND if log else SECOND)
        event = Event(tenant, thread, len(log) + 1, run, kind, time, 0, payload, hashlib.sha256(payload).digest(), b"")
        event = replace(event, hash=chained(log[-1].hash if log else bytes(32), event))
        self.events.append(event)
        return event

    def change(self, place: int, **changes: Any) -> None:
        """Change an event without care for the chain."""
        self.events[place] = replace(self.events[place], **changes)

    def call(self, method: str, outcome: str = "ok", **told: Any) -> Line:
        """Add a call of a client."""
        line: Line = {
            "kind": "call",
            "at": 100.0 + len(self.clients),
            "began": 99.9 + len(self.clients),
            "tenant": TENANT,
            "principal": "ann",
            "method": method,
            "outcome": outcome,
            "code": "OK",
            "reason": "",
            "details": "",
            "asked": {},
            "said": {},
            **told,
        }
        self.clients.append(line)
        return line

    def stream(self, name: str, *frames: Line, method: str = "WatchThread", after: int = 0, **told: Any) -> None:
        """Add a stream with its frames; it begins with Opened and ends as `end` says."""
        self.clients.append(
            {
                "kind": "stream",
                "stream": name,
                "follows": told.get("follows", ""),
                "tenant": TENANT,
                "method": method,
                "after": after,
            }
        )
        opened: Line = {"frame": "opened", "thread_id": THREAD, "head": 0}
        self.clients += [{"kind": "frame", "stream": name, **frame} for frame in (opened, *frames)]
        self.clients.append({"kind": "stream_end", "stream": name, "end": told.get("end", "left")})

    def shown(self, *sequences: int) -> Line:
        """A frame with these events of the log."""
        events = {event.sequence: event for event in self.events}
        return {"frame": "events", "events": [[each, events[each].hash.hex(), RUN, "kind"] for each in sequences]}

    def evidence(self) -> Evidence:
        """All of it, with the rows that fit the events."""
        threads: dict[tuple[str, str], list[Event]] = {}
        for event in self.events:
            threads.setdefault((event.tenant, event.thread_id), []).append(event)
        made = tuple(
            Thread(tenant, thread, log[-1].sequence, 0, self.published, "", log[-1].hash)
            for (tenant, thread), log in threads.items()
        )
        tables = Tables(made, tuple(self.events), tuple(self.runs), tuple(self.inputs), tuple(self.snapshots))
        return Evidence(tables, self.clients, self.ledger, self.model, self.broker, self.supervisor)


def true_story() -> Story:
    """A turn with a tool call and an answered question: nothing in it is wrong."""
    story = Story()
    story.tell(rows.THREAD_CREATED, run="")
    story.tell(rows.TURN_REQUESTED, (1, "q1"), (4, message((1, "ann"))))
    story.tell(rows.RUN_STARTED, (1, 1), (2, 1))
    story.tell(rows.STEP_STARTED, (1, "s1"), (3, 1), (4, "m1"))
    story.tell(rows.STEP_COMPLETED, (1, "s1"), (2, 1), (4, message((1, 10), (2, 5), (5, 1))))
    story.tell(rows.TOOL_CALL_REQUESTED, (1, "c1"), (3, "write"))
    story.tell(rows.TOOL_CALL_STARTED, (1, "c1"), (2, "ledger/write"), (3, "k1"), (4, "d1"), (6, 1), (7, 1))
    story.tell(rows.TOOL_CALL_COMPLETED, (1, "c1"), (2, rows.OK))
    story.tell(rows.INPUT_REQUESTED, (1, message((1, "i1"), (2, THREAD), (3, RUN))))
    story.tell(rows.RUN_WAITING, (1, "i1"))
    story.tell(rows.INPUT_RESOLVED, (1, "i1"), (2, 3))
    story.tell(rows.RUN_RESUMED, (1, 2), (2, 2))
    story.tell(rows.STEP_STARTED, (1, "s2"), (3, 1), (4, "m2"))
    story.tell(rows.ASSISTANT_MESSAGE_COMPLETED, (1, "m2"), (2, message((1, "warp and weft"))))
    story.tell(rows.STEP_COMPLETED, (1, "s2"), (2, 1), (4, message((1, 1), (2, 2), (5, 1))))
    story.tell(rows.RUN_COMPLETED)
    story.runs.append(Run(TENANT, RUN, THREAD, rows.COMPLETED, 2, 2, 0, 0))
    story.inputs.append(Input(TENANT, "i1", RUN, 1, 3, "ann"))
    story.ledger.append(
        {
            "kind": "effect",
            "tenant": TENANT,
            "run_id": RUN,
            "call_id": "c1",
            "tool": "write",
            "key": "k1",
            "arguments": "{}",
            "fence": 1,
        }
    )
    story.call("StartTurn", asked={"request_id": "q1", "body": "b1"}, said={"run_id": RUN})
    story.call(
        "ResolveInput", asked={"request_id": "q2", "input_id": "i1", "answer": "a1", "body": "b2"}, said={"state": 3}
    )
    story.stream("w1", story.shown(*range(1, 17)))
    return story


def seen(evidence: Evidence) -> set[str]:
    """Names of the checks that find something."""
    return {each.__name__ for each in CHECKS if list(each(evidence))}


def chained(previous: bytes, event: Event) -> bytes:
    """The hash of an event behind another."""
    chain = hashlib.sha256(previous)
    for text in (event.tenant, event.thread_id, event.run_id):
        chain.update(len(text.encode()).to_bytes(4, "big") + text.encode())
    for number in (event.sequence, event.commit_time, event.kind):
        chain.update(number.to_bytes(8, "big"))
    chain.update(event.digest)
    return chain.digest()


def _varint(value: int) -> bytes:
    data = bytearray()
    while value > 127:
        data.append(value & 127 | 128)
        value >>= 7
    return bytes([*data, value])
