"""The ceiling's client: a closed loop of reference turns over gRPC, each on a thread of its own.

    python bench/ceiling/client.py --generated FOLDER --address HOST:PORT --clients 64 --seconds 4

Prints one line of JSON. What came back is checked after the clock has stopped, as the client of Heddle does.
"""

import argparse
import asyncio
import json
import sys
import time
import uuid
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import contract
import grpc
from closed_loop import Played, Problem, closed_loop, use_loop

TEXT = "".join(f"word{place} " for place in range(20))


def check(frames: list[Any]) -> None:
    """Raise Problem unless these are all facts and words of one turn, in order."""
    facts = [fact for frame in frames for fact in frame.facts]
    if [fact.sequence for fact in facts] != list(range(1, 8)):
        raise Problem(f"the sequence is {[fact.sequence for fact in facts]}")
    if "".join(words.text for frame in frames for words in frame.words) != TEXT:
        raise Problem("the words are not the text")
    if facts[-1].kind != "run_completed" or json.loads(facts[-2].payload)["text"] != TEXT:
        raise Problem("the turn did not end with its message")


async def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """The loop's figures."""
    messages, services = contract.load(arguments.generated)
    async with grpc.aio.insecure_channel(arguments.address) as channel:
        stub = services.CeilingStub(channel)

        async def echo() -> Played:
            began = time.perf_counter()
            await stub.Echo(messages.EchoRequest(text="hello"))
            ended = time.perf_counter()
            return Played(began, ended, ended, [])

        async def turn() -> Played:
            name = uuid.uuid4().hex
            began = time.perf_counter()
            first, frames = 0.0, []
            request = messages.PlayTurnRequest(thread_id=name, request_id=name, text="What is a heddle?")
            async for frame in stub.PlayTurn(request):
                first = first or time.perf_counter()
                frames.append(frame)
            return Played(began, first, time.perf_counter(), frames)

        if arguments.echo:
            return await closed_loop(echo, lambda _: None, arguments.clients, arguments.seconds)
        return await closed_loop(turn, check, arguments.clients, arguments.seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generated", type=Path, required=True)
    parser.add_argument("--address", required=True)
    parser.add_argument("--clients", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--echo", action="store_true", help="bare unary calls instead of turns")
    arguments = parser.parse_args()
    use_loop()
    print(json.dumps(asyncio.run(measure(arguments))))


if __name__ == "__main__":
    main()
