"""Calls to a server of which everything is kept: what was asked, and whether it was done, refused or left unknown."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2  # pyright: ignore[reportMissingTypeStubs]

from heddle_client.stubs import RuntimeStubs

DETAILS_KEY = "grpc-status-details-bin"

NEVER = (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)
"""What nothing that a client sends may yield (CONTRACT: Errors)."""

_UNSAID = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED)
"""Codes after which a client does not know what became of its call."""


class Outcome(Enum):
    DONE = "acknowledged"
    REFUSED = "refused"
    UNKNOWN = "no answer came"


@dataclass(frozen=True)
class Told:
    """One call, and what its client was told."""

    method: str
    request: Any
    outcome: Outcome
    response: Any = None
    reason: str = ""
    """Of a refusal."""
    by: str = ""
    """Principal that asked."""

    @property
    def done(self) -> bool:
        return self.outcome is Outcome.DONE

    def __str__(self) -> str:
        asked = " ".join(str(self.request).split())[:200]
        return f"{self.method}({asked}) -> {self.outcome.name} {self.reason}"


class Client:
    """One principal of one tenant, on one channel."""

    def __init__(self, address: str, tenant: str, principal: str, journal: list[Told]) -> None:
        """`journal` gets every call, in the order of their ends."""
        options = (("grpc.enable_retries", 0), ("grpc.max_receive_message_length", 8 << 20))
        self.channel = grpc.aio.insecure_channel(address, options=options)
        self.stubs = RuntimeStubs.on(self.channel)
        self.metadata = (("heddle-act-as", f"{tenant}/{principal}"),)
        self._principal = principal
        self._journal = journal

    async def call(self, service: str, method: str, request: Message, *, seconds: float = 20.0) -> Told:
        """Make one unary call. Raises AssertionError for a code that no client may ever see."""
        stub = getattr(getattr(self.stubs, service), method)
        try:
            response = await stub(request, metadata=self.metadata, timeout=seconds)
            told = Told(method, request, Outcome.DONE, response, by=self._principal)
        except grpc.aio.AioRpcError as error:
            told = Told(method, request, _outcome(error), None, reason_of(error), self._principal)
            assert error.code() not in NEVER, f"{told}: {error.details()}"
        self._journal.append(told)
        return told

    async def read(self, service: str, method: str, request: Message) -> Any:
        """Make a unary call that must succeed."""
        told = await self.call(service, method, request)
        assert told.done, f"{told}"
        return told.response

    async def close(self) -> None:
        await self.channel.close()


def infos_of(error: grpc.aio.AioRpcError) -> list[error_details_pb2.ErrorInfo]:
    """Every ErrorInfo in the details of a refusal."""
    found: list[error_details_pb2.ErrorInfo] = []
    for detail in details_of(error).details:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            found.append(info)
    return found


def details_of(error: grpc.aio.AioRpcError) -> status_pb2.Status:
    """The google.rpc.Status of a refusal; empty where there is none."""
    metadata: Sequence[tuple[str, str | bytes]] = tuple(error.trailing_metadata() or ())
    raw = next((value for key, value in metadata if key == DETAILS_KEY), b"")
    return status_pb2.Status.FromString(raw if isinstance(raw, bytes) else raw.encode())


def reason_of(error: grpc.aio.AioRpcError) -> str:
    """The reason of a refusal; empty where the transport made it."""
    infos = infos_of(error)
    return infos[0].reason if infos else ""


def _outcome(error: grpc.aio.AioRpcError) -> Outcome:
    return Outcome.UNKNOWN if error.code() in _UNSAID else Outcome.REFUSED
