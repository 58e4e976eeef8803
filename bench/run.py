"""Reference turns: the ceiling and Heddle in turn, several pairs, medians and ratios pair by pair.

    python bench/run.py [--quick] [--pairs N] [--seconds S] [--clients 1,16,64] [--tools grpc,built-in] [--json]

Each round starts a fresh ceiling and a fresh Heddle on empty folders and measures them one after the other at each
concurrency, so that what the machine does meanwhile meets both. Besides turns per second it shows what the serving
process takes of the processors per turn, which other people's load spoils least. Writes
bench/results/DATE.json and bench/RESULTS.md unless --json asks for the figures on stdout alone. --quick takes less
than two minutes.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import processes
import report
from heddle_target import BUILT_IN, REFERENCE, Target, has_bus, pragmas, rows, running_heddle
from processes import BENCH, PYTHON, figures

CEILING = BENCH / "ceiling"


def measure_ceiling(folder: Path, generated: Path, arguments: argparse.Namespace, *, each: bool) -> dict[str, Any]:
    """The ceiling at every concurrency, and a bare unary call."""
    folder.mkdir()
    options = ["--generated", str(generated), "--data-dir", str(folder), "--loop", arguments.ceiling_loop]
    command = [PYTHON, str(CEILING / "server.py"), *options, *(["--each"] if each else [])]
    with processes.serving(command, folder / "log", processes.environment()) as child:
        client = [PYTHON, str(CEILING / "client.py"), "--generated", str(generated), "--address", child.said["address"]]
        played = {clients: loop(client, clients, arguments.seconds, child.pid) for clients in arguments.clients}
        echo = [*client, "--echo"]
        return {
            "turns": played,
            "unary": loop(echo, 1, min(arguments.seconds, 2), child.pid),
            "pragmas": child.said["pragmas"],
        }


def measure_heddle(folder: Path, target: Target, arguments: argparse.Namespace) -> dict[str, Any]:
    """One variant of Heddle at every concurrency; its database is looked at when it has stopped."""
    folder.mkdir()
    scenario = str(REFERENCE if target.tool == "grpc" else BUILT_IN)
    with running_heddle(target, folder) as heddle:
        client = [PYTHON, str(BENCH / "client.py"), "--address", heddle.address, "--scenario", scenario]
        played = {
            clients: loop(client, clients, arguments.seconds, heddle.child.pid, heddle.tool.pid if heddle.tool else 0)
            for clients in arguments.clients
        }
    return {"turns": played, "pragmas": pragmas(heddle.data_dir), "rows": rows(heddle.data_dir)}


def loop(client: list[str], clients: int, seconds: float, server: int, tool: int = 0) -> dict[str, Any]:
    """A client's figures, with what the server took of the processors for each turn that was played."""
    before, tool_before = processes.processor_seconds(server), processes.processor_seconds(tool) if tool else 0.0
    found = figures([*client, "--clients", str(clients), "--seconds", str(seconds)], seconds * 3 + 30)
    played = max(found["played"], 1)
    found["server_cpu_us"] = (processes.processor_seconds(server) - before) / played * 1e6
    found["tool_cpu_us"] = (processes.processor_seconds(tool) - tool_before) / played * 1e6 if tool else 0.0
    return found


def variants(arguments: argparse.Namespace) -> list[Target]:
    """What is measured of Heddle: the default first."""
    buses = ["on", "off"] if has_bus() else ["none"]
    if arguments.bus != "both":
        buses = [bus for bus in buses if bus == arguments.bus] or buses[:1]
    return [Target(tool, bus) for tool in arguments.tools for bus in buses]


def rounds(arguments: argparse.Namespace, targets: list[Target], folder: Path) -> Iterator[dict[str, Any]]:
    """One round for each pair: the ceiling, then every variant."""
    sys.path.insert(0, str(CEILING))
    import contract

    generated = folder / "generated"
    generated.mkdir()
    contract.generate(generated)
    for number in range(arguments.pairs):
        round_: dict[str, Any] = {"ceiling": measure_ceiling(folder / f"c{number}", generated, arguments, each=False)}
        if arguments.each:
            round_["ceiling, each delta a frame"] = measure_ceiling(
                folder / f"e{number}", generated, arguments, each=True
            )
        for place, target in enumerate(targets):
            round_[target.name] = measure_heddle(folder / f"h{number}-{place}", target, arguments)
        yield round_


def summary(found: list[dict[str, Any]], clients: list[int]) -> dict[str, Any]:
    """Medians over the rounds, and medians of the ratios to the ceiling of the same round."""
    told: dict[str, Any] = {}
    for name in found[0]:
        told[name] = {}
        for count in clients:
            mine = [each[name]["turns"][count] for each in found]
            ceiling = [each["ceiling"]["turns"][count] for each in found]
            keys = ("per_second", "p50_ms", "p99_ms", "first_p50_ms", "frames", "server_cpu_us", "tool_cpu_us")
            line: dict[str, Any] = {key: median(each[key] for each in mine) for key in (*keys, "client_cpu_us")}
            line["errors"] = sum(each["errors"] for each in mine)
            line["problems"] = [problem for each in mine for problem in each["problems"]][:3]
            for key in ("per_second", "p50_ms", "server_cpu_us"):
                pairs = [a[key] / b[key] for a, b in zip(mine, ceiling, strict=True) if b[key]]
                line[f"{key}_ratios"] = [round(each, 3) for each in pairs]
                line[f"{key}_ratio"] = median(pairs) if pairs else 0.0
            told[name][count] = line
    unary = [each["ceiling"]["unary"]["p50_ms"] for each in found]
    told["unary_p50_ms"] = median(unary)
    return told


def parsed() -> argparse.Namespace:
    """The command line; lists are split."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4, help="of each loop, behind a warm-up of a quarter")
    parser.add_argument("--clients", default="1,16,64")
    parser.add_argument("--tools", default="grpc,built-in", help="which variants of the tool, the default first")
    parser.add_argument("--bus", choices=("both", "on", "off"), default="both")
    parser.add_argument("--no-each", dest="each", action="store_false", help="leave out the unmerged ceiling")
    parser.add_argument("--ceiling-loop", choices=("asyncio", "uvloop"), default="uvloop")
    parser.add_argument("--quick", action="store_true", help="two pairs of short loops, the default Heddle alone")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON and write nothing")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.pairs, arguments.seconds, arguments.each = min(arguments.pairs, 2), 2.0, False
        arguments.tools, arguments.bus = "grpc", "on"
    arguments.clients = [int(each) for each in arguments.clients.split(",")]
    arguments.tools = arguments.tools.split(",")
    return arguments


def main() -> None:
    arguments = parsed()
    began = datetime.now(UTC)
    machine = processes.machine()
    targets = variants(arguments)
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for round_ in rounds(arguments, targets, Path(folder)):
            found.append(round_)
            if not arguments.json:
                print(report.progress(len(found), arguments.pairs, round_), file=sys.stderr, flush=True)
    told = {
        "began": began.isoformat(timespec="seconds"),
        "command": " ".join(["python", "bench/run.py", *sys.argv[1:]]),
        "machine": {**machine, "load_after": processes.machine()["load"]},
        "pairs": arguments.pairs,
        "seconds": arguments.seconds,
        "ceiling_loop": arguments.ceiling_loop,
        "pragmas": {name: round_["pragmas"] for name, round_ in found[0].items()},
        "summary": summary(found, arguments.clients),
        "rounds": found,
    }
    if arguments.json:
        print(json.dumps(told))
        return
    page = report.page(told, arguments.clients)
    print(report.table(told, arguments.clients))
    results = BENCH / "results"
    results.mkdir(exist_ok=True)
    (results / f"{began:%Y-%m-%d-%H%M%S}.json").write_text(json.dumps(told, indent=1) + "\n")
    (BENCH / "RESULTS.md").write_text(page)


if __name__ == "__main__":
    main()
