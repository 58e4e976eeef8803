"""How soon a run goes on when its owner is gone: three runtimes on one PostgreSQL and one NATS of the tests' wheels.

    PYTHONPATH=.:libs:services python bench/takeover.py [--rounds 5] [--quick] [--json]

A client reads a streamed answer at one replica while another writes it. The owner is killed with -9, told to drain
with SIGTERM, or paused with SIGSTOP, in mid-word; the clock runs until the client holds the first event of the next
attempt. Leases are those that a server has by itself: 10 s, renewed every 3 s. So a death costs what is left of the
lease, 7 to 10 s, and what is told here beyond that is ours; a drain hands over at once.
"""

import argparse
import asyncio
import json
import signal
import tempfile
import time
from contextlib import aclosing
from pathlib import Path
from statistics import median
from typing import Any

from heddle.runtime.v1.agent_runtime_pb2 import StartStreamingTurnRequest
from heddle_client.resume import follow_turn
from tests.kit.replica_processes import Cluster, ReplicaProcess, cluster

SCENARIO = """
turns:
  - steps:
      - text: "{}"
        stream: {{delay_ms: 50}}
""".format(" ".join(f"word{number}" for number in range(600)))

LANES = {"LEASE": "PT10S", "RENEW_EVERY": "PT3S"}

WAYS: dict[str, signal.Signals] = {"killed": signal.SIGKILL, "paused": signal.SIGSTOP, "drained": signal.SIGTERM}


async def measure(rounds: int) -> dict[str, list[float]]:
    """Seconds without an owner, for each way of losing it."""
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory(prefix="heddle-bench-") as folder:
        async with cluster(Path(folder), SCENARIO, lanes=LANES) as running:
            for number in range(rounds):
                for way, how in WAYS.items():
                    found[way].append(await _lose(running, how, f"{way}-{number}"))
    return found


async def _lose(running: Cluster, how: signal.Signals, thread_id: str) -> float:
    reader, owner, other = running.all
    started = await owner.desk.start("go on", thread_id)
    join = StartStreamingTurnRequest(request_id=started.request_id, after_sequence=0)
    gone = 0.0
    async with (
        asyncio.timeout(60),
        aclosing(follow_turn(reader.runtime, join, elsewhere=(other.runtime,))) as frames,
    ):
        words = 0
        async for frame in frames:
            words += len(frame.deltas.deltas) if frame.HasField("deltas") else 0
            if not gone and words >= 3:
                gone = time.perf_counter()
                owner.signal(how)
            if gone and any(event.run_resumed.attempt > 1 for event in frame.events.events):
                break
    seconds = time.perf_counter() - gone
    await reader.desk.cancel(started.run.run_id)
    await _bring_back(owner, how)
    return seconds


async def _bring_back(owner: ReplicaProcess, how: signal.Signals) -> None:
    if how is signal.SIGSTOP:
        owner.signal(signal.SIGCONT)
        return
    await owner.ended()
    await owner.start()


def told(found: dict[str, list[float]]) -> str:
    """The figures as lines."""
    return "\n".join(
        f"owner {way}: the next attempt begins after {median(each):.2f} s (at least {min(each):.2f},"
        f" at most {max(each):.2f}; {len(each)} times)"
        for way, each in found.items()
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="1 round")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    found: dict[str, Any] = asyncio.run(measure(1 if arguments.quick else arguments.rounds))
    print(json.dumps(found) if arguments.json else told(found))


if __name__ == "__main__":
    main()
