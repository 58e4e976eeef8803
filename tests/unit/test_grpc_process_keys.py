"""Credentials that the parts of one process have for each other."""

import pytest

from heddle_core.errors import CredentialInvalid
from heddle_core.ids import RESERVED_TENANTS
from heddle_grpc.identity import ACT_AS, Credentials
from heddle_grpc.process_keys import PREFIX, ProcessKeys


def test_a_part_is_known_by_its_credential_and_belongs_to_no_tenant_of_callers() -> None:
    keys = ProcessKeys()
    identity = keys.identify(Credentials(keys.mint("spawn", {ACT_AS})))
    assert identity is not None
    assert (identity.principal, identity.scopes) == ("spawn", {ACT_AS})
    assert identity.tenant in RESERVED_TENANTS


def test_each_credential_is_another_and_of_one_process_only() -> None:
    keys = ProcessKeys()
    assert keys.mint("spawn", ()) != keys.mint("spawn", ())
    with pytest.raises(CredentialInvalid):
        ProcessKeys().identify(Credentials(keys.mint("spawn", ())))
    with pytest.raises(CredentialInvalid):
        keys.identify(Credentials(f"{PREFIX}\ud800"))


def test_credentials_of_other_kinds_are_left_to_others() -> None:
    keys = ProcessKeys()
    assert keys.identify(Credentials("hdl_id_secret")) is None
    assert keys.identify(Credentials()) is None


def test_a_credential_is_not_shown_with_what_holds_it() -> None:
    keys = ProcessKeys()
    key = keys.mint("spawn", ())
    assert key not in repr(keys) + repr(vars(keys))
