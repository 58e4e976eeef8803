"""Who may call is set whole or not at all, of every service: what is set by half stops the start, and is told."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from heddle_campaign.settings import CampaignServiceSettings
from heddle_core.clock import ManualClock
from heddle_core.errors import CannotServe
from heddle_core.ids import CountingIds
from heddle_grpc.api_keys import ApiKeyRecord, mint
from heddle_grpc.authenticators import authenticators
from heddle_grpc.drain import Drain
from heddle_grpc.identity import Credentials
from heddle_grpc.identity_kinds import accepted_kinds, is_development
from heddle_grpc.server import Server
from heddle_runtime.settings import RuntimeSettings
from heddle_spawn.settings import SpawnSettings

SERVICES = [RuntimeSettings, SpawnSettings, CampaignServiceSettings]
Settings = RuntimeSettings | SpawnSettings | CampaignServiceSettings
MakeSettings = Callable[..., Settings]
WHOLE = {"issuer": "https://issuer.example", "audience": "heddle", "jwks_url": "https://issuer.example/jwks"}


@pytest.fixture(params=SERVICES, ids=lambda kind: kind.__name__)
def settings(request: pytest.FixtureRequest) -> MakeSettings:
    """Makes the settings of one service."""

    def made(*, tls_client_ca: Path | None = None, **identity: Any) -> Settings:
        return request.param(identity=identity, tls_client_ca=tls_client_ca)

    return made


def test_with_nothing_set_everybody_is_the_developer(settings: MakeSettings) -> None:
    assert accepted_kinds(settings()) == ("development",)
    assert is_development(settings(jwt={"tenant_claim": "org"}))


def test_what_is_set_is_taken_and_the_developer_no_more(settings: MakeSettings, tmp_path: Path) -> None:
    whole = settings(
        api_keys_file=tmp_path / "keys", jwt=WHOLE, certificates_file=tmp_path / "names", tls_client_ca=tmp_path / "ca"
    )
    assert accepted_kinds(whole) == ("api_keys", "jwt", "certificates")
    assert not is_development(whole)


@pytest.mark.parametrize(
    ("kind", "prefix"),
    [(RuntimeSettings, "HEDDLE_"), (SpawnSettings, "HEDDLE_SPAWN_"), (CampaignServiceSettings, "HEDDLE_CAMPAIGN_")],
)
def test_every_kind_is_set_by_variables_of_the_same_names_behind_the_prefix_of_the_service(
    kind: type[Settings], prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "IDENTITY__API_KEYS_FILE": "keys.json",
        "IDENTITY__JWT__ISSUER": "https://issuer.example",
        "IDENTITY__JWT__AUDIENCE": "heddle",
        "IDENTITY__JWT__JWKS_FILE": "jwks.json",
        "IDENTITY__CERTIFICATES_FILE": "names.json",
    }.items():
        monkeypatch.setenv(f"{prefix}{name}", value)
    with pytest.raises(CannotServe, match=rf"no client is asked for a certificate.*: set {prefix}TLS_CLIENT_CA"):
        accepted_kinds(kind())
    monkeypatch.setenv(f"{prefix}TLS_CLIENT_CA", "ca.pem")
    assert accepted_kinds(kind()) == ("api_keys", "jwt", "certificates")


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
def test_an_issuer_that_is_set_by_half_is_refused(settings: MakeSettings, jwt: dict[str, Any], told: str) -> None:
    with pytest.raises(CannotServe, match=told):
        accepted_kinds(settings(jwt=jwt))


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080/jwks", "http://[::1]/jwks", "http://localhost/jwks"])
def test_keys_may_come_in_plaintext_from_this_machine(settings: MakeSettings, url: str) -> None:
    assert accepted_kinds(settings(jwt={**WHOLE, "jwks_url": url})) == ("jwt",)


async def opened(given: Settings) -> None:
    async with authenticators(given, (), ManualClock()):
        pass


async def test_the_developer_has_the_scopes_that_the_service_asks_for(settings: MakeSettings) -> None:
    given = settings(tenant="acme", principal="ada")
    async with authenticators(given, ("runtime.read", "act_as"), ManualClock()) as (developer,):
        identity = developer.identify(Credentials())
    assert identity is not None
    assert (identity.tenant, identity.principal) == ("acme", "ada")
    assert identity.scopes == {"runtime.read", "act_as"}


async def test_a_file_that_cannot_be_read_is_named(settings: MakeSettings, tmp_path: Path) -> None:
    missing = tmp_path / "missing.json"
    for given in (
        {"api_keys_file": missing},
        {"certificates_file": missing, "tls_client_ca": tmp_path},
        {"jwt": {**WHOLE, "jwks_url": "", "jwks_file": missing}},
    ):
        with pytest.raises(CannotServe, match=r"identity\..*missing\.json.*check"):
            await opened(settings(**given))


@pytest.mark.parametrize("text", ["", "{}", '["misplaced"]', '[{"id": "misplaced"}]', "id: abc", '[{"keys": []}]'])
async def test_a_file_of_another_form_is_named_and_not_repeated(
    settings: MakeSettings, text: str, tmp_path: Path
) -> None:
    path = tmp_path / "given.json"
    path.write_text(text)
    for told, given in {
        r"api_keys_file.*given\.json": {"api_keys_file": path},
        r"certificates_file.*given\.json": {"certificates_file": path, "tls_client_ca": tmp_path},
        r"jwks_file.*keys of https://issuer\.example": {"jwt": {**WHOLE, "jwks_url": "", "jwks_file": path}},
    }.items():
        with pytest.raises(CannotServe, match=f"(?s){told}") as raised:
            await opened(settings(**given))
        assert "misplaced" not in str(raised.value)


async def test_no_identity_belongs_to_a_reserved_tenant_or_to_none(settings: MakeSettings, tmp_path: Path) -> None:
    _, good = mint("acme", "ci")
    path = tmp_path / "keys.json"
    for tenant, told in {"control": "no tenant may be called control", "": "its tenant is missing.*mend"}.items():
        record: ApiKeyRecord = good.model_copy(update={"tenant": tenant})
        path.write_text(f"[{record.model_dump_json()}]")
        with pytest.raises(CannotServe, match=told):
            await opened(settings(api_keys_file=path))
    with pytest.raises(CannotServe, match="no tenant may be called control"):
        await opened(settings(tenant="control"))


def server_of(given: Settings) -> Server:
    """The server of a service that serves nothing to nobody."""
    return Server(given.server(), (), authenticators=(), ids=CountingIds(), drain=Drain())


@pytest.mark.parametrize("kind", SERVICES)
@pytest.mark.parametrize("name", ["tls_certificate", "tls_key", "tls_client_ca"])
async def test_tls_that_is_set_by_half_is_refused(kind: type[Settings], name: str, tmp_path: Path) -> None:
    with pytest.raises(CannotServe, match=f"TLS by {name}"):
        server_of(kind.model_validate({name: tmp_path / "x.pem"}))


@pytest.mark.parametrize("kind", SERVICES)
async def test_plaintext_beyond_this_machine_is_allowed_by_word_alone(kind: type[Settings]) -> None:
    with pytest.raises(CannotServe, match="it would be plaintext"):
        server_of(kind.model_validate({"listen": "0.0.0.0:0"}))
    assert server_of(kind.model_validate({"listen": "0.0.0.0:0", "allow_plaintext": True}))
