"""Who may call is set whole or not at all: what is set by half stops the start, and says what is missing."""

from pathlib import Path
from typing import Any

import pytest

from heddle_core.clock import ManualClock
from heddle_core.errors import CannotServe
from heddle_core.ids import CountingIds
from heddle_grpc.api_keys import ApiKeyRecord, mint
from heddle_grpc.drain import Drain
from heddle_runtime.settings import IdentitySettings, RuntimeSettings
from heddle_runtime.wiring.identities import accepted_kinds, authenticators, is_development
from heddle_runtime.wiring.server import server_of

WHOLE = {"issuer": "https://issuer.example", "audience": "heddle", "jwks_url": "https://issuer.example/jwks"}


def settings(*, tls_client_ca: Path | None = None, **identity: Any) -> RuntimeSettings:
    given = IdentitySettings.model_validate(identity)
    return RuntimeSettings(identity=given, tls_client_ca=tls_client_ca)


def test_with_nothing_set_everybody_is_the_developer() -> None:
    assert accepted_kinds(settings()) == ("development",)
    assert is_development(settings(jwt={"tenant_claim": "org"}))


def test_what_is_set_is_taken_and_the_developer_no_more(tmp_path: Path) -> None:
    whole = settings(
        api_keys_file=tmp_path / "keys", jwt=WHOLE, certificates_file=tmp_path / "names", tls_client_ca=tmp_path / "ca"
    )
    assert accepted_kinds(whole) == ("api_keys", "jwt", "certificates")
    assert not is_development(whole)


@pytest.mark.parametrize(
    ("jwt", "told"),
    [
        ({"issuer": "i"}, "jwt.audience cannot be served .it is missing.: set it too, or leave out jwt.issuer"),
        ({"jwks_url": WHOLE["jwks_url"]}, "jwt.issuer"),
        ({"jwks_file": "keys.json", "issuer": "i"}, "jwt.audience.*leave out jwt.issuer and jwt.jwks_file"),
        ({"issuer": "i", "audience": "a"}, "nothing says where the issuer's keys are"),
        ({**WHOLE, "jwks_file": "keys.json"}, "both say where the issuer's keys are.*set one of them"),
        ({**WHOLE, "jwks_url": "http://issuer.example/jwks"}, "no https address"),
        ({**WHOLE, "jwks_url": "http://127.0.0.1.example/jwks"}, "no https address"),
        ({**WHOLE, "jwks_url": "issuer.example/jwks"}, "no https address"),
        ({**WHOLE, "jwks_url": "file:///etc/keys"}, "no https address"),
        ({**WHOLE, "jwks_url": "https://issuer.example:99999/"}, "no address"),
        ({**WHOLE, "jwks_url": "https:///jwks"}, "no https address"),
    ],
)
def test_an_issuer_that_is_set_by_half_is_refused(jwt: dict[str, Any], told: str) -> None:
    with pytest.raises(CannotServe, match=told):
        accepted_kinds(settings(jwt=jwt))


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080/jwks", "http://[::1]/jwks", "http://localhost/jwks"])
def test_keys_may_come_in_plaintext_from_this_machine(url: str) -> None:
    assert accepted_kinds(settings(jwt={**WHOLE, "jwks_url": url})) == ("jwt",)


def test_certificates_that_nobody_is_asked_for_are_refused() -> None:
    with pytest.raises(CannotServe, match=r"no client is asked.*HEDDLE_TLS_CLIENT_CA"):
        accepted_kinds(settings(certificates_file="names.json"))


async def opened(given: RuntimeSettings) -> None:
    async with authenticators(given, ManualClock()):
        pass


async def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "missing.json"
    for given in (
        {"api_keys_file": missing},
        {"certificates_file": missing, "tls_client_ca": tmp_path},
        {"jwt": {**WHOLE, "jwks_url": "", "jwks_file": missing}},
    ):
        with pytest.raises(CannotServe, match=r"missing\.json"):
            await opened(settings(**given))


@pytest.mark.parametrize("text", ["", "{}", '[{"id": "short"}]', "id: abc", '[{"keys": []}]'])
async def test_a_file_of_another_form_is_named(text: str, tmp_path: Path) -> None:
    path = tmp_path / "given.json"
    path.write_text(text)
    with pytest.raises(CannotServe, match=r"api_keys_file.*given\.json"):
        await opened(settings(api_keys_file=path))
    with pytest.raises(CannotServe, match=r"certificates_file.*given\.json"):
        await opened(settings(certificates_file=path, tls_client_ca=tmp_path))
    with pytest.raises(CannotServe, match=r"jwks_file.*keys of https://issuer\.example"):
        await opened(settings(jwt={**WHOLE, "jwks_url": "", "jwks_file": path}))


async def test_no_identity_belongs_to_a_reserved_tenant(tmp_path: Path) -> None:
    _, good = mint("acme", "ci")
    record: ApiKeyRecord = good.model_copy(update={"tenant": "control"})
    path = tmp_path / "keys.json"
    path.write_text(f"[{record.model_dump_json()}]")
    with pytest.raises(CannotServe, match="no tenant may be called control"):
        await opened(settings(api_keys_file=path))
    with pytest.raises(CannotServe, match="no tenant may be called control"):
        await opened(settings(tenant="control"))


@pytest.mark.parametrize("name", ["tls_certificate", "tls_key", "tls_client_ca"])
async def test_tls_that_is_set_by_half_is_refused(name: str, tmp_path: Path) -> None:
    given = RuntimeSettings.model_validate({name: tmp_path / "x.pem"})
    with pytest.raises(CannotServe, match=f"TLS by {name}"):
        server_of(given, (), (), inside=None, sources=(), ids=CountingIds(), drain=Drain())
