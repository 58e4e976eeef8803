"""Credentials of the parts of one process for each other: minted at its start, in memory alone, gone at its end."""

import hashlib
import secrets
from collections.abc import Iterable

from heddle_core.errors import CredentialInvalid
from heddle_core.ids import PrincipalId, TenantId
from heddle_grpc.identity import Credentials, Identity

PREFIX = "hdp_"
"""How every such credential starts, so that it is told from others, and found where it should not be."""

TENANT = TenantId("control")
"""Whose they are: a reserved tenant, so nobody's who could call from outside."""


class ProcessKeys:
    """Mints such credentials, and verifies them."""

    def __init__(self) -> None:
        self._known: dict[bytes, Identity] = {}

    def mint(self, name: str, scopes: Iterable[str]) -> str:
        """A credential for the part of that name. Keep it in memory: it must not be written, logged or handed on."""
        key = PREFIX + secrets.token_urlsafe(32)
        self._known[_digest(key)] = Identity(TENANT, PrincipalId(name), frozenset(scopes))
        return key

    def identify(self, credentials: Credentials) -> Identity | None:
        if credentials.bearer is None or not credentials.bearer.startswith(PREFIX):
            return None
        # By its digest: the time of a look-up tells nothing of what would be found.
        identity = self._known.get(_digest(credentials.bearer))
        if identity is None:
            raise CredentialInvalid("it is of another process, or of an earlier start of this one")
        return identity


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "replace")).digest()
