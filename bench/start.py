"""How soon Heddle serves, and what it weighs when it does nothing.

    python bench/start.py [--rounds 5] [--bus default|off] [--quick] [--json]

From the start of `heddle up` on an empty folder until its first line and until a health check is answered; its memory
5 s later over all its processes; the time of `heddle --help`. The first start of all, which reads its files from disk
and may compile them, is told apart. Goals: 2 s, 200 MB, 150 ms.
"""

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import processes
from heddle_target import REFERENCE
from processes import PYTHON

IDLE = 5.0
"""Seconds after which the memory is read."""


def start(bus: str, idle: float) -> dict[str, Any]:
    """One start on an empty folder."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = [PYTHON, "-m", "heddle_cli", "up", "--print-address", "--listen", "127.0.0.1:0"]
        command += ["--data-dir", str(folder / "data"), "--model", f"scripted:{REFERENCE}"]
        command += ["--no-nats"] if bus == "off" else []
        with processes.serving(command, folder / "log", processes.environment()) as child:
            said = time.perf_counter() - child.began
            _healthy(child.said["address"])
            served = time.perf_counter() - child.began
            found: dict[str, Any] = {"said_s": said, "served_s": served}
            if idle:
                time.sleep(idle)
                pids = processes.family(child.pid)
                found["processes"] = {processes.name_of(pid): processes.memory(pid) for pid in pids}
                found["pss_mib"] = sum(each["pss_mib"] for each in found["processes"].values())
                found["rss_mib"] = sum(each["rss_mib"] for each in found["processes"].values())
                before = sum(map(processes.processor_seconds, pids))
                time.sleep(1)
                found["idle_cpu_percent"] = (sum(map(processes.processor_seconds, pids)) - before) * 100
            return found


def help_seconds() -> float:
    """How long `heddle --help` takes."""
    began = time.perf_counter()
    subprocess.run(
        [PYTHON, "-m", "heddle_cli", "--help"], env=processes.environment(), stdout=subprocess.DEVNULL, check=True
    )
    return time.perf_counter() - began


def measure(rounds: int, bus: str) -> dict[str, Any]:
    """Medians over the rounds; memory from the last."""
    first = start(bus, 0)
    starts = [start(bus, 0) for _ in range(rounds - 1)] + [start(bus, IDLE)]
    helps = [help_seconds() for _ in range(rounds)]
    last = starts[-1]
    return {
        "bus": bus,
        "first_served_s": first["served_s"],
        "served_s": median(each["served_s"] for each in starts),
        "said_s": median(each["said_s"] for each in starts),
        "help_s": median(helps),
        "idle": {key: last[key] for key in ("pss_mib", "rss_mib", "idle_cpu_percent", "processes")},
    }


def _healthy(address: str) -> None:
    """Return when the server has answered that it serves."""
    processes.use_sources()
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    with grpc.insecure_channel(address) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=10)
        if answer.status != health_pb2.HealthCheckResponse.SERVING:
            raise processes.Failed(f"it listens but does not serve: {answer}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--bus", choices=("default", "off"), default="default")
    parser.add_argument("--quick", action="store_true", help="2 rounds")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    found = measure(2 if arguments.quick else arguments.rounds, arguments.bus)
    if arguments.json:
        print(json.dumps(found))
        return
    print(f"heddle up serves after {found['served_s']:.2f} s (the first time {found['first_served_s']:.2f} s)")
    print(f"heddle --help takes {found['help_s'] * 1e3:.0f} ms")
    idle = found["idle"]
    print(f"idle after {IDLE:g} s: {idle['pss_mib']:.0f} MiB (PSS), processor {idle['idle_cpu_percent']:.1f} %")
    for name, each in idle["processes"].items():
        print(f"  {each['pss_mib']:6.0f} MiB PSS {each['rss_mib']:6.0f} MiB RSS  {name}")


if __name__ == "__main__":
    main()
