"""The fault suite's checker on the life of a log: what retention, deletions, forks and the clock may do to it."""

from dataclasses import replace

import pytest

from tests.faults.checker import rows
from tests.faults.checker.check import check
from tests.faults.checker.evidence import Evidence
from tests.faults.checker.rows import Input, Run, Snapshot, Thread, Tombstone
from tests.kit.faults_evidence import RUN, SECOND, TENANT, THREAD, Story, message, seen, true_story


def trimmed(before: int, base: bool = True) -> Evidence:
    """The true story and one turn more, of which retention took what lies before a sequence."""
    story = true_story()
    story.tell(rows.TURN_REQUESTED, (1, "q9"), run="run_2")
    story.tell(rows.RUN_STARTED, (1, 1), (2, 1), run="run_2")
    story.tell(rows.RUN_COMPLETED, run="run_2")
    story.runs.append(Run(TENANT, "run_2", THREAD, rows.COMPLETED, 1, 1, 0, 0))
    if base:
        place = before - 1
        story.snapshots.append(
            Snapshot(TENANT, THREAD, place, story.events[place - 1].hash, b'{"last_sequence": %d}' % place)
        )
    for place in range(before - 1):
        story.change(place, gone=True)
    evidence = story.evidence()
    threads = (replace(evidence.tables.threads[0], first_sequence=before),)
    evidence.tables = replace(evidence.tables, threads=threads)
    return evidence


def test_a_trim_at_a_boundary_behind_a_base_is_no_violation() -> None:
    assert check(trimmed(17)) == []


def test_a_trim_within_a_run_is_seen() -> None:
    assert seen(trimmed(9)) == {"p3_trimmed"}


def test_a_trim_without_its_base_is_seen() -> None:
    assert seen(trimmed(17, base=False)) == {"p3_trimmed"}


def test_an_event_that_is_gone_and_should_be_kept_is_seen() -> None:
    evidence = trimmed(17)
    events = list(evidence.tables.events)
    events[17] = replace(events[17], gone=True)
    evidence.tables = replace(evidence.tables, events=tuple(events))
    assert "p3_trimmed" in seen(evidence)


def deleted(*, tomb: bool = True, last_hash: bytes | None = None, left: int = 0) -> Evidence:
    story = true_story()
    for place in range(len(story.events) - left):
        story.change(place, gone=True)
    evidence = story.evidence()
    thread = replace(evidence.tables.threads[0], gone=True)
    tombs = (Tombstone(TENANT, THREAD, thread.last_sequence, last_hash or thread.head_hash, 1),) if tomb else ()
    evidence.tables = replace(evidence.tables, threads=(thread,), tombstones=tombs)
    return evidence


def test_a_thread_that_has_left_its_tombstone_is_no_violation() -> None:
    assert check(deleted()) == []


@pytest.mark.parametrize("wrong", [{"tomb": False}, {"last_hash": b"another"}, {"left": 2}])
def test_a_deletion_that_leaves_too_much_or_too_little_is_seen(wrong: dict[str, int]) -> None:
    assert "p3_deleted" in seen(deleted(**wrong))  # pyright: ignore[reportArgumentType]


def test_a_deletion_that_was_acknowledged_and_did_not_happen_is_seen() -> None:
    story = true_story()
    story.call("DeleteThread", asked={"request_id": "q5", "thread_id": THREAD})
    assert seen(story.evidence()) == {"p1_deletions"}


def test_an_answer_about_a_thread_after_its_deletion_is_seen() -> None:
    evidence = deleted()
    story = Story(clients=evidence.clients)
    story.call("DeleteThread", asked={"request_id": "q5", "thread_id": THREAD})
    story.call("ListMessages", asked={"thread_id": THREAD})
    assert seen(evidence) == {"p1_deletions"}


def test_a_repeat_that_is_refused_because_its_thread_was_deleted_is_no_violation() -> None:
    evidence = deleted()
    story = Story(clients=evidence.clients)
    story.clients[0]["said"]["thread_id"] = THREAD
    story.call("DeleteThread", asked={"request_id": "q5", "thread_id": THREAD})
    story.call("StartTurn", "refused", asked={"request_id": "q1", "body": "b1"}, reason="RUN_NOT_FOUND")
    assert check(evidence) == []


def forked(sequence: int, digest: bytes | None = None) -> Story:
    story = true_story()
    at = digest or story.events[sequence - 1].hash
    story.tell(rows.THREAD_FORKED, (1, THREAD), (2, sequence), (3, at), run="", thread="t2")
    return story


def test_a_fork_behind_the_end_of_a_run_is_no_violation() -> None:
    story = forked(16)
    story.call("ForkThread", asked={"request_id": "q6", "thread_id": "t2"})
    assert check(story.evidence()) == []


@pytest.mark.parametrize(("sequence", "digest"), [(9, None), (16, b"another")])
def test_a_fork_within_a_run_or_of_another_log_is_seen(sequence: int, digest: bytes | None) -> None:
    assert seen(forked(sequence, digest).evidence()) == {"p3_forks"}


def test_a_fork_that_was_acknowledged_and_is_not_there_is_seen() -> None:
    story = true_story()
    story.call("ForkThread", asked={"request_id": "q6", "thread_id": "t2"})
    assert seen(story.evidence()) == {"p1_forks"}


@pytest.mark.parametrize(
    ("state", "expire", "decided", "violated"),
    [(6, 2, True, False), (6, 4, True, True), (6, 2, False, True), (3, 4, True, False), (3, 2, True, True)],
)
def test_the_clock_decides_when_the_time_is_over_and_not_before(
    state: int, expire: int, decided: bool, violated: bool
) -> None:
    story = Story()
    story.tell(rows.INPUT_REQUESTED, (1, message((1, "i1"), (3, RUN))))
    decision: tuple[tuple[int, bytes], ...] = ((3, b""),) if decided else ()
    story.tell(rows.INPUT_RESOLVED, (1, "i1"), (2, state), *decision, at=3 * SECOND)
    story.inputs.append(Input(TENANT, "i1", RUN, 1, state, "", expire * SECOND))
    assert ("p14_timeouts" in seen(story.evidence())) is violated


def test_what_was_asked_for_after_an_acknowledgement_may_not_stand_before_it() -> None:
    story = true_story()
    story.tell(rows.TURN_STEERED, (1, "q8"), run=RUN)
    assert "p2_commit_order" not in seen(story.evidence())
    story.clients[0]["began"], story.clients[0]["at"] = 200.0, 201.0  # the turn at 2 was asked for
    story.call("StartTurn", asked={"request_id": "q8", "body": "b8"}, said={"run_id": RUN}, began=99.0, at=150.0)
    assert "p2_commit_order" in seen(story.evidence())


@pytest.mark.parametrize(("seconds", "violated"), [(4, False), (6, True)])
def test_a_time_that_goes_back_by_more_than_a_lock_is_waited_for_is_seen(seconds: int, violated: bool) -> None:
    story = Story()
    story.tell(rows.THREAD_CREATED, run="", at=10 * SECOND)
    story.tell(rows.THREAD_UPDATED, run="", at=(10 - seconds) * SECOND)
    assert ("p2_commit_order" in seen(story.evidence())) is violated
    story.supervisor.append({"kind": "clock_jump", "at": 1.0})
    assert "p2_commit_order" not in seen(story.evidence())


def test_a_thread_that_is_read_to_its_end_and_never_caught_up_is_seen() -> None:
    story = true_story()
    caught_up = {"frame": "checkpoint", "sequence": 16, "caught_up": True}
    story.stream("w2", story.shown(*range(1, 17)), caught_up)
    story.clients[-5]["whole"] = True
    assert check(story.evidence()) == []
    story.clients.remove(story.clients[-2])
    assert seen(story.evidence()) == {"p11_whole"}


def test_threads_that_are_gone_count_as_deleted() -> None:
    assert deleted().deleted == {(TENANT, THREAD)}
    assert isinstance(deleted().tables.threads[0], Thread)
