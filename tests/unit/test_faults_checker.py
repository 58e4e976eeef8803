"""The fault suite's checker sees what is wrong with logs, answers and effects, and nothing where nothing is wrong."""

import ast
from pathlib import Path
from typing import Any

import pytest

from tests.faults import checker as checker_package
from tests.faults.checker import rows
from tests.faults.checker.check import CHECKS, check, count
from tests.faults.checker.evidence import Evidence
from tests.faults.checker.rows import Run
from tests.kit.faults_evidence import RUN, SECOND, TENANT, THREAD, Story, message, seen, true_story

CALL = {"tenant": TENANT, "run_id": RUN, "call_id": "c1", "tool": "write", "key": "k1", "arguments": "{}", "fence": 1}


def test_a_true_story_has_no_violation() -> None:
    assert check(true_story().evidence()) == []


def test_an_acknowledged_turn_that_the_log_lacks_is_seen() -> None:
    story = true_story()
    story.call("StartTurn", asked={"request_id": "q9", "body": "b"}, said={"run_id": "run_9"})
    assert "p1_turns" in seen(story.evidence())


def test_an_acknowledged_cancel_that_the_log_lacks_is_seen() -> None:
    story = true_story()
    story.call("CancelRun", asked={"request_id": "q9"}, said={"cancelled": [[RUN, THREAD, 5]]})
    assert "p1_cancels" in seen(story.evidence())


def test_an_acknowledged_answer_that_the_log_lacks_is_seen() -> None:
    story = true_story()
    story.call("ResolveInput", asked={"request_id": "q9", "input_id": "i9", "answer": "a"}, said={"state": 3})
    assert "p1_answers" in seen(story.evidence())


def test_a_gap_in_a_log_is_seen() -> None:
    story = true_story()
    del story.events[4]
    assert "p2_sequences" in seen(story.evidence())


@pytest.mark.parametrize("changes", [{"commit_time": 7 * SECOND}, {"hash": bytes(32)}, {"payload": b""}])
def test_an_event_that_was_changed_is_seen(changes: dict[str, Any]) -> None:
    story = true_story()
    story.change(3, **changes)
    assert "p3_chain" in seen(story.evidence())


def test_a_redacted_payload_keeps_the_chain_whole() -> None:
    story = true_story()
    story.change(13, payload=message((29, message((1, "m2")))), redacted=1)
    assert check(story.evidence()) == []


def test_an_event_that_was_shown_and_is_gone_is_seen() -> None:
    story = true_story()
    story.stream("w2", {"frame": "events", "events": [[17, "00", RUN, "kind"]]})
    assert "p3_seen" in seen(story.evidence())


def test_an_event_that_was_shown_otherwise_is_seen() -> None:
    story = true_story()
    story.stream("w2", {"frame": "events", "events": [[1, "00", RUN, "kind"]]})
    assert "p3_seen" in seen(story.evidence())


def test_a_second_run_on_a_held_lane_is_seen() -> None:
    story = Story()
    story.tell(rows.RUN_STARTED, (1, 1), (2, 1))
    story.tell(rows.RUN_STARTED, (1, 1), (2, 1), run="run_2")
    assert "p4_lane" in seen(story.evidence())


def test_a_fence_that_does_not_rise_is_seen() -> None:
    story = Story()
    story.tell(rows.RUN_STARTED, (1, 1), (2, 3))
    story.tell(rows.RUN_RESUMED, (1, 2), (2, 3))
    assert "p4_lane" in seen(story.evidence())


def test_a_step_that_an_older_claim_completes_is_seen() -> None:
    story = Story()
    story.tell(rows.RUN_STARTED, (1, 1), (2, 1))
    story.tell(rows.STEP_STARTED, (1, "s1"), (3, 1))
    story.tell(rows.RUN_RESUMED, (1, 2), (2, 2))
    story.tell(rows.STEP_COMPLETED, (1, "s1"), (2, 1))
    assert "p4_stale_owner" in seen(story.evidence())


def test_a_dispatch_under_an_older_fence_is_seen() -> None:
    story = Story()
    story.tell(rows.RUN_STARTED, (1, 1), (2, 2))
    story.tell(rows.TOOL_CALL_STARTED, (1, "c1"), (6, 1), (7, 1))
    assert "p4_stale_owner" in seen(story.evidence())


@pytest.mark.parametrize("kind", [rows.RUN_COMPLETED, rows.STEP_STARTED])
def test_what_follows_the_end_of_a_run_is_seen(kind: int) -> None:
    story = true_story()
    story.tell(kind)
    assert "p5_terminal" in seen(story.evidence())


def test_a_row_that_does_not_know_that_its_run_has_ended_is_seen() -> None:
    story = true_story()
    story.runs[0] = Run(TENANT, RUN, THREAD, rows.RUNNING, 2, 2, 0, 0)
    assert {"p5_terminal", "p6_settled"} <= seen(story.evidence())


def test_a_run_that_nobody_takes_for_31_seconds_is_seen() -> None:
    story = Story()
    story.tell(rows.TURN_REQUESTED, (1, "q1"), at=SECOND)
    story.tell(rows.RUN_STARTED, (1, 1), (2, 1), at=32 * SECOND)
    assert "p6_orphans" in seen(story.evidence())


def test_time_in_which_no_runtime_is_up_does_not_count() -> None:
    story = Story(supervisor=[{"kind": "up", "at": 20.0, "node": "n"}])
    story.tell(rows.TURN_REQUESTED, (1, "q1"), at=SECOND)
    story.tell(rows.RUN_STARTED, (1, 1), (2, 1), at=32 * SECOND)
    assert "p6_orphans" not in seen(story.evidence())


def test_runs_that_take_more_than_a_minute_to_end_are_seen() -> None:
    story = true_story()
    story.supervisor.append({"kind": "settled", "at": 1.0, "seconds": 61.0})
    assert "p6_settled" in seen(story.evidence())


def test_two_runs_for_one_request_are_seen() -> None:
    story = true_story()
    story.call("StartTurn", asked={"request_id": "q1", "body": "b1"}, said={"run_id": "run_2"})
    assert "p7_one_run" in seen(story.evidence())


def test_a_reused_request_id_that_is_acknowledged_is_seen() -> None:
    story = true_story()
    story.call("StartTurn", asked={"request_id": "q1", "body": "other"}, said={"run_id": RUN})
    assert "p7_one_run" in seen(story.evidence())


def test_a_repeat_that_is_refused_is_seen() -> None:
    story = true_story()
    story.call("StartTurn", "refused", asked={"request_id": "q1", "body": "b1"}, reason="THREAD_BUSY")
    assert "p7_one_run" in seen(story.evidence())


def test_a_request_that_takes_effect_twice_is_seen() -> None:
    story = true_story()
    story.tell(rows.TURN_REQUESTED, (1, "q1"), (4, message((1, "ann"))), run="run_2")
    assert "p7_one_effect" in seen(story.evidence())


def test_a_writing_tool_that_is_sent_again_is_seen() -> None:
    story = Story()
    for attempt in (1, 2):
        story.tell(rows.TOOL_CALL_STARTED, (1, "c1"), (2, "ledger/write"), (3, "k"), (4, "d"), (6, 1), (7, attempt))
    assert "p8_dispatches" in seen(story.evidence())


def test_another_key_at_the_second_dispatch_is_seen() -> None:
    story = Story()
    for key in ("k1", "k2"):
        story.tell(rows.TOOL_CALL_STARTED, (1, "c1"), (2, "ledger/once"), (3, key), (4, "d"), (6, 1))
    assert "p8_dispatches" in seen(story.evidence())


def test_an_effect_that_happens_twice_is_seen() -> None:
    story = true_story()
    story.ledger.append(dict(story.ledger[0]))
    assert seen(story.evidence()) == {"p8_effects"}


def test_an_effect_without_an_intent_is_seen() -> None:
    story = true_story()
    story.ledger.append({**CALL, "call_id": "c2", "kind": "effect"})
    assert seen(story.evidence()) == {"p8_intents"}


def test_a_result_of_a_call_that_was_never_made_is_seen() -> None:
    story = true_story()
    story.ledger.clear()
    assert seen(story.evidence()) == {"p8_no_guess"}


def test_a_cancelled_result_of_a_call_that_was_made_is_seen() -> None:
    story = Story(ledger=[CALL])
    story.tell(rows.TOOL_CALL_STARTED, (1, "c1"), (2, "ledger/write"), (3, "k1"), (6, 1))
    story.tell(rows.TOOL_CALL_COMPLETED, (1, "c1"), (2, rows.STOPPED))
    assert "p8_no_guess" in seen(story.evidence())


def test_a_step_while_a_call_is_open_is_seen() -> None:
    story = Story()
    story.tell(rows.TOOL_CALL_REQUESTED, (1, "c1"))
    story.tell(rows.STEP_STARTED, (1, "s2"), (3, 1))
    assert "p9_results" in seen(story.evidence())


def test_a_second_result_is_seen() -> None:
    story = true_story()
    story.tell(rows.TOOL_CALL_COMPLETED, (1, "c1"), (2, rows.OK))
    assert "p9_results" in seen(story.evidence())


def test_a_history_that_the_model_refused_is_seen() -> None:
    story = true_story()
    story.model.append({"kind": "invalid_history", "at": 1.0, "problem": "no result"})
    assert seen(story.evidence()) == {"p9_history"}


def trace(tmp_path: Path, *lines: str) -> Evidence:
    file = tmp_path / "trace.txt"
    file.write_text("".join(f"{line}\n" for line in lines))
    story = true_story()
    story.supervisor.append(
        {"kind": "traced", "at": 1.0, "file": str(file), "port": 7233, "log": "-wal", "runs": [RUN]}
    )
    return story.evidence()


_WRITE = f'7 pwrite64(9</x/heddle.db-wal>, "..{RUN}..", 4096, 56) = 4096'
_SYNC = "8 fdatasync(9</x/heddle.db-wal>) = 0"
_SEND = f'7 sendmsg(12<TCP:[127.0.0.1:7233->127.0.0.1:5]>, {{msg_iov=[{{iov_base="..{RUN}.."}}]}}, 0) = 50'


def test_an_answer_behind_a_sync_is_no_violation(tmp_path: Path) -> None:
    assert check(trace(tmp_path, _WRITE, _SYNC, _SEND)) == []
    unfinished = "8 fdatasync(9</x/heddle.db-wal> <unfinished ...>"
    assert check(trace(tmp_path, _WRITE, unfinished, "8 <... fdatasync resumed>) = 0", _SEND)) == []


@pytest.mark.parametrize(
    "lines",
    [
        (_SEND, _WRITE, _SYNC),
        (_WRITE, _SEND, _SYNC),
        (_SYNC, _WRITE, _SEND),
        (_WRITE, "8 fdatasync(9</x/heddle.db-wal> <unfinished ...>", _SEND, "8 <... fdatasync resumed>) = 0"),
        (_WRITE, "8 fdatasync(9</x/heddle.db-wal>) = -1 EIO (Input/output error)", _SEND),
        (_WRITE, _SYNC),
    ],
)
def test_an_answer_before_the_sync_is_seen(tmp_path: Path, lines: tuple[str, ...]) -> None:
    assert seen(trace(tmp_path, *lines)) == {"p1_synced"}


def test_what_a_run_has_shown_is_counted() -> None:
    counted = count(true_story().evidence())
    assert (counted.acknowledged, counted.takeovers, counted.unknowns) == (1, 1, 0)


def test_every_promise_has_a_check_and_every_check_says_what_it_asks() -> None:
    promised = {each.__name__.partition("_")[0] for each in CHECKS}
    assert promised >= {f"p{number}" for number in (*range(1, 15), 17, 18, 19, 20)}
    assert all((each.__doc__ or "").strip().endswith(".") for each in CHECKS)


def test_the_checker_imports_nothing_of_heddle() -> None:
    folder = Path(next(iter(checker_package.__path__)))
    for file in folder.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(name.startswith(("heddle", "google", "grpc")) for name in names), f"{file.name}: {names}"
