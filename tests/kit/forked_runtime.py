"""A runtime in a process of its own, on one folder: started, killed at any moment, and started again there."""

import asyncio
import json
import os
import select
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.kit.line_process import LineProcess

ROOT = Path(__file__).parents[2]

_WITHIN = 90.0
"""Seconds for a start or an end. A machine that does other things beside may need several for what takes one."""


class Zygote:
    """A process that has imported the runtime and forks servers of it. Closed with `close`."""

    def __init__(self) -> None:
        paths = os.pathsep.join([str(ROOT), str(ROOT / "libs"), str(ROOT / "services")])
        environment = {key: value for key, value in os.environ.items() if not key.startswith("HEDDLE_")}
        self._process = LineProcess("tests.kit.runtime_zygote", {**environment, "PYTHONPATH": paths})

    def fork(self, settings: Mapping[str, str], said: Path, log: Path) -> int:
        """Start a server; its process id. It waits until somebody reads from the pipe `said`."""
        return int(self._process.ask({"settings": dict(settings), "said": str(said), "log": str(log)}))

    def close(self) -> None:
        """End it; servers that it has forked live on."""
        self._process.close(_WITHIN)


class ServerProcess:
    """One server at a time on one folder. Whoever starts it calls `kill` or `stop` in the end."""

    def __init__(self, zygote: Zygote, folder: Path, settings: Mapping[str, str]) -> None:
        """`settings` are variables of the server, without the prefix HEDDLE_."""
        self.folder = folder
        self.log = folder / "server.log"
        self.address = ""
        self.starts = 0
        self._zygote = zygote
        self._settings = {
            "HEDDLE_DATA_DIR": str(folder / "data"),
            "HEDDLE_LISTEN": "127.0.0.1:0",
            **{f"HEDDLE_{key}": value for key, value in settings.items()},
        }
        self._handle = -1
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def database(self) -> Path:
        return self.folder / "data" / "heddle.db"

    @property
    def alive(self) -> bool:
        return self._handle >= 0 and not _has_ended(self._handle, 0)

    async def start(self) -> None:
        """Start, and wait until it serves."""
        assert self._handle < 0, "one server at a time has the folder"
        async with asyncio.timeout(_WITHIN):
            line = await asyncio.to_thread(self._start)
        assert line, f"the server did not start: {self.told()[-2000:]}"
        said: dict[str, Any] = json.loads(line)
        self.address = said["address"]
        self.starts += 1

    def kill(self) -> None:
        """Kill it as a power cut would; nothing is asked, nothing is flushed."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Ask it to drain, and wait until it has ended."""
        self._end(signal.SIGTERM)

    def told(self) -> str:
        """All that it wrote to its log."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def _start(self) -> str:
        pipe = self.folder / f"said-{self.starts}"
        os.mkfifo(pipe)
        try:
            self._handle = os.pidfd_open(self._zygote.fork(self._settings, pipe, self.log))
            with pipe.open() as said:
                return said.readline()
        finally:
            pipe.unlink()

    def _end(self, number: signal.Signals) -> None:
        if self._handle < 0:
            return
        if self.alive:
            signal.pidfd_send_signal(self._handle, number)
        assert _has_ended(self._handle, _WITHIN), f"the server does not end by {number.name}"
        os.close(self._handle)
        self._handle = -1


def _has_ended(handle: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    return bool(poll.poll(seconds * 1_000))
