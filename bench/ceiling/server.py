"""The ceiling of the reference turn: what Python, gRPC and SQLite can do at best, with no rules at all.

    python bench/ceiling/server.py --generated FOLDER --data-dir FOLDER [--each] [--loop asyncio|uvloop]

FOLDER of --generated is what contract.generate filled. Prints one line of JSON when it serves, and serves until
SIGTERM. Words that wait together travel as one, unless --each gives every piece its own frame.
"""

import argparse
import asyncio
import json
import signal
import sys
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import contract
import grpc
from log import Fact, Log

WORDS = [f"word{place} " for place in range(20)]

Item = list[Fact] | str | None
"""Facts that were committed, a piece of text, or the end."""


async def model(step: int) -> AsyncIterator[Any]:
    """A model that takes no time: a tool call first, then twenty pieces of text."""
    if step == 1:
        yield {"tool": "lookup", "arguments": {"q": "heddle"}}
        return
    for word in WORDS:
        yield word
        await asyncio.sleep(0)


async def play(log: Log, thread: str, text: str, items: "asyncio.Queue[Item]") -> None:
    """One reference turn: five commits, seven facts, twenty pieces of text."""
    run = str(uuid.uuid4())

    async def write(state: str, *facts: tuple[str, object]) -> None:
        encoded = [(kind, json.dumps(payload).encode()) for kind, payload in facts]
        items.put_nowait(await log.append(thread, run, state, *encoded))

    await write("queued", ("turn_requested", {"text": text}), ("run_queued", {}))
    await write("running", ("run_started", {}))
    call = [event async for event in model(1)][-1]
    await write("running", ("tool_requested", call))
    await write("running", ("tool_returned", {"result": "guides one thread through its own lane"}))
    said = ""
    async for piece in model(2):
        items.put_nowait(piece)
        said += piece
    await write("completed", ("message_completed", {"text": said}), ("run_completed", {}))
    items.put_nowait(None)


class Ceiling:
    """The two RPCs."""

    def __init__(self, log: Log, messages: Any, each: bool) -> None:
        self._log = log
        self._messages = messages
        self._each = each

    async def Echo(self, request: Any, context: Any) -> Any:
        return self._messages.EchoResponse(text=request.text)

    async def PlayTurn(self, request: Any, context: Any) -> AsyncIterator[Any]:
        items: asyncio.Queue[Item] = asyncio.Queue()
        turn = asyncio.create_task(play(self._log, request.thread_id, request.text, items))
        over, offset = False, 0
        while not over:
            frame = self._messages.PlayTurnResponse()
            waiting = [await items.get()]
            while not self._each and not items.empty():
                waiting.append(items.get_nowait())
            for item in waiting:
                match item:
                    case None:
                        over = True
                    case str():
                        if frame.words:
                            frame.words[-1].text += item
                        else:
                            frame.words.add(offset=offset, text=item)
                        offset += len(item)
                    case facts:
                        for fact in facts:
                            frame.facts.add(
                                thread_id=fact.thread,
                                run_id=fact.run,
                                sequence=fact.sequence,
                                kind=fact.kind,
                                payload=fact.payload,
                                commit_time=fact.at,
                            )
            if frame.facts or frame.words:
                yield frame
        await turn


async def serve(arguments: argparse.Namespace) -> None:
    """Serve until SIGTERM."""
    messages, services = contract.load(arguments.generated)
    log = Log(arguments.data_dir / "ceiling.db")
    server = grpc.aio.server()
    services.add_CeilingServicer_to_server(Ceiling(log, messages, arguments.each), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(json.dumps({"address": f"127.0.0.1:{port}", "pragmas": log.pragmas, "loop": arguments.loop}), flush=True)
    asked = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asked.set)
    await asked.wait()
    await server.stop(0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generated", type=Path, required=True)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--each", action="store_true")
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), default="uvloop")
    arguments = parser.parse_args()
    if arguments.loop == "uvloop":
        import uvloop

        uvloop.install()
    asyncio.run(serve(arguments))


if __name__ == "__main__":
    sys.exit(main())
