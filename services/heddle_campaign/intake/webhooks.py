"""Signals that come over HTTP: `POST /v1/signals/TENANT/KIND`, a JSON object, signed by Standard Webhooks.

One request a connection, parsed by h11. It speaks no TLS: it stands behind what does, and believes nothing that is not
signed. An answer of 2xx says that the signal is on record; whoever gets another sends it again, under the same id.
"""

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import h11

from heddle_campaign.facade.signals import LARGEST_PAYLOAD, SignalMatch
from heddle_campaign.intake.reporting import Report, received
from heddle_campaign.intake.signatures import ID_KEY, Signatures
from heddle_campaign.rules.triggers import SignalOutcome
from heddle_client.transience import is_passing
from heddle_core.clock import Clock
from heddle_core.errors import CannotServe
from heddle_core.faults import HeddleError, StatusCode
from heddle_core.ids import RESERVED_TENANTS, TenantId
from heddle_core.log_lines import LogLines
from heddle_grpc.addresses import split

PATIENCE = timedelta(seconds=10)
"""For a whole request."""
MOST_CONNECTIONS = 256

_ANSWERED_WITHIN = timedelta(seconds=30)
_NO_ROOM_FOR = "60"
"""Seconds after which a signal that found no room may be sent again."""
_READ = 64 * 1024
_MOST_DISCARDED = 1024 * 1024
_PATH = re.compile(r"/v1/signals/([A-Za-z0-9_-]{1,64})/([a-z0-9_]{1,64})")

_log = LogLines(__name__)


@dataclass(frozen=True, slots=True)
class Reply:
    """What is answered."""

    status: int
    body: Mapping[str, object]
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Posted:
    """A request, read to its end."""

    method: str
    path: str
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes


@dataclass(slots=True)
class Webhooks:
    """Takes signed signals."""

    signatures: Signatures
    report: Report
    clock: Clock
    patience: timedelta = PATIENCE
    """For a whole request."""
    _serving: set["asyncio.Task[None]"] = field(default_factory=set["asyncio.Task[None]"])

    @asynccontextmanager
    async def serving(self, address: str) -> AsyncGenerator[int]:
        """Listen at `host:port` until the block is left, then finish what has begun; gives the port.

        Raises:
            CannotServe: the address is taken or malformed.
        """
        host, port = split(address)
        try:
            server = await asyncio.start_server(self._connected, host, port)
        except OSError as error:
            problem = error.strerror or str(error)
            raise CannotServe(f"address {address}", problem, "free the port or choose another") from error
        try:
            async with server:
                yield int(server.sockets[0].getsockname()[1])
        finally:
            if self._serving:
                _, late = await asyncio.wait(self._serving, timeout=self.patience.total_seconds())
                for each in late:
                    each.cancel()

    async def answer(self, posted: Posted) -> Reply:
        """What a request is answered; all that the signal should start is on record when that is 200."""
        asked = _PATH.fullmatch(posted.path.partition("?")[0])
        if asked is None or asked[1] in RESERVED_TENANTS:
            return _refused(404, "NOT_FOUND", "post to /v1/signals/TENANT/KIND, the kind in a-z, 0-9 and _")
        if posted.method != "POST":
            return _refused(405, "METHOD_NOT_ALLOWED", "use POST", ("allow", "POST"))
        tenant, kind = asked[1], asked[2]
        if not self.signatures.accept(tenant, posted.headers, posted.body):
            remedy = "sign id, time and body by Standard Webhooks with a secret of the tenant, not over 5 minutes ago"
            return _refused(401, "SIGNATURE_INVALID", remedy)
        try:
            key = posted.headers.get(ID_KEY, "")
            signal = received(kind, posted.body, dedupe_key=key, at=self.clock.now(), source="webhook")
            async with asyncio.timeout(_ANSWERED_WITHIN.total_seconds()):
                matches = await self.report(TenantId(tenant), signal)
        except HeddleError as error:
            return _failed(error)
        except TimeoutError:
            return _refused(503, "DEADLINE_PASSED", "send it again", ("retry-after", "5"))
        if any(each.outcome is SignalOutcome.NO_ROOM for each in matches):
            # Senders send again what was not taken, under the same id, which is the dedupe key.
            return Reply(503, {"matches": _told(matches)}, (("retry-after", _NO_ROOM_FOR),))
        return Reply(200, {"matches": _told(matches)})

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None, "a connection is served by a task of its own"
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=16 * 1024)
        try:
            reply = await self._replied(connection, reader, writer)
            async with asyncio.timeout(self.patience.total_seconds()):
                await _send(connection, writer, reply)
                if connection.their_state is not h11.DONE:
                    await _discard(reader, writer)
        except (TimeoutError, ConnectionError, h11.LocalProtocolError):
            pass  # Whoever asked is slow or gone: nobody is left to be told.
        finally:
            writer.close()

    async def _replied(
        self, connection: h11.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> Reply:
        if len(self._serving) > MOST_CONNECTIONS:
            return _refused(503, "OVERLOADED", "send it again", ("retry-after", "1"))
        try:
            async with asyncio.timeout(self.patience.total_seconds()):
                posted = await _read(connection, reader, writer)
        except h11.RemoteProtocolError as error:
            return _refused(error.error_status_hint, "BAD_REQUEST", "send one request of HTTP/1.1")
        except TimeoutError:
            return _refused(408, "TOO_SLOW", f"send it within {self.patience.total_seconds():.0f} s")
        if posted is None:
            return _refused(413, "REQUEST_TOO_LARGE", f"send at most {LARGEST_PAYLOAD} bytes")
        try:
            return await self.answer(posted)
        except Exception:  # one request that breaks this service must not end without an answer
            _log.exception("a webhook could not be answered", path=posted.path)
            return _refused(500, "INTERNAL_FAULT", "send it again")


async def _read(
    connection: h11.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> Posted | None:
    """One request; None where its body is too large. Raises RemoteProtocolError, ConnectionError."""
    request: h11.Request | None = None
    body = bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            if connection.they_are_waiting_for_100_continue:
                writer.write(connection.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
                await writer.drain()
            connection.receive_data(await reader.read(_READ))
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > LARGEST_PAYLOAD:
                return None
        elif isinstance(event, h11.EndOfMessage) and request is not None:
            headers = {name.decode("ascii"): value.decode("latin-1") for name, value in request.headers}
            return Posted(request.method.decode("ascii"), request.target.decode("latin-1"), headers, bytes(body))
        else:
            raise ConnectionResetError("the connection was closed before a request came")


async def _send(connection: h11.Connection, writer: asyncio.StreamWriter, reply: Reply) -> None:
    body = json.dumps(reply.body, ensure_ascii=False).encode() + b"\n"
    headers = [
        ("content-type", "application/json"),
        ("content-length", str(len(body))),
        ("cache-control", "no-store"),
        ("connection", "close"),
        *reply.headers,
    ]
    for event in (h11.Response(status_code=reply.status, headers=headers), h11.Data(data=body), h11.EndOfMessage()):
        writer.write(connection.send(event) or b"")
    await writer.drain()


async def _discard(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read what was not wanted, or closing would reset the connection before the answer is read."""
    if writer.can_write_eof():
        writer.write_eof()
    left = _MOST_DISCARDED
    while left > 0 and (data := await reader.read(_READ)):
        left -= len(data)


def _told(matches: Sequence[SignalMatch]) -> list[dict[str, str]]:
    return [
        {"campaign_id": each.campaign_id, "outcome": each.outcome.name, "cycle_id": each.cycle_id} for each in matches
    ]


def _failed(error: HeddleError) -> Reply:
    if is_passing(error):
        seconds = max(1, round((error.retry_after or timedelta(seconds=1)).total_seconds()))
        return _refused(503, error.reason, str(error), ("retry-after", str(seconds)))
    status = 404 if error.status is StatusCode.NOT_FOUND else 400
    return _refused(status, error.reason, str(error))


def _refused(status: int, reason: str, message: str, *headers: tuple[str, str]) -> Reply:
    return Reply(status, {"error": reason, "message": message}, headers)
