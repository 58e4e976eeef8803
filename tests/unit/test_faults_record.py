"""A run of the fault suite that is cut goes on with what is left, and says afterwards how it came about."""

from pathlib import Path

import pytest

from tests.faults import results
from tests.faults.cells import EVERY_POINT
from tests.faults.record import Record, copy_sources, digest
from tests.faults.run_cell import Report
from tests.faults.sitting import chosen_cells, chosen_mutants, verdict
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


def test_a_count_that_was_not_reached_is_said_to_be_so(record: Record) -> None:
    demands = {each.what: each for each in results.demands([report("sqlite/nats_wiped", kills=21, missed=2)], [])}
    assert (demands["NATS wiped"].reached, demands["NATS wiped"].met) == (19, False)
    assert "| NATS wiped | 20 | 0 | **no** |" in page([record], [], [])


def test_the_place_that_was_reached_least_often_counts() -> None:
    often = dict.fromkeys(EVERY_POINT, 9)
    told = [report(f"{store}/any", points={**often, "drain": 4}) for store in ("sqlite", "postgres")]
    least = [each.reached for each in results.demands(told, []) if "least often" in each.what]
    assert least == [4, 4]


def test_each_count_that_is_asked_for_can_be_reached_by_the_full_form() -> None:
    told = [report(cell.full_name, kills=times) for cell, times in chosen_cells(PLAN)]
    of_cells = [each for each in results.demands(told, []) if each.what.startswith(("NATS", "Post", "disk", "answers"))]
    assert of_cells and all(each.met for each in of_cells)


def test_a_fault_counts_as_caught_by_the_promise_that_it_breaks_alone() -> None:
    seen = report(outcome="VIOLATED", violations=[{"promise": MUTANT.promises[0], "what": "it"}])
    beside = report(outcome="VIOLATED", violations=[{"promise": "P99", "what": "it"}])
    assert verdict(MUTANT, seen)["outcome"] == "caught"
    assert verdict(MUTANT, beside)["outcome"] == "VIOLATED"
    assert verdict(MUTANT, report())["outcome"] == "SURVIVED"


def test_the_digest_tells_sources_apart_and_copies_not(tmp_path: Path) -> None:
    for part in ("libs", "services", "examples"):
        (tmp_path / "one" / part).mkdir(parents=True)
        (tmp_path / "one" / part / "a.py").write_text("a = 1\n")
    copy = copy_sources(tmp_path / "two", source=tmp_path / "one")
    parts = ("libs", "services")
    assert digest(copy, parts) == digest(tmp_path / "one", parts)
    (copy / "libs" / "a.py").write_text("a = 2\n")
    assert digest(copy, parts) != digest(tmp_path / "one", parts)
