"""Readers that do not keep up: what a client costs that opens a stream and then reads little of it, or nothing.

    python bench/slow_readers.py [--readers 100] [--seconds 20] [--quick] [--json]

Ten turns write 100 KB a second each. Readers join them; the stalled ones stop reading after the first frame, the slow
ones take five frames a second, and everything else piles up at the server until it lets go of them. Meanwhile eight
others play reference turns in a closed loop, in a process of their own. Told are the server's own memory, before and at
its most with the readers, and the others' p99 while the same turns write: without readers, beside each kind, and
beside as many that read all there is. Goals: 1 MiB each, and at most twice the p99.
"""

import argparse
import asyncio
import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, cast

import processes
import yaml
from heddle_target import AGENT, BUILT_IN, Target, running_heddle
from processes import BENCH, PYTHON

TALKERS = 10
PIECE = "x" * 2_000 + " "
DELAY_MS = 20
OTHERS = 8
KINDS = ("none", "stalled", "slow", "reading")
SLOW_SECONDS = 0.2
"""Between two frames that a slow reader takes."""


def scenario(folder: Path, seconds: float) -> Path:
    """The reference turn, and one that writes a lot where it is asked to."""
    reference = yaml.safe_load(BUILT_IN.read_text())["steps"]
    pieces = round(seconds * 1_000 / DELAY_MS)
    talk = {"when": {"user": "^talk"}, "steps": [{"text": PIECE * pieces, "stream": {"delay_ms": DELAY_MS}}]}
    file = folder / "scenario.yaml"
    file.write_text(yaml.safe_dump({"turns": [talk, {"steps": reference}]}))
    return file


def measure(readers: int, seconds: float) -> dict[str, Any]:
    """The same without readers, and with each kind of them."""
    found: dict[str, Any] = {"readers": readers}
    for kind in KINDS:
        many = readers if kind != "none" else 0
        with tempfile.TemporaryDirectory(prefix="heddle-bench-") as name:
            # A server each: on one, the turns of the kind before would still write beside those of the next.
            target = Target(tool="built-in", scenario=scenario(Path(name), 3 * seconds))
            with running_heddle(target, Path(name)) as heddle:
                found[kind] = _with_readers(heddle.address, heddle.child.pid, kind, many, seconds)
    for kind in KINDS[1:]:
        found[kind]["mib_each"] = (found[kind]["most_mib"] - found[kind]["before_mib"]) / max(readers, 1)
        found[kind]["times_p99"] = found[kind]["p99_ms"] / found["none"]["p99_ms"]
    return found


def _with_readers(address: str, server: int, kind: str, readers: int, seconds: float) -> dict[str, Any]:
    command = [PYTHON, str(BENCH / "slow_readers.py"), "--be-client", address, "--readers", str(readers)]
    client = subprocess.Popen(
        [*command, "--kind", kind],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=processes.environment(),
    )
    assert client.stdin is not None and client.stdout is not None
    try:
        json.loads(client.stdout.readline())  # the turns write
        before = processes.memory(server)["own_mib"]
        client.stdin.write("join\n")
        client.stdin.flush()
        joined = json.loads(client.stdout.readline())
        loop = [PYTHON, str(BENCH / "client.py"), "--address", address, "--scenario", str(BUILT_IN)]
        options = ["--clients", str(OTHERS), "--seconds", str(seconds)]
        with subprocess.Popen(
            [*loop, *options], stdout=subprocess.PIPE, text=True, env=processes.environment()
        ) as other:
            most = before
            while other.poll() is None:
                most = max(most, processes.memory(server)["own_mib"])
                time.sleep(0.2)
            assert other.stdout is not None
            others = json.loads(other.stdout.readline())
        return {**joined, "before_mib": before, "most_mib": most, "p99_ms": others["p99_ms"], "turns": others["turns"]}
    finally:
        client.kill()
        client.wait()


async def be_client(address: str, readers: int, kind: str) -> None:
    """Start the turns that write, join them when told to, and keep the streams until killed."""
    import sys

    import grpc
    from client import request

    from heddle.runtime.v1 import agent_runtime_pb2, agent_runtime_pb2_grpc

    async with grpc.aio.insecure_channel(address) as channel:
        stub = agent_runtime_pb2_grpc.AgentRuntimeStub(channel)
        asked = [request(AGENT, f"talk-{kind}-{number}", "talk") for number in range(TALKERS)]
        writing = [stub.StartStreamingTurn(each) for each in asked]
        for call in writing:
            while not (await cast(Any, call).read()).frame.HasField("deltas"):
                pass
            call.cancel()  # the run goes on
        print(json.dumps({"writing": TALKERS}), flush=True)
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, sys.stdin.readline)
        # A connection each: readers on one connection would share its window, and stop each other. The window stays as
        # it is: a client may else take in megabytes that nobody reads, and the server would never notice.
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.http2.bdp_probe", 0)]
        own = [grpc.aio.insecure_channel(address, options=options) for _ in range(readers)]
        calls: list[Any] = []
        for number, each in enumerate(own):
            join = agent_runtime_pb2.StartStreamingTurnRequest(
                request_id=asked[number % TALKERS].request_id, after_sequence=0
            )
            call = agent_runtime_pb2_grpc.AgentRuntimeStub(each).StartStreamingTurn(join)
            await call.read()
            calls.append(call)
        print(json.dumps({"joined": len(calls)}), flush=True)
        if kind != "stalled":
            await asyncio.gather(*(_read(call, SLOW_SECONDS if kind == "slow" else 0) for call in calls))
        await loop.run_in_executor(None, sys.stdin.readline)


async def _read(call: Any, pause: float) -> None:
    """Until the server lets go of a reader that is too slow."""
    import grpc

    try:
        while await call.read():
            if pause:
                await asyncio.sleep(pause)
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
            raise


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--readers", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--quick", action="store_true", help="5 seconds")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--be-client", help=argparse.SUPPRESS)
    parser.add_argument("--kind", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.be_client:
        asyncio.run(be_client(arguments.be_client, arguments.readers, arguments.kind))
        return
    found = measure(arguments.readers, 5 if arguments.quick else arguments.seconds)
    if arguments.json:
        print(json.dumps(found))
        return
    print(f"{OTHERS} others: p99 {found['none']['p99_ms']:.0f} ms without readers")
    for kind in KINDS[1:]:
        told = found[kind]
        memory = f"{told['mib_each']:.2f} MiB each ({told['before_mib']:.0f} MiB before, {told['most_mib']:.0f} most)"
        delay = f"others' p99 {told['p99_ms']:.0f} ms, {told['times_p99']:.2f} times"
        print(f"{found['readers']} {kind:7}: {memory}; {delay}")


if __name__ == "__main__":
    main()
