"""A nats-server at a fixed port that is killed, taken away and wiped; and a consumer that keeps all it was sent."""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import nats
from nats.aio.client import Client
from nats.errors import Error

from heddle.runtime.v1.event_pb2 import ThreadEvent
from heddle_bus.server import find_binary
from tests.faults.journal import Journal
from tests.faults.processes import free_port

_STREAM = "HEDDLE_EVENTS"
_QUIET_SECONDS = 2.5
_QUIET_WITHIN = 45.0


class Broker:
    """The server's process. Closed with `stop`."""

    def __init__(self, folder: Path, port: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it listens whenever it does."""
        return f"nats://127.0.0.1:{self._port}"

    async def start(self) -> None:
        """Start it, and return when it listens."""
        await asyncio.to_thread(self._start)

    def kill(self) -> None:
        """End it as a power cut would; what it wrote stays."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it in order."""
        self._end(signal.SIGTERM)

    def wipe(self) -> None:
        """Kill it and lose its disk."""
        self.kill()
        shutil.rmtree(self._folder / "store")

    def keep_copy(self) -> None:
        """Copy its disk while it does not run."""
        shutil.rmtree(self._copy, ignore_errors=True)
        shutil.copytree(self._folder / "store", self._copy)

    def put_copy_back(self) -> None:
        """Put the copy in the place of its disk while it does not run."""
        shutil.rmtree(self._folder / "store")
        shutil.copytree(self._copy, self._folder / "store")

    @property
    def _copy(self) -> Path:
        return self._folder / "copy"

    def _start(self) -> None:
        command = [str(find_binary(os.environ)), "-js", "-sd", str(self._folder / "store"), "-a", "127.0.0.1"]
        with (self._folder / "nats.out").open("ab") as out:
            self._process = subprocess.Popen([*command, "-p", str(self._port)], stdout=out, stderr=out)
        until = time.monotonic() + 30
        while not self._listens():
            assert time.monotonic() < until, f"nats-server did not start: {self._folder / 'nats.out'}"
            time.sleep(0.02)

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(30)
            self._process = None

    def _listens(self) -> bool:
        with contextlib.closing(socket.socket()) as probe:
            return probe.connect_ex(("127.0.0.1", self._port)) == 0


class Consumer:
    """Reads the stream with a cursor of its own, from the beginning, and from the beginning of every new stream."""

    def __init__(self, url: str, journal: Journal) -> None:
        self._url = url
        self._journal = journal
        self._heard = asyncio.Event()
        journal.write("consumer")

    async def consume(self) -> None:
        """Read for ever."""
        while True:
            try:
                connection = await nats.connect(self._url, allow_reconnect=False, connect_timeout=2, error_cb=_quietly)
            except (OSError, Error, TimeoutError):
                await asyncio.sleep(0.1)
                continue
            try:
                await self._read(connection)
            except (OSError, Error, TimeoutError) as problem:
                self._journal.write("lost", problem=str(problem) or type(problem).__name__)
            finally:
                with contextlib.suppress(Exception):
                    await connection.close()

    async def quiet(self) -> None:
        """Wait until nothing has come for a while."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_QUIET_WITHIN):
                while True:
                    self._heard.clear()
                    try:
                        await asyncio.wait_for(self._heard.wait(), _QUIET_SECONDS)
                    except TimeoutError:
                        return

    async def _read(self, connection: Client) -> None:
        stream = connection.jetstream(timeout=2)
        await _made(connection, stream)
        self._journal.write("began")
        reading = await stream.subscribe("heddle.v1.*.threads.*.*", stream=_STREAM, ordered_consumer=True)
        while connection.is_connected:
            try:
                message = await reading.next_msg(timeout=0.5)
            except TimeoutError:
                continue
            self._note(message.headers or {}, message.data)

    def _note(self, headers: dict[str, str], payload: bytes) -> None:
        self._heard.set()
        event = ThreadEvent.FromString(payload)
        self._journal.write(
            "deletion" if headers["ce-type"].endswith(".ThreadDeleted") else "message",
            tenant=headers["ce-tenant"],
            thread_id=headers["ce-thread"],
            sequence=int(headers["ce-threadsequence"]),
            epoch=headers["ce-logepoch"],
            hash=event.hash.hex(),
            same=event.sequence == int(headers["ce-threadsequence"]),
        )


@dataclass(frozen=True)
class BroughtAlong:
    """A server and a consumer of its stream."""

    server: Broker
    consumer: Consumer


@asynccontextmanager
async def brought_along(folder: Path, seed: int) -> AsyncGenerator[BroughtAlong]:
    """A server that runs and a consumer that reads, until the block is left."""
    server = Broker(folder / "nats", free_port(Random(seed)))
    await server.start()
    consumer = Consumer(server.url, Journal(folder / "broker.jsonl"))
    consuming = asyncio.create_task(consumer.consume())
    try:
        yield BroughtAlong(server, consumer)
    finally:
        consuming.cancel()
        await asyncio.wait({consuming})
        server.stop()


async def _made(connection: Client, stream: Any) -> None:
    """Wait until the runtime has made its stream, or the connection is lost."""
    while connection.is_connected:
        try:
            await stream.stream_info(_STREAM)
        except Error:
            await asyncio.sleep(0.1)
        else:
            return


async def _quietly(_: Exception) -> None:
    return
