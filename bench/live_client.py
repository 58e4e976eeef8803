"""The client of live.py: follows so many turns at once, and says how late their words came.

    PYTHONPATH=libs python bench/live_client.py --address HOST:PORT --turns 500 --pieces 300 --per-second 50

All turns are started first, and begin to speak together at a moment that the user's message names. Delay is counted
from the moment at which a piece was due until the client has it.
"""

import argparse
import asyncio
import json
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

import grpc
from client import request
from closed_loop import percentile, use_loop

from heddle.runtime.v1 import agent_runtime_pb2_grpc

STARTED_PER_SECOND = 40
"""How fast turns are started before all speak; a runtime that is slower than that has its first pieces late."""


@dataclass(slots=True)
class Heard:
    """One turn as it arrived."""

    words: list[tuple[float, str]] = field(default_factory=list)
    """When, and what: several pieces may have travelled as one."""
    message: str = ""
    completed: bool = False


async def follow(stub: Any, agent: str, moment: float, heard: Heard) -> None:
    async for each in stub.StartStreamingTurn(request(agent, f"b{uuid.uuid4().hex}", f"{moment:.6f}")):
        now = time.monotonic()
        frame = each.frame
        for delta in frame.deltas.deltas:
            heard.words.append((now, delta.text))
        for event in frame.events.events:
            if event.HasField("assistant_message_completed"):
                heard.message = event.assistant_message_completed.content[0].text
            heard.completed = heard.completed or event.HasField("run_completed")


async def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Delays, and whether anything was lost."""
    go = time.monotonic() + arguments.turns / STARTED_PER_SECOND + 1
    turns = [Heard() for _ in range(arguments.turns)]
    faults: list[str] = []
    async with grpc.aio.insecure_channel(arguments.address) as channel:
        stub = agent_runtime_pb2_grpc.AgentRuntimeStub(channel)

        async def one(place: int) -> None:
            await asyncio.sleep(place / STARTED_PER_SECOND)
            phase = place / arguments.turns / arguments.per_second  # or all would speak in the same millisecond
            try:
                await follow(stub, arguments.agent, go + phase, turns[place])
            except grpc.aio.AioRpcError as error:
                faults.append(f"{error.code().name}: {error.details()}"[:300])

        await asyncio.gather(*(one(place) for place in range(arguments.turns)))
    return {"turns": arguments.turns, "errors": len(faults), "problems": faults[:3], **told(turns, arguments.pieces)}


def told(turns: list[Heard], pieces: int) -> dict[str, Any]:
    """Delays of all pieces; lost is what never came, or came differently."""
    arrivals = [[(now, float(due)) for now, words in turn.words for due in words.split()] for turn in turns]
    delays = [now - due for each in arrivals for now, due in each]
    whole = sum(
        turn.completed and len(each) == pieces and "".join(words for _, words in turn.words) == turn.message
        for turn, each in zip(turns, arrivals, strict=True)
    )
    return {
        "whole": whole,
        "lost_pieces": pieces * len(turns) - sum(map(len, arrivals)),
        "counted": len(delays),
        "delay_p50_ms": percentile(delays, 0.5) * 1e3,
        "delay_p99_ms": percentile(delays, 0.99) * 1e3,
        "delay_max_ms": max(delays, default=0.0) * 1e3,
        "deltas_per_turn": sum(len(turn.words) for turn in turns) / len(turns),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--address", required=True)
    parser.add_argument("--agent", default="reference")
    parser.add_argument("--turns", type=int, default=100)
    parser.add_argument("--pieces", type=int, default=300)
    parser.add_argument("--per-second", type=float, default=50)
    arguments = parser.parse_args()
    use_loop()
    print(json.dumps(asyncio.run(measure(arguments))))


if __name__ == "__main__":
    main()
