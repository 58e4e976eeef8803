"""How children end, and what is told of it."""

import json
from dataclasses import replace

import pytest

from heddle_client.values import AssetReference, CancelCause, Json, RunFact, RunState, RunView, Text
from heddle_core.clock import Micros
from heddle_core.usage import MicroUsd, Usage
from heddle_spawn.rules.ends import end_of_run
from heddle_spawn.rules.progress import group_report, progress_after, spawn_report
from heddle_spawn.rules.results import MOST_TEXT, group_answer, notes_of, spawn_answer
from heddle_spawn.rules.spawns import (
    SpawnFailure,
    SpawnResult,
)
from heddle_spawn.rules.states import (
    Change,
    GroupState,
    Stop,
)
from heddle_spawn.rules.trees import usage_of_tree
from tests.kit.spawn_values import HERE, C, F, P, R, group_of, members, run_of, spawn_of

# --- ends, words and figures --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("run", "stop", "change", "reason"),
    [
        (run_of(RunState.COMPLETED), Stop.DEADLINE, Change.COMPLETE, None),
        (run_of(RunState.FAILED, failure_reason="STEP_LIMIT"), Stop.NONE, Change.FAIL, "STEP_LIMIT"),
        (run_of(RunState.CANCELLED), Stop.DEADLINE, Change.TIME_OUT, "DEADLINE_PASSED"),
        (run_of(RunState.CANCELLED), Stop.ASKED, Change.CANCEL, "CANCELLED"),
        (run_of(RunState.CANCELLED), Stop.NOT_NEEDED, Change.CANCEL, "NOT_NEEDED"),
        (run_of(RunState.CANCELLED, cancel_cause=CancelCause.PARENT), Stop.ASKED, Change.CANCEL, "PARENT_CANCELLED"),
        (run_of(RunState.CANCELLED, cancel_cause=CancelCause.REQUESTED), Stop.NONE, Change.CANCEL, "CANCELLED"),
    ],
)
def test_an_end_is_told_by_how_the_run_did_and_why_it_was_stopped(
    run: RunView, stop: Stop, change: Change, reason: str | None
) -> None:
    end = end_of_run(run, stop)
    assert end.change is change
    assert (end.failure.reason if end.failure else None) == reason


def test_progress_is_the_newest_thing_worth_telling() -> None:
    facts = [
        RunFact(1, "run_started"),
        RunFact(2, "step_started"),
        RunFact(3, "tool_call_started", "kit/lookup"),
        RunFact(4, "tool_call_progressed", "half way"),
        RunFact(5, "tool_call_progressed"),
        RunFact(6, "something_new"),
    ]
    assert progress_after(facts[:2], "") == "thinks"
    assert progress_after(facts[:3], "") == "calls kit/lookup"
    assert progress_after(facts, "") == "half way"
    assert progress_after([RunFact(7, "work_updated", "x" * 5000)], "") == "x" * 1024
    assert spawn_report(spawn_of(progress="thinks")) == ("worker: thinks", 0.0)


def test_a_group_tells_how_many_have_ended_and_what_the_others_do() -> None:
    group = group_of(2, 1)
    spawns = members(group, C, R, P)
    spawns[1] = replace(spawns[1], progress="calls kit/lookup")
    assert group_report(group, spawns) == (
        "stage 1 of 2, 1 of 3 children have ended; worker: calls kit/lookup",
        1 / 3,
    )


def test_a_parent_reads_text_json_and_attachments_of_its_child() -> None:
    picture = AssetReference("ast_1", "image/png")
    result = SpawnResult((Text("a"), Json('{"b":1}'), picture), structured_json='{"b":1}', tool_calls=2)
    done = spawn_of(state=C, result=result, usage=Usage(3, 4, cost=MicroUsd(5)), thread_id="thr_2")
    parts, is_error = spawn_answer(done)
    assert not is_error
    assert parts[1:] == (picture,)
    assert isinstance(parts[0], Json)
    assert json.loads(parts[0].json) == {
        "spawn_id": "spn_k",
        "key": "k",
        "agent": "worker",
        "state": "COMPLETED",
        "thread_id": "thr_2",
        "result": 'a\n{"b":1}',
        "structured": {"b": 1},
        "usage": {"tokens": 7, "cost_micro_usd": 5},
    }
    assert notes_of([done, spawn_of("other", F)])[0].text == '{"b":1}'


def test_a_failure_and_a_long_result_are_told_as_such() -> None:
    failed, is_error = spawn_answer(spawn_of(state=F, failure=SpawnFailure("STEP_LIMIT", "too many")))
    assert is_error
    assert isinstance(failed[0], Json)
    assert json.loads(failed[0].json)["failure"] == {"reason": "STEP_LIMIT", "message": "too many"}
    group = group_of(1, state=GroupState.COMPLETED)
    long = spawn_of(state=C, result=SpawnResult((Text("x" * (MOST_TEXT + 1)),)), run_id="run_9", thread_id="thr_9")
    told, is_error = group_answer(group, [long])
    assert not is_error
    assert isinstance(told[0], Json)
    text = json.loads(told[0].json)["children"][0]["result"]
    assert text.endswith("[cut: the whole is the answer of run run_9 in thread thr_9]")
    assert len(text) < MOST_TEXT + 200


def test_a_tree_is_summed_up_once_whether_a_parent_has_counted_its_child_or_not() -> None:
    below = replace(HERE, depth=2, parent_run_id="run_2")
    root = run_of(usage=Usage(100))
    ended = spawn_of("a", C, run_id="run_2", usage=Usage(40), end_time=Micros(5))
    at_work = spawn_of("b", R, run_id="run_3", usage=Usage(7))
    deep = spawn_of("c", R, run_id="run_4", usage=Usage(2), origin=below)
    orphan = spawn_of("d", C, run_id="run_5", usage=Usage(1), origin=below, end_time=Micros(9))
    assert usage_of_tree(root, [ended, at_work, deep, orphan]).input_tokens == 100 + 7 + 2 + 1
