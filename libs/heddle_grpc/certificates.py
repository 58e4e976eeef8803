"""Client certificates as credentials: TLS verifies them, and their names are mapped to identities."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from heddle_core.errors import CredentialInvalid
from heddle_grpc.identity import Credentials, Identity, identity_of

NAMES_KEY = "x509_subject_alternative_name"


class CertificateRecord(BaseModel):
    """Who shows a certificate with that name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, description="SPIFFE URI or DNS name in the certificate, whole.")
    tenant: str
    principal: str
    scopes: frozenset[str] = frozenset()


class ClientCertificates:
    """Knows callers by the SPIFFE URI or DNS name in their certificate, compared whole."""

    def __init__(self, identities: Mapping[str, Identity]) -> None:
        self._identities = dict(identities)

    def identify(self, credentials: Credentials) -> Identity | None:
        if credentials.bearer or not credentials.names:
            return None
        for name in credentials.names:
            if name in self._identities:
                return self._identities[name]
        raise CredentialInvalid("none of the certificate's names is mapped to an identity here")


def identities_of(records: Iterable[CertificateRecord]) -> dict[str, Identity]:
    """The identities by name. Raises CredentialInvalid for a tenant or principal of another form."""
    return {each.name: identity_of(each.tenant, each.principal, each.scopes) for each in records}


def read_certificates(path: Path) -> list[CertificateRecord]:
    """The records in a JSON file, a list. Reads the disk. Raises OSError and pydantic's ValidationError."""
    # What does not fit may be a secret in the wrong place.
    records = TypeAdapter(list[CertificateRecord], config=ConfigDict(hide_input_in_errors=True))
    return records.validate_json(path.read_bytes())


def names_of(auth_context: Mapping[str, Iterable[bytes]]) -> tuple[str, ...]:
    """The subject alternative names in gRPC's auth context; empty without a client certificate."""
    return tuple(name.decode("utf-8", "replace") for name in auth_context.get(NAMES_KEY, ()))
