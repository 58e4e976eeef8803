"""What operators and probes ask a process, apart from its callers and without credentials.

Plain HTTP here is one request line and one answer: no framework, no keep-alive, no bodies.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health import aio as health_aio

from heddle_core.errors import CannotServe
from heddle_grpc.addresses import split
from heddle_grpc.ports import bound

_MOST_HEAD = 8_192
_PATIENCE = 5.0

_TEXT = "text/plain; charset=utf-8"
_PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True)
class Probes:
    """What the HTTP listener answers from."""

    is_ready: Callable[[], bool]
    metrics: Callable[[], Awaitable[bytes]]


@asynccontextmanager
async def probes_over_http(address: str, probes: Probes) -> AsyncGenerator[int]:
    """Serve /livez, /readyz and /metrics on `address`; gives the port. Raises CannotServe if it is taken."""
    host, port = split(address)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_PATIENCE):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(await _response(head, probes))
                await writer.drain()
        except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            pass  # Whoever asked is slow, gone or no HTTP client: nobody is left to be told.
        finally:
            writer.close()

    try:
        server = await asyncio.start_server(answer, host, port, limit=_MOST_HEAD)
    except OSError as error:
        problem = error.strerror or str(error)
        raise CannotServe(f"address {address}", problem, "free the port or choose another") from error
    async with server:
        yield int(server.sockets[0].getsockname()[1])


@asynccontextmanager
async def probes_over_grpc(address: str, health: health_aio.HealthServicer) -> AsyncGenerator[int]:
    """Serve gRPC health and channelz on `address`, in plaintext; gives the port."""
    from grpc_channelz.v1 import channelz

    server = grpc.aio.server(options=(("grpc.so_reuseport", 0), ("grpc.enable_channelz", 1)))
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    channelz.add_channelz_servicer(server)  # pyright: ignore[reportUnknownMemberType]
    port = bound(address, server.add_insecure_port)
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


async def _response(head: bytes, probes: Probes) -> bytes:
    method, _, rest = head.split(b"\r\n", 1)[0].partition(b" ")
    path = rest.partition(b" ")[0].partition(b"?")[0]
    if method not in (b"GET", b"HEAD"):
        return _framed("405 Method Not Allowed", _TEXT, b"use GET\n", head_only=False)
    status, kind, body = await _answer(path, probes)
    return _framed(status, kind, body, head_only=method == b"HEAD")


async def _answer(path: bytes, probes: Probes) -> tuple[str, str, bytes]:
    match path:
        case b"/livez":
            return "200 OK", _TEXT, b"alive\n"
        case b"/readyz":
            if probes.is_ready():
                return "200 OK", _TEXT, b"ready\n"
            return "503 Service Unavailable", _TEXT, b"not ready: starting or draining\n"
        case b"/metrics":
            return "200 OK", _PROMETHEUS, await probes.metrics()
        case _:
            return "404 Not Found", _TEXT, b"ask for /livez, /readyz or /metrics\n"


def _framed(status: str, kind: str, body: bytes, *, head_only: bool) -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        "Cache-Control: no-store\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + (b"" if head_only else body)
