"""A proxy that pools by transaction, as PgBouncer does in that mode: nothing stays from one transaction to the next.

Each transaction gets the server's connection that has rested longest, so two in a row never share one. What PgBouncer
would refuse at the start of a connection is refused.
"""

import asyncio
import struct
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

_VERSION_3 = 196_608
_SSL, _GSS = 80_877_103, 80_877_104
_ALLOWED = {b"user", b"database", b"client_encoding"}
_READY = b"Z"
_END_OF_REQUEST = (b"Q", b"S")


@dataclass(eq=False)
class _Backend:
    """One connection to the server."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    greeting: bytes
    """What the server said of itself at the start."""


@dataclass
class TransactionPooler:
    """Stands between clients and a server on the loopback. Made by `transaction_pooler`."""

    target: int
    connections: int
    port: int = 0
    transactions: int = 0
    """Requests or transactions that were given a connection."""
    refused: list[str] = field(default_factory=list[str])
    """Parameters for which a connection was refused."""
    _pools: dict[bytes, "asyncio.Queue[_Backend | None]"] = field(
        default_factory=dict[bytes, "asyncio.Queue[_Backend | None]"]
    )
    _backends: list[_Backend] = field(default_factory=list[_Backend])
    _clients: set[asyncio.StreamWriter] = field(default_factory=set[asyncio.StreamWriter])

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client, until it goes."""
        self._clients.add(writer)
        try:
            await self._serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._clients.discard(writer)
            writer.transport.abort()

    def close(self) -> None:
        """Let go of everybody."""
        for writer in self._clients:
            writer.transport.abort()
        for backend in self._backends:
            backend.writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        startup = await _startup(reader, writer)
        names = startup[8:-1].split(b"\0")
        given = dict(zip(names[::2], names[1::2], strict=False))
        given.pop(b"", None)
        for name in given.keys() - _ALLOWED:
            self.refused.append(name.decode())
            problem = b"SFATAL\0C08P01\0Munsupported startup parameter: " + name + b"\0\0"
            writer.write(_message(b"E", problem))
            await writer.drain()
            return
        pool = self._pools.get(given[b"database"])
        if pool is None:
            pool = self._pools[given[b"database"]] = asyncio.Queue()
            for _ in range(self.connections):
                pool.put_nowait(None)
        backend = await pool.get() or await self._open(startup)
        pool.put_nowait(backend)
        writer.write(_message(b"R", struct.pack(">i", 0)) + backend.greeting + _message(_READY, b"I"))
        await self._relay(reader, writer, pool, startup)

    async def _relay(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        pool: "asyncio.Queue[_Backend | None]",
        startup: bytes,
    ) -> None:
        """Give each transaction of a client the connection that has rested longest."""
        while True:
            kind, message = await _read(reader)
            if kind == b"X":
                return
            held = await pool.get()
            backend: _Backend | None = None
            try:
                backend = held or await self._open(startup)
                self.transactions += 1
                if await _transact(backend, reader, writer, kind, message):
                    held = backend
                    backend = None
                else:
                    return
            finally:
                if backend is not None:  # the client has gone in the middle, or the server has
                    backend.writer.transport.abort()
                    held = None
                pool.put_nowait(held)

    async def _open(self, startup: bytes) -> _Backend:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.target)
        writer.write(startup)
        greeting = b""
        while True:
            kind, message = await _read(reader)
            if kind == _READY:
                made = _Backend(reader, writer, greeting)
                self._backends.append(made)
                return made
            if kind == b"E":
                raise ConnectionError(message)
            if kind in (b"S", b"K"):
                greeting += message


@asynccontextmanager
async def transaction_pooler(target: int, connections: int = 3) -> AsyncGenerator[TransactionPooler]:
    """A proxy to a port of the loopback with so many connections for each database, until the block is left."""
    pooler = TransactionPooler(target, connections)
    server = await asyncio.start_server(pooler.serve, "127.0.0.1", 0)
    pooler.port = server.sockets[0].getsockname()[1]
    try:
        yield pooler
    finally:
        server.close()
        pooler.close()
        with suppress(asyncio.CancelledError):
            await server.wait_closed()


async def _startup(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """The first message that is not about encryption, which there is none of."""
    while True:
        head = await reader.readexactly(8)
        length, code = struct.unpack(">ii", head)
        body = await reader.readexactly(length - 8)
        if code in (_SSL, _GSS):
            writer.write(b"N")
            continue
        if code != _VERSION_3:
            raise ConnectionError(f"a message of kind {code} at the start")
        return head + body


async def _transact(
    backend: _Backend, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kind: bytes, message: bytes
) -> bool:
    """One transaction, from a client's message on; False: the client has said goodbye in the middle of it."""
    ready: asyncio.Queue[bytes] = asyncio.Queue()

    async def answer() -> None:
        while True:
            said, told = await _read(backend.reader)
            writer.write(told)
            if said == _READY:
                await writer.drain()
                ready.put_nowait(told[-1:])

    answering = asyncio.create_task(answer())
    try:
        while kind != b"X":
            backend.writer.write(message)
            await backend.writer.drain()
            if kind in _END_OF_REQUEST and await _first(ready, answering) == b"I":
                return True
            kind, message = await _read(reader)
        return False
    finally:
        answering.cancel()
        await asyncio.wait([answering])


async def _first(ready: "asyncio.Queue[bytes]", answering: "asyncio.Task[None]") -> bytes:
    """The state behind an answer. Raises what ended the answering."""
    asked = asyncio.create_task(ready.get())
    await asyncio.wait([asked, answering], return_when=asyncio.FIRST_COMPLETED)
    if asked.done():
        return asked.result()
    asked.cancel()
    raise ConnectionError("the server has gone")


async def _read(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head = await reader.readexactly(5)
    return head[:1], head + await reader.readexactly(struct.unpack(">i", head[1:])[0] - 4)


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack(">i", len(body) + 4) + body
