"""A TCP proxy that fails on purpose: connections are cut, refused or delayed, and answers do not arrive."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

_PIECE = 64 * 1024


@dataclass(eq=False)
class _Link:
    """One client with its own connection to the server."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    doomed: bool = False

    def cut(self) -> None:
        for writer in (self.client, self.server):
            writer.transport.abort()


@dataclass
class TcpProxy:
    """Stands between clients and a server on the loopback. Made by `tcp_proxy`."""

    target: int
    port: int = 0
    delay: float = 0.0
    """Seconds that each piece of an answer is held back."""
    refusing: bool = False
    """Whether new connections are closed at once."""
    silent: bool = False
    """Whether answers are swallowed: both sides stay connected, and nothing arrives."""
    cuts: int = 0
    """Connections that were cut because of `cut_answer_to`."""
    _links: set[_Link] = field(default_factory=set[_Link])
    _words: bytes = b""
    _times: int = 0
    _cut: asyncio.Event = field(default_factory=asyncio.Event)

    def cut_all(self) -> None:
        """Reset every connection of this moment."""
        for link in list(self._links):
            link.cut()

    def cut_answer_to(self, words: bytes, times: int = 1) -> asyncio.Event:
        """Cut the connection of the next client that sends `words`, once the server has answered, and keep the answer.

        So what was asked for has happened, and nobody knows. Returns an event that is set when that is done for the
        last of so many `times`.
        """
        self._words, self._times = words, times
        self._cut = asyncio.Event()
        return self._cut

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client, until either side is gone."""
        if self.refusing:
            writer.transport.abort()
            return
        try:
            answers, server = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        link = _Link(writer, server)
        self._links.add(link)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._ask(link, reader))
                both.create_task(self._answer(link, answers))
        except* OSError:
            pass
        finally:
            self._links.discard(link)
            link.cut()

    async def _ask(self, link: _Link, reader: asyncio.StreamReader) -> None:
        while data := await reader.read(_PIECE):
            if self._times and self._words in data:
                self._times -= 1
                link.doomed = True
            link.server.write(data)
            await link.server.drain()
        link.cut()

    async def _answer(self, link: _Link, answers: asyncio.StreamReader) -> None:
        while data := await answers.read(_PIECE):
            if link.doomed:
                self.cuts += 1
                link.cut()
                if not self._times:
                    self._cut.set()
                return
            if self.delay:
                await asyncio.sleep(self.delay)
            if not self.silent:
                link.client.write(data)
                await link.client.drain()
        link.cut()


@asynccontextmanager
async def tcp_proxy(target: int) -> AsyncGenerator[TcpProxy]:
    """A proxy to a port of the loopback, on a free port, until the block is left."""
    proxy = TcpProxy(target)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        proxy.cut_all()
        with suppress(asyncio.CancelledError):
            await server.wait_closed()
