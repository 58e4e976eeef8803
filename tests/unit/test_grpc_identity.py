"""Credentials: which are taken, which are refused, and why."""

import asyncio
import base64
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, OctKey, RSAKey

from heddle_bus import subjects
from heddle_core.clock import ManualClock
from heddle_core.errors import CannotServe, CredentialInvalid, CredentialMissing, InvalidField, ScopeMissing
from heddle_core.ids import PrincipalId, TenantId
from heddle_grpc.addresses import is_loopback, split
from heddle_grpc.api_keys import ApiKeys, mint, read_records
from heddle_grpc.authorization import Access, authorize, require_rules, scopes_in
from heddle_grpc.certificates import ClientCertificates
from heddle_grpc.identity import (
    Credentials,
    Development,
    Identity,
    acting_as,
    bearer_of,
    identity_of,
    verified,
)
from heddle_grpc.jwt_tokens import Issuer, JwtTokens, SigningKeys, keys_at, keys_in_file

NOW = 1_700_000_000
ISSUER = Issuer("https://issuer.example", "heddle")
KEY = ECKey.generate_key("P-256", parameters={"kid": "k1"})
OTHER_KEY = ECKey.generate_key("P-256", parameters={"kid": "k1"})
SERVICE = Identity(TenantId("ops"), PrincipalId("spawn"), frozenset({"act_as", "turns"}))

CLAIMS: dict[str, Any] = {
    "iss": ISSUER.issuer,
    "aud": "heddle",
    "exp": NOW + 600,
    "sub": "ada@example.com",
    "tenant": "acme",
    "scope": "turns read",
}


def public(*keys: Any) -> bytes:
    return json.dumps(KeySet(list(keys)).as_dict(private=False)).encode()


def token(key: Any = KEY, *, alg: str = "ES256", kid: str = "k1", **changed: Any) -> str:
    claims = {name: value for name, value in {**CLAIMS, **changed}.items() if value is not None}
    return jwt.encode({"alg": alg, "kid": kid}, claims, key, algorithms=[alg])


class Published:
    """A JWKS document that a test can change."""

    def __init__(self, *keys: Any) -> None:
        self.document = public(*keys)
        self.read = 0

    async def fetch(self) -> bytes:
        self.read += 1
        return self.document


async def tokens(*keys: Any, clock: ManualClock | None = None) -> JwtTokens:
    signing = SigningKeys(Published(*(keys or (KEY,))).fetch)
    await signing.refresh()
    return JwtTokens(ISSUER, signing, clock or ManualClock())


def plain(part: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


async def test_a_good_token_names_tenant_principal_and_scopes() -> None:
    identity = (await tokens()).identify(Credentials(token()))
    assert identity == Identity(TenantId("acme"), PrincipalId("ada@example.com"), frozenset({"turns", "read"}))


async def test_audiences_and_scopes_may_be_lists() -> None:
    identity = (await tokens()).identify(Credentials(token(aud=["x", "heddle"], scope=["a", "b", 3])))
    assert identity is not None
    assert identity.scopes == {"a", "b"}


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (lambda: token(exp=NOW - 31), "expired"),
        (lambda: token(exp=None), "claim"),
        (lambda: token(exp=float("nan")), "verifies|claim"),
        (lambda: token(nbf=NOW + 60), "claim"),
        (lambda: token(aud="another"), "aud"),
        (lambda: token(aud=None), "aud"),
        (lambda: token(iss="https://evil.example"), "iss"),
        (lambda: token(iss=None), "iss"),
        (lambda: token(tenant=None), "tenant"),
        (lambda: token(tenant="a/b"), "tenant"),
        (lambda: token(tenant=7), "tenant"),
        (lambda: token(sub=None), "principal"),
        (lambda: token(sub="two words"), "principal"),
        (lambda: token(OTHER_KEY), "verifies"),
        (lambda: token(kid="k9"), "does not list"),
        (lambda: token()[:-4] + "AAAA", "verifies"),
        (lambda: f"{plain({'alg': 'none'})}.{plain(CLAIMS)}.", "verifies"),
        (lambda: f"{plain({'alg': 'none', 'kid': 'k1'})}.{plain(CLAIMS)}.", "verifies"),
        (lambda: "a.b.c", "verifies"),
        (lambda: "..", "verifies"),
        (lambda: "é.é.é", "verifies"),
        (lambda: f"{plain({'alg': 'ES256', 'kid': ['k1']})}.{plain(CLAIMS)}.AAAA", "verifies|list"),
        (lambda: "x" * 9_000 + "..", "characters"),
    ],
)
async def test_a_bad_token_is_refused(bad: Any, problem: str) -> None:
    with pytest.raises(CredentialInvalid, match=problem):
        (await tokens()).identify(Credentials(bad()))


async def test_a_public_key_used_as_a_shared_secret_is_refused() -> None:
    rsa = RSAKey.generate_key(2048, parameters={"kid": "k1"})
    forged = token(OctKey.import_key(rsa.as_pem(private=False).replace(b"-----", b"")), alg="HS256")
    with pytest.raises(CredentialInvalid, match="verifies"):
        (await tokens(rsa)).identify(Credentials(forged))


async def test_a_token_that_was_taken_once_still_expires() -> None:
    clock = ManualClock()
    authenticator = await tokens(clock=clock)
    good = token()
    assert authenticator.identify(Credentials(good)) == authenticator.identify(Credentials(good))
    clock.advance(700)
    with pytest.raises(CredentialInvalid, match="expired"):
        authenticator.identify(Credentials(good))


async def test_a_withdrawn_key_ends_tokens_that_were_taken_before() -> None:
    published = Published(KEY)
    signing = SigningKeys(published.fetch)
    await signing.refresh()
    authenticator = JwtTokens(ISSUER, signing, ManualClock())
    good = token()
    assert authenticator.identify(Credentials(good))
    published.document = public(ECKey.generate_key("P-256", parameters={"kid": "k2"}))
    await signing.refresh()
    with pytest.raises(CredentialInvalid):
        authenticator.identify(Credentials(good))


async def test_an_unknown_key_id_has_the_keys_read_again() -> None:
    published = Published(KEY)
    new = ECKey.generate_key("P-256", parameters={"kid": "k2"})
    signing = SigningKeys(published.fetch, pause=timedelta(0))
    authenticator = JwtTokens(ISSUER, signing, ManualClock())
    async with signing.kept_fresh():
        published.document = public(KEY, new)
        rotated = token(new, kid="k2")
        with pytest.raises(CredentialInvalid):
            authenticator.identify(Credentials(rotated))
        await signing.changed(after=1)
        assert authenticator.identify(Credentials(rotated))
    assert published.read == 2


async def test_keys_that_cannot_be_read_again_leave_the_old_ones_in_use() -> None:
    published = Published(KEY)
    signing = SigningKeys(published.fetch)
    await signing.refresh()
    published.document = b"<html>"
    with pytest.raises(ValueError, match="Expecting"):
        await signing.refresh()
    assert JwtTokens(ISSUER, signing, ManualClock()).identify(Credentials(token()))


async def test_keys_are_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    path.write_bytes(public(KEY))
    signing = SigningKeys(keys_in_file(path))
    await signing.refresh()
    assert JwtTokens(ISSUER, signing, ManualClock()).identify(Credentials(token()))


async def test_keys_are_read_over_http_and_a_redirect_is_not_followed() -> None:
    body = public(KEY)
    answers = [
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body),
        b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    ]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answers.pop(0))
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as issuer:
        url = f"http://127.0.0.1:{issuer.sockets[0].getsockname()[1]}/jwks"
        signing = SigningKeys(keys_at(url))
        await signing.refresh()
        assert JwtTokens(ISSUER, signing, ManualClock()).identify(Credentials(token()))
        with pytest.raises(httpx.HTTPStatusError):
            await signing.refresh()
    assert answers == []


async def test_a_first_reading_that_fails_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        async with SigningKeys(keys_in_file(tmp_path / "missing")).kept_fresh():
            pass


def test_an_api_key_names_its_identity_and_is_not_in_its_record(tmp_path: Path) -> None:
    text, record = mint("acme", "ci", ["turns"])
    path = tmp_path / "keys.json"
    path.write_text(f"[{record.model_dump_json()}]")
    assert text.rpartition("_")[2] not in path.read_text()
    keys = ApiKeys(read_records(path))
    assert keys.identify(Credentials(text)) == Identity(TenantId("acme"), PrincipalId("ci"), frozenset({"turns"}))


@pytest.mark.parametrize("change", [lambda k: k + "x", lambda k: k[:-1], lambda k: "hdl_nobody_" + k[25:]])
def test_a_changed_api_key_is_refused(change: Any) -> None:
    text, record = mint("acme", "ci", key_id="known123")
    with pytest.raises(CredentialInvalid, match="API key"):
        ApiKeys([record]).identify(Credentials(change(text)))


async def test_each_kind_leaves_other_kinds_alone() -> None:
    text, record = mint("acme", "ci")
    both = [await tokens(), ApiKeys([record])]
    assert verified(both, Credentials(text)).principal == "ci"
    assert verified(both, Credentials(token())).principal == "ada@example.com"
    with pytest.raises(CredentialInvalid, match="no issuer"):
        verified(both, Credentials("opaque"))
    with pytest.raises(CredentialMissing):
        verified(both, Credentials())


def test_a_certificate_is_known_by_its_whole_name() -> None:
    known = ClientCertificates({"spiffe://acme/spawn": SERVICE})
    assert known.identify(Credentials(None, ("other", "spiffe://acme/spawn"))) == SERVICE
    assert known.identify(Credentials()) is None
    assert known.identify(Credentials("token", ("spiffe://acme/spawn",))) is None
    with pytest.raises(CredentialInvalid, match="certificate"):
        known.identify(Credentials(None, ("spiffe://acme/spawn/evil",)))


def test_a_token_decides_even_where_everybody_is_taken_for_the_developer() -> None:
    with pytest.raises(CredentialInvalid):
        verified([Development(SERVICE)], Credentials("forged"))


def test_a_service_with_the_scope_speaks_for_another_and_cannot_hand_that_on() -> None:
    acted = acting_as(SERVICE, "acme/ada", method="/s/M")
    assert (acted.tenant, acted.principal, acted.acted_by) == ("acme", "ada", "ops/spawn")
    assert acted.scopes == {"turns"}
    with pytest.raises(ScopeMissing):
        acting_as(acted, "other/eve", method="/s/M")


@pytest.mark.parametrize("header", ["", "acme", "acme/", "/ada", "a b/ada", "../ada", "acme/a b"])
def test_whom_to_speak_for_must_be_a_tenant_and_a_principal(header: str) -> None:
    with pytest.raises(InvalidField, match="heddle-act-as"):
        acting_as(SERVICE, header, method="/s/M")


def test_only_bearer_tokens_are_read() -> None:
    assert bearer_of(None) is None
    assert bearer_of("bearer  t ") == "t"
    for header in ("", "Bearer", "Bearer ", "Basic dTpw", "t"):
        with pytest.raises(CredentialInvalid):
            bearer_of(header)


def test_names_are_checked_wherever_they_come_from() -> None:
    with pytest.raises(CredentialInvalid, match="tenant"):
        identity_of("a.b", "p", frozenset())
    with pytest.raises(CredentialInvalid, match="principal"):
        identity_of("a", "p" * 129, frozenset())


def test_no_tenant_has_a_name_that_the_bus_needs() -> None:
    with pytest.raises(CredentialInvalid, match="control"):
        identity_of("control", "p", frozenset())
    with pytest.raises(InvalidField, match="control"):
        acting_as(SERVICE, "control/ada", method="/s/M")
    with pytest.raises(InvalidField, match="control"):
        subjects.thread_event("control", "thr_1", "run_started")


def test_a_method_asks_for_its_scope() -> None:
    authorize(SERVICE, "turns", method="/s/M")
    authorize(SERVICE, Access.ANYBODY_KNOWN, method="/s/M")
    with pytest.raises(ScopeMissing, match="needs scope admin"):
        authorize(SERVICE, "admin", method="/s/M")


def test_a_method_without_a_rule_is_named() -> None:
    rules = {"/s/A": "x", "/s/B": Access.PUBLIC}
    require_rules(["/s/A", "/s/B"], rules)
    with pytest.raises(CannotServe, match="/s/C, /s/D"):
        require_rules(["/s/D", "/s/A", "/s/C"], rules)
    assert scopes_in(rules) == {"x"}


@pytest.mark.parametrize(
    ("address", "loopback"),
    [
        ("127.0.0.1:1", True),
        ("127.9.9.9:1", True),
        ("[::1]:1", True),
        ("localhost:1", True),
        ("unix:/tmp/s", True),
        ("ipv4:127.0.0.1:1,127.0.0.2:2", True),
        ("ipv6:[::1]:1", True),
        ("ipv4:127.0.0.1:1,10.0.0.1:1", False),
        ("0.0.0.0:1", False),
        ("[::]:1", False),
        ("10.0.0.1:1", False),
        ("localhost.evil.example:1", False),
        ("dns:///localhost:1", False),
    ],
)
def test_loopback_is_what_only_this_machine_reaches(address: str, loopback: bool) -> None:
    assert is_loopback(address) is loopback


@pytest.mark.parametrize("address", ["", "host", ":1", "host:", "host:x", "host:65536", "::1:80"])
def test_an_address_of_another_form_is_refused(address: str) -> None:
    with pytest.raises(CannotServe, match="host:port"):
        split(address)


def test_minted_keys_differ() -> None:
    assert mint("t", "p")[0] != mint("t", "p")[0]
