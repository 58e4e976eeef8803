"""Small HTTP servers on loopback that speak the real wire protocols of model providers, and misbehave on demand."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class FakeCall:
    """One tool call of an answer; its arguments travel in `fragments` where the protocol streams them."""

    tool: str
    fragments: tuple[str, ...] = ("{}",)
    call_id: str | None = None


@dataclass(frozen=True)
class FakeAnswer:
    """What a server says once."""

    text: tuple[str, ...] = ()
    reasoning: str = ""
    calls: tuple[FakeCall, ...] = ()
    finish: str = "stop"
    """stop, length or content_filter; calls make it tool calls."""
    status: int = 200
    error: str = "the server says no"
    headers: tuple[tuple[str, str], ...] = ()
    cut_after: int | None = None
    """Close the connection after so many events."""
    end_after: int | None = None
    """End the body properly after so many events, without the protocol's own end."""
    hang_after: int | None = None
    """Say nothing more after so many events, until the client goes away."""
    model: str = "fake-1"
    input_tokens: int = 50
    output_tokens: int = 7
    cached_tokens: int = 10


@dataclass(frozen=True)
class Seen:
    """A request as it arrived."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


@dataclass
class ModelServer:
    """A running server. Answers are given in order; the last one repeats."""

    port: int = 0
    answers: deque[FakeAnswer] = field(default_factory=deque[FakeAnswer])
    seen: list[Seen] = field(default_factory=list[Seen])
    hanging: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while an answer hangs."""
    abandoned: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a client went away from a hanging answer."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def next_answer(self) -> FakeAnswer:
        return self.answers.popleft() if len(self.answers) > 1 else self.answers[0]


Events = list[tuple[str | None, dict[str, Any] | str]]
Render = Callable[[FakeAnswer], Events]
Whole = Callable[[FakeAnswer], dict[str, Any]]


@asynccontextmanager
async def openai_server(*answers: FakeAnswer) -> AsyncGenerator[ModelServer, None]:
    """`POST /v1/chat/completions`, streamed or whole, and `GET /v1/models`. An invalid history is answered 400."""
    async with _serving(answers, openai_events, openai_whole, openai_history_problem) as server:
        yield server


@asynccontextmanager
async def anthropic_server(*answers: FakeAnswer) -> AsyncGenerator[ModelServer, None]:
    """`POST /v1/messages`, streamed."""
    async with _serving(answers, anthropic_events, None, None) as server:
        yield server


@asynccontextmanager
async def google_server(*answers: FakeAnswer) -> AsyncGenerator[ModelServer, None]:
    """`POST /v1beta/models/MODEL:streamGenerateContent?alt=sse`."""
    async with _serving(answers, google_events, None, None) as server:
        yield server


def openai_history_problem(body: dict[str, Any]) -> str | None:
    """What OpenAI would refuse in the messages: a call without its one result right after it, or a stray result."""
    open_calls: set[str] = set()
    for message in body["messages"]:
        if message["role"] == "tool":
            if message["tool_call_id"] not in open_calls:
                return f"no open call {message['tool_call_id']}"
            open_calls.remove(message["tool_call_id"])
            continue
        if open_calls:
            return f"calls without a result: {sorted(open_calls)}"
        for call in message.get("tool_calls") or ():
            json.loads(call["function"]["arguments"])
            open_calls.add(call["id"])
    return f"calls without a result: {sorted(open_calls)}" if open_calls else None


def openai_events(answer: FakeAnswer) -> Events:
    def chunk(delta: dict[str, Any], finish: str | None = None) -> tuple[None, dict[str, Any]]:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return None, {**_openai_head(answer), "object": "chat.completion.chunk", "choices": [choice]}

    events: Events = [chunk({"role": "assistant", "content": ""})]
    if answer.reasoning:
        events.append(chunk({"reasoning_content": answer.reasoning}))
    events += [chunk({"content": piece}) for piece in answer.text]
    for index, call in enumerate(answer.calls):
        first, *rest = call.fragments
        opened = {"index": index, "type": "function", "function": {"name": call.tool, "arguments": first}}
        events.append(chunk({"tool_calls": [{**opened, **({"id": call.call_id} if call.call_id else {})}]}))
        events += [chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]}) for piece in rest]
    events.append(chunk({}, "tool_calls" if answer.calls else answer.finish))
    events.append(
        (
            None,
            {
                **_openai_head(answer),
                "object": "chat.completion.chunk",
                "choices": [],
                **_openai_usage(answer),
            },
        )
    )
    events.append((None, "[DONE]"))
    return events


def openai_whole(answer: FakeAnswer) -> dict[str, Any]:
    calls = [
        {
            "id": call.call_id or "",
            "type": "function",
            "function": {"name": call.tool, "arguments": "".join(call.fragments)},
        }
        for call in answer.calls
    ]
    message: dict[str, Any] = {"role": "assistant", "content": "".join(answer.text) or None}
    if calls:
        message["tool_calls"] = calls
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if calls else answer.finish}
    return {**_openai_head(answer), "object": "chat.completion", "choices": [choice], **_openai_usage(answer)}


def anthropic_events(answer: FakeAnswer) -> Events:
    usage = {
        "input_tokens": answer.input_tokens - answer.cached_tokens,
        "cache_read_input_tokens": answer.cached_tokens,
        "cache_creation_input_tokens": 0,
        "output_tokens": 1,
    }
    message: dict[str, Any] = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": answer.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage,
    }
    events: Events = [("message_start", {"type": "message_start", "message": message})]
    blocks: list[tuple[dict[str, Any], list[dict[str, Any]]]] = []
    if answer.reasoning:
        delta = {"type": "thinking_delta", "thinking": answer.reasoning}
        blocks.append(({"type": "thinking", "thinking": "", "signature": ""}, [delta]))
    if answer.text:
        blocks.append(({"type": "text", "text": ""}, [{"type": "text_delta", "text": each} for each in answer.text]))
    for call in answer.calls:
        start: dict[str, Any] = {"type": "tool_use", "id": call.call_id or "", "name": call.tool, "input": {}}
        blocks.append((start, [{"type": "input_json_delta", "partial_json": each} for each in call.fragments]))
    for index, (start, deltas) in enumerate(blocks):
        opened = {"type": "content_block_start", "index": index, "content_block": start}
        events.append(("content_block_start", opened))
        events += [
            ("content_block_delta", {"type": "content_block_delta", "index": index, "delta": each}) for each in deltas
        ]
        events.append(("content_block_stop", {"type": "content_block_stop", "index": index}))
    reason = {"stop": "end_turn", "length": "max_tokens", "content_filter": "refusal"}[answer.finish]
    stop = {"stop_reason": "tool_use" if answer.calls else reason, "stop_sequence": None}
    ended = {"type": "message_delta", "delta": stop, "usage": {"output_tokens": answer.output_tokens}}
    return [*events, ("message_delta", ended), ("message_stop", {"type": "message_stop"})]


def google_events(answer: FakeAnswer) -> Events:
    def chunk(parts: list[dict[str, Any]], finish: str | None = None) -> tuple[None, dict[str, Any]]:
        candidate: dict[str, Any] = {"content": {"role": "model", "parts": parts}, "index": 0}
        if finish is not None:
            candidate["finishReason"] = finish
        usage = {
            "promptTokenCount": answer.input_tokens,
            "cachedContentTokenCount": answer.cached_tokens,
            "candidatesTokenCount": answer.output_tokens,
            "totalTokenCount": answer.input_tokens + answer.output_tokens,
        }
        body: dict[str, Any] = {"candidates": [candidate], "modelVersion": answer.model, "responseId": "r1"}
        return None, {**body, "usageMetadata": usage} if finish else body

    events: Events = []
    if answer.reasoning:
        events.append(chunk([{"text": answer.reasoning, "thought": True}]))
    events += [chunk([{"text": piece}]) for piece in answer.text]
    for call in answer.calls:
        made: dict[str, Any] = {"name": call.tool, "args": json.loads("".join(call.fragments))}
        events.append(chunk([{"functionCall": {**made, **({"id": call.call_id} if call.call_id else {})}}]))
    reason = {"stop": "STOP", "length": "MAX_TOKENS", "content_filter": "SAFETY"}[answer.finish]
    return [*events, chunk([], reason)]


def _openai_head(answer: FakeAnswer) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "created": 1_700_000_000, "model": answer.model}


def _openai_usage(answer: FakeAnswer) -> dict[str, Any]:
    return {
        "usage": {
            "prompt_tokens": answer.input_tokens,
            "completion_tokens": answer.output_tokens,
            "total_tokens": answer.input_tokens + answer.output_tokens,
            "prompt_tokens_details": {"cached_tokens": answer.cached_tokens},
        }
    }


@asynccontextmanager
async def _serving(
    answers: tuple[FakeAnswer, ...],
    events: Render,
    whole: Whole | None,
    problem: Callable[[dict[str, Any]], str | None] | None,
) -> AsyncGenerator[ModelServer, None]:
    server = ModelServer(answers=deque(answers or (FakeAnswer(text=("hello",)),)))
    connections: set[asyncio.StreamWriter] = set()
    handlers: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.add(writer)
        if (handler := asyncio.current_task()) is not None:
            handlers.add(handler)
        try:
            while (seen := await _read_request(reader)) is not None:
                if seen.path.endswith("/models"):
                    _send_json(writer, 200, {"object": "list", "data": [{"id": "fake-1", "object": "model"}]})
                    break
                server.seen.append(seen)
                answer = server.next_answer()
                if problem is not None and (words := problem(seen.body)) is not None:
                    _send_json(writer, 400, {"error": {"message": words, "type": "invalid_request_error"}})
                elif answer.status != 200:
                    _send_json(writer, answer.status, _error(answer), answer.headers)
                elif whole is not None and not seen.body.get("stream"):
                    _send_json(writer, 200, whole(answer))
                elif not await _send_events(server, reader, writer, answer, events(answer)):
                    break
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            connections.discard(writer)
            handlers.discard(handler)
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        for writer in tuple(connections):
            writer.close()
        await listener.wait_closed()
        await asyncio.gather(*handlers)


async def _read_request(reader: asyncio.StreamReader) -> Seen | None:
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Seen(first.split(" ")[1], headers, json.loads(body) if body else {})


def _send_json(
    writer: asyncio.StreamWriter,
    status: int,
    body: dict[str, Any],
    headers: tuple[tuple[str, str], ...] = (),
) -> None:
    content = json.dumps(body).encode()
    more = "".join(f"{name}: {value}\r\n" for name, value in headers)
    head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {len(content)}\r\n{more}\r\n"
    writer.write(head.encode() + content)


async def _send_events(
    server: ModelServer,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    answer: FakeAnswer,
    events: Events,
) -> bool:
    """Whether the connection can be used again."""
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
    for place, (name, data) in enumerate(events):
        if place == answer.cut_after:
            await writer.drain()
            return False
        if place == answer.end_after:
            break
        if place == answer.hang_after:
            await writer.drain()
            server.hanging.set()
            # Nothing comes from a client that waits: this ends when it goes away.
            with suppress(ConnectionError):
                await reader.read(1)
            server.abandoned.set()
            return False
        text = data if isinstance(data, str) else json.dumps(data)
        line = (f"event: {name}\n" if name else "") + f"data: {text}\n\n"
        writer.write(f"{len(line.encode()):x}\r\n{line}\r\n".encode())
        await writer.drain()
    writer.write(b"0\r\n\r\n")
    return True


def _error(answer: FakeAnswer) -> dict[str, Any]:
    return {
        "type": "error",
        "error": {"type": "an_error", "code": answer.status, "message": answer.error, "status": "AN_ERROR"},
    }
