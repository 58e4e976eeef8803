"""Processes of the suite: runtimes that are started, killed, frozen and drained, and the parties that serve them."""

import asyncio
import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

from tests.faults.journal import Journal
from tests.kit.line_process import LineProcess

ROOT = Path(__file__).parents[2]

STARTS_WITHIN = 60.0
ENDS_WITHIN = 60.0
"""Seconds; a busy machine may need several for what takes one."""


def environment(source: Path) -> dict[str, str]:
    """The variables of a process that runs the code of `source`: ours without what was set for some other Heddle."""
    paths = os.pathsep.join([str(source / "libs"), str(source / "services"), str(ROOT)])
    kept = {key: value for key, value in os.environ.items() if not key.startswith("HEDDLE_")}
    return {**kept, "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "" if source == ROOT else "1"}


def free_port(random: Random) -> int:
    """A port that nobody has, below those that outgoing connections get, so that a server can come back to it."""
    while True:
        port = random.randrange(18_000, 32_000)
        with contextlib.closing(socket.socket()) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


class Party:
    """A process of the suite's own that says a line of JSON when it serves. Closed with `close`."""

    def __init__(self, command: Sequence[str], log: Path, source: Path = ROOT) -> None:
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *command],
                env=environment(source),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
            )
        line = self._process.stdout.readline() if self._process.stdout else b""
        assert line, f"{command[0]} did not start: {log.read_text()[-2000:]}"
        self.said: dict[str, Any] = json.loads(line)

    def close(self) -> None:
        """End it by closing its input, as the end of the suite itself would."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.communicate(timeout=5)
        self._process.kill()
        self._process.wait()


class Zygote:
    """Forks runtimes of one source tree. Closed with `close`; runtimes that it has forked live on."""

    def __init__(self, source: Path) -> None:
        self._process = LineProcess("tests.faults.zygote", environment(source))
        self._asking = threading.Lock()

    def fork(self, settings: Mapping[str, str], said: Path, log: Path) -> int:
        """Start a runtime; its process id. It waits until somebody reads from the pipe `said`.

        Several threads may ask: replicas start side by side, and each must get the answer to its own question.
        """
        with self._asking:
            return int(self._process.ask({"environment": dict(settings), "said": str(said), "log": str(log)}))

    def close(self) -> None:
        """End it."""
        self._process.close(ENDS_WITHIN)


class Node:
    """A runtime at a fixed address: one process at a time. Every start and end is written into the journal."""

    def __init__(
        self, name: str, zygote: Zygote, folder: Path, settings: Mapping[str, str], port: int, journal: Journal
    ) -> None:
        """`settings` are variables of the runtime, without the prefix HEDDLE_."""
        self.name = name
        self.address = f"127.0.0.1:{port}"
        self.log = folder / f"{name}.log"
        self.worker_id = ""
        self.starts = 0
        self._zygote = zygote
        self._folder = folder
        self._settings = {f"HEDDLE_{key}": value for key, value in settings.items()}
        self._journal = journal
        self._handle = -1
        self._pid = 0
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def pid(self) -> int:
        """Of the process that runs now, or ran last."""
        return self._pid

    @property
    def alive(self) -> bool:
        """Whether its process exists, frozen or not."""
        return self._handle >= 0 and not _has_ended(self._handle, 0)

    async def start(self, failpoint: str = "", *, must_serve: bool = True) -> bool:
        """Start it, armed with `failpoint`; whether it serves. One that dies on the way is an error if it must."""
        self._bury()
        line = await asyncio.to_thread(self._start, failpoint)
        self.starts += 1
        if not line:
            assert not must_serve, f"{self.name} did not start: {self.log.read_text(errors='replace')[-3000:]}"
            self._journal.write("down", node=self.name, how="on the way up", failpoint=failpoint)
            self._bury()
            return False
        self.worker_id = json.loads(line).get("worker_id", "")  # of a runtime
        self._journal.write("up", node=self.name, worker=self.worker_id, failpoint=failpoint)
        return True

    def kill(self) -> None:
        """End it as a power cut would, and wait until it is gone."""
        self._signal(signal.SIGKILL)
        self.wait_end("killed")

    def terminate(self) -> None:
        """Ask it to drain; `wait_end` says when it is done."""
        self._journal.write("asked", node=self.name, what="to drain")
        self._signal(signal.SIGTERM)

    def freeze(self) -> None:
        """Stop it in the middle of whatever it does."""
        self._journal.write("frozen", node=self.name)
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on as if nothing had been."""
        self._journal.write("thawed", node=self.name)
        self._signal(signal.SIGCONT)

    def wait_end(self, how: str, seconds: float = ENDS_WITHIN) -> None:
        """Wait until its process is gone. Raises AssertionError if it is not in time."""
        if self._handle < 0:
            return
        assert _has_ended(self._handle, seconds), f"{self.name} does not end"
        self._bury()
        self._journal.write("down", node=self.name, how=how)

    async def ended(self, how: str, seconds: float) -> bool:
        """Wait for its end, which somebody else brings about; whether it came in time."""
        if self._handle < 0:
            return True
        if not await asyncio.to_thread(_has_ended, self._handle, seconds):
            return False
        self._bury()
        self._journal.write("down", node=self.name, how=how)
        return True

    def megabytes(self) -> float:
        """Resident memory."""
        status = Path(f"/proc/{self._pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    def _start(self, failpoint: str) -> str:
        pipe = self._folder / f"{self.name}-said-{self.starts}"
        os.mkfifo(pipe)
        given = {**self._settings, "HEDDLE_LISTEN": self.address, "HEDDLE_FAILPOINT": failpoint}
        try:
            self._pid = self._zygote.fork(given, pipe, self.log)
            self._handle = os.pidfd_open(self._pid)
            return _read_line(pipe, self._handle)
        finally:
            pipe.unlink()

    def _signal(self, number: signal.Signals) -> None:
        if self._handle >= 0 and self.alive:
            signal.pidfd_send_signal(self._handle, number)

    def _bury(self) -> None:
        if self._handle >= 0:
            assert _has_ended(self._handle, 0), f"{self.name} still runs"
            os.close(self._handle)
            self._handle = -1


def _has_ended(handle: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    return bool(poll.poll(seconds * 1_000))


def _read_line(pipe: Path, handle: int) -> str:
    """The first line that a process says into a pipe; empty if it ends without. A frozen one says nothing either."""
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    said = b""
    until = time.monotonic() + STARTS_WITHIN
    try:
        while b"\n" not in said and time.monotonic() < until:
            try:
                more = os.read(reading, 4096)
            except BlockingIOError:
                more = b""
            said += more
            if not more:
                if _has_ended(handle, 0):
                    break
                select.select([reading], [], [], 0.02)
                if not said:
                    time.sleep(0.005)  # the writer has not opened its end: a pipe without one is always readable
    finally:
        os.close(reading)
    return said.decode()
