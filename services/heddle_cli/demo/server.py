"""The server of the demonstration: `heddle up` in a process of its own, which can be killed like any other."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from heddle_core.errors import CannotServe

_START_SECONDS = 60
_STOP_SECONDS = 30
_LAST_WORDS = 2_000


@dataclass
class DemoServer:
    """One data folder, and the process that serves it now."""

    data_dir: Path
    log: Path
    """File that the process writes its log to."""
    environment: Mapping[str, str]
    model: str
    address: str = ""
    """Where it listens; the same port at every start."""
    pids: list[int] = field(default_factory=list[int])
    """Every process that was started, the latest last."""
    _process: Process | None = None

    async def start(self) -> None:
        """Start it and wait until it serves. Raises CannotServe with its last words."""
        listen = self.address or "127.0.0.1:0"
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "heddle_cli", "up", "--print-address"),
                *("--data-dir", str(self.data_dir), "--listen", listen, "--model", self.model),
                env={**os.environ, **self.environment},
                stdin=DEVNULL,
                stdout=PIPE,
                stderr=log,
                # A Ctrl-C in the terminal is for the demonstration, which then ends its server.
                start_new_session=True,
            )
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(_START_SECONDS):
                line = await self._process.stdout.readline()
        except TimeoutError:
            line = b""
        if not line:
            await self.stop()
            raise CannotServe("the server", self.last_words(), f"read {self.log}")
        self.address = json.loads(line)["address"]
        self.pids.append(self._process.pid)

    def kill(self) -> None:
        """Kill -9: no handler runs, nothing is written."""
        if self._process is not None and self._process.returncode is None:
            os.kill(self._process.pid, signal.SIGKILL)

    async def gone(self) -> int:
        """Wait for the process to end; its exit code, negative for a signal."""
        assert self._process is not None
        return await self._process.wait()

    async def stop(self) -> None:
        """End it: asked first, forced after a while. Does nothing when it has ended."""
        process, self._process = self._process, None
        if process is None:
            return
        for sign in (signal.SIGTERM, signal.SIGKILL):
            if process.returncode is None:
                process.send_signal(sign)
            try:
                async with asyncio.timeout(_STOP_SECONDS):
                    await process.wait()
                return
            except TimeoutError:
                continue

    def last_words(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-_LAST_WORDS:].strip() or "it said nothing"
