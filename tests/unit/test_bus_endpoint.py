"""Where NATS is by a service's settings, and what is said where they cannot be followed."""

import ssl
from pathlib import Path

import pytest
import trustme

from heddle_bus.endpoint import Endpoint, endpoint_finder, write_endpoint
from heddle_core.errors import CannotServe
from heddle_runtime.settings import BusSettings, RuntimeSettings
from heddle_runtime.wiring.bus import finder_of
from heddle_spawn.settings import SpawnSettings


def test_servers_stand_with_commas_between_and_none_is_none() -> None:
    find = endpoint_finder(" nats://a:1 ,,nats://b:2", "secret", None, ca_setting="")
    assert find is not None
    assert find() == Endpoint(servers=("nats://a:1", "nats://b:2"), token="secret")
    assert endpoint_finder(" , ", "secret", None, ca_setting="") is None


def test_a_file_says_it_instead_and_may_say_something_else_later(tmp_path: Path) -> None:
    find = endpoint_finder("nats://a:1", "", tmp_path / "endpoint", ca_setting="")
    assert find is not None
    assert find().servers == ()
    write_endpoint(tmp_path / "endpoint", Endpoint(servers=("nats://b:2",), token="secret"))
    assert find() == Endpoint(servers=("nats://b:2",), token="secret")


def test_a_runtime_finds_it_by_its_own_settings(tmp_path: Path) -> None:
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
    given = BusSettings.model_validate(
        {"user": "ada", "password": "pass", "credentials": "u.creds", "ca_file": tmp_path / "ca.pem"}
    )
    find = finder_of(RuntimeSettings(nats="tls://a:1", bus=given))
    assert find is not None
    found = find()
    assert isinstance(found.tls, ssl.SSLContext) and len(found.tls.get_ca_certs()) == 1
    assert (found.user, found.password, found.credentials) == ("ada", "pass", "u.creds")
    assert finder_of(RuntimeSettings()) is None


@pytest.mark.parametrize(
    ("content", "problem"), [(None, "No such file or directory"), ("no certificate", "holds no certificate")]
)
def test_a_ca_file_that_cannot_be_used_is_named_with_its_setting(
    content: str | None, problem: str, tmp_path: Path
) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(CannotServe, match=f"^HEDDLE_BUS__CA_FILE cannot be served .*{file}.*{problem}.*: "):
        finder_of(RuntimeSettings(nats="tls://a:1", bus=BusSettings(ca_file=file)))
    with pytest.raises(CannotServe, match=f"^HEDDLE_SPAWN_NATS_CA_FILE cannot be served .*{file}.*{problem}.*: "):
        _ = SpawnSettings(nats="tls://a:1", nats_ca_file=file).bus
