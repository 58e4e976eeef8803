"""Whether a webhook is taken for signed: Standard Webhooks, by a secret of the tenant."""

import base64
import hashlib
import hmac
import time

import pytest

from heddle_campaign.intake.signatures import Signatures
from heddle_core.errors import CannotServe

KEY = bytes(range(32))
SECRET = "whsec_" + base64.b64encode(KEY).decode()
OTHER = "whsec_" + base64.b64encode(bytes(range(32, 64))).decode()
BODY = b'{"topic": "caf\xc3\xa9"}'


def signed(body: bytes = BODY, *, key: bytes = KEY, id: str = "msg_1", age: float = 0.0) -> dict[str, str]:
    """Headers by the words of the specification, and not by the library's own."""
    at = str(int(time.time() - age))
    digest = hmac.new(key, f"{id}.{at}.".encode() + body, hashlib.sha256).digest()
    signature = f"v1,{base64.b64encode(digest).decode()}"
    return {"webhook-id": id, "webhook-timestamp": at, "webhook-signature": signature}


def test_a_body_that_was_signed_lately_is_accepted() -> None:
    assert Signatures({"acme": [SECRET]}).accept("acme", signed(), BODY)


def test_each_of_several_secrets_is_good_while_one_is_changed() -> None:
    assert Signatures({"acme": [OTHER, SECRET]}).accept("acme", signed(), BODY)


def test_one_good_signature_among_several_is_enough() -> None:
    headers = signed()
    headers["webhook-signature"] = (
        f"v1a,xyz {signed(key=b'x' * 24)['webhook-signature']} {headers['webhook-signature']}"
    )
    assert Signatures({"acme": [SECRET]}).accept("acme", headers, BODY)


@pytest.mark.parametrize("age", [301.0, -301.0, 86_400.0])
def test_a_signature_of_another_time_is_refused(age: float) -> None:
    assert not Signatures({"acme": [SECRET]}).accept("acme", signed(age=age), BODY)


@pytest.mark.parametrize("age", [290.0, -290.0])
def test_five_minutes_of_delay_or_of_a_wrong_clock_are_forgiven(age: float) -> None:
    assert Signatures({"acme": [SECRET]}).accept("acme", signed(age=age), BODY)


@pytest.mark.parametrize(
    "change",
    [
        {"webhook-id": "msg_2"},
        {"webhook-id": ""},
        {"webhook-timestamp": str(int(time.time()) - 1)},
        {"webhook-timestamp": "now"},
        {"webhook-timestamp": "nan"},
        {"webhook-timestamp": "1e400"},
        {"webhook-signature": ""},
        {"webhook-signature": "v1"},
        {"webhook-signature": "v1,not base64!"},
        {"webhook-signature": "v1,a,b"},
        {"webhook-signature": "v1,é"},
    ],
)
def test_a_changed_or_malformed_header_is_refused(change: dict[str, str]) -> None:
    assert not Signatures({"acme": [SECRET]}).accept("acme", {**signed(), **change}, BODY)


@pytest.mark.parametrize("body", [BODY + b" ", b"", b"\xff\xfe"])
def test_another_body_is_refused(body: bytes) -> None:
    assert not Signatures({"acme": [SECRET]}).accept("acme", signed(), body)


def test_a_secret_of_another_tenant_is_no_good() -> None:
    signatures = Signatures({"acme": [SECRET], "other": [OTHER]})
    assert not signatures.accept("other", signed(), BODY)
    assert not signatures.accept("unknown", signed(), BODY)


@pytest.mark.parametrize(
    "by_tenant",
    [
        {"acme": []},
        {"acme": ["secret"]},
        {"acme": ["whsec_"]},
        {"acme": ["whsec_!!!!"]},
        {"acme": ["whsec_" + base64.b64encode(b"short").decode()]},
        {"acme": ["whsec_" + base64.b64encode(b"x" * 65).decode()]},
        {"a/b": [SECRET]},
    ],
)
def test_a_secret_that_is_none_stops_the_start(by_tenant: dict[str, list[str]]) -> None:
    with pytest.raises(CannotServe, match="webhooks of tenant"):
        Signatures(by_tenant)
