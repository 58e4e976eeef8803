"""Owns the child process of the local model: started at first use, checked, and replaced if it died."""

import asyncio
import json
import secrets
import sys
from contextlib import suppress
from dataclasses import field
from datetime import timedelta
from pathlib import Path

from heddle_core.values import value
from heddle_runtime.models.local.weights import MODEL, find_weights
from heddle_runtime.models.port import FaultKind, ModelFault
from heddle_runtime.models.redaction import scrub

_SERVE = Path(__file__).with_name("serve.py")

_LAST_WORDS = 2_000
"""Bytes of the child's standard error that are kept for the message when it fails."""


@value
class Endpoint:
    """Where the running child answers."""

    base_url: str
    """As `http://127.0.0.1:40123/v1`."""
    key: str = field(repr=False)
    """Made for this child alone: other users of the machine reach its port, but not its model."""
    pid: int


class ServerProcess:
    """At most one child. Its own tasks read the child's output until it ends."""

    def __init__(self, *, context_window: int, threads: int, start_timeout: timedelta = timedelta(seconds=60)) -> None:
        self._context_window = context_window
        self._threads = threads
        self._start_timeout = start_timeout.total_seconds()
        self._child: asyncio.subprocess.Process | None = None
        self._endpoint: Endpoint | None = None
        self._listening: asyncio.Task[bytes] | None = None
        self._changing = asyncio.Lock()

    async def endpoint(self) -> Endpoint:
        """The running child's address; starts one if there is none, or if the last one died.

        Raises `ModelFault`: MISCONFIGURED without weights, RETRYABLE if the child did not come up.
        """
        async with self._changing:
            child = self._child
            if self._endpoint is None or child is None or self._has_ended():
                await self._stop()
                self._endpoint = await self._start()
            return self._endpoint

    async def discard(self, endpoint: Endpoint) -> str:
        """End the child that answered at `endpoint`, which has just broken a connection; a later one is left.

        Returns the last that it wrote on its standard error, scrubbed.
        """
        async with self._changing:
            return scrub(await self._stop()) if self._endpoint == endpoint else ""

    async def close(self) -> None:
        """End the child, and wait until it is gone."""
        async with self._changing:
            await self._stop()

    async def _start(self) -> Endpoint:
        weights = find_weights()
        key = secrets.token_urlsafe(24)
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            str(_SERVE),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        self._child = child
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stderr is not None
        self._listening = asyncio.create_task(_last_words(child.stderr), name="local model's standard error")
        settings = {
            "weights": str(weights),
            "name": MODEL,
            "context_window": self._context_window,
            "parallel": 2,
            "threads": self._threads,
            "key": key,
        }
        line = b""
        try:
            async with asyncio.timeout(self._start_timeout):
                child.stdin.write(json.dumps(settings).encode() + b"\n")
                await child.stdin.drain()
                line = await child.stdout.readline()
            address: str = json.loads(line)["address"]
        except BaseException as error:
            words = await self._stop()
            if isinstance(error, TimeoutError | OSError | ValueError | KeyError):
                raise ModelFault(
                    FaultKind.RETRYABLE,
                    f"the local model did not start ({scrub(words) or error!r}): try again",
                ) from error
            raise
        return Endpoint(f"{address}/v1", key, child.pid)

    def _has_ended(self) -> bool:
        # Its standard error ends with it, often before the exit code is collected.
        child, listening = self._child, self._listening
        return child is None or child.returncode is not None or listening is None or listening.done()

    async def _stop(self) -> str:
        """End the child if there is one; its last words."""
        child, self._child, self._endpoint = self._child, None, None
        listening, self._listening = self._listening, None
        if child is None:
            return ""
        with suppress(ProcessLookupError):
            child.kill()
        await child.wait()
        if child.stdin is not None:
            child.stdin.close()
        return (await listening).decode(errors="replace") if listening is not None else ""


async def _last_words(stream: asyncio.StreamReader) -> bytes:
    kept = b""
    while chunk := await stream.read(4_096):
        kept = (kept + chunk)[-_LAST_WORDS:]
    return kept
