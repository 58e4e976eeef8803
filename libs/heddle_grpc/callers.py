"""Reads a call's metadata, and says who makes the call and whether that caller may."""

from collections.abc import Sequence
from dataclasses import dataclass

from heddle_core.errors import CredentialInvalid
from heddle_grpc.authorization import Access, Rule, authorize
from heddle_grpc.calls import REQUEST_ID_KEY, TRACEPARENT_KEY, Context
from heddle_grpc.certificates import names_of
from heddle_grpc.identity import (
    ACT_AS_KEY,
    ANONYMOUS,
    AUTHORIZATION_KEY,
    Authenticator,
    Credentials,
    Identity,
    acting_as,
    bearer_of,
    verified,
)

_ONCE = frozenset((AUTHORIZATION_KEY, ACT_AS_KEY))


@dataclass(slots=True)
class Headers:
    """The metadata that Heddle reads; not yet trusted in any way."""

    authorization: str | None = None
    act_as: str | None = None
    request_id: str | None = None
    traceparent: str | None = None


class Callers:
    """Identifies and authorizes with one server's authenticators."""

    def __init__(self, authenticators: Sequence[Authenticator], *, reads_certificates: bool) -> None:
        """`reads_certificates`: whether this server asks clients for theirs; looking costs time."""
        self._authenticators = tuple(authenticators)
        self._reads_certificates = reads_certificates

    def headers_of(self, context: Context) -> Headers:
        """The known headers. Raises CredentialInvalid when one that decides identity comes twice."""
        found = Headers()
        for key, value in context.invocation_metadata() or ():
            if key in _ONCE:
                name = "authorization" if key == AUTHORIZATION_KEY else "act_as"
                if getattr(found, name) is not None:
                    raise CredentialInvalid(f"{key} was sent more than once")
                setattr(found, name, value)
            elif key == REQUEST_ID_KEY:
                found.request_id = str(value)
            elif key == TRACEPARENT_KEY:
                found.traceparent = str(value)
        return found

    def identify(self, headers: Headers, context: Context, rule: Rule, *, method: str) -> Identity:
        """The caller, who may call a method with `rule`. Raises the errors of identity and of scope."""
        if rule is Access.PUBLIC:
            # Nobody is verified here, so nobody has the scope; and the header is never ignored.
            return ANONYMOUS if headers.act_as is None else acting_as(ANONYMOUS, headers.act_as, method=method)
        bearer = bearer_of(headers.authorization)
        names: tuple[str, ...] = ()
        if self._reads_certificates and bearer is None:
            names = names_of(context.auth_context())
        identity = verified(self._authenticators, Credentials(bearer, names))
        if headers.act_as is not None:
            identity = acting_as(identity, headers.act_as, method=method)
        authorize(identity, rule, method=method)
        return identity
