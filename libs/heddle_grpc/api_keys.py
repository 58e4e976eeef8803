"""API keys: minted once, shown once, kept as hashes, compared in constant time."""

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from heddle_core.errors import CredentialInvalid
from heddle_grpc.identity import Credentials, Identity, identity_of

PREFIX = "hdl_"
"""How every key starts, so that it is told from a JWT, and found by scanners of leaked secrets."""

_ABSENT = "0" * 64


class ApiKeyRecord(BaseModel):
    """What is kept of a key: everything but the key."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern=r"^[A-Za-z0-9]{8,32}$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="Of the secret; it has 256 random bits.")
    tenant: str
    principal: str
    scopes: frozenset[str] = frozenset()


class ApiKeys:
    """Verifies keys of the form `hdl_ID_SECRET`."""

    def __init__(self, records: Iterable[ApiKeyRecord]) -> None:
        self._known = {
            each.id: (each.sha256, identity_of(each.tenant, each.principal, each.scopes)) for each in records
        }

    def identify(self, credentials: Credentials) -> Identity | None:
        if not credentials.bearer or not credentials.bearer.startswith(PREFIX):
            return None
        key_id, _, secret = credentials.bearer.removeprefix(PREFIX).partition("_")
        expected, identity = self._known.get(key_id, (_ABSENT, None))
        given = _digest(secret)
        # Compared even for an unknown id, so that time tells nothing of which ids exist.
        if not hmac.compare_digest(given, expected) or identity is None:
            raise CredentialInvalid("unknown or revoked API key")
        return identity


def mint(
    tenant: str, principal: str, scopes: Iterable[str] = (), *, key_id: str | None = None
) -> tuple[str, ApiKeyRecord]:
    """A new key as the text to hand out, and the record to keep."""
    name = key_id or secrets.token_hex(8)
    secret = secrets.token_urlsafe(32)
    record = ApiKeyRecord(id=name, sha256=_digest(secret), tenant=tenant, principal=principal, scopes=frozenset(scopes))
    return f"{PREFIX}{name}_{secret}", record


def read_records(path: Path) -> list[ApiKeyRecord]:
    """The records in a JSON file, a list. Reads the disk. Raises OSError and pydantic's ValidationError."""
    # What does not fit may be a secret in the wrong place.
    records = TypeAdapter(list[ApiKeyRecord], config=ConfigDict(hide_input_in_errors=True))
    return records.validate_json(path.read_bytes())


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()
