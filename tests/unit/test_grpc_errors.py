"""Every error of the family survives the way through google.rpc.Status."""

from dataclasses import fields
from datetime import timedelta
from typing import Any, get_type_hints

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from heddle_core.errors import (
    CallCancelled,
    DeadlinePassed,
    Draining,
    ForeignError,
    InvalidField,
    NotServed,
    RequestTooLarge,
    ResponseTooLarge,
    ServiceUnreachable,
    invalid,
)
from heddle_core.faults import HeddleError, StatusCode, Violation
from heddle_core.reasons import all_reasons
from heddle_core.runtime_errors import RunNotFound, ThreadBusy, ThreadNotFound
from heddle_grpc.errors import DETAILS_KEY, from_rpc_error, from_status, to_status

FAMILY = sorted(all_reasons().items())


def sample(family: type[HeddleError]) -> HeddleError:
    hints = get_type_hints(family)
    values: dict[str, Any] = {}
    for number, each in enumerate(fields(family)):
        if hints[each.name] is int:
            values[each.name] = 41 + number
        elif each.name == "violations":
            values[each.name] = (Violation("content[0].text", "must be short"), Violation("id", "is required"))
        else:
            values[each.name] = f"{each.name} {{braces}} über {number}"
    return family(**values)


def details(error: HeddleError) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for packed in to_status(error).details:
        name = packed.TypeName().removeprefix("google.rpc.")
        assert name not in found, f"two details of type {name}"
        found[name] = getattr(error_details_pb2, name)()
        packed.Unpack(found[name])
    return found


def failed(code: grpc.StatusCode, text: str = "", raw: bytes | None = None) -> grpc.aio.AioRpcError:
    trailing = grpc.aio.Metadata((DETAILS_KEY, raw)) if raw is not None else grpc.aio.Metadata()
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailing, text)


@pytest.mark.parametrize(("reason", "family"), FAMILY)
def test_an_error_comes_back_as_its_own_class(reason: str, family: type[HeddleError]) -> None:
    error = sample(family)
    back = from_status(to_status(error))
    assert type(back) is family
    assert (str(back), back.metadata, back.reason) == (str(error), error.metadata, reason)


@pytest.mark.parametrize(("reason", "family"), FAMILY)
def test_the_details_hold_one_error_info_and_a_help_link(reason: str, family: type[HeddleError]) -> None:
    found = details(sample(family))
    assert (found["ErrorInfo"].reason, found["ErrorInfo"].domain) == (reason, "heddle")
    assert found["Help"].links[0].url == f"docs/errors.md#{reason}"


@pytest.mark.parametrize(("reason", "family"), FAMILY)
def test_retryable_statuses_always_say_when(reason: str, family: type[HeddleError]) -> None:
    found = details(sample(family))
    retryable = {StatusCode.UNAVAILABLE, StatusCode.RESOURCE_EXHAUSTED, StatusCode.ABORTED}
    assert ("RetryInfo" in found) == (family.status in retryable or family.retry_after is not None)
    if family.retry_after is not None:
        assert found["RetryInfo"].retry_delay.ToTimedelta() == family.retry_after


@pytest.mark.parametrize(("reason", "family"), FAMILY)
def test_the_largest_error_fits_into_what_stock_clients_accept(reason: str, family: type[HeddleError]) -> None:
    values: dict[str, Any] = {}
    for each in fields(family):
        kind = get_type_hints(family)[each.name]
        values[each.name] = 2**62 if kind is int else "x" * 100_000
        if each.name == "violations":
            values[each.name] = tuple(Violation("f" * 1_000, "r" * 1_000) for _ in range(8))
    status = to_status(family(**values))
    assert len(status.SerializeToString()) * 4 / 3 + len(status.message) < 8 << 10


def test_the_standard_detail_fits_the_status() -> None:
    bad = details(invalid("content[0].text", "must be short"))["BadRequest"].field_violations
    assert [(each.field, each.description) for each in bad] == [("content[0].text", "must be short")]
    missing = details(RunNotFound("r1"))["ResourceInfo"]
    assert (missing.resource_type, missing.resource_name) == ("run", "r1")
    busy = details(ThreadBusy("t1", "r1"))["PreconditionFailure"].violations[0]
    assert (busy.type, busy.subject) == ("THREAD_BUSY", "thread_id/t1")
    assert details(sample(all_reasons()["RATE_LIMITED"]))["QuotaFailure"].violations[0].subject


def test_an_unknown_reason_keeps_its_status_message_metadata_and_pause() -> None:
    info = error_details_pb2.ErrorInfo(reason="FROM_THE_FUTURE", domain="heddle", metadata={"a": "b"})
    retry = error_details_pb2.RetryInfo()
    retry.retry_delay.FromTimedelta(timedelta(seconds=3))
    status = status_pb2.Status(code=14, message="come {back} later")
    for each in (info, retry):
        status.details.add().Pack(each)
    back = from_status(status)
    assert isinstance(back, ForeignError)
    assert (back.status, back.reason, str(back)) == (
        StatusCode.UNAVAILABLE,
        "FROM_THE_FUTURE",
        "come {back} later",
    )
    assert (back.metadata, back.retry_after) == ({"a": "b"}, timedelta(seconds=3))
    assert to_status(back).message == status.message
    assert from_status(to_status(back)).metadata == back.metadata  # type: ignore[union-attr]


def test_a_known_reason_with_a_field_missing_is_kept_as_foreign() -> None:
    status = status_pb2.Status(code=9, message="busy")
    info = error_details_pb2.ErrorInfo(reason="THREAD_BUSY", domain="heddle", metadata={"thread_id": "t1"})
    status.details.add().Pack(info)
    back = from_status(status)
    assert isinstance(back, ForeignError)
    assert (back.reason, back.status) == ("THREAD_BUSY", StatusCode.FAILED_PRECONDITION)


def test_a_known_reason_under_another_status_is_not_trusted() -> None:
    status = to_status(RunNotFound("r1"))
    status.code = 13
    assert isinstance(from_status(status), ForeignError)


@pytest.mark.parametrize(
    ("code", "text", "expected"),
    [
        (grpc.StatusCode.UNAVAILABLE, "connection refused", ServiceUnreachable("here:1", "connection refused")),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "", DeadlinePassed("/s/M")),
        (grpc.StatusCode.CANCELLED, "", CallCancelled()),
        (
            grpc.StatusCode.UNIMPLEMENTED,
            "",
            NotServed("/s/M", "check the address and the versions of both sides"),
        ),
        (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "CLIENT: Received message larger than max (9 vs. 4)",
            ResponseTooLarge(9, 4),
        ),
        (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "SERVER: Received message larger than max (9 vs. 4)",
            RequestTooLarge(9, 4),
        ),
        (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "CLIENT: Sent message larger than max (9 vs. 4)",
            RequestTooLarge(9, 4),
        ),
    ],
)
def test_what_the_transport_says_becomes_one_of_ours(code: grpc.StatusCode, text: str, expected: HeddleError) -> None:
    found = from_rpc_error(failed(code, text), method="/s/M", target="here:1")
    assert (type(found), str(found)) == (type(expected), str(expected))


def test_a_plain_status_of_a_foreign_server_keeps_its_code_and_text() -> None:
    found = from_rpc_error(failed(grpc.StatusCode.UNKNOWN, "odd"))
    assert isinstance(found, ForeignError)
    assert (found.status, str(found), found.reason) == (StatusCode.INTERNAL, "odd", "")


def test_broken_details_fall_back_to_the_code() -> None:
    found = from_rpc_error(failed(grpc.StatusCode.PERMISSION_DENIED, "no", b"\xff\xff"))
    assert isinstance(found, ForeignError)
    assert found.status is StatusCode.PERMISSION_DENIED


def test_another_domain_is_kept_as_it_came() -> None:
    status = status_pb2.Status(code=7, message="no")
    info = error_details_pb2.ErrorInfo(reason="QUOTA", domain="example.com", metadata={"a": "b"})
    status.details.add().Pack(info)
    found = from_rpc_error(failed(grpc.StatusCode.PERMISSION_DENIED, "no", status.SerializeToString()))
    assert isinstance(found, ForeignError)
    assert (found.reason, found.metadata) == ("QUOTA", {"a": "b"})


def test_lone_surrogates_in_a_message_do_not_break_the_status() -> None:
    status = to_status(InvalidField((Violation("a\ud800", "b"),)))
    assert status.message == "a?: b"


def test_a_draining_server_is_told_apart_from_an_unreachable_one() -> None:
    raw = to_status(Draining()).SerializeToString()
    assert isinstance(from_rpc_error(failed(grpc.StatusCode.UNAVAILABLE, "", raw)), Draining)


def test_a_thread_that_was_deleted_is_told_apart_where_its_owner_asks() -> None:
    gone, never = ThreadNotFound("thr_1", deleted=True), ThreadNotFound("thr_1")
    assert gone.metadata == {**never.metadata, "deleted": "true"}
    for error in (gone, never):
        told = from_status(to_status(error))
        assert isinstance(told, ThreadNotFound)
        assert (told.id, told.deleted) == ("thr_1", error.deleted)
