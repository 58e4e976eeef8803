"""Heddle's client: a closed loop of reference turns over gRPC, each on a thread of its own.

    PYTHONPATH=libs python bench/client.py --address HOST:PORT --clients 64 --seconds 4 [--thread ID]

Prints one line of JSON. What came back is checked after the clock has stopped: the sequence has no gap, the words are
the text of the scenario, the message holds the same text, the tool answered, the run completed and the stream said so.
"""

import argparse
import asyncio
import json
import time
import uuid
from pathlib import Path
from typing import Any

import grpc
import yaml
from closed_loop import Played, Problem, closed_loop, use_loop

from heddle.common.v1.content_pb2 import ContentPart
from heddle.runtime.v1 import agent_runtime_pb2, agent_runtime_pb2_grpc, stream_pb2, turn_pb2
from heddle.runtime.v1.tool_call_pb2 import TOOL_CALL_OUTCOME_OK

FACTS = (
    "turn_requested",
    "run_started",
    "step_started",
    "step_completed",
    "tool_call_requested",
    "tool_call_started",
    "tool_call_completed",
    "step_started",
    "assistant_message_completed",
    "step_completed",
    "run_completed",
)
"""What a reference turn leaves behind, in order."""


def request(agent: str, thread: str, text: str = "What is a heddle?") -> Any:
    """A turn on a thread, which is made if it is new."""
    turn = turn_pb2.Turn(agent=turn_pb2.AgentReference(agent_id=agent), content=[ContentPart(text=text)])
    return agent_runtime_pb2.StartStreamingTurnRequest(
        request_id=uuid.uuid4().hex, thread_id=thread, create_if_missing=True, turn=turn
    )


def checker(text: str) -> Any:
    """A function that raises Problem unless its frames are one whole reference turn whose words are `text`."""

    def check(frames: list[Any]) -> None:
        events = [event for each in frames for event in each.frame.events.events]
        sequences = [event.sequence for event in events]
        if not events or sequences != list(range(sequences[0], sequences[0] + len(sequences))):
            raise Problem(f"the sequence has a gap: {sequences}")
        kinds = tuple(event.WhichOneof("payload") for event in events)
        if kinds != FACTS:
            raise Problem(f"the facts are {kinds}")
        deltas = [delta for each in frames for delta in each.frame.deltas.deltas]
        words = [delta for delta in deltas if delta.channel == stream_pb2.DELTA_CHANNEL_TEXT]
        if "".join(delta.text for delta in words) != text:
            raise Problem(f"the words are not the text: {[delta.text for delta in words]}")
        if "".join(part.text for part in events[8].assistant_message_completed.content) != text:
            raise Problem("the message is not the text")
        if events[6].tool_call_completed.outcome != TOOL_CALL_OUTCOME_OK:
            raise Problem(f"the tool did not answer: {events[6].tool_call_completed}")
        if frames[-1].frame.closing.reason != stream_pb2.CLOSING_REASON_SETTLED:
            raise Problem(f"the stream ended with {frames[-1].frame}")

    return check


def text_of(scenario: Path) -> str:
    """What the scenario's last step says."""
    return yaml.safe_load(scenario.read_text())["steps"][-1]["text"]


async def play(stub: Any, agent: str, thread: str) -> Played:
    """One turn as its client sees it."""
    asked = request(agent, thread)
    began = time.perf_counter()
    first, frames = 0.0, []
    async for frame in stub.StartStreamingTurn(asked):
        if not first and frame.frame.HasField("events"):
            first = time.perf_counter()
        frames.append(frame)
    return Played(began, first, time.perf_counter(), frames)


async def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """The loop's figures."""
    async with grpc.aio.insecure_channel(arguments.address) as channel:
        stub = agent_runtime_pb2_grpc.AgentRuntimeStub(channel)

        async def turn() -> Played:
            return await play(stub, arguments.agent, arguments.thread or f"b{uuid.uuid4().hex}")

        return await closed_loop(turn, checker(text_of(arguments.scenario)), arguments.clients, arguments.seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--address", required=True)
    parser.add_argument("--scenario", type=Path, required=True)
    parser.add_argument("--agent", default="reference")
    parser.add_argument("--thread", default="", help="play all turns here; default: each on a new thread")
    parser.add_argument("--clients", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=4)
    arguments = parser.parse_args()
    use_loop()
    print(json.dumps(asyncio.run(measure(arguments))))


if __name__ == "__main__":
    main()
