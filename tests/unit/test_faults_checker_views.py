"""The fault suite's checker sees what is wrong with snapshots, streams, the broker, cancels, inputs and recovery."""

from typing import Any

import pytest

from tests.faults.checker import rows
from tests.faults.checker.check import check
from tests.faults.checker.rows import Run
from tests.kit.faults_evidence import RUN, SECOND, TENANT, THREAD, Story, seen, true_story

SNAPSHOT = {
    "thread_id": THREAD,
    "sequence": 10,
    "active": [RUN, rows.WAITING],
    "queued": [],
    "pending": ["i1"],
    "messages": [],
    "last_said": "",
    "usage": [10, 5, 1, 1],
    "digest": "d",
}


def snapshot(story: Story, **changes: Any) -> None:
    said = {**SNAPSHOT, "hash": story.events[9].hash.hex(), **changes}
    story.call("GetSnapshot", asked={"thread_id": THREAD}, said=said)


def test_a_snapshot_that_is_the_fold_is_no_violation() -> None:
    story = true_story()
    snapshot(story)
    assert check(story.evidence()) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"pending": []},
        {"usage": [10, 5, 1, 2]},
        {"active": ["", 0]},
        {"queued": ["run_9"]},
        {"hash": "00"},
        {"sequence": 9},
    ],
)
def test_a_snapshot_that_is_not_the_fold_is_seen(changes: dict[str, Any]) -> None:
    story = true_story()
    snapshot(story, **changes)
    assert "p10_fold" in seen(story.evidence())


def test_two_different_snapshots_at_one_sequence_are_seen() -> None:
    story = true_story()
    snapshot(story)
    snapshot(story, digest="other")
    assert seen(story.evidence()) == {"p10_same"}


@pytest.mark.parametrize("shown", [(1, 2, 4), (1, 2, 2, 3), (2, 1), (2, 3)])
def test_a_stream_that_loses_doubles_or_turns_round_is_seen(shown: tuple[int, ...]) -> None:
    story = true_story()
    story.stream("w2", story.shown(*shown))
    assert "p11_order" in seen(story.evidence())


def test_a_checkpoint_beyond_what_was_shown_is_seen() -> None:
    story = true_story()
    story.stream("w2", story.shown(1, 2), {"frame": "checkpoint", "sequence": 4})
    assert seen(story.evidence()) == {"p11_said"}


def test_a_stream_of_a_run_that_ends_before_its_end_is_seen() -> None:
    story = true_story()
    closing = {"frame": "closing", "reason": 1, "resume": 4}
    story.stream("w2", story.shown(2, 3, 4), closing, method="StartStreamingTurn", after=1, end="OK")
    assert seen(story.evidence()) == {"p11_end"}


def test_a_resumed_stream_that_shows_again_what_was_seen_is_seen() -> None:
    story = true_story()
    story.stream("w2", story.shown(1, 2, 3))
    story.stream("w3", story.shown(3, 4), after=2, follows="w2")
    assert seen(story.evidence()) == {"p11_resume"}


@pytest.mark.parametrize("words", [[(0, "warp"), (3, "p")], [(0, "weft")], [(4, " and")]])
def test_words_that_do_not_grow_into_what_the_log_says_are_seen(words: list[tuple[int, str]]) -> None:
    story = true_story()
    deltas = [[RUN, "m2", 1, offset, text, False, 13] for offset, text in words]
    story.stream("w2", {"frame": "deltas", "deltas": deltas})
    assert seen(story.evidence()) == {"p11_words"}


def test_a_stream_that_ends_without_saying_why_is_seen() -> None:
    story = true_story()
    story.stream("w2", story.shown(*range(2, 17)), method="StartStreamingTurn", after=1, end="OK")
    assert seen(story.evidence()) == {"p11_explicit"}


def published(story: Story, *sequences: int, epoch: int = 1) -> None:
    story.published = len(story.events)
    story.broker.append({"kind": "consumer"})
    for sequence in sequences:
        shown = story.events[sequence - 1].hash.hex()
        told = {"kind": "message", "tenant": TENANT, "thread_id": THREAD, "sequence": sequence, "hash": shown}
        story.broker.append({**told, "epoch": str(epoch)})


def test_events_that_come_again_are_no_violation() -> None:
    story = true_story()
    published(story, 1, 2, 3, 2, 3, *range(4, 17))
    assert check(story.evidence()) == []


def test_an_event_that_consumers_never_see_is_seen() -> None:
    story = true_story()
    published(story, *range(1, 16))
    assert seen(story.evidence()) == {"p12_published"}


def test_events_that_are_published_in_another_order_are_seen() -> None:
    story = true_story()
    published(story, 1, 3, 2, *range(3, 17))
    assert "p12_order" in seen(story.evidence())


def redacted_story() -> Story:
    story = true_story()
    story.tell(rows.MESSAGE_REDACTED, (1, "m2"), run="")
    story.tell(rows.THREAD_UPDATED, run="")
    return story


def test_what_stands_before_a_redaction_may_be_missing_from_the_stream() -> None:
    story = redacted_story()
    published(story, 1, 2, 17, 18)
    assert check(story.evidence()) == []


@pytest.mark.parametrize("sequences", [(*range(1, 17), 18), range(1, 18)])
def test_a_redaction_and_what_stands_behind_it_may_not_be_missing(sequences: tuple[int, ...]) -> None:
    story = redacted_story()
    published(story, *sequences)
    assert "p12_published" in seen(story.evidence())


def test_a_gap_behind_a_redaction_is_seen() -> None:
    story = redacted_story()
    story.tell(rows.THREAD_UPDATED, run="")
    published(story, *range(1, 18), 19, 18, 19)
    assert "p12_order" in seen(story.evidence())


def test_a_new_epoch_goes_on_behind_the_copy_and_what_was_lost_with_the_old_one_does_not_count() -> None:
    story = true_story()
    published(story, *range(1, 11))
    story.broker.append({**story.broker[-1], "sequence": 11, "hash": "of an event that is no more"})
    published(story, *range(11, 17), epoch=2)
    assert check(story.evidence()) == []


def test_an_event_that_was_published_and_is_not_in_the_log_is_seen() -> None:
    story = true_story()
    published(story, *range(1, 17))
    story.broker.append({**story.broker[-1], "sequence": 17})
    assert "p12_true" in seen(story.evidence())


def cancelled(story: Story, *between: int, seconds: int = 1) -> Story:
    story.tell(rows.RUN_CANCEL_REQUESTED, (1, 1), at=SECOND)
    for kind in between:
        story.tell(kind, (1, "c1"), (2, 1), at=2 * SECOND)
    story.tell(rows.RUN_CANCELLED, (1, 1), at=(1 + seconds) * SECOND)
    return story


@pytest.mark.parametrize("kind", [rows.TOOL_CALL_STARTED, rows.STEP_STARTED, rows.INPUT_RESOLVED, rows.RUN_WAITING])
def test_work_after_a_cancel_is_seen(kind: int) -> None:
    assert "p13_after_cancel" in seen(cancelled(Story(), kind).evidence())


def test_a_cancel_that_takes_eleven_seconds_is_seen() -> None:
    assert "p13_in_time" in seen(cancelled(Story(), seconds=11).evidence())


def test_the_seconds_of_a_cancel_begin_again_when_the_next_owner_is_killed() -> None:
    assert "p13_in_time" not in seen(killed_at_six(cancelled(Story(), seconds=11), owners=2).evidence())


def test_a_kill_gives_no_more_seconds_to_a_cancelled_run_whose_owner_lives() -> None:
    assert "p13_in_time" in seen(killed_at_six(cancelled(Story(), seconds=11), owners=1).evidence())


def killed_at_six(story: Story, owners: int) -> Story:
    story.runs.append(Run(TENANT, RUN, THREAD, rows.CANCELLED, owners, owners, 1, 0))
    story.supervisor += [{"kind": "down", "at": 6.0, "node": "n"}, {"kind": "up", "at": 6.1, "node": "n"}]
    return story


def test_an_input_that_is_resolved_twice_is_seen() -> None:
    story = true_story()
    story.tell(rows.INPUT_RESOLVED, (1, "i1"), (2, 3))
    assert "p14_inputs" in seen(story.evidence())


def test_two_winners_are_seen() -> None:
    story = true_story()
    story.call("ResolveInput", asked={"request_id": "q3", "input_id": "i1", "answer": "a2"}, said={"state": 3})
    assert seen(story.evidence()) == {"p14_one_winner"}


def test_a_repeat_of_the_winning_answer_that_is_refused_is_seen() -> None:
    story = true_story()
    asked = {"request_id": "q3", "input_id": "i1", "answer": "a1"}
    story.call("ResolveInput", "refused", asked=asked, reason="INPUT_ALREADY_RESOLVED")
    assert seen(story.evidence()) == {"p14_one_winner"}


def test_an_answer_about_another_tenants_run_is_seen() -> None:
    story = true_story()
    story.call("GetRun", tenant="zeta", asked={"run_id": RUN}, said={"run_id": RUN})
    assert seen(story.evidence()) == {"p17_strangers"}


def test_another_refusal_for_what_exists_elsewhere_is_seen() -> None:
    story = true_story()
    story.call("GetRun", "refused", tenant="zeta", asked={"run_id": RUN}, reason="PERMISSION_DENIED")
    story.call("GetRun", "refused", tenant="zeta", asked={"run_id": "run_none"}, reason="RUN_NOT_FOUND")
    assert seen(story.evidence()) == {"p17_strangers"}


@pytest.mark.parametrize("changes", [{"grown_megabytes": 99.0}, {"must_be_cut": True}])
def test_a_slow_reader_that_costs_memory_or_is_never_cut_is_seen(changes: dict[str, Any]) -> None:
    story = true_story()
    told = {"kind": "slow_reader", "at": 1.0, "stream": "w1", "must_be_cut": False}
    story.supervisor.append({**told, "grown_megabytes": 1.0, "may_grow_megabytes": 8.0, **changes})
    assert seen(story.evidence()) == {"p18_slow_readers"}


@pytest.mark.parametrize(("how", "seconds"), [("drained", 21.0), ("did not drain", 5.0)])
def test_a_drain_that_does_not_end_in_time_is_seen(how: str, seconds: float) -> None:
    story = true_story()
    story.supervisor.append({"kind": "asked", "at": 50.0, "node": "n"})
    story.supervisor.append({"kind": "down", "at": 50.0 + seconds, "node": "n", "how": how})
    assert seen(story.evidence()) == {"p20_drains"}
