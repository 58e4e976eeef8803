"""Looks for models that this machine could use at once: keys in the environment, servers on loopback.

It only looks and tells. What is used is decided by configuration: a found key is no permission to spend.
"""

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, cast

from heddle_core.values import value

KEY_VARIABLES: dict[str, tuple[str, ...]] = {
    "openai": ("OPENAI_API_KEY",),
    "anthropic": ("ANTHROPIC_API_KEY",),
    "google": ("GOOGLE_API_KEY", "GEMINI_API_KEY"),
}
"""The variables that the providers' own libraries read, first one first."""

LOOPBACK_PORTS: dict[str, int] = {"ollama": 11434, "lmstudio": 1234, "llamacpp": 8080, "vllm": 8000}
"""The default ports of the usual OpenAI-compatible servers."""

_LARGEST_ANSWER = 1 << 20


@value
class FoundServer:
    """An OpenAI-compatible server that answers on loopback."""

    alias: str
    base_url: str
    models: tuple[str, ...]


def keys_in(environment: Mapping[str, str]) -> dict[str, str]:
    """Which provider's key stands in which variable of `environment`: names only, never the keys."""
    return {
        provider: found
        for provider, variables in KEY_VARIABLES.items()
        if (found := next((each for each in variables if environment.get(each, "").strip()), None))
    }


async def find_servers(ports: Mapping[str, int] = LOOPBACK_PORTS, *, timeout: float = 0.3) -> tuple[FoundServer, ...]:
    """The servers that list models on their port of 127.0.0.1 within `timeout` seconds, all asked at once."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_ask(alias, port, timeout)) for alias, port in ports.items()]
    return tuple(found for task in tasks if (found := task.result()) is not None)


async def _ask(alias: str, port: int, timeout: float) -> FoundServer | None:
    try:
        async with asyncio.timeout(timeout):
            body = await _get_models(port)
        listed = json.loads(body)["data"]
        names = [str(each["id"]) for each in cast("list[dict[str, Any]]", listed)]
    except (OSError, ValueError, KeyError, TypeError, TimeoutError, EOFError):
        return None
    return FoundServer(alias, f"http://127.0.0.1:{port}/v1", tuple(names))


async def _get_models(port: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        # HTTP/1.0, so that the answer comes unchunked and ends with the connection.
        writer.write(b"GET /v1/models HTTP/1.0\r\nHost: 127.0.0.1\r\nAccept: application/json\r\n\r\n")
        await writer.drain()
        answer = bytearray()
        while len(answer) < _LARGEST_ANSWER and (chunk := await reader.read(65_536)):
            answer += chunk
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
    head, _, body = bytes(answer).partition(b"\r\n\r\n")
    if b" 200" not in head.split(b"\r\n", 1)[0]:
        raise ValueError("no list of models")
    return body
