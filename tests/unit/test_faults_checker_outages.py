"""The fault suite's checker on outages: what clients may be told while the store can commit nothing (P19)."""

from typing import Any

import pytest

from tests.faults.checker import outages, rows
from tests.faults.checker.check import check
from tests.kit.faults_evidence import RUN, SECOND, THREAD, Story, message, seen, true_story

GONE, BACK = 200.0, 210.0
NEW_TURN: dict[str, Any] = {"asked": {"request_id": "q9", "body": "b9"}, "said": {"run_id": "run_2"}}
NEW_ANSWER: dict[str, Any] = {
    "asked": {"request_id": "q8", "input_id": "i2", "answer": "a2", "body": "b8"},
    "said": {"state": 3},
}


def outage() -> Story:
    """The true story, and behind it ten seconds without a store and a second turn, which ended a while later."""
    story = true_story()
    story.supervisor += [
        {"kind": "outage", "at": GONE - 1, "what": "postgres"},
        {"kind": "store_gone", "at": GONE, "what": "postgres"},
        {"kind": "store_returns", "at": BACK, "what": "postgres"},
        {
            "kind": "outage_over",
            "at": BACK + 1,
            "what": "postgres",
            "must_recover": True,
            "within": 9.0,
            "recovered": True,
        },
    ]
    story.tell(rows.TURN_REQUESTED, (1, "q9"), (4, message((1, "ann"))), run="run_2", at=int(GONE + 2) * SECOND)
    story.tell(rows.RUN_STARTED, (1, 1), (2, 1), run="run_2", at=int(BACK + 1) * SECOND)
    story.tell(rows.INPUT_REQUESTED, (1, message((1, "i2"), (2, THREAD), (3, "run_2"))), run="run_2")
    story.tell(rows.RUN_WAITING, (1, "i2"), run="run_2")
    story.tell(rows.INPUT_RESOLVED, (1, "i2"), (2, 3), run="run_2")
    story.tell(rows.RUN_RESUMED, (1, 2), (2, 2), run="run_2")
    story.tell(rows.RUN_CANCEL_REQUESTED, run="run_2")
    story.tell(rows.RUN_CANCELLED, run="run_2")
    story.runs.append(rows.Run("acme", "run_2", THREAD, rows.CANCELLED, 2, 2, 0, 0))
    story.inputs.append(rows.Input("acme", "i2", "run_2", 1, 3, "ann"))
    return story


def cancelled(story: Story) -> list[str | int]:
    """Where the cancel of the second turn stands."""
    mark = next(event for event in story.events if event.kind == rows.RUN_CANCEL_REQUESTED)
    return ["run_2", THREAD, mark.sequence]


def shown_stream(story: Story, *, sent: float, shown: float) -> None:
    """A stream that asks for the second turn, and what it shows of it."""
    told = {"stream": "s7", "tenant": "acme", "principal": "ann", "method": "StartStreamingTurn", "request_id": "q9"}
    events = [[event.sequence, event.hash.hex(), "run_2", "kind"] for event in story.events[16:18]]
    story.clients += [
        {"kind": "stream", "at": sent, "follows": "", "after": 0, **told},
        {"kind": "frame", "at": sent, "stream": "s7", "frame": "opened", "thread_id": THREAD, "head": 0},
        {"kind": "frame", "at": shown, "stream": "s7", "frame": "events", "events": events},
        {"kind": "stream_end", "at": shown, "stream": "s7", "end": "left"},
    ]


@pytest.mark.parametrize(("began", "at"), [(GONE - 0.1, GONE + 0.2), (GONE + 1, BACK + 0.1), (BACK + 1, BACK + 2)])
def test_what_was_asked_before_or_answered_after_an_outage_may_be_acknowledged(began: float, at: float) -> None:
    story = outage()
    story.call("StartTurn", began=began, at=at, **NEW_TURN)
    assert check(story.evidence()) == []


@pytest.mark.parametrize(("method", "told"), [("StartTurn", NEW_TURN), ("ResolveInput", NEW_ANSWER)])
def test_an_acknowledgement_in_an_outage_is_seen_though_it_was_kept(method: str, told: dict[str, Any]) -> None:
    story = outage()
    story.call(method, began=GONE + 1, at=GONE + 2, **told)
    assert seen(story.evidence()) == {"p19_says_nothing"}


def test_an_acknowledgement_of_what_was_tried_before_in_the_same_outage_is_seen() -> None:
    story = outage()
    story.call("StartTurn", "unknown", began=GONE + 1, at=GONE + 2, asked=NEW_TURN["asked"])
    story.call("StartTurn", began=GONE + 3, at=GONE + 4, **NEW_TURN)
    assert seen(story.evidence()) == {"p19_says_nothing"}


@pytest.mark.parametrize("outcome", ["ok", "unknown"])
def test_a_repeat_of_what_was_asked_before_may_be_answered_from_what_was_committed(outcome: str) -> None:
    story = outage()
    story.call("StartTurn", outcome, began=GONE - 2, at=GONE - 1, **NEW_TURN)
    story.call("StartTurn", began=GONE + 1, at=GONE + 2, **NEW_TURN)
    assert check(story.evidence()) == []


def test_a_repeat_of_what_a_stream_asked_for_before_may_be_answered() -> None:
    story = outage()
    shown_stream(story, sent=GONE - 2, shown=GONE - 1)
    story.call("StartTurn", began=GONE + 1, at=GONE + 2, **NEW_TURN)
    assert check(story.evidence()) == []


def test_the_winning_answer_under_another_id_may_be_repeated() -> None:
    story = outage()
    asked = {"request_id": "q7", "input_id": "i1", "answer": "a1", "body": "b2"}
    story.call("ResolveInput", began=GONE + 1, at=GONE + 2, asked=asked, said={"state": 3})
    assert check(story.evidence()) == []


def test_reads_and_refusals_in_an_outage_are_no_violation() -> None:
    story = outage()
    story.call("ListInputs", began=GONE + 1, at=GONE + 2)
    story.call("StartTurn", "refused", began=GONE + 1, at=GONE + 2, asked={"request_id": "q5", "body": "b"}, reason="X")
    assert check(story.evidence()) == []


def test_a_cancel_that_is_acknowledged_in_an_outage_and_written_behind_it_is_seen() -> None:
    story = outage()
    asked = {"request_id": "q6", "run_id": "run_2"}
    story.call("CancelRun", began=GONE + 1, at=GONE + 2, asked=asked, said={"cancelled": [cancelled(story)]})
    assert "p19_says_nothing" in seen(story.evidence())


def test_a_cancel_that_tells_of_an_older_one_or_of_none_is_no_violation() -> None:
    story = outage()
    mark = cancelled(story)
    story.change(int(mark[2]) - 1, commit_time=int(GONE - 1) * SECOND)
    for said in ([mark], [[RUN, THREAD, 0]], []):
        story.call("CancelRun", began=GONE + 1, at=GONE + 2, asked={"request_id": "q6"}, said={"cancelled": said})
    assert "p19_says_nothing" not in seen(story.evidence())


def test_a_stream_that_shows_a_new_turn_in_an_outage_is_seen() -> None:
    story = outage()
    shown_stream(story, sent=GONE + 1, shown=GONE + 2)
    assert seen(story.evidence()) == {"p19_says_nothing"}


def test_a_stream_that_shows_its_turn_after_the_outage_is_no_violation() -> None:
    story = outage()
    shown_stream(story, sent=GONE + 1, shown=BACK + 1)
    assert check(story.evidence()) == []


def test_an_outage_whose_end_nobody_knows_says_nothing() -> None:
    story = outage()
    story.supervisor = [line for line in story.supervisor if line["kind"] != "store_returns"]
    story.call("StartTurn", began=GONE + 1, at=GONE + 2, **NEW_TURN)
    assert check(story.evidence()) == []


def test_a_store_that_nobody_can_use_after_its_outage_is_seen() -> None:
    story = outage()
    story.supervisor[-1]["recovered"] = False
    assert seen(story.evidence()) == {"p19_recovers"}


def test_calls_that_were_answered_in_an_outage_are_counted() -> None:
    story = outage()
    assert outages.tried(story.evidence()) == 0
    for outcome in ("refused", "unknown"):
        story.call("StartTurn", outcome, began=GONE + 1, at=GONE + 2, asked={"request_id": "q5", "body": "b"})
    story.call("CancelRun", "unknown", began=GONE + 1, at=BACK + 2, asked={"request_id": "q6"})
    assert outages.tried(story.evidence()) == 2
