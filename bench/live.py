"""Live turns: how late words come when many models speak at once, at 50 pieces a second each.

    python bench/live.py [--turns 100,500,1000] [--seconds 6] [--quick] [--json]

The server is `heddle up` with a model that speaks on a clock (live_server.py); the client is another process on the
same machine. A goal says: 500 turns with a p99 of 100 ms, 1,000 with 250 ms, and nothing lost, on 2 cores.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import processes
from heddle_target import Target, running_heddle
from processes import BENCH, PYTHON

PER_SECOND = 50


def measure(turns: int, seconds: float) -> dict[str, Any]:
    """So many live turns against a fresh runtime."""
    pieces = round(PER_SECOND * seconds)
    with tempfile.TemporaryDirectory() as name:
        speaking = (PYTHON, str(BENCH / "live_server.py"), str(pieces), str(PER_SECOND))
        with running_heddle(Target(tool="built-in"), Path(name), python=speaking) as heddle:
            before = processes.processor_seconds(heddle.child.pid)
            client = [PYTHON, str(BENCH / "live_client.py"), "--address", heddle.address, "--turns", str(turns)]
            options = ["--pieces", str(pieces), "--per-second", str(PER_SECOND)]
            found = processes.figures([*client, *options], seconds * 6 + 60)
            found["server_cpu_us_per_piece"] = (
                (processes.processor_seconds(heddle.child.pid) - before) / (turns * pieces) * 1e6
            )
            return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", default="100,500,1000")
    parser.add_argument("--seconds", type=float, default=6, help="how long each turn speaks")
    parser.add_argument("--quick", action="store_true", help="100 and 500 turns of 3 seconds")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.turns, arguments.seconds = "100,500", 3
    found = [measure(int(each), arguments.seconds) for each in arguments.turns.split(",")]
    if arguments.json:
        print(json.dumps(found))
        return
    for each in found:
        print(
            f"{each['turns']:5} live turns: added delay p50 {each['delay_p50_ms']:.1f} ms, p99"
            f" {each['delay_p99_ms']:.1f} ms, most {each['delay_max_ms']:.1f} ms; {each['whole']} whole,"
            f" {each['lost_pieces']} pieces lost, {each['errors']} errors; {each['deltas_per_turn']:.0f} deltas a turn,"
            f" server {each['server_cpu_us_per_piece']:.0f} us a piece"
        )
        for problem in each["problems"]:
            print(f"      {problem}")


if __name__ == "__main__":
    main()
