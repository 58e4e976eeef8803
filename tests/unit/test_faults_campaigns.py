"""The checker of `tests.faults.campaigns` sees what is wrong with cycles, counters and runs, and nothing else."""

import ast
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.faults.campaigns import checker, results, rows
from tests.faults.campaigns.checker import check, request_id
from tests.faults.campaigns.plan import MINUTE, OVERLAPS, SECOND, Options, plan
from tests.faults.campaigns.rows import (
    BACKFILL,
    CANCELLED,
    COMPLETED,
    DUE,
    RUN_COMPLETED,
    RUN_FAILED,
    RUNNING,
    SCHEDULE,
    SKIPPED,
    Cycle,
    Evidence,
    Gap,
    Move,
    Run,
    Turn,
)

START = 1_000 * MINUTE
NONE = {"fired": 0, "skipped": 0, "missed": 0, "paused": 0, "dropped": 0, "unscheduled": 0}


def line(kind: str, **told: Any) -> Mapping[str, Any]:
    return {"kind": kind, "campaign": "c", "asked": START - 2 * MINUTE, "answered": START - MINUTE, **told}


def cycle(minute: int, state: int = COMPLETED, **fields: Any) -> Cycle:
    """The cycle of a scheduled time, that began half a second late and took a second."""
    at, name = START + minute * MINUTE, f"cycle_{minute}"
    began = 0 if state in (SKIPPED, CANCELLED) else at + SECOND // 2
    turns = (Turn("writer", COMPLETED, 1, f"run_{minute}"),) if began else ()
    return replace(Cycle(name, "c", at, SCHEDULE, state, at, began, at + SECOND, turns=turns), **fields)


LONG = cycle(0, end=START + MINUTE + SECOND)
"""At work when the next time is due."""


def run(minute: int, attempt: int = 1, **fields: Any) -> Run:
    name = f"cycle_{minute}"
    return replace(Run(f"run_{minute}", name, request_id(name, "writer", attempt), RUN_COMPLETED), **fields)


def story() -> Evidence:
    """Six times: fired, skipped, two in a pause of which one was fired afterwards, cancelled in time, taken over."""
    backfilled = cycle(2, origin=BACKFILL)
    return Evidence(
        lines=[
            line("made", recurrence="interval", every=MINUTE, start=START, end=START + 6 * MINUTE, overlap="SKIP"),
            line("activated"),
            line("backfilled", start=START + MINUTE, end=START + 3 * MINUTE),
            {"kind": "killed", "replica": "replica_1", "asked": START + 5 * MINUTE + 2},
        ],
        states={"c": 4},
        counters={"c": NONE | {"fired": 2, "skipped": 1, "paused": 2, "dropped": 1, "unscheduled": 1}},
        cycles=[LONG, cycle(1, SKIPPED), backfilled, cycle(4, CANCELLED), cycle(5)],
        gaps=[Gap("c", "paused", START + 2 * MINUTE, START + 4 * MINUTE, 2)],
        runs=[run(0), run(2), run(5)],
        moves=[
            Move("cycle_0", "", "worker_1", DUE, RUNNING, "replica_1", 0),
            Move("cycle_2", "", "worker_1", DUE, RUNNING, "replica_1", 0),
            Move("cycle_5", "", "worker_1", DUE, RUNNING, "replica_1", START + 5 * MINUTE + 1),
            Move("cycle_5", "worker_1", "worker_2", RUNNING, RUNNING, "replica_2", START + 5 * MINUTE + 3),
        ],
    )


def seen(evidence: Evidence) -> set[str]:
    return {each.check for each in check(evidence)}


def test_a_true_story_passes_and_is_counted() -> None:
    found = results.judge(story())
    assert (found.outcome, list(found.violations)) == ("passed", [])
    assert found.counts["scheduled times"] == 6
    assert found.counts["cycles taken over from a replica that was killed"] == 1
    assert found.lateness.most == 0.5


def test_a_sitting_that_tested_nothing_is_vacuous() -> None:
    told = story()
    assert results.judge(replace(told, lines=told.lines[:3])).outcome == "VACUOUS", "no replica was killed"
    assert results.judge(replace(told, moves=told.moves[:3])).outcome == "VACUOUS", "nothing was taken over"


def test_a_time_that_nobody_fired_is_seen() -> None:
    told = story()
    assert "one_cycle_a_time" in seen(replace(told, cycles=told.cycles[1:]))


def test_a_time_that_was_fired_twice_is_seen() -> None:
    told = story()
    assert "one_cycle_a_time" in seen(replace(told, cycles=[*told.cycles, replace(cycle(0), cycle_id="other")]))


def test_a_time_that_was_fired_though_it_lies_in_a_gap_is_seen() -> None:
    told = story()
    assert "one_cycle_a_time" in seen(replace(told, cycles=[*told.cycles, cycle(3)]))


@pytest.mark.parametrize("beside", [cycle(6), cycle(0, scheduled=START + 1), cycle(0, origin=3)])
def test_a_cycle_beside_the_scheduled_times_is_seen(beside: Cycle) -> None:
    told = story()
    assert "no_cycle_beside" in seen(replace(told, cycles=[*told.cycles, beside]))


def test_a_gap_that_miscounts_its_times_is_seen() -> None:
    told = story()
    assert "gaps_hold_their_times" in seen(replace(told, gaps=[replace(told.gaps[0], times=3)]))


@pytest.mark.parametrize("name", NONE)
def test_a_counter_that_is_not_what_the_rows_say_is_seen(name: str) -> None:
    told = story()
    wrong = {**told.counters["c"], name: told.counters["c"][name] + 1}
    assert "counters_add_up" in seen(replace(told, counters={"c": wrong}))


def test_a_backfilled_cycle_that_was_cancelled_while_it_waited_is_not_counted_as_begun() -> None:
    told = story()
    cycles = [each if each.origin == SCHEDULE else replace(each, state=CANCELLED, start=0) for each in told.cycles]
    given_up = replace(told, cycles=cycles, counters={"c": told.counters["c"] | {"unscheduled": 0}})
    assert "counters_add_up" not in seen(given_up)
    assert "counters_add_up" in seen(replace(given_up, counters=told.counters))


@pytest.mark.parametrize("made", [[], [cycle(2, origin=BACKFILL)] * 2, [cycle(1, origin=BACKFILL)]])
def test_a_backfill_that_makes_too_few_or_too_many_is_seen(made: list[Cycle]) -> None:
    told = story()
    others = [each for each in told.cycles if each.origin == SCHEDULE]
    assert "backfilled_once" in seen(replace(told, cycles=[*others, *made]))


def overlapping(policy: str, *cycles: Cycle) -> list[str]:
    """What is wrong with the cycles of a campaign under a policy."""
    told = story()
    made = {**told.lines[0], "overlap": policy}
    return [
        each.what
        for each in check(replace(told, lines=[made, *told.lines[1:]], cycles=cycles))
        if each.check == "overlap_is_kept"
    ]


@pytest.mark.parametrize(
    ("policy", "cycles", "wrong"),
    [
        ("SKIP", [LONG, cycle(1, SKIPPED)], ""),
        ("SKIP", [cycle(0), cycle(1, SKIPPED)], "no other was open"),
        ("BUFFER_ONE", [LONG, cycle(1)], "began while"),
        ("BUFFER_ALL", [LONG, cycle(1, start=LONG.end), cycle(2, CANCELLED)], ""),
        ("BUFFER_ALL", [LONG, cycle(1, SKIPPED)], "was left out under"),
        ("BUFFER_ALL", [cycle(0, start=START + 3 * MINUTE, end=START + 4 * MINUTE), cycle(1)], "began before"),
        ("CANCEL_OTHER", [replace(LONG, state=CANCELLED, stopped=True), cycle(1)], ""),
        ("CANCEL_OTHER", [cycle(0, SKIPPED), cycle(1)], ""),
        ("CANCEL_OTHER", [LONG, cycle(1)], "was not cancelled"),
        ("CANCEL_OTHER", [cycle(0), cycle(1, SKIPPED)], "no later one took its place"),
        ("ALLOW_ALL", [LONG, cycle(1)], ""),
        ("ALLOW_ALL", [LONG, cycle(1, SKIPPED)], "was left out under"),
    ],
)
def test_what_an_overlap_policy_does_not_say_is_seen(policy: str, cycles: list[Cycle], wrong: str) -> None:
    found = overlapping(policy, *cycles)
    assert len(found) == bool(wrong)
    assert not found or wrong in found[0]


@pytest.mark.parametrize(
    "left",
    [
        {"cycles": [cycle(0, RUNNING)]},
        {"cycles": [cycle(0, turns=(Turn("writer", RUNNING, 1, "run_0"),))]},
        {"runs": [run(0, state=2)]},
        {"states": {"c": 2}},
    ],
)
def test_what_is_left_open_is_seen(left: dict[str, Any]) -> None:
    assert "nothing_open" in seen(replace(story(), **left))


@pytest.mark.parametrize(
    "runs",
    [
        pytest.param([run(2), run(5)], id="none for an attempt"),
        pytest.param([run(0), run(0, run_id="run_9"), run(2), run(5)], id="two for an attempt"),
        pytest.param([run(0, run_id="run_9"), run(2), run(5)], id="another than the turn's"),
        pytest.param([run(0, state=RUN_FAILED), run(2), run(5)], id="one that ended otherwise"),
    ],
)
def test_other_than_one_run_for_an_attempt_is_seen(runs: list[Run]) -> None:
    assert "one_run_an_attempt" in seen(replace(story(), runs=runs))


@pytest.mark.parametrize("first", [run(0, state=RUN_FAILED, run_id="run_9"), run(0, run_id="run_9"), None])
def test_a_second_attempt_follows_a_run_that_failed_and_no_other(first: Run | None) -> None:
    told = story()
    again = replace(LONG, turns=(Turn("writer", COMPLETED, 2, "run_0"),))
    runs = [each for each in (first, run(0, attempt=2), *told.runs[1:]) if each is not None]
    found = seen(replace(told, cycles=[again, *told.cycles[1:]], runs=runs))
    assert found == (set() if first is not None and first.state == RUN_FAILED else {"one_run_an_attempt"})


@pytest.mark.parametrize("beside", [run(1), run(0, attempt=2), run(7)])
def test_a_run_that_no_attempt_asked_for_is_seen(beside: Run) -> None:
    told = story()
    assert "no_run_beside" in seen(replace(told, runs=[*told.runs, beside]))


def test_a_cycle_that_two_have_begun_is_seen() -> None:
    told = story()
    assert seen(replace(told, moves=[*told.moves, told.moves[0]])) == {"claimed_once"}


def test_the_checker_imports_nothing_of_heddle() -> None:
    for module in (checker, rows):
        tree = ast.parse(Path(str(module.__file__)).read_text())
        names = [each.module or "" for each in ast.walk(tree) if isinstance(each, ast.ImportFrom)]
        names += [alias.name for each in ast.walk(tree) if isinstance(each, ast.Import) for alias in each.names]
        assert not [each for each in names if each.startswith(("heddle", "services", "tests.kit"))]


def test_a_plan_is_decided_by_its_seed_and_names_ten_thousand_times() -> None:
    members = plan(Options(seed=7))
    assert members == plan(Options(seed=7)) != plan(Options(seed=8))
    assert sum((each.end - max(each.start, 0)) // MINUTE for each in members) == 10_000
    assert {each.overlap for each in members if each.pace == "slowly"} == set(OVERLAPS)
    assert {each.overlap for each in members if each.past} == set(OVERLAPS)
    assert {each.kind for each in members} == {"interval", "cron"}
