"""Clients that put every call, answer, unknown outcome and frame on record, and repeat what they were not told."""

import asyncio
import contextlib
import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2  # pyright: ignore[reportMissingTypeStubs]

from heddle_client.stubs import RuntimeStubs
from tests.faults.journal import Journal
from tests.faults.told import answer_of, frame_of, question_of

UNSAID = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED)
"""Codes after which a client does not know what became of its call."""

_OPTIONS = (
    ("grpc.enable_retries", 0),
    ("grpc.max_receive_message_length", 8 << 20),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 300),
    ("grpc.use_local_subchannel_pool", 1),
)


@dataclass(frozen=True)
class Told:
    """What a client knows after a call."""

    outcome: str
    """ok, refused or unknown."""
    response: Any = None
    reason: str = ""

    @property
    def ok(self) -> bool:
        return self.outcome == "ok"


class Channels:
    """One channel a node, shared by all clients."""

    def __init__(self, addresses: Sequence[str], options: Sequence[tuple[str, int]] = ()) -> None:
        given = [*_OPTIONS, *options]
        self._channels = [grpc.aio.insecure_channel(address, options=given) for address in addresses]
        self.stubs = [RuntimeStubs.on(channel) for channel in self._channels]

    async def close(self) -> None:
        """Hang up."""
        for channel in self._channels:
            await channel.close()


class Client:
    """One principal of one tenant."""

    def __init__(self, name: str, tenant: str, principal: str, channels: Channels, journal: Journal) -> None:
        self.name = name
        self.tenant = tenant
        self.principal = principal
        self._channels = channels
        self._journal = journal
        self._metadata = (("heddle-act-as", f"{tenant}/{principal}"),)
        self._streams = 0

    async def call(self, node: int, service: str, method: str, request: Message, *, seconds: float = 20.0) -> Told:
        """Make one unary call to a node."""
        began = time.time()
        stub = getattr(getattr(self._channels.stubs[node], service), method)
        call = stub(request, metadata=self._metadata, timeout=seconds)
        try:
            response = await call
            told = Told("ok", response)
        except grpc.aio.AioRpcError as error:
            told = Told("unknown" if error.code() in UNSAID else "refused", None, reason_of(error))
            self._note(method, node, request, began, told, error.code().name, error.details() or "")
            return told
        self._note(method, node, request, began, told, "OK", "")
        return told

    async def persist(
        self, service: str, method: str, request: Message, node: Callable[[], int], until: Callable[[], bool]
    ) -> Told:
        """Repeat a call to the letter, on whichever node, until something is said or `until` is true."""
        while True:
            told = await self.call(node(), service, method, request)
            if told.outcome != "unknown" or until():
                return told
            await asyncio.sleep(0.1)

    async def read(
        self,
        node: int,
        service: str,
        method: str,
        request: Message,
        *,
        after: int,
        follows: str = "",
        most: int = 1_000_000,
        seconds: float = 30.0,
        stall: tuple[asyncio.Event, asyncio.Event] | None = None,
        whole: bool = False,
    ) -> tuple[str, int, str]:
        """Read a stream until it ends, `most` frames came or `seconds` are over; its id, its cursor and how it ended.

        `follows` is the stream that this one resumes. With `whole` it is read until it says that it has caught up.
        With `stall`, nothing is read behind the second frame, which sets the first of these events, until the second
        of them is set.
        """
        self._streams += 1
        stream, cursor, frames, end = f"{self.name}-{self._streams}", after, 0, "left"
        self._journal.write(
            "stream",
            stream=stream,
            follows=follows,
            node=node,
            tenant=self.tenant,
            principal=self.principal,
            method=method,
            after=after,
            whole=whole,
            **question_of(request),
        )
        call = getattr(getattr(self._channels.stubs[node], service), method)(request, metadata=self._metadata)
        try:
            async with asyncio.timeout(seconds):
                async for response in call:
                    frames += 1
                    told = frame_of(response.frame)
                    self._journal.write("frame", stream=stream, **told)
                    cursor = max([cursor, *(event[0] for event in told.get("events", ()))])
                    if told["frame"] == "closing":
                        cursor = told["resume"]
                    if frames >= most or (whole and told["frame"] == "checkpoint"):
                        break
                    if stall and frames == 2:
                        stall[0].set()
                        await stall[1].wait()
                else:
                    end = "OK"
        except grpc.aio.AioRpcError as error:
            end = f"{error.code().name} {reason_of(error)}".strip()
        except TimeoutError:
            pass
        finally:
            with contextlib.suppress(Exception):
                call.cancel()
            self._journal.write("stream_end", stream=stream, end=end, cursor=cursor)
        return stream, cursor, end

    def _note(
        self, method: str, node: int, request: Message, began: float, told: Told, code: str, details: str
    ) -> None:
        said = {} if told.response is None else answer_of(told.response)
        asked = question_of(request)
        for name in ("run_id", "thread_id", "input_id"):
            details = details.replace(asked.get(name) or "\0", name)
        self._journal.write(
            "call",
            client=self.name,
            node=node,
            tenant=self.tenant,
            principal=self.principal,
            method=method,
            began=began,
            outcome=told.outcome,
            code=code,
            reason=told.reason,
            details=hashlib.sha256(details.encode()).hexdigest()[:12],
            asked=asked,
            said=said,
        )


def reason_of(error: grpc.aio.AioRpcError) -> str:
    """The reason of a refusal; empty where the transport made it."""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            raw = value if isinstance(value, bytes) else value.encode()
            for detail in status_pb2.Status.FromString(raw).details:
                info = error_details_pb2.ErrorInfo()
                if detail.Unpack(info):
                    return info.reason
    return ""
