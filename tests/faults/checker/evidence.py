"""All that is known of one run of the suite: journals of clients, tools, model, broker and supervisor, and the rows."""

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.faults.checker.family_rows import Families
from tests.faults.checker.rows import MESSAGE_REDACTED, Event, Run, Tables

Line = dict[str, Any]
Key = tuple[str, str]
"""Tenant and id."""


@dataclass(frozen=True)
class Violation:
    """A promise that was not kept."""

    promise: str
    what: str


@dataclass
class Stream:
    """One stream as its client saw it."""

    opened: Line
    frames: list[Line] = field(default_factory=list)
    end: str = "left"

    @property
    def name(self) -> str:
        return self.opened["stream"]

    @property
    def tenant(self) -> str:
        return self.opened["tenant"]

    @property
    def after(self) -> int:
        """The cursor it was asked for."""
        return self.opened["after"]

    @property
    def of_run(self) -> bool:
        """Whether it shows one run; otherwise a whole thread."""
        return self.opened["method"] == "StartStreamingTurn"

    @property
    def thread_id(self) -> str:
        return next((frame["thread_id"] for frame in self.frames if frame["frame"] == "opened"), "")

    @property
    def events(self) -> list[list[Any]]:
        """Sequence, hash, run and kind of each event, as they came."""
        return [event for frame in self.frames if frame["frame"] == "events" for event in frame["events"]]


@dataclass
class Evidence:
    """What the checks read."""

    tables: Tables
    clients: list[Line] = field(default_factory=list)
    ledger: list[Line] = field(default_factory=list)
    model: list[Line] = field(default_factory=list)
    broker: list[Line] = field(default_factory=list)
    supervisor: list[Line] = field(default_factory=list)
    node_logs: str = ""
    families: Families = field(default_factory=Families)
    family_journal: list[Line] = field(default_factory=list)
    """What was done to the spawn service."""

    @cached_property
    def logs(self) -> dict[Key, list[Event]]:
        """The events of each thread, in order."""
        logs: dict[Key, list[Event]] = {}
        for event in self.tables.events:
            logs.setdefault((event.tenant, event.thread_id), []).append(event)
        return logs

    @cached_property
    def runs(self) -> dict[Key, Run]:
        return {(run.tenant, run.run_id): run for run in self.tables.runs}

    @cached_property
    def run_events(self) -> dict[Key, list[Event]]:
        """The events of each run, in order."""
        found: dict[Key, list[Event]] = defaultdict(list)
        for event in self.tables.events:
            if event.run_id:
                found[event.tenant, event.run_id].append(event)
        return found

    @cached_property
    def by_place(self) -> dict[tuple[str, str, int], Event]:
        """Events by tenant, thread and sequence."""
        return {(event.tenant, event.thread_id, event.sequence): event for event in self.tables.events}

    @cached_property
    def deleted(self) -> set[Key]:
        """Threads that are gone."""
        return {(thread.tenant, thread.thread_id) for thread in self.tables.threads if thread.gone}

    @cached_property
    def deletions_asked(self) -> dict[Key, float]:
        """By thread, when its deletion was asked for first: from then on its runs may be gone."""
        found: dict[Key, float] = {}
        for call in self.calls:
            if call["method"] == "DeleteThread":
                key = (call["tenant"], call["asked"]["thread_id"])
                found[key] = min(call["began"], found.get(key, call["began"]))
        return found

    @cached_property
    def last_redactions(self) -> dict[Key, int]:
        """By thread, where words of it were redacted last."""
        events = (event for event in self.tables.events if event.kind == MESSAGE_REDACTED)
        return {(event.tenant, event.thread_id): event.sequence for event in events}

    @cached_property
    def clock_jumps(self) -> int:
        """How often the runtime's clock was set: times in the log say nothing then about what came before what."""
        return sum(line["kind"] == "clock_jump" for line in self.supervisor)

    @cached_property
    def restored(self) -> int:
        """How often an old backup was put back: what clients were told before it is not on record any more."""
        return sum(line["kind"] == "restored" for line in self.supervisor)

    @cached_property
    def calls(self) -> list[Line]:
        """Unary calls, in the order of their ends."""
        return [line for line in self.clients if line["kind"] == "call"]

    @cached_property
    def streams(self) -> list[Stream]:
        """Streams, in the order of their beginnings."""
        found: dict[str, Stream] = {}
        for line in self.clients:
            match line["kind"]:
                case "stream":
                    found[line["stream"]] = Stream(line)
                case "frame":
                    found[line["stream"]].frames.append(line)
                case "stream_end":
                    found[line["stream"]].end = line["end"]
                case _:
                    pass
        return list(found.values())

    def answered(self, *methods: str) -> Iterator[Line]:
        """Calls of these methods that were acknowledged."""
        return (call for call in self.calls if call["method"] in methods and call["outcome"] == "ok")

    def served_seconds(self, begin: float, end: float) -> float:
        """How many seconds between two moments some runtime was up, thawed, and had all that it needs."""
        return sum(max(0.0, min(end, until) - max(begin, since)) for since, until in self._served)

    @cached_property
    def _served(self) -> list[tuple[float, float]]:
        up: set[str] = set()
        frozen: set[str] = set()
        outages = 0
        spans: list[tuple[float, float]] = []
        since: float | None = None
        for line in self.supervisor:
            match line["kind"]:
                case "up":
                    up.add(line["node"])
                case "down":
                    up.discard(line["node"])
                    frozen.discard(line["node"])
                case "asked":
                    up.discard(line["node"])
                case "frozen":
                    frozen.add(line["node"])
                case "thawed":
                    frozen.discard(line["node"])
                case "outage":
                    outages += 1
                case "outage_over":
                    outages -= 1
                case _:
                    continue
            serving = bool(up - frozen) and not outages
            if serving and since is None:
                since = line["at"]
            elif not serving and since is not None:
                spans.append((since, line["at"]))
                since = None
        if since is not None:
            spans.append((since, float("inf")))
        return spans


def read(folder: Path, tables: Tables, families: Families) -> Evidence:
    """Read the journals of a folder."""
    return Evidence(
        tables,
        clients=_lines(folder / "clients.jsonl"),
        ledger=_lines(folder / "ledger.jsonl"),
        model=_lines(folder / "model.jsonl"),
        broker=_lines(folder / "broker.jsonl"),
        supervisor=_lines(folder / "supervisor.jsonl"),
        node_logs="".join(file.read_text(errors="replace") for file in sorted(folder.glob("*.log"))),
        families=families,
        family_journal=_lines(folder / "families.jsonl"),
    )


def _lines(file: Path) -> list[Line]:
    if not file.exists():
        return []
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line]
