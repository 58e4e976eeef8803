"""All measurements in turn: what `make bench` does.

    python bench/everything.py [--quick] [--only start,fanout] [--reference "--pairs 5 --clients 1,64"]

The reference turns come first and write RESULTS.md. The others follow, one after the other with nothing beside them,
and what they print goes into MEASUREMENTS.md with the command of each. --quick takes about five minutes and writes
nothing; in full it is about half an hour. Leave the machine alone meanwhile.
"""

import argparse
import shlex
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime

import processes
from processes import BENCH, PYTHON, ROOT


@dataclass(frozen=True)
class Measurement:
    """A script, and what is asked of the figures that it prints."""

    script: str
    heading: str
    asked: str
    quick: tuple[str, ...] = ("--quick",)
    """Options for a short look."""


OTHERS = (
    Measurement("start", "Start and idle memory", "`heddle up` within 2 s, `--help` within 150 ms, under 200 MB idle"),
    Measurement("long_thread", "A long thread", "a turn at most 1.2 times, a snapshot in 5 ms, 20,000 events/s"),
    Measurement("watchers", "Idle watchers", "40 KiB each, and none lost"),
    Measurement("slow_readers", "Readers that do not read", "1 MiB each, the others' p99 at most doubled"),
    Measurement(
        "fanout", "Fan-out over NATS", "p99 25 ms at 2,000 events/s, a drain of 5,000 events/s", ("--seconds", "3")
    ),
    Measurement("takeover", "Takeover by another replica", "a drain at once, a death within its lease of 10 s"),
    Measurement("live", "Live words", "p99 100 ms at 500 turns, 250 ms at 1,000, nothing lost"),
    Measurement("schedules", "Schedules", "a tick costs nothing while nothing is due", ("--campaigns", "10000")),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="short rounds; writes nothing")
    parser.add_argument("--only", default="", help=f"of reference,{','.join(each.script for each in OTHERS)}")
    parser.add_argument("--reference", default="", help="options of run.py")
    arguments = parser.parse_args()
    only = set(filter(None, arguments.only.split(",")))
    unknown = only - {"reference", *(each.script for each in OTHERS)}
    if unknown:
        parser.error(f"--only: there is no {', '.join(sorted(unknown))}")
    failed = False
    if not only or "reference" in only:
        command = [PYTHON, str(BENCH / "run.py"), *(["--quick", "--json"] if arguments.quick else [])]
        command += shlex.split(arguments.reference)
        failed |= bool(subprocess.run(command, check=False).returncode)
    blocks: list[str] = []
    for each in OTHERS:
        if only and each.script not in only:
            continue
        print(f"\n{each.heading}, asked: {each.asked}", flush=True)
        printed = _printed(each, quick=arguments.quick)
        failed |= printed is None
        blocks.append(_block(each, printed))
    if blocks and not only and not arguments.quick:
        (BENCH / "MEASUREMENTS.md").write_text(_page(blocks))
    return int(failed)


def _printed(each: Measurement, *, quick: bool) -> str | None:
    """What a script prints, shown as it comes; None: it failed."""
    command = [PYTHON, str(BENCH / f"{each.script}.py"), *(each.quick if quick else ())]
    env = processes.environment()
    env["PYTHONPATH"] = f"{ROOT}:{env['PYTHONPATH']}"
    lines: list[str] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as running:
        assert running.stdout is not None
        for line in running.stdout:
            print("  " + line, end="", flush=True)
            lines.append(line)
    return "".join(lines) if running.returncode == 0 else None


def _block(each: Measurement, printed: str | None) -> str:
    said = "It failed." if printed is None else "".join(f"    {line}\n" for line in printed.splitlines())
    return f"## {each.heading}\n\nAsked: {each.asked}.\n\n    $ python bench/{each.script}.py\n{said}"


def _page(blocks: list[str]) -> str:
    head = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    commit = head.stdout.strip() or "an unknown commit"
    about = (
        "# Other measurements\n\n"
        "What is not a reference turn. Written by `make bench`, with what each script printed on the machine of\n"
        f"[RESULTS.md](RESULTS.md), at {commit} on {datetime.now(UTC):%Y-%m-%d}, one after the other.\n\n"
    )
    return about + "\n".join(blocks)


if __name__ == "__main__":
    sys.exit(main())
