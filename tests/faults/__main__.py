"""`python -m tests.faults`: break everything on purpose, and check the promises of GUARANTEES.md.

Without arguments all cells and all mutants run. The seed is printed; `--seed` replays what the seed decides (which is
not the order in which a machine's processes get their turns). Exits with 1 if a promise was broken, a mutant survived,
or something tested nothing.
"""

import argparse
import asyncio
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from random import Random
from typing import Any

from tests.faults import needs, results
from tests.faults.cells import Cell, cells
from tests.faults.planting import Mutant, mutants
from tests.faults.run_cell import Report
from tests.faults.shards import Order, carry_out, copy_sources

_BAD = ("VIOLATED", "VACUOUS", "BROKEN")


def main() -> int:
    """Run what was asked for; the exit code."""
    given = _arguments()
    seed = given.seed if given.seed is not None else secrets.randbits(32)
    folder = given.folder or Path(tempfile.mkdtemp(prefix="heddle-faults-"))
    print(f"seed {seed}; journals in {folder}", flush=True)
    began = time.monotonic()
    reports = asyncio.run(_run_cells(given, seed, folder)) if not given.only_mutants else []
    judged = asyncio.run(_run_mutants(given, seed, folder)) if _wants_mutants(given) else []
    took = time.monotonic() - began
    print(results.table_of(reports, judged))
    lacking = results.vacuous(reports) if given.cells == "*" and not given.store else []
    print("\n".join(lacking))
    bad = [report for report in reports if report.outcome in _BAD]
    bad_mutants = [each for each in judged if each["outcome"] not in ("caught", "SKIPPED")]
    told = {"command": ["python", "-m", "tests.faults", *sys.argv[1:]], "seed": seed, "seconds": round(took)}
    if given.json:
        results.write(given.json, told, reports, judged)
    failed = bool(bad or bad_mutants or lacking)
    print(f"{'FAILED' if failed else 'passed'} in {took:.0f} s, seed {seed}")
    if not failed and not given.folder:
        shutil.rmtree(folder, ignore_errors=True)
    return int(failed)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seed", type=int, help="replay this seed")
    parser.add_argument("--cells", default="*", help="names to run, as sqlite/* or */zombie; several by commas")
    parser.add_argument("--store", default="", help="sqlite or postgres; both if unset")
    parser.add_argument("--minutes", type=float, default=0, help="begin no further cell after so long")
    parser.add_argument("--jobs", type=int, default=2, help="cells side by side")
    parser.add_argument("--times", type=float, default=1.0, help="multiplies how often each cell breaks something")
    parser.add_argument("--quick", action="store_true", help="the form of continuous integration")
    parser.add_argument("--mutants", default="", help="names of mutants to run beside, as no_fence or *")
    parser.add_argument("--only-mutants", action="store_true", help="run no cell on the true sources")
    parser.add_argument("--folder", type=Path, help="keep journals and rows here")
    parser.add_argument("--json", type=Path, help="write the results here")
    given = parser.parse_args()
    if not given.mutants and (given.only_mutants or given.cells == "*"):
        given.mutants = "*"
    return given


def _wants_mutants(given: argparse.Namespace) -> bool:
    return bool(given.mutants)


def _chosen(given: argparse.Namespace) -> list[tuple[Cell, int]]:
    found: list[tuple[Cell, int]] = []
    for cell in cells():
        named = any(fnmatch(cell.full_name, pattern) for pattern in given.cells.split(","))
        if not named or (given.store and cell.store != given.store):
            continue
        times = cell.quick if given.quick else min(cell.times, max(1, round(cell.times * given.times)))
        if times:
            found.append((cell, times))
    return found


async def _run_cells(given: argparse.Namespace, seed: int, folder: Path) -> list[Report]:
    random = Random(seed)
    source = copy_sources(folder / "sources")
    reports: list[Report] = []
    orders: list[Order] = []
    for cell, times in _chosen(given):
        order = Order(cell, times, random.getrandbits(32), source, folder / cell.full_name.replace("/", "-"))
        if lacking := needs.missing(cell.needs):
            reports.append(Report(cell.full_name, order.seed, "SKIPPED", lacking))
        else:
            orders.append(order)
    until = time.monotonic() + given.minutes * 60 if given.minutes else float("inf")

    def told(order: Order, report: Report) -> bool:
        reports.append(report)
        print(results.line_of(report), *results.wrongs_of(report), sep="\n", flush=True)
        if report.outcome == "passed" and not given.folder:
            shutil.rmtree(order.folder, ignore_errors=True)
        return time.monotonic() < until

    await carry_out(orders, given.jobs, told)
    return reports


async def _run_mutants(given: argparse.Namespace, seed: int, folder: Path) -> list[dict[str, Any]]:
    random = Random(seed)
    chosen = [
        each
        for each in mutants()
        if any(fnmatch(each.name, name) for name in given.mutants.split(",")) and (each.quick or not given.quick)
    ]
    judged: dict[str, dict[str, Any]] = {}
    copied = copy_sources(folder / "unharmed")
    pending: list[Mutant] = []
    for mutant in chosen:
        if lacking := needs.missing(mutant.needs):
            judged[mutant.name] = {"mutant": mutant.name, "outcome": "SKIPPED", "by": lacking}
        else:
            pending.append(mutant)
    for mutant in list(pending):
        if problem := mutant.problem(copied):
            judged[mutant.name] = {"mutant": mutant.name, "outcome": "STALE", "by": problem}
            pending.remove(mutant)
    for attempt in range(3):  # a fault that needs luck to show gets three chances
        orders = _orders(pending, random, folder, attempt)
        by_folder = {order.folder: mutant for order, mutant in zip(orders, pending, strict=True)}

        def told(order: Order, report: Report, by_folder: dict[Path, Mutant] = by_folder) -> bool:
            mutant = by_folder[order.folder]
            judged[mutant.name] = _judged(mutant, report)
            print(f"mutant {mutant.name:30} {judged[mutant.name]['outcome']} {judged[mutant.name]['by']}", flush=True)
            shutil.rmtree(order.source, ignore_errors=True)
            return True

        await carry_out(orders, given.jobs, told)
        pending = [each for each in pending if judged[each.name]["outcome"] != "caught"]
        if not pending:
            break
    return [judged[each.name] for each in chosen]


def _orders(pending: Sequence[Mutant], random: Random, folder: Path, attempt: int) -> list[Order]:
    known = {cell.full_name: cell for cell in cells()}
    made: list[Order] = []
    for mutant in pending:
        source = folder / f"mutant-{mutant.name}-{attempt}"
        mutant.plant(copy_sources(source))
        place = folder / f"run-{mutant.name}-{attempt}"
        made.append(Order(known[mutant.cell], mutant.times, random.getrandbits(32), source, place))
    return made


def _judged(mutant: Mutant, report: Report) -> dict[str, Any]:
    promises = sorted({each["promise"] for each in report.violations})
    expected = set(promises) & set(mutant.promises)
    outcome = "caught" if expected else "SURVIVED" if report.outcome == "passed" else report.outcome
    by = ", ".join(promises) or report.why[-200:]
    return {"mutant": mutant.name, "outcome": outcome, "by": by, "cell": report.cell, "seed": report.seed}


if __name__ == "__main__":
    sys.exit(main())
