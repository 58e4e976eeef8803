"""Client certificates as credentials: TLS verifies them, and their names are mapped to identities."""

from collections.abc import Iterable, Mapping

from heddle_core.errors import CredentialInvalid
from heddle_grpc.identity import Credentials, Identity

NAMES_KEY = "x509_subject_alternative_name"


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


def names_of(auth_context: Mapping[str, Iterable[bytes]]) -> tuple[str, ...]:
    """The subject alternative names in gRPC's auth context; empty without a client certificate."""
    return tuple(name.decode("utf-8", "replace") for name in auth_context.get(NAMES_KEY, ()))
