"""`python -m tests.faults.campaigns`: one fire per scheduled time, on three replicas that die (P15).

Without arguments 1,000 campaigns run for 10 minutes. The seed decides schedules, pauses and kills; not in which order a
machine's processes get their turns. Exits with 1 if a promise was broken, or if nothing was taken over.
"""

import argparse
import asyncio
import json
import os
import secrets
import sys
import tempfile
import time
from pathlib import Path

from tests.faults.campaigns import results, sitting
from tests.faults.campaigns.page import page
from tests.faults.campaigns.plan import Options


def main() -> int:
    """Run what was asked for; the exit code."""
    given = _arguments()
    options = Options(
        campaigns=given.campaigns,
        minutes=given.minutes,
        every=given.every,
        seed=given.seed if given.seed is not None else secrets.randbits(32),
        kill_every=given.kill_every,
        past=given.past,
        sweep_every=given.sweep_every,
        settle_within=given.settle_within,
    )
    print(f"seed {options.seed}: {options.campaigns} campaigns, {options.minutes:g} minutes", flush=True)
    began, load = time.monotonic(), os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="heddle-campaigns-") as temporary:
        folder = given.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        found = results.judge(asyncio.run(sitting.sit(folder, options)))
    seconds = time.monotonic() - began
    print(results.table(found))
    if given.json:
        written = {"options": vars(options), "seconds": seconds, "load": load, **found.as_dict()}
        given.json.write_text(json.dumps(written, indent=1) + "\n")
    if given.write:
        given.write.write_text(page(options, found, seconds, load))
    return 0 if found.outcome == "passed" else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.campaigns", description=__doc__)
    parser.add_argument("--campaigns", type=int, default=Options.campaigns)
    parser.add_argument("--minutes", type=float, default=Options.minutes, help="less than --every: one time each")
    parser.add_argument("--every", type=int, default=Options.every, help="minutes from a campaign's time to its next")
    parser.add_argument("--seed", type=int, help="replay this seed")
    parser.add_argument("--kill-every", type=float, default=Options.kill_every, help="seconds, on average")
    parser.add_argument("--past", type=int, default=Options.past, help="times that a backfill fires, for some")
    parser.add_argument("--sweep-every", type=float, default=Options.sweep_every, help="seconds; also the lease")
    parser.add_argument("--settle-within", type=float, default=Options.settle_within, help="seconds")
    parser.add_argument("--folder", type=Path, help="a new folder for journal and logs, which is kept")
    parser.add_argument("--json", type=Path, help="write the results here")
    parser.add_argument("--write", type=Path, help="write the page with the table here")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
