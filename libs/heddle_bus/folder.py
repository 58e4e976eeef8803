"""Who may use the bundled server's folder: one Heddle at a time, and no server left over from an earlier one.

Two locks, because two lives count. `owner.lock` is held by this process. `server.lock` is handed down to the
server, so it stays held as long as the server lives, even when kill -9 took its parent.
"""

import asyncio
import fcntl
import os
import signal
from contextlib import ExitStack
from pathlib import Path

from heddle_core.errors import ServiceUnreachable

_TERMINATE_SECONDS = 2.0
_KILL_SECONDS = 5.0
_LOOK_EVERY_SECONDS = 0.01


class ServerFolder:
    """The folder of one bundled server: configuration, log, locks and store."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.configuration = path / "nats-server.conf"
        self.log = path / "nats-server.log"
        self.output = path / "nats-server.out"
        self.ports = path / "ports"
        self.pid_file = path / "nats-server.pid"
        self.endpoint = path / "endpoint.json"
        self.store = path / "store"
        self._owner = -1
        self._server = -1

    @property
    def server_lock(self) -> int:
        """The descriptor that the server must inherit."""
        return self._server

    async def claim(self) -> None:
        """Make the folder ours. Raises ServiceUnreachable if another Heddle that lives has it."""
        for folder in (self.path, self.ports, self.store):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path.chmod(0o700)
        with ExitStack() as undo:
            undo.callback(self.release)
            self._owner = _opened(self.path / "owner.lock")
            if not _locked(self._owner):
                raise ServiceUnreachable("nats-server", f"{self.path} is in use by another running Heddle")
            self._server = _opened(self.path / "server.lock")
            await self._replace_left_over()
            undo.pop_all()

    def release(self) -> None:
        """Let others have it. The server must have ended."""
        for descriptor in (self._server, self._owner):
            if descriptor >= 0:
                os.close(descriptor)
        self._owner = self._server = -1

    def forget_server(self) -> None:
        """Remove what an ended server has left, so that nothing stale is ever read as the next one's."""
        self.pid_file.unlink(missing_ok=True)
        self.endpoint.unlink(missing_ok=True)
        for stale in self.ports.iterdir():
            stale.unlink(missing_ok=True)

    async def _replace_left_over(self) -> None:
        if await self._ended_within(0):
            return
        for sign, patience in ((signal.SIGTERM, _TERMINATE_SECONDS), (signal.SIGKILL, _KILL_SECONDS)):
            self._signal_left_over(sign)
            if await self._ended_within(patience):
                return
        raise ServiceUnreachable("nats-server", f"an earlier server in {self.path} could not be ended")

    def _signal_left_over(self, sign: signal.Signals) -> None:
        # The lock is held, so the server lives, and the id is its own: it was written under this very lock.
        try:
            os.kill(int(self.pid_file.read_text()), sign)
        except (FileNotFoundError, ValueError, ProcessLookupError):
            return
        except PermissionError:
            raise ServiceUnreachable(
                "nats-server", f"an earlier server in {self.path} belongs to another user: end it there"
            ) from None

    async def _ended_within(self, seconds: float) -> bool:
        clock = asyncio.get_running_loop()
        end = clock.time() + seconds
        while not _locked(self._server):
            if clock.time() >= end:
                return False
            await asyncio.sleep(_LOOK_EVERY_SECONDS)
        return True


def _opened(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
