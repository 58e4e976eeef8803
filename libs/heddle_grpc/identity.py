"""Who is calling: the only place where a credential becomes a tenant and a principal.

Nothing in a request's body, and no header by itself, ever names a tenant.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from heddle_core.errors import CredentialInvalid, CredentialMissing, ScopeMissing, invalid
from heddle_core.ids import RESERVED_TENANTS, PrincipalId, TenantId, is_id
from heddle_core.values import value

ACT_AS = "act_as"
"""The scope that lets a service speak for others."""

ACT_AS_KEY = "heddle-act-as"
AUTHORIZATION_KEY = "authorization"

_PRINCIPAL = re.compile(r"[!-~]{1,128}")


@value
class Identity:
    """A verified caller."""

    tenant: TenantId
    principal: PrincipalId
    scopes: frozenset[str] = frozenset()
    acted_by: str = ""
    """`tenant/principal` of the service that speaks for the principal; empty when nobody does."""


ANONYMOUS = Identity(TenantId(""), PrincipalId(""))
"""Who calls a public method without a credential: no tenant, no scopes."""


@value
class Credentials:
    """What one call offers as proof of who makes it."""

    bearer: str | None = None
    """The token of `authorization: Bearer TOKEN`."""
    names: tuple[str, ...] = ()
    """Subject alternative names of a client certificate that TLS has verified."""


class Authenticator(Protocol):
    """Verifies one kind of credential."""

    def identify(self, credentials: Credentials) -> Identity | None:
        """The caller; None when this kind of credential was not offered.

        Must not wait: it runs on the event loop for each call. Raises CredentialInvalid when it was
        offered and is wrong.
        """
        ...


class Development:
    """Takes everybody for one identity. A server refuses it unless all its addresses are loopback."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity

    def identify(self, credentials: Credentials) -> Identity | None:
        return None if credentials.bearer else self._identity


def verified(authenticators: Sequence[Authenticator], credentials: Credentials) -> Identity:
    """The caller that the first fitting authenticator vouches for.

    Raises CredentialMissing when nothing fits, CredentialInvalid when a token was sent that nobody takes.
    """
    for each in authenticators:
        identity = each.identify(credentials)
        if identity is not None:
            return identity
    if credentials.bearer:
        raise CredentialInvalid("no issuer of such tokens is configured here")
    raise CredentialMissing()


def bearer_of(header: str | None) -> str | None:
    """The token in an `authorization` header; None without one. Raises CredentialInvalid for another scheme."""
    if header is None:
        return None
    scheme, _, token = header.partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise CredentialInvalid("authorization must be `Bearer TOKEN`")
    return token


def acting_as(identity: Identity, header: str, *, method: str) -> Identity:
    """`identity` speaking for the `tenant/principal` in `header`.

    The scopes stay those of the service, without `act_as`: nobody hands the right on. Raises ScopeMissing
    without that scope, InvalidField for a header of another form.
    """
    if ACT_AS not in identity.scopes:
        raise ScopeMissing(method, ACT_AS)
    tenant, _, principal = header.partition("/")
    try:
        named = identity_of(tenant, principal, identity.scopes - {ACT_AS})
    except CredentialInvalid as error:
        raise invalid(ACT_AS_KEY, f"must be TENANT/PRINCIPAL: {error.problem}") from error
    return replace(named, acted_by=f"{identity.tenant}/{identity.principal}")


def identity_of(tenant: object, principal: object, scopes: frozenset[str]) -> Identity:
    """An identity whose names have the right form. Raises CredentialInvalid, naming the one that has not."""
    if not isinstance(tenant, str) or not is_id(tenant):
        raise CredentialInvalid("its tenant is missing, or is not an id of A-Z, a-z, 0-9, _ and -")
    if tenant in RESERVED_TENANTS:
        raise CredentialInvalid(f"no tenant may be called {tenant}: Heddle uses that name itself")
    if not isinstance(principal, str) or _PRINCIPAL.fullmatch(principal) is None:
        raise CredentialInvalid("its principal is missing, or is not 1 to 128 visible ASCII characters")
    return Identity(TenantId(tenant), PrincipalId(principal), scopes)
