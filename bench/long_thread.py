"""A long thread beside a fresh one: what a turn, a snapshot and a replay cost there.

    python bench/long_thread.py [--events 10000] [--rounds 60] [--quick] [--json]

Turns are played on one thread until its log is that long; then turns there and on fresh threads alternate, as do
snapshots of both, and one client replays the long thread from its first event. Goals: a turn at most 1.2 times a
fresh one's, a snapshot within 5 ms, 20,000 events a second.
"""

import argparse
import asyncio
import json
import tempfile
import time
import uuid
from pathlib import Path
from statistics import median
from typing import Any

import processes
from heddle_target import AGENT, Target, running_heddle
from processes import BENCH, PYTHON

LONG = "long"


def measure(events: int, rounds: int) -> dict[str, Any]:
    """All of it, against one runtime with the tool inside."""
    with tempfile.TemporaryDirectory() as name, running_heddle(Target(tool="built-in"), Path(name)) as heddle:
        command = [PYTHON, str(BENCH / "long_thread.py"), "--be-client", heddle.address]
        return processes.figures([*command, "--events", str(events), "--rounds", str(rounds)], 600)


async def be_client(address: str, events: int, rounds: int) -> dict[str, Any]:
    """The figures as one client sees them."""
    import grpc
    from client import play

    from heddle.runtime.v1 import agent_runtime_pb2, agent_runtime_pb2_grpc, thread_service_pb2_grpc

    async with grpc.aio.insecure_channel(address) as channel:
        runtime = agent_runtime_pb2_grpc.AgentRuntimeStub(channel)
        threads = thread_service_pb2_grpc.ThreadServiceStub(channel)
        turns = 0

        async def turn(thread: str) -> float:
            nonlocal turns
            turns += 1
            played = await play(runtime, AGENT, thread)
            return played.ended - played.began

        async def snapshot(thread: str) -> float:
            began = time.perf_counter()
            await runtime.GetSnapshot(agent_runtime_pb2.GetSnapshotRequest(thread_id=thread))
            return time.perf_counter() - began

        began = time.perf_counter()
        await turn(LONG)
        while await _length(runtime, LONG) < events:
            for _ in range(20):
                await turn(LONG)
        filled = time.perf_counter() - began
        await turn("short")
        there, fresh, long_snapshots, short_snapshots = [], [], [], []
        for _ in range(rounds):
            fresh.append(await turn(f"b{uuid.uuid4().hex}"))
            there.append(await turn(LONG))
        for _ in range(rounds):
            short_snapshots.append(await snapshot("short"))
            long_snapshots.append(await snapshot(LONG))
        length = await _length(runtime, LONG)
        replays = [await _replay(threads, LONG, length) for _ in range(3)]
    return {
        "events": length,
        "filled_s": filled,
        "turn_fresh_ms": median(fresh) * 1e3,
        "turn_long_ms": median(there) * 1e3,
        "turn_ratio": median(a / b for a, b in zip(there, fresh, strict=True)),
        "snapshot_short_ms": median(short_snapshots) * 1e3,
        "snapshot_long_ms": median(long_snapshots) * 1e3,
        "replay_per_second": median(replays),
    }


async def _length(runtime: Any, thread: str) -> int:
    from google.protobuf.field_mask_pb2 import FieldMask

    from heddle.runtime.v1 import agent_runtime_pb2

    asked = agent_runtime_pb2.GetSnapshotRequest(thread_id=thread, read_mask=FieldMask(paths=["sequence"]))
    return (await runtime.GetSnapshot(asked)).snapshot.sequence


async def _replay(threads: Any, thread: str, length: int) -> float:
    """Events per second from the first to the last; raises where one is missing."""
    from heddle.runtime.v1 import thread_service_pb2

    began = time.perf_counter()
    call = threads.WatchThread(thread_service_pb2.WatchThreadRequest(thread_id=thread, deltas=False))
    cursor = 0
    async for each in call:
        for event in each.frame.events.events:
            if event.sequence != cursor + 1:
                raise processes.Failed(f"event {event.sequence} came after {cursor}")
            cursor = event.sequence
        if cursor == length:
            break
    took = time.perf_counter() - began
    call.cancel()
    return length / took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--quick", action="store_true", help="2,000 events, 20 rounds")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--be-client", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.events, arguments.rounds = 2_000, 20
    if arguments.be_client:
        import closed_loop

        closed_loop.use_loop()
        print(json.dumps(asyncio.run(be_client(arguments.be_client, arguments.events, arguments.rounds))))
        return
    found = measure(arguments.events, arguments.rounds)
    if arguments.json:
        print(json.dumps(found))
        return
    print(f"thread of {found['events']} events, filled in {found['filled_s']:.0f} s")
    print(
        f"a turn there {found['turn_long_ms']:.1f} ms, on a fresh thread {found['turn_fresh_ms']:.1f} ms:"
        f" {found['turn_ratio']:.2f} times"
    )
    print(
        f"GetSnapshot {found['snapshot_long_ms']:.1f} ms, of a thread of one turn {found['snapshot_short_ms']:.1f} ms"
    )
    print(f"replay to one client {found['replay_per_second']:.0f} events/s")


if __name__ == "__main__":
    main()
