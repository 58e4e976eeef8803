"""What leaves the log and what is made of it: retention, deletions, forks (P3), and what the clock decides (P14).

The database itself puts aside every row that is removed, so that the whole log can be read here.
"""

from collections import defaultdict
from collections.abc import Iterator

from tests.faults.checker import rows
from tests.faults.checker.evidence import Evidence, Key, Violation
from tests.faults.checker.rows import Event

_TIMED_OUT = 6
_ANSWERED = (3, 4, 5)
_SOURCE, _SOURCE_SEQUENCE, _SOURCE_HASH = 1, 2, 3


def p3_trimmed(evidence: Evidence) -> Iterator[Violation]:
    """What retention took lies below the first sequence, at a boundary between runs, behind a base with its hash."""
    bases = {(each.tenant, each.thread_id, each.sequence): each.hash for each in evidence.tables.snapshots}
    for thread in evidence.tables.threads:
        key = (thread.tenant, thread.thread_id)
        log = evidence.logs.get(key, [])
        if thread.gone or not log:
            continue
        first = max(thread.first_sequence, 1)
        early = [event.sequence for event in log if event.gone and event.sequence >= first]
        if early:
            yield Violation("P3", f"{key}: {early} were removed, and the log is said to begin at {first}")
        if first > 1 and bases.get((*key, first - 1)) != log[first - 2].hash:
            yield Violation("P3", f"{key} begins at {first}, and there is no base with the hash of what was before")
        if under_way := _open_at(log, first - 1):
            yield Violation("P3", f"{key} begins at {first}, within {sorted(under_way)}")


def p3_deleted(evidence: Evidence) -> Iterator[Violation]:
    """A deleted thread has ended in order, has left nothing but its tombstone, and that says where it ended."""
    tombs = {(each.tenant, each.thread_id): each for each in evidence.tables.tombstones}
    gone = {(each.tenant, each.thread_id): each for each in evidence.tables.threads if each.gone}
    for key, thread in gone.items():
        tomb = tombs.get(key)
        if tomb is None or (tomb.last_sequence, tomb.last_hash) != (thread.last_sequence, thread.head_hash):
            yield Violation("P3", f"{key} is gone, and its tombstone says {tomb}")
        left = [event.sequence for event in evidence.logs.get(key, ()) if not event.gone]
        if left or (tomb is not None and not tomb.purged):
            yield Violation("P3", f"{key} is deleted, and long afterwards its events {left} are still there")
        if _open_at(evidence.logs.get(key, []), thread.last_sequence):
            yield Violation("P3", f"{key} was deleted while a run was open")
    for key in tombs.keys() - gone.keys():
        yield Violation("P3", f"{key} has a tombstone, and was never removed")


def p1_deletions(evidence: Evidence) -> Iterator[Violation]:
    """A deletion that was acknowledged has happened, and nothing is said of the thread afterwards."""
    gone = {(each.tenant, each.thread_id) for each in evidence.tables.threads if each.gone}
    since: dict[Key, float] = {}
    for call in evidence.answered("DeleteThread"):
        key = (call["tenant"], call["asked"]["thread_id"])
        since[key] = min(call["at"], since.get(key, call["at"]))
        if key not in gone:
            yield Violation("P1", f"the deletion of {key} was acknowledged, and it is there")
    for call in evidence.calls:
        key = (call["tenant"], call["asked"].get("thread_id", ""))
        if key in since and call["began"] > since[key] and call["outcome"] == "ok" and call["method"] != "DeleteThread":
            yield Violation("P1", f"{call['method']} answers about {key}, which was deleted before")


def p1_forks(evidence: Evidence) -> Iterator[Violation]:
    """A fork that was acknowledged is there."""
    forked = {(event.tenant, event.thread_id) for event in _forks(evidence)}
    for call in evidence.answered("ForkThread"):
        if (call["tenant"], call["asked"]["thread_id"]) not in forked:
            yield Violation("P1", f"the fork {call['asked']['thread_id']} was acknowledged, and the log lacks it")


def p3_forks(evidence: Evidence) -> Iterator[Violation]:
    """A fork names a place of its source at which no run was under way, and the hash that stands there."""
    for event in _forks(evidence):
        source, sequence = event.text(_SOURCE), event.integer(_SOURCE_SEQUENCE)
        at = evidence.by_place.get((event.tenant, source, sequence))
        if at is None or event.body.get(_SOURCE_HASH, [b""])[-1] != at.hash:
            yield Violation("P3", f"{event.place}: forked from {source}:{sequence}, whose hash is another")
        under_way = _open_at(evidence.logs.get((event.tenant, source), []), sequence, rows.RUN_STARTED)
        if under_way:
            yield Violation("P3", f"{event.place}: forked from {source}:{sequence}, within {sorted(under_way)}")


def p14_timeouts(evidence: Evidence) -> Iterator[Violation]:
    """The clock decides an input when its time is over and not before; from then on nobody else does."""
    expires = {(each.tenant, each.input_id): each.expire_time for each in evidence.tables.inputs}
    for event in evidence.tables.events:
        if event.kind != rows.INPUT_RESOLVED or evidence.clock_jumps:
            continue
        expire = expires.get((event.tenant, event.text(1)), 0)
        state = event.integer(2)
        if state == _TIMED_OUT and event.commit_time < expire:
            yield Violation("P14", f"{event.place}: timed out {(expire - event.commit_time) / 1e6:.3f} s too early")
        if state == _TIMED_OUT and 3 not in event.body:
            yield Violation("P14", f"{event.place}: timed out without a decision")
        if state in _ANSWERED and expire and event.commit_time >= expire:
            yield Violation("P14", f"{event.place}: answered {(event.commit_time - expire) / 1e6:.3f} s too late")


def _forks(evidence: Evidence) -> Iterator[Event]:
    return (event for event in evidence.tables.events if event.kind == rows.THREAD_FORKED)


def _open_at(log: list[Event], sequence: int, begins: int = rows.TURN_REQUESTED) -> set[str]:
    """Runs that are open behind a sequence: from their turn on, or from what `begins` names."""
    opened: dict[str, bool] = defaultdict(bool)
    for event in log[:sequence]:
        if event.kind == begins:
            opened[event.run_id] = True
        elif event.kind in rows.ENDS:
            opened[event.run_id] = False
    return {run for run, is_open in opened.items() if is_open}
