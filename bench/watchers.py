"""Idle watchers: what a WatchThread stream costs that waits on a quiet thread.

    python bench/watchers.py [--watchers 10000] [--hold 0] [--quick] [--json]

The server's own memory before and with the watchers, and again when they have gone; the client is another process.
With --hold the watchers wait so many seconds; then a turn is played on each thread, and those are counted that see it.
Goals: at most 40 KiB each; 10,000 stay for 10 minutes.
"""

import argparse
import asyncio
import gc
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import processes
from heddle_target import AGENT, Target, running_heddle
from processes import BENCH, PYTHON

A_CHANNEL = 500
"""Streams on one connection."""
TOGETHER = 200
"""Streams that are opened at the same time."""
SETTLED = 3.0
"""Seconds before memory is read."""


def measure(watchers: int, hold: float) -> dict[str, Any]:
    """So many watchers, spread over a hundred threads."""
    with (
        tempfile.TemporaryDirectory() as name,
        running_heddle(Target(tool="built-in"), Path(name)) as heddle,
    ):
        command = [PYTHON, str(BENCH / "watchers.py"), "--be-client", heddle.address, "--watchers", str(watchers)]
        client = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=processes.environment()
        )
        assert client.stdin is not None and client.stdout is not None
        try:
            json.loads(client.stdout.readline())  # threads are made, a few watchers came and went
            before = _memory(heddle.child.pid)
            client.stdin.write("watch\n")
            client.stdin.flush()
            opened = json.loads(client.stdout.readline())
            during = _memory(heddle.child.pid)
            if hold:
                time.sleep(hold)
                client.stdin.write("count\n")
                client.stdin.flush()
                opened |= json.loads(client.stdout.readline())
            client.stdin.close()
            client.wait(60)
            after = _memory(heddle.child.pid)
        finally:
            if client.poll() is None:
                client.kill()
                client.wait()
    watching = max(opened["watching"], 1)
    return {
        **opened,
        "kib_each": (during - before) * 1024 / watching,
        "before_mib": before,
        "during_mib": during,
        "after_mib": after,
    }


def _memory(pid: int) -> float:
    time.sleep(SETTLED)
    return processes.memory(pid)["own_mib"]


async def be_client(address: str, watchers: int) -> None:
    """Make threads, open the watchers when told to, keep them until standard input ends."""
    import grpc
    from client import play

    from heddle.runtime.v1 import agent_runtime_pb2_grpc, thread_service_pb2, thread_service_pb2_grpc

    threads = [f"watched-{number}" for number in range(100)]
    # A pool of its own for each channel, or gRPC puts them all on one connection.
    channels = [
        grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])
        for _ in range(watchers // A_CHANNEL + 1)
    ]
    runtime = agent_runtime_pb2_grpc.AgentRuntimeStub(channels[0])
    for thread in threads:
        await play(runtime, AGENT, thread)
    stubs = [thread_service_pb2_grpc.ThreadServiceStub(channel) for channel in channels]
    calls: list[Any] = []
    faults: list[str] = []

    async def watch(number: int) -> None:
        asked = thread_service_pb2.WatchThreadRequest(
            thread_id=threads[number % len(threads)], after_sequence=12, deltas=True
        )
        call: Any = stubs[number // A_CHANNEL].WatchThread(asked)
        try:
            while not (await call.read()).frame.HasField("checkpoint"):
                pass
            calls.append(call)
        except (grpc.aio.AioRpcError, AttributeError) as error:
            faults.append(str(error)[:300])

    async def watch_many(numbers: range) -> None:
        for start in range(0, len(numbers), TOGETHER):
            await asyncio.gather(*(watch(number) for number in numbers[start : start + TOGETHER]))

    await watch_many(range(min(watchers, 200)))
    for call in calls:
        call.cancel()
    calls.clear()
    gc.collect()
    print(json.dumps({"threads": len(threads)}), flush=True)
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, sys.stdin.readline)
    began = time.perf_counter()
    await watch_many(range(watchers))
    told = {"watching": len(calls), "errors": len(faults), "problems": faults[:3]}
    print(json.dumps({**told, "opened_per_second": watchers / (time.perf_counter() - began)}), flush=True)
    if await loop.run_in_executor(None, sys.stdin.readline):
        await asyncio.gather(*(runtime.StartTurn(_unwatched(thread)) for thread in threads))
        seen = await asyncio.gather(*(_sees_events(call) for call in calls))
        print(json.dumps({"stayed": sum(seen)}), flush=True)
        await loop.run_in_executor(None, sys.stdin.readline)
    for channel in channels:
        await channel.close()


def _unwatched(thread: str) -> Any:
    """A turn that needs no stream: a tenant has no more than it watches with."""
    from client import request

    from heddle.runtime.v1 import agent_runtime_pb2

    streamed = request(AGENT, thread)
    return agent_runtime_pb2.StartTurnRequest(
        request_id=streamed.request_id, thread_id=thread, turn=streamed.turn, create_if_missing=True
    )


async def _sees_events(call: Any) -> bool:
    """Whether a stream that was quiet brings new facts."""
    import grpc

    try:
        async with asyncio.timeout(60):
            while frame := await call.read():
                if frame.frame.HasField("events"):
                    return True
    except (grpc.aio.AioRpcError, TimeoutError):
        pass
    return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--watchers", type=int, default=10_000)
    parser.add_argument("--hold", type=float, default=0, help="seconds")
    parser.add_argument("--quick", action="store_true", help="1,000 watchers")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--be-client", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.be_client:
        asyncio.run(be_client(arguments.be_client, arguments.watchers))
        return
    found = measure(1_000 if arguments.quick else arguments.watchers, arguments.hold)
    if arguments.json:
        print(json.dumps(found))
        return
    print(
        f"{found['watching']} watchers: {found['kib_each']:.1f} KiB each ({found['before_mib']:.0f} MiB before,"
        f" {found['during_mib']:.0f} with them, {found['after_mib']:.0f} after), opened at"
        f" {found['opened_per_second']:.0f}/s, {found['errors']} errors"
    )
    if arguments.hold:
        print(f"after {arguments.hold:.0f} s {found['stayed']} of them saw what was written then")
    for problem in found["problems"]:
        print(f"  {problem}")


if __name__ == "__main__":
    main()
