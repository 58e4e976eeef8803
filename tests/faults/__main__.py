"""`python -m tests.faults`: break everything on purpose, and check the promises of GUARANTEES.md.

Without arguments all cells and all mutants run. The seed is printed; `--seed` replays what the seed decides (which is
not the order in which a machine's processes get their turns). A run that was cut goes on with `--resume FOLDER`, on the
sources that it began with. Exits with 1 if a promise was broken, a mutant survived, or something tested nothing; with 2
if there is more to do.
"""

import argparse
import asyncio
import os
import secrets
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.faults import results
from tests.faults.processes import ROOT, environment
from tests.faults.record import Record
from tests.faults.sitting import Sitting, is_chosen, order_of
from tests.faults.telling import page

_FAILED, _UNFINISHED = 1, 2


def main() -> int:
    """Run what was asked for; the exit code."""
    given = _arguments()
    if given.assemble:
        return _tell([Record(folder) for folder in given.assemble], given)
    if given.resume and not (given.resume / "run.jsonl").exists():
        sys.exit(f"{given.resume} holds no run of the fault suite")
    record = Record(given.resume) if given.resume else _begin(given)
    if record.sources != ROOT:
        _go_on_from_the_copy(record, given)
    return _sit(record, given)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    what = parser.add_argument_group("what to do, decided once for a run")
    what.add_argument("--seed", type=int, help="replay this seed")
    what.add_argument("--cells", default="*", help="names to run, as sqlite/* or */zombie; several by commas")
    what.add_argument("--store", default="", help="sqlite or postgres; both if unset")
    what.add_argument("--times", type=float, default=1.0, help="multiplies how often each cell breaks something")
    what.add_argument("--quick", action="store_true", help="the form of continuous integration")
    what.add_argument("--mutants", default="", help="names of mutants to plant beside, as no_fence* or *")
    what.add_argument("--only-mutants", action="store_true", help="run no cell on the true sources")
    what.add_argument("--part", default="1/1", help="2/3: the second of three parts, as for three machines")
    what.add_argument("--folder", type=Path, help="a new folder for the run, which is kept; else one in /tmp")
    sitting = parser.add_argument_group("how, for each sitting")
    sitting.add_argument("--resume", type=Path, metavar="FOLDER", help="go on with a run that was cut")
    sitting.add_argument("--again", default="", metavar="NAMES", help="with --resume: run these once more")
    sitting.add_argument("--jobs", type=int, default=2, help="cells side by side")
    sitting.add_argument("--minutes", type=float, default=0, help="begin no further cell after so long")
    telling = parser.add_argument_group("what is left")
    telling.add_argument("--assemble", type=Path, nargs="+", metavar="FOLDER", help="run nothing: tell of these runs")
    telling.add_argument("--json", type=Path, help="write the results here")
    telling.add_argument("--write", type=Path, help="write the page with the table here")
    telling.add_argument("--keep", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    for name in ("folder", "resume", "json", "write"):
        path: Path | None = getattr(given, name)
        setattr(given, name, path.resolve() if path else None)
    if not given.mutants and (given.only_mutants or given.cells == "*"):
        given.mutants = "*"
    return given


def _begin(given: argparse.Namespace) -> Record:
    """A folder with the sources as they are now, and what is to be done with them."""
    if given.folder and given.folder.exists() and any(given.folder.iterdir()):
        sys.exit(f"{given.folder} is not empty; go on with a run there by --resume")
    seed = given.seed if given.seed is not None else secrets.randbits(32)
    folder = given.folder or Path(tempfile.mkdtemp(prefix="heddle-faults-"))
    asked = {name: getattr(given, name) for name in ("cells", "store", "times", "quick", "mutants", "only_mutants")}
    command = " ".join(["python -m tests.faults", *sys.argv[1:]])
    return Record.begin(folder, {"command": command, "seed": seed, "part": given.part, **asked})


def _go_on_from_the_copy(record: Record, given: argparse.Namespace) -> None:
    """Be the suite of the copy from here on: all of a run is about the same code, whoever edits it meanwhile."""
    told = ["--resume", str(record.folder), "--jobs", str(given.jobs), "--minutes", str(given.minutes)]
    for name in ("again", "json", "write"):
        told += [f"--{name}", str(getattr(given, name))] if getattr(given, name) else []
    if given.folder or given.resume:
        told.append("--keep")
    os.chdir(record.sources)
    os.execve(sys.executable, [sys.executable, "-m", "tests.faults", *told], environment(record.sources))


def _sit(record: Record, given: argparse.Namespace) -> int:
    """Carry out what is left, as far as it goes in this sitting."""
    plan = record.plan
    print(f"seed {plan['seed']}; journals in {record.folder}", flush=True)
    for name in sorted(record.reports()) if given.again else ():
        if is_chosen(name, given.again):
            record.write("again", what=name)
    began = time.monotonic()
    record.write("sitting", jobs=given.jobs, load=os.getloadavg()[0])
    until = began + given.minutes * 60 if given.minutes else float("inf")
    sitting = Sitting(record, plan, keeps=given.keep, until=until)
    try:
        left = asyncio.run(_ended_by_signals(sitting, given.jobs))
    except (KeyboardInterrupt, asyncio.CancelledError):
        print(f"cut; go on with --resume {record.folder}")
        return _UNFINISHED
    finally:
        sitting.tidy()
        record.write("over", seconds=time.monotonic() - began)
    code = _tell([record], given)
    if left:
        print(f"{left} cells and mutants are left; go on with --resume {record.folder}")
        return _UNFINISHED
    if code == 0 and not given.keep:
        shutil.rmtree(record.folder, ignore_errors=True)
    return code


async def _ended_by_signals(sitting: Sitting, jobs: int) -> int:
    working = asyncio.create_task(sitting.work(jobs))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, working.cancel)
    return await working


def _tell(records: Sequence[Record], given: argparse.Namespace) -> int:
    """Print the table of all that is done, and write what was asked for."""
    reports = sorted((each for record in records for each in record.reports().values()), key=order_of)
    judged = results.planted([each for record in records for each in record.judged().values()])
    plans = [record.plan for record in records]
    whole = all(plan["cells"] == "*" and not plan["store"] and not plan["only_mutants"] for plan in plans)
    print(results.table_of(reports, judged))
    lacking = results.vacuous(reports) if whole else []
    print("\n".join(lacking))
    if given.json:
        results.write(given.json, plans, reports, judged)
    if given.write:
        given.write.write_text(page(records, reports, judged))
    bad = [each for each in reports if each.outcome in results.BAD]
    bad_mutants = [each for each in judged if each["outcome"] not in ("caught", "SKIPPED")]
    took = sum(line["seconds"] for record in records for line in record.lines() if line["kind"] == "over")
    failed = bool(bad or bad_mutants or lacking)
    print(f"{'FAILED' if failed else 'passed'} in {took:.0f} s, seed {plans[0]['seed']}")
    return _FAILED if failed else 0


if __name__ == "__main__":
    sys.exit(main())
