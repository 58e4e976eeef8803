"""`python -m tests.faults.cell_process CELL --seed N ...`: one cell in a process of its own, which says its report."""

import argparse
import asyncio
import json
import sys
import traceback
from pathlib import Path

from tests.faults.cells import cells
from tests.faults.run_cell import Report, as_dict, run_cell


def main() -> int:
    """Carry out the cell that the arguments name."""
    parser = argparse.ArgumentParser()
    parser.add_argument("cell")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--times", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--source", type=Path, required=True)
    given = parser.parse_args()
    cell = next(each for each in cells() if each.full_name == given.cell)
    try:
        report = asyncio.run(run_cell(cell, given.times, given.seed, given.folder, given.source))
    except BaseException:
        report = Report(given.cell, given.seed, "BROKEN", traceback.format_exc()[-3000:])
    sys.stdout.write(json.dumps(as_dict(report)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
