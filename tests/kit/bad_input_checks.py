"""What every refusal must look like (CONTRACT: Errors), whatever was sent."""

import re
from collections.abc import Iterable

import grpc
from google.rpc import error_details_pb2, status_pb2  # pyright: ignore[reportMissingTypeStubs]

from heddle.common.v1.error_reason_pb2 import ErrorReason
from tests.kit.property_calls import NEVER, details_of, infos_of

DOMAIN = "heddle"

_LEAKS = re.compile(
    r"/(?:work|root|tmp|home|usr|var)/|site-packages|\.py\b|Traceback|File \"|"
    r"\bSELECT\b|\bINSERT\b|\bUPDATE \w+ SET\b|sqlite|sqlalchemy|heddle_runtime|heddle_grpc|pydantic|"
    r"<[\w.]+ object at|0x[0-9a-f]{6,}"
)
"""Paths, SQL, stacks and names of modules: nothing that a case sends holds any of these."""

_MINTED = re.compile(rb"thr_[0-9A-Z]{26}")
"""A thread's id that the server has just made for a request that names none."""

_SHOULD_NOT_HAPPEN = (
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.DATA_LOSS,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
)
"""Codes that say something of the server or of its caller, and never of a request."""

_MAY_BE_DENIED = ("RESOLUTION_TOKEN_INVALID",)


def faults_of(error: grpc.aio.AioRpcError) -> list[str]:
    """What is wrong with a refusal; empty when nothing is."""
    code, message = error.code(), error.details() or ""
    infos = infos_of(error)
    reasons = [info.reason for info in infos]
    found: list[str] = []
    if code in NEVER or (code in _SHOULD_NOT_HAPPEN and reasons not in ([each] for each in _MAY_BE_DENIED)):
        found.append(f"{code.name}: {message[:300]}")
    if len(infos) != 1:
        found.append(f"{code.name} with {len(infos)} ErrorInfo: {message[:300]}")
        return found
    info = infos[0]
    if info.domain != DOMAIN or f"ERROR_REASON_{info.reason}" not in ErrorReason.keys():  # noqa: SIM118
        found.append(f"unknown reason {info.domain}/{info.reason}")
    status = details_of(error)
    if status.message != message or status.code != code.value[0]:
        found.append(f"the status says {status.code} {status.message!r}, the call {code} {message!r}")
    told = [message, *info.metadata.values(), *(part for pair in _violations(status) for part in pair)]
    found += [f"{info.reason} tells {leak!r} in {text!r}" for text in told for leak in _LEAKS.findall(text)]
    if code is grpc.StatusCode.INVALID_ARGUMENT:
        violations = _violations(status)
        if not violations or not all(field and remedy for field, remedy in violations):
            found.append(f"INVALID_ARGUMENT without field and remedy: {violations}")
    return found


def comparable(error: grpc.aio.AioRpcError, names: Iterable[str]) -> tuple[object, ...]:
    """A refusal as bytes, in which each of `names` is as good as any other (P17)."""
    status = details_of(error).SerializeToString(deterministic=True)
    said = (error.details() or "").encode()
    for name in names:
        status, said = status.replace(name.encode(), b"#"), said.replace(name.encode(), b"#")
    return (error.code(), _MINTED.sub(b"#", said), _MINTED.sub(b"#", status))


def _violations(status: status_pb2.Status) -> list[tuple[str, str]]:
    for detail in status.details:
        bad = error_details_pb2.BadRequest()
        if detail.Unpack(bad):
            return [(each.field, each.description) for each in bad.field_violations]
    return []
