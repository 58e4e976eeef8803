"""The only place that maps Heddle's errors to `google.rpc.Status`, and back.

A peer finds the reason and the metadata in one ErrorInfo, whatever the language; everything else in the
details is for clients that know the standard types and not Heddle.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from datetime import timedelta
from functools import cache
from typing import Any, cast, get_type_hints

import grpc
from google.protobuf import any_pb2
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2  # pyright: ignore[reportMissingTypeStubs]

from heddle_core.errors import (
    CallCancelled,
    DeadlinePassed,
    ForeignError,
    InvalidField,
    NotServed,
    RequestTooLarge,
    ResponseTooLarge,
    ServiceUnreachable,
)
from heddle_core.faults import HeddleError, StatusCode, Violation
from heddle_core.reasons import by_reason
from heddle_core.texts import clipped

DOMAIN = "heddle"
DETAILS_KEY = "grpc-status-details-bin"
"""The trailing metadata key under which every gRPC library looks for a google.rpc.Status."""

_MOST_VALUE = 400
_MOST_MESSAGE = 1_000
"""Characters. Stock clients accept 8 KiB of trailing metadata, in which the message stands twice."""

_RETRYABLE = {StatusCode.UNAVAILABLE, StatusCode.RESOURCE_EXHAUSTED, StatusCode.ABORTED}
_RETRY_AFTER = timedelta(seconds=1)
"""What a retryable error tells when its class has no time of its own: the contract wants one always."""

_READERS: Mapping[Any, Callable[[str], Any]] = {int: int, bool: "true".__eq__}
"""How a field of an error comes back from its text, where it is no text itself."""

_TOO_LARGE = re.compile(r"(SERVER|CLIENT)?:?\s*(Sent|Received) message larger than max \((\d+) vs\. (\d+)\)")


def to_status(error: HeddleError) -> status_pb2.Status:
    """The status that tells `error` to a caller in any language."""
    metadata = {key: _sendable(value, _MOST_VALUE) for key, value in error.metadata.items()}
    message = _sendable(str(error), _MOST_MESSAGE)
    details: list[Message] = [
        error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=metadata),
        _help(error.reason),
    ]
    retry_after = error.retry_after or (_RETRY_AFTER if error.status in _RETRYABLE else None)
    if retry_after is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromTimedelta(retry_after)
        details.append(retry)
    special = _special(error, metadata)
    if special is not None:
        details.append(special)
    return status_pb2.Status(code=error.status.value, message=message, details=[_packed(d) for d in details])


def from_status(status: status_pb2.Status) -> HeddleError | None:
    """The error that `to_status` was given; None when the status is not Heddle's."""
    info = error_details_pb2.ErrorInfo()
    if not _unpack(status, info) or info.domain != DOMAIN:
        return None
    metadata = dict(info.metadata)
    family = by_reason(info.reason)
    if family is not None and family.status.value == status.code:
        known = _rebuilt(family, metadata, status)
        if known is not None:
            return known
    retry = error_details_pb2.RetryInfo()
    retry_after = retry.retry_delay.ToTimedelta() if _unpack(status, retry) else None
    return ForeignError(status.message, _code(status.code), info.reason, retry_after, metadata)


def from_rpc_error(error: grpc.aio.AioRpcError, *, method: str = "", target: str = "") -> HeddleError:
    """What a failed call means, as the very class that the server raised when it was Heddle's.

    `method` and `target` are named by the errors that the transport itself makes.
    """
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            told = _parsed(value)
            if told is not None and told.code == error.code().value[0]:
                return from_status(told) or _foreign(error, told)
    return _of_transport(error, method=method, target=target)


def trailers(error: HeddleError) -> tuple[tuple[str, str | bytes], ...]:
    """The trailing metadata that carries `error`."""
    return ((DETAILS_KEY, to_status(error).SerializeToString()),)


def grpc_code(error: HeddleError) -> grpc.StatusCode:
    """The constant of gRPC for the error's status."""
    return _GRPC_CODES[error.status]


def message_of(error: HeddleError) -> str:
    """The error's message, cut to what fits into metadata."""
    return _sendable(str(error), _MOST_MESSAGE)


_GRPC_CODES = {each: grpc.StatusCode[each.name] for each in StatusCode}


def _help(reason: str) -> error_details_pb2.Help:
    link = error_details_pb2.Help.Link(description=f"heddle explain {reason}", url=f"docs/errors.md#{reason}")
    return error_details_pb2.Help(links=[link])


def _special(error: HeddleError, metadata: Mapping[str, str]) -> Message | None:
    """The standard detail that fits the error beside its ErrorInfo, if one does."""
    if isinstance(error, InvalidField):
        return error_details_pb2.BadRequest(
            field_violations=[
                error_details_pb2.BadRequest.FieldViolation(
                    field=_sendable(each.field, 128), description=_sendable(each.remedy, 256), reason=error.reason
                )
                for each in error.violations
            ]
        )
    subject = _subject(metadata)
    match error.status:
        case StatusCode.NOT_FOUND | StatusCode.ALREADY_EXISTS:
            kind = metadata.get("kind", error.reason.removesuffix("_NOT_FOUND").lower())
            return error_details_pb2.ResourceInfo(resource_type=kind, resource_name=metadata.get("id", ""))
        case StatusCode.RESOURCE_EXHAUSTED:
            quota = error_details_pb2.QuotaFailure.Violation(subject=subject, description=error.reason)
            return error_details_pb2.QuotaFailure(violations=[quota])
        case StatusCode.FAILED_PRECONDITION:
            unmet = error_details_pb2.PreconditionFailure.Violation(
                type=error.reason, subject=subject, description=f"docs/errors.md#{error.reason}"
            )
            return error_details_pb2.PreconditionFailure(violations=[unmet])
        case _:
            return None


def _subject(metadata: Mapping[str, str]) -> str:
    """What the error is about, as `run_id/r1`: its first field."""
    return next((f"{key}/{value}" for key, value in metadata.items()), "")


def _rebuilt(family: type[HeddleError], metadata: Mapping[str, str], status: status_pb2.Status) -> HeddleError | None:
    """An instance of `family` from its metadata; None when a peer of another version left a field out."""
    if issubclass(family, InvalidField):
        bad = error_details_pb2.BadRequest()
        _unpack(status, bad)
        return family(tuple(Violation(each.field, each.description) for each in bad.field_violations))
    kinds = _field_kinds(family)
    try:
        told = {name: read for name, (read, left_out) in kinds.items() if name in metadata or not left_out}
        return family(**{name: read(metadata[name]) for name, read in told.items()})
    except (KeyError, ValueError):
        return None


@cache
def _field_kinds(family: type[HeddleError]) -> dict[str, tuple[Callable[[str], Any], bool]]:
    """How each field is read, and whether it may be left out."""
    hints = get_type_hints(family)
    made_a_dataclass: Any = family
    return {
        each.name: (_READERS.get(hints[each.name], str), each.default is not MISSING)
        for each in fields(made_a_dataclass)
    }


def _of_transport(error: grpc.aio.AioRpcError, *, method: str, target: str) -> HeddleError:
    details = error.details() or ""
    match error.code():
        case grpc.StatusCode.UNAVAILABLE:
            return ServiceUnreachable(target or "the server", _sendable(details, _MOST_VALUE))
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return DeadlinePassed(method)
        case grpc.StatusCode.CANCELLED:
            return CallCancelled()
        case grpc.StatusCode.UNIMPLEMENTED:
            return NotServed(method, "check the address and the versions of both sides")
        case grpc.StatusCode.RESOURCE_EXHAUSTED if found := _TOO_LARGE.search(details):
            size, limit = int(found[3]), int(found[4])
            sent_by_us = (found[1], found[2]) in {("CLIENT", "Sent"), ("SERVER", "Received"), (None, "Sent")}
            return RequestTooLarge(size, limit) if sent_by_us else ResponseTooLarge(size, limit)
        case _:
            return _foreign(error, None)


def _foreign(error: grpc.aio.AioRpcError, told: status_pb2.Status | None) -> ForeignError:
    info = error_details_pb2.ErrorInfo()
    if told is not None:
        _unpack(told, info)
    return ForeignError(error.details() or "", _code(error.code().value[0]), info.reason, None, dict(info.metadata))


def _code(number: int) -> StatusCode:
    try:
        return StatusCode(number)
    except ValueError:
        return StatusCode.INTERNAL


def _parsed(raw: bytes) -> status_pb2.Status | None:
    try:
        return status_pb2.Status.FromString(raw)
    except DecodeError:
        return None


def _packed(detail: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(detail)
    return packed


def _unpack(status: status_pb2.Status, detail: Message) -> bool:
    """Fill `detail` from the first of its type in `status`; False when there is none or it is broken."""
    for each in status.details:
        if each.Is(cast("Descriptor", detail.DESCRIPTOR)):
            try:
                return each.Unpack(detail)
            except DecodeError:
                return False
    return False


def _sendable(text: str, most: int) -> str:
    """`text` as valid UTF-8 of at most `most` characters."""
    return clipped(text, most).encode("utf-8", "replace").decode()
