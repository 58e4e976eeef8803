"""Two source trees of Heddle in turn, several pairs: what a change to the code is worth.

    cp -r libs services /tmp/before/; ...change...; python bench/compare.py /tmp/before [AFTER] [--clients 64]

Prints for each concurrency the ratios pair by pair and their median, of turns per second, of processor time per turn
and of p50. Compare a tree with a copy of itself first: that spread is what the machine makes of nothing, and a ratio
within it says nothing. Processor time is steadier than turns per second, but less of it is no gain by itself: judge by
turns per second, decide on the number of pairs beforehand, and count them all.
--set NAME=VALUE gives the second tree a
setting, to compare one tree with itself under another setting.
"""

import argparse
import tempfile
from pathlib import Path
from statistics import median

from heddle_target import Target
from processes import ROOT
from run import measure_heddle


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path, nargs="?", default=ROOT)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--clients", default="64")
    parser.add_argument("--tool", choices=("grpc", "built-in"), default="built-in")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    arguments = parser.parse_args()
    arguments.clients = [int(each) for each in arguments.clients.split(",")]
    settings = tuple((name, value) for name, _, value in (each.partition("=") for each in arguments.set))
    old = Target(arguments.tool, tree=arguments.before.resolve())
    new = Target(arguments.tool, tree=arguments.after.resolve(), settings=settings)
    pairs = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(arguments.pairs):
            order = (old, new) if number % 2 == 0 else (new, old)
            found = {
                target: measure_heddle(Path(folder) / f"{number}-{place}", target, arguments)
                for place, target in enumerate(order)
            }
            pairs.append((found[old]["turns"], found[new]["turns"]))
    for clients in arguments.clients:
        lines = [(before[clients], after[clients]) for before, after in pairs]
        for key, digits in (("per_second", 1), ("server_cpu_us", 0), ("p50_ms", 1)):
            ratios = sorted(after[key] / before[key] for before, after in lines)
            print(
                f"c={clients} {key}: {median(b[key] for b, _ in lines):.{digits}f} ->"
                f" {median(a[key] for _, a in lines):.{digits}f}, ratio {median(ratios):.3f}"
                f" ({', '.join(f'{each:.2f}' for each in ratios)})"
            )
        errors = sum(before["errors"] + after["errors"] for before, after in lines)
        if errors:
            print(f"c={clients}: {errors} turns failed: {[a['problems'] for _, a in lines]}")


if __name__ == "__main__":
    main()
