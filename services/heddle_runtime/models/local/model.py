"""SmolLM2-135M on this machine: a real model with no key and no network.

It proves that everything is wired to a real model. It is tiny, and its words are poor: it invents, repeats
itself and forgets. For work, name any OpenAI-compatible server instead.
"""

import asyncio
import importlib
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from heddle_core.ids import Ids
from heddle_runtime.models.assembly import ReplyAssembly
from heddle_runtime.models.local import constraint
from heddle_runtime.models.local.process import Endpoint, ServerProcess
from heddle_runtime.models.local.weights import MODEL
from heddle_runtime.models.port import (
    FaultKind,
    FinishReason,
    ModelEvent,
    ModelFault,
    ModelRequest,
    ModelUsage,
    ToolDeclaration,
)

if TYPE_CHECKING:
    import httpx

TEMPERATURE = 0.6
REPEAT_PENALTY = 1.15
"""Tried out: without it the model falls into loops. Calls go without it, for it would punish copying."""

_ANSWER_TOKENS = 256
_CALL_TOKENS = 400
_SILENCE_SECONDS = 60

_FINISH: dict[str, FinishReason] = {"stop": FinishReason.STOP, "length": FinishReason.LENGTH}


class LocalModel:
    """The model of one child process, which is started at the first call."""

    def __init__(self, ids: Ids, *, context_window: int, threads: int) -> None:
        self._ids = ids
        self.server = ServerProcess(context_window=context_window, threads=threads)
        """The child, for those who want to start it early or ask where it is."""
        self._http: httpx.AsyncClient | None = None

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        """Ask the child. See `port.Model`, and `constraint` for what is asked."""
        endpoint = await self.server.endpoint()
        assembly = ReplyAssembly(request, self._ids)
        answer = _Answer()
        tools = constraint.tools_on_offer(request)
        body = _call_body(request, tools) if tools else _answer_body(request)
        async with aclosing(self._ask(endpoint, body, answer)) as pieces:
            async for piece in pieces:
                if not tools and (delta := assembly.add_text(piece)) is not None:
                    yield delta
        finish = _FINISH.get(answer.finish or "", FinishReason.OTHER)
        if tools:
            tool, arguments = _read_call(answer)
            finish = FinishReason.TOOL_CALLS
            yield assembly.open_call(0, tool, None, arguments)
        yield assembly.finish(finish_reason=finish, usage=answer.usage, model=MODEL)

    async def close(self) -> None:
        """End the child and close the connections to it."""
        http, self._http = self._http, None
        if http is not None:
            await http.aclose()
        await self.server.close()

    async def _ask(self, endpoint: Endpoint, body: dict[str, Any], answer: "_Answer") -> AsyncGenerator[str, None]:
        # In a thread: the first import takes a tenth of a second, which the event loop's other runs would feel.
        await asyncio.to_thread(importlib.import_module, "httpx")
        import httpx

        if self._http is None:
            self._http = httpx.AsyncClient(
                trust_env=False,  # no proxy: the child is on loopback
                timeout=httpx.Timeout(_SILENCE_SECONDS, connect=5),
                # A connection for each call costs nothing on loopback, and the child can not close it between two.
                limits=httpx.Limits(max_keepalive_connections=0),
            )
        headers = {"authorization": f"Bearer {endpoint.key}"}
        try:
            async with self._http.stream(
                "POST", f"{endpoint.base_url}/chat/completions", json=body, headers=headers
            ) as response:
                if response.status_code != 200:
                    raise _refusal(response.status_code, await response.aread())
                async for line in response.aiter_lines():
                    if (piece := answer.take(line)) is not None:
                        yield piece
        except (httpx.HTTPError, httpx.StreamError) as error:
            said = "" if isinstance(error, httpx.TimeoutException) else await self.server.discard(endpoint)
            raise ModelFault(
                FaultKind.RETRYABLE, f"the local model broke off ({said or type(error).__name__}): try again"
            ) from error
        if answer.finish is None:
            raise ModelFault(FaultKind.RETRYABLE, "the local model broke off before its end: try again")


class _Answer:
    """What the child has said so far."""

    def __init__(self) -> None:
        self.text = ""
        self.finish: str | None = None
        self.usage = ModelUsage()

    def take(self, line: str) -> str | None:
        """The words in one line of the event stream."""
        if not line.startswith("data: ") or line == "data: [DONE]":
            return None
        try:
            chunk: dict[str, Any] = json.loads(line[6:])
        except ValueError as error:
            raise ModelFault(FaultKind.RETRYABLE, "the local model's answer is garbled: try again") from error
        if usage := chunk.get("usage"):
            cached: int = (usage.get("prompt_tokens_details") or {"cached_tokens": 0})["cached_tokens"]
            self.usage = ModelUsage(usage["prompt_tokens"], usage["completion_tokens"], cached)
        if not (choices := chunk.get("choices")):
            return None
        self.finish = choices[0].get("finish_reason") or self.finish
        piece: str = choices[0].get("delta", {}).get("content") or ""
        self.text += piece
        return piece or None


def _answer_body(request: ModelRequest) -> dict[str, Any]:
    body: dict[str, Any] = {
        "messages": constraint.answer_messages(request),
        "max_tokens": request.max_output_tokens or _ANSWER_TOKENS,
        "temperature": TEMPERATURE if request.temperature is None else request.temperature,
        "repeat_penalty": REPEAT_PENALTY,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if request.seed is not None:
        body["seed"] = request.seed % (1 << 32)
    if request.response_schema_json is not None:
        body["response_format"] = _constrained(constraint.bounded(json.loads(request.response_schema_json)))
        body["max_tokens"] = max(body["max_tokens"], _CALL_TOKENS)
    return body


def _call_body(request: ModelRequest, tools: tuple[ToolDeclaration, ...]) -> dict[str, Any]:
    return {
        "messages": constraint.call_messages(request),
        "max_tokens": _CALL_TOKENS,
        "temperature": 0,
        "response_format": _constrained(constraint.call_schema(tools)),
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def _constrained(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"schema": schema}}


def _read_call(answer: _Answer) -> tuple[str, str]:
    try:
        call = json.loads(answer.text)
    except ValueError as error:
        raise ModelFault(FaultKind.RETRYABLE, "the local model's call was cut: try again") from error
    return call["tool"], json.dumps(call["arguments"], ensure_ascii=False, separators=(",", ":"))


def _refusal(status: int, body: bytes) -> ModelFault:
    try:
        words = json.loads(body)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        words = body[:200].decode(errors="replace")
    kind = FaultKind.RETRYABLE if status == 429 or status >= 500 else FaultKind.REFUSED
    return ModelFault(kind, f"the local model refuses: {words}; shorten the conversation or simplify the schema")
