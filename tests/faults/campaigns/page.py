"""The page that is committed: the table of a sitting, and how it came about."""

import os
import platform
from datetime import UTC, datetime

from tests.faults.campaigns.plan import Options
from tests.faults.campaigns.results import Results, lines


def page(options: Options, results: Results, seconds: float, load: float) -> str:
    """All of it, as Markdown; `load` is the machine's over the last minute, before anything began."""
    command = (
        f"python -m tests.faults.campaigns --campaigns {options.campaigns} --minutes {options.minutes:g}"
        f" --every {options.every} --seed {options.seed} --kill-every {options.kill_every:g}"
    )
    told = [f"| {name} | {much} |" for name, much in lines(results)]
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    return "\n".join(
        (
            f"<!-- Made by `{command} --write`. -->",
            "# One fire per scheduled time, on replicas that die",
            "",
            "Three campaign services work on one PostgreSQL, their clocks five seconds apart. Every few seconds one is",
            "killed with `kill -9` and started again. Meanwhile campaigns fall due every minute or so: by interval and",
            "by cron, with and without jitter, under every overlap policy; some are paused and resumed, and",
            "times that passed are backfilled. Then everything settles, and a checker that imports nothing of Heddle",
            "reckons the scheduled times anew and compares them with the rows of both databases:",
            "",
            "- each scheduled time has exactly one cycle, or lies in exactly one gap; there is no cycle beside them;",
            "- fired + skipped + missed + paused + dropped = scheduled times, for every campaign, and each of them is",
            "  what the rows say;",
            "- a backfill makes one cycle for each time of its stretch that has none;",
            "- cycles beside each other wait, are left out or are cancelled as their overlap policy says;",
            "- each attempt of each turn has started one run in the runtime, and there is no run beside them;",
            "- a cycle begins once, whoever looks at it later; no cycle, turn, run or campaign is left open.",
            "",
            "A cycle is taken over when its lease has ended, or when it is time for its next attempt. A sitting in",
            "which none was taken over from a replica that had been killed is VACUOUS: it tested nothing.",
            "",
            f"    {command}",
            "",
            "| | |",
            "|---|---|",
            *told,
            "",
            f"It took {seconds / 60:.1f} minutes on {datetime.now(UTC):%Y-%m-%d}, on {machine}, whose load was",
            f"{load:.1f} before it began.",
            "",
            "Lateness is from the moment when a cycle was due, its jitter included, to the moment when a replica",
            "began it, by the database's clock. The cycles that are unhindered waited for nothing of their own",
            "campaign: no pause, and no earlier cycle of it. `tests/system/test_campaign_replicas.py` runs a small",
            "form of the same each time.",
            "",
        )
    )
