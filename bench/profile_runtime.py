"""Where a reference turn's time goes in the runtime: a profile of the loop's thread, which does all but some commits.

    python bench/profile_runtime.py [--tool built-in] [--clients 64] [--seconds 6] [--lines 45] [--by tottime]

Prints microseconds a turn for the most expensive functions. The profiler makes Python's calls about
twice as dear and C's not, so the figures are for comparing parts with each other, not with an undisturbed run.
"""

import argparse
import cProfile
import pstats
import sys
import tempfile
from pathlib import Path
from typing import Any

FOLDER = "HEDDLE_BENCH_PROFILES"
"""The variable that names where the served process leaves its profiles."""


def serve_profiled(folder: Path) -> int:
    """`heddle up`, with a profile of the loop's thread left in `folder`."""
    import heddle_cli.serving  # noqa: F401 - imported before the profile begins, as is all that it needs
    from heddle_cli.__main__ import main

    profile = cProfile.Profile()
    try:
        profile.runcall(main)
    except SystemExit as ended:
        return int(ended.code or 0)
    finally:
        profile.dump_stats(folder / "loop")
    return 0


def told(file: Path, turns: int, lines: int, by: str) -> list[str]:
    """The most expensive functions: calls, own and whole microseconds, each per turn."""
    stats: Any = pstats.Stats(str(file))
    rows: list[tuple[float, float, int, str]] = [
        (own, whole, calls, _place(function)) for function, (_, calls, own, whole, _) in stats.stats.items()
    ]
    rows.sort(key=lambda row: row[0] if by == "tottime" else row[1], reverse=True)
    total = sum(row[0] for row in rows)
    head = [f"{file.name}: {total / turns * 1e6:.0f} us a turn in all", "   calls    own us  whole us"]
    return head + [
        f"{calls / turns:8.1f} {own / turns * 1e6:9.1f} {whole / turns * 1e6:9.1f}  {place}"
        for own, whole, calls, place in rows[:lines]
    ]


def _place(function: tuple[str, int, str]) -> str:
    file, line, name = function
    parts = Path(file).parts
    return f"{'/'.join(parts[-2:])}:{line} {name}" if line else name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tool", choices=("grpc", "built-in"), default="built-in")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--lines", type=int, default=45)
    parser.add_argument("--by", choices=("tottime", "cumtime"), default="tottime")
    parser.add_argument("--tree", type=Path, default=Path(__file__).resolve().parent.parent)
    arguments = parser.parse_args()
    from heddle_target import BUILT_IN, REFERENCE, Target, running_heddle
    from processes import BENCH, PYTHON
    from run import loop

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        target = Target(arguments.tool, settings=((FOLDER, name),), tree=arguments.tree)
        scenario = REFERENCE if arguments.tool == "grpc" else BUILT_IN
        with running_heddle(target, folder, python=(PYTHON, str(Path(__file__)))) as heddle:
            client = [PYTHON, str(BENCH / "client.py"), "--address", heddle.address, "--scenario", str(scenario)]
            found = loop(client, arguments.clients, arguments.seconds, heddle.child.pid)
        print(f"{found['played']} turns, {found['per_second']:.0f}/s under the profiler, {found['errors']} errors")
        print("\n".join(told(folder / "loop", found["played"], arguments.lines, arguments.by)))


if __name__ == "__main__":
    import os

    if FOLDER in os.environ:
        sys.exit(serve_profiled(Path(os.environ[FOLDER])))
    main()
