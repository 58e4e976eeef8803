"""A run of the fault suite that is cut goes on with what is left, and says afterwards how it came about."""

import json
from pathlib import Path

import pytest

from tests.faults import results
from tests.faults.cells import EVERY_POINT
from tests.faults.checker.evidence import Violation
from tests.faults.promises import PROMISES
from tests.faults.record import Record, copy_sources, digest
from tests.faults.run_cell import Report, shortened
from tests.faults.sitting import chosen_cells, chosen_mutants, verdict
from tests.faults.spawn_breaking import POINTS, WAYS
from tests.faults.telling import page

PLAN = {"seed": 7, "cells": "*", "store": "", "times": 1.0, "quick": False, "mutants": "*", "only_mutants": False}
ABOUT = {
    "product": "p1",
    "suite": "s1",
    "commit": "c1",
    "system": "Linux",
    "cores": 2,
    "python": "3.11",
    "part": "1/1",
    "command": "python -m tests.faults",
}
MUTANT = next(iter(chosen_mutants(PLAN)))


@pytest.fixture
def record(tmp_path: Path) -> Record:
    record = Record(tmp_path)
    record.write("plan", **PLAN, **ABOUT)
    return record


def report(cell: str = "sqlite/calm", outcome: str = "passed", **told: object) -> Report:
    counts = dict.fromkeys((*results.NEVER_ZERO, "acknowledged", "killed"), 5)
    return Report(cell, 7, outcome, counts=counts, **told)  # pyright: ignore[reportArgumentType]


def test_cells_that_are_over_are_known_to_the_next_sitting(record: Record) -> None:
    record.note_report(report(seconds=3.5))
    assert Record(record.folder).reports() == {"sqlite/calm": report(seconds=3.5)}


def test_a_line_that_was_cut_in_its_middle_counts_for_nothing(record: Record) -> None:
    record.note_report(report())
    with (record.folder / "run.jsonl").open("a") as file:
        file.write('{"kind": "cell", "cell": "sqlite/zom')
    assert list(Record(record.folder).reports()) == ["sqlite/calm"]
    record.note_report(report("sqlite/zombie"))
    assert list(record.reports()) == ["sqlite/calm", "sqlite/zombie"]


def test_a_cell_that_is_to_be_run_again_is_not_over_and_the_page_says_what_it_was(record: Record) -> None:
    record.note_report(report(outcome="VIOLATED"))
    record.write("again", what="sqlite/calm")
    assert record.reports() == {}
    record.note_report(report())
    assert "run once more: sqlite/calm, which was VIOLATED with seed 7" in page([record], [report()], [])


def test_the_page_names_cells_that_were_begun_anew_and_sources_that_differ(record: Record, tmp_path: Path) -> None:
    for _ in range(2):
        record.write("begun", what="sqlite/calm")
    record.note_report(report())
    assert "begun anew because a sitting ended in them: sqlite/calm" in page([record], [report()], [])
    (tmp_path / "other").mkdir()
    other = Record(tmp_path / "other")
    other.write("plan", **PLAN, **{**ABOUT, "product": "p2"})
    assert "not all about the same sources" in page([record, other], [report()], [])


def test_the_page_says_first_what_came_of_it_and_what_is_left(record: Record) -> None:
    seen_fault = {"mutant": MUTANT.name, "outcome": "caught", "by": "P1", "promises": ["P1"], "seconds": 9.0}
    told = page([record], [report()], [seen_fault])
    assert "This run is not over" in told
    assert f"cells: 1 of {len(list(chosen_cells(PLAN)))} passed" in told
    assert f"planted faults: 1 of {len(list(chosen_mutants(PLAN)))} were seen" in told
    one = {**PLAN, **ABOUT, "cells": "sqlite/calm", "mutants": MUTANT.name}
    (record.folder / "one").mkdir()
    small = Record(record.folder / "one")
    small.write("plan", **one)
    assert "This run is not over" not in page([small], [report()], [seen_fault])
    assert "Not all is as it should" in page([small], [report(outcome="VACUOUS")], [seen_fault])


def test_the_page_tells_of_each_promise_and_of_what_saw_it_broken(record: Record) -> None:
    violated = report(outcome="VIOLATED", why="P7", violations=[{"promise": "P7", "what": "two runs"}] * 2)
    told = page([record], [violated], [])
    assert "| P7 | A request that is repeated takes effect once, whichever replica answers | 2 | 1 | 1, 0 |" in told
    assert all(f"| {number} | " in told for number in PROMISES)
    assert "P7: two runs" in told


def test_the_time_of_a_sitting_that_was_cut_counts_up_to_its_last_line(record: Record) -> None:
    plan = record.lines()[0]
    at = plan["at"]
    with (record.folder / "run.jsonl").open("a") as file:
        for kind, moment in (("sitting", 60), ("begun", 180), ("sitting", 10_000), ("over", 10_060)):
            told = {"kind": kind, "at": at + moment, "what": "sqlite/calm", "jobs": 1, "load": 0.5, "seconds": 1}
            file.write(json.dumps(told) + "\n")
    assert "2 sittings, 3 minutes in all" in page([record], [], [])


def test_a_count_that_was_not_reached_is_said_to_be_so(record: Record) -> None:
    demands = {each.what: each for each in results.demands([report("sqlite/nats_wiped", kills=21, missed=2)], [])}
    assert (demands["NATS wiped"].reached, demands["NATS wiped"].met) == (19, False)
    assert "| NATS wiped | 20 | 0 | **no** |" in page([record], [], [])


def test_the_place_that_was_reached_least_often_counts_on_each_store() -> None:
    often = dict.fromkeys((*EVERY_POINT, *POINTS), 9)
    told = [
        report("sqlite/any", points={**often, "drain": 4, "stage_opened": 3}),
        report("postgres/any", points={**often, "child_made": 4}),
    ]
    least = {each.what: each.reached for each in results.demands(told, []) if "least often" in each.what}
    assert least == {
        "kills of a runtime at each place, on sqlite (least often: `drain`)": 4,
        "kills of a runtime at each place, on postgres (least often: `request_decoded`)": 9,
        "kills of the spawn service at each place, on sqlite (least often: `stage_opened`)": 3,
        "kills of the spawn service at each place, on postgres (least often: `child_made`)": 4,
    }


def test_a_whole_run_tries_each_place_of_the_spawn_service_more_often_than_it_must_reach_it() -> None:
    for store in ("sqlite", "postgres"):
        rounds = [times // len(WAYS) for _, times in chosen_cells({**PLAN, "cells": f"{store}/spawn*"})]
        assert sum(rounds) >= 8


def test_each_count_that_is_asked_for_can_be_reached_by_the_full_form() -> None:
    told = [report(cell.full_name, kills=times) for cell, times in chosen_cells(PLAN)]
    of_cells = [each for each in results.demands(told, []) if each.what.startswith(("NATS", "Post", "disk", "answers"))]
    assert {each.what for each in of_cells if each.what.startswith("disk full under")} >= {
        f"disk full under {store}, then given room" for store in ("SQLite", "PostgreSQL")
    }
    assert of_cells and all(each.met for each in of_cells)


def test_a_fault_counts_as_caught_by_the_promise_that_it_breaks_alone() -> None:
    seen = report(outcome="VIOLATED", violations=[{"promise": MUTANT.promises[0], "what": "it"}])
    beside = report(outcome="VIOLATED", violations=[{"promise": "P99", "what": "it"}])
    assert verdict(MUTANT, seen)["outcome"] == "caught"
    assert verdict(MUTANT, beside)["outcome"] == "VIOLATED"
    assert verdict(MUTANT, report())["outcome"] == "SURVIVED"


def test_a_promise_that_is_broken_very_often_does_not_hide_the_others() -> None:
    often = [Violation("P1", f"turn {number}") for number in range(200)]
    kept = shortened([*often, Violation("P19", "said in an outage"), *often])
    assert {each.promise for each in kept} == {"P1", "P19"}
    assert len(kept) < 50


def test_the_digest_tells_sources_apart_and_copies_not(tmp_path: Path) -> None:
    for part in ("libs", "services", "examples"):
        (tmp_path / "one" / part).mkdir(parents=True)
        (tmp_path / "one" / part / "a.py").write_text("a = 1\n")
    copy = copy_sources(tmp_path / "two", source=tmp_path / "one")
    parts = ("libs", "services")
    assert digest(copy, parts) == digest(tmp_path / "one", parts)
    (copy / "libs" / "a.py").write_text("a = 2\n")
    assert digest(copy, parts) != digest(tmp_path / "one", parts)


def test_a_fault_that_fitted_in_another_run_is_judged_by_that_run() -> None:
    stale, caught = {"mutant": "one", "outcome": "STALE"}, {"mutant": "one", "outcome": "caught"}
    never = {"mutant": "two", "outcome": "STALE"}
    assert results.planted([stale, never, caught]) == [never, caught]
