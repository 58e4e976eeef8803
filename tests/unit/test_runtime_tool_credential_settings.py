"""Credentials for tool providers are named whole and readable, or the start is refused; what they are is never told."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from heddle_core.errors import CannotServe
from heddle_grpc.identity_settings import IdentitySettings
from heddle_runtime.settings import CredentialSettings, RuntimeSettings, ToolSettings
from heddle_runtime.wiring.tool_credentials import check_credentials

NEAR, FAR = "127.0.0.1:7234", "spawn.internal:7234"


def settings(address: str, targets: tuple[str, ...] | None = None, **given: Any) -> RuntimeSettings:
    """A runtime whose callers have keys, with what is named for one address."""
    credentials = {address: CredentialSettings.model_validate(given)}
    tools = ToolSettings(credentials=credentials, provider_targets=(address,) if targets is None else targets)
    return RuntimeSettings(tools=tools, identity=IdentitySettings(api_keys_file=Path("keys")))


@pytest.fixture
def token(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.write_text("hdl_abc_secret\n")
    return file


def test_what_is_named_whole_is_taken(token: Path) -> None:
    check_credentials(settings(NEAR, token_file=token))
    check_credentials(settings("unix:/run/spawn.sock", token_file=token))
    check_credentials(settings(FAR, token_file=token, tls=True))
    check_credentials(settings(FAR, token_file=token, allow_plaintext=True))
    check_credentials(settings(FAR, tls=True))
    check_credentials(settings(FAR, certificate_file=token, key_file=token, ca_file=token))


@pytest.mark.parametrize(
    ("address", "given", "told"),
    [
        (FAR, {"token_file": "TOKEN"}, "its token would travel in plaintext"),
        (f"dns:///{FAR}", {"token_file": "TOKEN"}, "its token would travel in plaintext"),
        (FAR, {"certificate_file": "TOKEN"}, "a certificate and its key belong together"),
        (FAR, {"key_file": "TOKEN", "tls": True}, "a certificate and its key belong together"),
        (NEAR, {}, "it says nothing"),
        (NEAR, {"allow_plaintext": True}, "it says nothing"),
        (NEAR, {"token_file": "/nowhere/token"}, "/nowhere/token: No such file.*check the path"),
        (FAR, {"ca_file": "/nowhere/ca"}, "/nowhere/ca: No such file.*check the path"),
        ("spawn", {"token_file": "TOKEN"}, "it has no host and port"),
    ],
)
def test_what_is_named_by_half_stops_the_start(token: Path, address: str, given: dict[str, Any], told: str) -> None:
    given = {name: token if value == "TOKEN" else value for name, value in given.items()}
    with pytest.raises(CannotServe, match=told) as raised:
        check_credentials(settings(address, **given))
    assert address in str(raised.value)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    "text", ["", "\n", "two secrets", "Bearer secret", "secret\nsecret", "s\u00e9cret", "s" * 9_000]
)
def test_a_file_without_one_token_is_refused_and_not_quoted(token: Path, text: str) -> None:
    token.write_text(text)
    with pytest.raises(CannotServe, match="does not hold one token") as raised:
        check_credentials(settings(NEAR, token_file=token))
    assert "secret" not in str(raised.value)


def test_a_credential_for_an_address_that_no_tenant_may_register_is_refused_as_a_slip(token: Path) -> None:
    for targets in ((), ("localhost:7234",)):
        with pytest.raises(CannotServe, match=r"no tenant may register that address.*HEDDLE_TOOLS__PROV"):
            check_credentials(settings(NEAR, targets=targets, token_file=token))
    tools = ToolSettings(credentials={NEAR: CredentialSettings(token_file=token)})
    check_credentials(RuntimeSettings(tools=tools))  # the developer may register any


def test_it_is_read_from_the_environment_and_printed_as_places_of_files(
    token: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEDDLE_TOOLS__CREDENTIALS", json.dumps({NEAR: {"token_file": str(token)}}))
    read = RuntimeSettings()
    assert read.tools.credentials == {NEAR: CredentialSettings(token_file=token)}
    assert "secret" not in read.model_dump_json() + repr(read)


def test_a_secret_in_the_setting_itself_is_refused_and_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEDDLE_TOOLS__CREDENTIALS", json.dumps({NEAR: {"token": "hdl_abc_secret"}}))
    with pytest.raises(ValidationError, match="Extra inputs are not permitted") as raised:
        RuntimeSettings()
    assert "secret" not in str(raised.value)
