"""`python -m tests.faults.model_server FILE`: a model that speaks OpenAI's wire and refuses an invalid history.

It holds nothing: what it says follows from the messages alone. The newest user message that has a line
`plan=write+read/say` names its steps; each answer so far has carried out one. A history with a call that has not
exactly one result right behind it is answered 400 and written into FILE: promise P9 is broken then. The step `delegate`
makes the calls that stand behind `calls=` in that message, as JSON: pairs of a tool and its arguments.
"""

import asyncio
import contextlib
import json
import re
import sys
from pathlib import Path
from typing import Any

from tests.faults.journal import Journal

_PLAN = re.compile(r"plan=([a-z_+/]+)(?: words=(\d+))?(?: pace=(\d+))?")
_CALLS = " calls="
_WORDS = ("warp", "wéft", "shuttle", "reed", "🌦", "thread", "selvage", "loom")


def problem(messages: list[dict[str, Any]]) -> str:
    """What a strict provider refuses in a history; empty: nothing."""
    owed: list[str] = []
    for message in messages:
        if message["role"] == "tool":
            if message["tool_call_id"] not in owed:
                return f"result of {message['tool_call_id']}, which is not open"
            owed.remove(message["tool_call_id"])
            continue
        if owed:
            return f"{message['role']} while {owed} have no result"
        owed = [call["id"] for call in message.get("tool_calls") or ()]
        if len(owed) != len(set(owed)):
            return f"two calls with one id: {owed}"
    return f"the history ends while {owed} have no result" if owed else ""


def next_step(messages: list[dict[str, Any]]) -> tuple[str, int, str, int, float]:
    """What to say now: the step, its number, the marker of the turn, how many words, seconds between them."""
    plan, marker, said, words, pace = "say", "?", 0, 6, 0.0
    for message in messages:
        if message["role"] == "assistant":
            said += 1
        elif message["role"] == "user" and (found := _PLAN.search(text := _text(message["content"]))):
            plan, said = found[1], 0
            words, pace = int(found[2] or 6), int(found[3] or 0) / 1_000
            marker = text.split(maxsplit=1)[0]
    steps = plan.split("/")
    return (steps[said] if said < len(steps) else "say"), said, marker, words, pace


def answer(messages: list[dict[str, Any]]) -> tuple[list[str], list[dict[str, Any]], float]:
    """Words in pieces, tool calls, and seconds between pieces."""
    step, number, marker, words, pace = next_step(messages)
    pieces = [f"{marker}/{number}"] + [f" {_WORDS[place % len(_WORDS)]}" for place in range(words)]
    if step == "say":
        return pieces, [], pace
    note = {"note": f"{marker}/{number}"}
    asked = _delegated(messages) if step == "delegate" else [(tool, note) for tool in step.split("+")]
    calls: list[dict[str, Any]] = [
        {"id": f"call_{number}_{place}", "type": "function", "function": {"name": tool, "arguments": json.dumps(given)}}
        for place, (tool, given) in enumerate(asked)
    ]
    for call in calls:
        if call["function"]["name"] == "ask_user":
            call["function"]["arguments"] = json.dumps({"question": f"{marker}?", "free_text": True})
    return pieces[:2], calls, pace


def _delegated(messages: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """The calls of the newest message that has a plan; those of other agents are quoted within, and stay so."""
    texts = (_text(message["content"]) for message in reversed(messages) if message["role"] == "user")
    text = next(each for each in texts if _PLAN.search(each))
    return json.JSONDecoder().raw_decode(text, text.index(_CALLS) + len(_CALLS))[0]


def _text(content: Any) -> str:
    return content if isinstance(content, str) else " ".join(part.get("text", "") for part in content)


class ModelServer:
    """Connections of clients that stream and keep alive."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._asked = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection, one after the other."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
                body = json.loads(await reader.readexactly(int(length[1]))) if length else {}
                await self._answer(body, writer)
        writer.close()

    async def _answer(self, body: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        messages = body.get("messages", [])
        self._asked += 1
        if wrong := problem(messages):
            self._journal.write("invalid_history", problem=wrong, messages=messages)
            said = json.dumps({"error": {"message": wrong, "type": "invalid_request_error"}}).encode()
            writer.write(_head("400 Bad Request", "application/json", len(said)) + said)
            await writer.drain()
            return
        pieces, calls, pace = answer(messages)
        writer.write(_head("200 OK", "text/event-stream", None))
        for piece in pieces:
            writer.write(_chunk({"content": piece}))
            await writer.drain()
            await asyncio.sleep(pace)
        for index, call in enumerate(calls):
            writer.write(_chunk({"tool_calls": [{"index": index, **call}]}))
        writer.write(_chunk({}, "tool_calls" if calls else "stop"))
        usage = {"prompt_tokens": len(messages), "completion_tokens": len(pieces), "total_tokens": 0}
        usage["total_tokens"] = usage["prompt_tokens"] + usage["completion_tokens"]
        writer.write(_event({**_frame([]), "usage": usage}) + _sized(b"data: [DONE]\n\n") + b"0\r\n\r\n")
        await writer.drain()


def _head(status: str, content_type: str, length: int | None) -> bytes:
    size = "transfer-encoding: chunked" if length is None else f"content-length: {length}"
    return f"HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\n{size}\r\n\r\n".encode()


def _chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
    return _event(_frame([{"index": 0, "delta": {"role": "assistant", **delta}, "finish_reason": finish}]))


def _frame(choices: list[Any]) -> dict[str, Any]:
    return {"id": "chat-1", "object": "chat.completion.chunk", "created": 1, "model": "loom-1", "choices": choices}


def _event(frame: dict[str, Any]) -> bytes:
    return _sized(b"data: " + json.dumps(frame).encode() + b"\n\n")


def _sized(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


async def serve(path: Path) -> None:
    """Serve until the input ends."""
    model = ModelServer(Journal(path))
    server = await asyncio.start_server(model.serve, "127.0.0.1", 0, limit=1 << 24)
    port = server.sockets[0].getsockname()[1]
    sys.stdout.write(json.dumps({"url": f"http://127.0.0.1:{port}/v1"}) + "\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
