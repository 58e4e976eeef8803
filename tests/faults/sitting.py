"""What is left of a run, carried out: cells on the true sources, then faults planted into copies of them."""

import shutil
import time
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path
from random import Random
from typing import Any

from tests.faults import needs, results
from tests.faults.cells import Cell, cells
from tests.faults.planting import Mutant, mutants
from tests.faults.record import Record, copy_sources
from tests.faults.run_cell import Report
from tests.faults.shards import Order, carry_out

_ATTEMPTS = 3
"""A planted fault that needs luck to show gets so many chances."""
_QUICK_WITHIN = 150.0
"""Seconds after which a cell of the quick form is given up: it takes a tenth of that."""


class Sitting:
    """One process's share of a run."""

    def __init__(self, record: Record, plan: Mapping[str, Any], *, keeps: bool, until: float) -> None:
        """`keeps` the journals of cells that passed, too; begins nothing after `until`, on the monotonic clock."""
        self._record = record
        self._plan = plan
        self._keeps = keeps
        self._until = until
        self._mutants = {each.name: each for each in mutants()}

    async def work(self, jobs: int) -> int:
        """Carry out what is left, `jobs` at a time; how much is left then."""
        return await carry_out([*self._cells(), *self._faults()], jobs, self._begun, self._told)

    def tidy(self) -> None:
        """Remove the copies of sources that were harmed."""
        for folder in self._record.folder.glob("mutant-*"):
            shutil.rmtree(folder, ignore_errors=True)

    def _cells(self) -> Iterator[Order]:
        done = self._record.reports()
        for place, (cell, times) in enumerate(chosen_cells(self._plan)):
            if cell.full_name in done or not _in_part(self._plan, place):
                continue
            order = self._order(cell, times, self._record.sources, cell.full_name)
            if lacking := needs.missing(cell.needs):
                self._record.note_report(Report(cell.full_name, order.seed, "SKIPPED", lacking))
            else:
                yield order

    def _faults(self) -> Iterator[Order]:
        judged = self._record.judged()
        for place, mutant in enumerate(chosen_mutants(self._plan)):
            if not _in_part(self._plan, place):
                continue
            before = judged.get(mutant.name)
            attempt = before["attempt"] + 1 if before else 0
            if before and (before["outcome"] in ("caught", "SKIPPED", "STALE") or attempt >= _ATTEMPTS):
                continue
            if lacking := needs.missing(mutant.needs):
                self._record.write("mutant", mutant=mutant.name, outcome="SKIPPED", by=lacking, attempt=0)
            elif problem := mutant.problem(self._record.sources):
                self._record.write("mutant", mutant=mutant.name, outcome="STALE", by=problem, attempt=0)
            else:
                yield self._planted(mutant, attempt)

    def _planted(self, mutant: Mutant, attempt: int) -> Order:
        cell = next(each for each in cells() if each.full_name == mutant.cell)
        name = f"mutant-{mutant.name}-{attempt}"
        return self._order(cell, mutant.times, self._record.folder / name, f"run-{name}", mutant.name, attempt)

    def _order(self, cell: Cell, times: int, source: Path, name: str, mutant: str = "", attempt: int = 0) -> Order:
        seed = Random(f"{self._plan['seed']} {name}").getrandbits(32)  # whatever else is run beside it
        folder = self._record.folder / name.replace("/", "-")
        within = {"within": _QUICK_WITHIN} if self._plan["quick"] else {}
        return Order(cell, times, seed, source, folder, mutant, attempt, **within)

    def _begun(self, order: Order) -> bool:
        if time.monotonic() >= self._until:
            return False
        shutil.rmtree(order.folder, ignore_errors=True)  # of a sitting that was cut in this cell
        if order.mutant:
            self._mutants[order.mutant].plant(copy_sources(_empty(order.source), source=self._record.sources))
        self._record.write("begun", what=order.mutant or order.cell.full_name)
        return True

    def _told(self, order: Order, report: Report) -> Order | None:
        if order.mutant:
            return self._judge(order, report)
        self._record.note_report(report)
        print(results.line_of(report), *results.wrongs_of(report), sep="\n", flush=True)
        if report.outcome == "passed" and not self._keeps:
            shutil.rmtree(order.folder, ignore_errors=True)
        return None

    def _judge(self, order: Order, report: Report) -> Order | None:
        mutant = self._mutants[order.mutant]
        judged = verdict(mutant, report)
        self._record.write("mutant", **judged, attempt=order.attempt)
        print(f"mutant {mutant.name:30} {judged['outcome']} {judged['by']}", flush=True)
        shutil.rmtree(order.source, ignore_errors=True)
        if judged["outcome"] == "caught":
            shutil.rmtree(order.folder, ignore_errors=True)
        elif order.attempt + 1 < _ATTEMPTS:
            return self._planted(mutant, order.attempt + 1)
        return None


def chosen_cells(plan: Mapping[str, Any]) -> Iterator[tuple[Cell, int]]:
    """Cells that a run is asked for, with how often each breaks something."""
    if plan["only_mutants"]:
        return
    for cell in cells():
        if is_chosen(cell.full_name, plan["cells"]) and plan["store"] in ("", cell.store):
            times = cell.quick if plan["quick"] else min(cell.times, max(1, round(cell.times * plan["times"])))
            if times:
                yield cell, times


def chosen_mutants(plan: Mapping[str, Any]) -> Iterator[Mutant]:
    """Faults that a run is asked to plant."""
    return (each for each in mutants() if is_chosen(each.name, plan["mutants"]) and (each.quick or not plan["quick"]))


def is_chosen(name: str, patterns: str) -> bool:
    """Whether a name fits one of several patterns with commas between them."""
    return any(fnmatch(name, pattern) for pattern in patterns.split(","))


def order_of(report: Report) -> int:
    """Where a cell stands in the table."""
    names = [cell.full_name for cell in cells()]
    return names.index(report.cell) if report.cell in names else len(names)


def verdict(mutant: Mutant, report: Report) -> dict[str, Any]:
    """Whether a planted fault was seen, and as what."""
    promises = sorted({each["promise"] for each in report.violations})
    expected = set(promises) & set(mutant.promises)
    outcome = "caught" if expected else "SURVIVED" if report.outcome == "passed" else report.outcome
    by = ", ".join(promises) or report.why[-200:]
    told = {"mutant": mutant.name, "outcome": outcome, "by": by, "promises": list(mutant.promises)}
    return {**told, "cell": report.cell, "seed": report.seed, "seconds": report.seconds}


def _in_part(plan: Mapping[str, Any], place: int) -> bool:
    part, _, of = plan["part"].partition("/")
    return place % int(of) == int(part) - 1


def _empty(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    return folder
