"""What must happen in time once things can happen again: P6, P13 and P20."""

from collections.abc import Iterator
from itertools import pairwise

from tests.faults.checker import rows
from tests.faults.checker.evidence import Evidence, Key, Violation
from tests.faults.checker.rows import Event

ORPHAN_SECONDS = 30.0
CANCEL_SECONDS = 10.0
SETTLE_SECONDS = 60.0
DRAIN_SECONDS = 20.0
_MICROS = 1_000_000
_TAKES_AWAY = ("down", "frozen", "outage")
"""Lines of the supervisor after which owners are gone."""


def p6_settled(evidence: Evidence) -> Iterator[Violation]:
    """After everything is healed, every run that waits for nobody ends within 60 s."""
    open_inputs = {(row.tenant, row.run_id) for row in evidence.tables.inputs if row.state == 2}
    for key, run in evidence.runs.items():
        if run.state not in rows.TERMINAL and not (run.state == rows.WAITING and key in open_inputs):
            yield Violation("P6", f"{key} is left in state {run.state} and waits for nobody")
    for thread in evidence.tables.threads:
        lane = evidence.runs.get((thread.tenant, thread.lane_run_id))
        if thread.lane_run_id and (lane is None or lane.state in rows.TERMINAL):
            yield Violation("P6", f"{thread.thread_id}: its lane is held by {thread.lane_run_id}, which has ended")
    for line in evidence.supervisor:
        if line["kind"] == "settled" and line["seconds"] > SETTLE_SECONDS:
            yield Violation("P6", f"it took {line['seconds']:.0f} s until all runs had ended")


def p6_orphans(evidence: Evidence) -> Iterator[Violation]:
    """No run whose owner is gone, and no head of a free lane, stays so for 30 s in which a runtime serves."""
    for log in evidence.logs.values() if not evidence.clock_jumps else ():
        free_since = 0
        queued: dict[str, int] = {}
        last: dict[str, int] = {}
        for event in log:
            if event.kind == rows.TURN_REQUESTED:
                queued[event.run_id] = event.commit_time
            if event.kind in (rows.RUN_STARTED, rows.RUN_RESUMED):
                since = max(queued.pop(event.run_id, 0), free_since, last.get(event.run_id, 0))
                waited = evidence.served_seconds(since / _MICROS, event.commit_time / _MICROS)
                if waited > ORPHAN_SECONDS:
                    yield Violation("P6", f"{event.place}: nobody worked on {event.run_id} for {waited:.0f} s")
            if event.kind in rows.ENDS:
                free_since = event.commit_time
            last[event.run_id] = event.commit_time


def p13_in_time(evidence: Evidence) -> Iterator[Violation]:
    """A cancelled run has ended 10 s later, even if its owner is gone: seconds in which a runtime serves.

    The promise is about the owner of the moment. Where others come into its place and are taken away, too, each of
    them has its seconds: so many in all, and never more in a stretch in which nobody was taken away. How many owners a
    run has lost is what its row says, so a run that nobody takes up cannot gain time by kills of others.
    """
    for key, events in evidence.run_events.items() if not evidence.clock_jumps else ():
        mark = next((event for event in events if event.kind == rows.RUN_CANCEL_REQUESTED), None)
        end = next((event for event in events if event.kind in rows.ENDS), None)
        if mark is None or end is None:
            continue
        moments = [mark.commit_time / _MICROS, end.commit_time / _MICROS]
        moments += [line["at"] for line in evidence.supervisor if line["kind"] in _TAKES_AWAY]
        within = sorted(each for each in moments if moments[0] <= each <= moments[1])
        took = max(evidence.served_seconds(since, until) for since, until in pairwise(within))
        if took > CANCEL_SECONDS:
            yield Violation("P13", f"{mark.place}: the cancelled run ended after {took:.1f} s")
        lost = min(_owners_lost(evidence, key, events, mark), len(within) - 2)
        in_all = evidence.served_seconds(moments[0], moments[1])
        if in_all > CANCEL_SECONDS * (1 + lost):
            yield Violation("P13", f"{mark.place}: ended after {in_all:.1f} s in all, with {lost} owners lost")


def _owners_lost(evidence: Evidence, key: Key, events: list[Event], mark: Event) -> int:
    """How many owners a run has lost behind an event: its row counts claims, and the log says which one was before."""
    begun = [event for event in events if event.kind in (rows.RUN_STARTED, rows.RUN_RESUMED)]
    before = max((event.integer(1) for event in begun if event.sequence < mark.sequence), default=1)
    run = evidence.runs.get(key)
    return max(run.attempt - before, 0) if run else 0


def p20_drains(evidence: Evidence) -> Iterator[Violation]:
    """A process that is told to stop has ended within 20 s, by itself."""
    asked: dict[str, float] = {}
    for line in evidence.supervisor:
        match line["kind"]:
            case "asked":
                asked[line["node"]] = line["at"]
            case "down" if line["node"] in asked:
                took = line["at"] - asked.pop(line["node"])
                if line["how"] == "drained" and took > DRAIN_SECONDS:
                    yield Violation("P20", f"{line['node']} took {took:.1f} s to drain")
                if line["how"] == "did not drain":
                    yield Violation("P20", f"{line['node']} was told to drain, and had to be killed")
            case _:
                pass
