"""What verifies each kind of credential that a server takes, opened from its settings.

What a kind needs is loaded where that kind is set: the libraries of tokens would slow down every start.
"""

from collections.abc import AsyncGenerator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from heddle_core.clock import Clock
from heddle_core.errors import CannotServe, CredentialInvalid
from heddle_grpc.identity import Authenticator, Development, identity_of
from heddle_grpc.identity_files import read_identities
from heddle_grpc.identity_kinds import DEVELOPMENT, JWT, ServedSettings, accepted_kinds
from heddle_grpc.identity_settings import IdentitySettings, JwtSettings


@asynccontextmanager
async def authenticators(
    settings: ServedSettings, scopes: Iterable[str], clock: Clock
) -> AsyncGenerator[tuple[Authenticator, ...]]:
    """What verifies each kind that is taken. The keys of an issuer are kept fresh while the block lasts.

    The development identity has `scopes`: all that the methods of the server ask for.

    Raises CannotServe for what is set by half, cannot be read or does not read as it should.
    """
    kinds, given = accepted_kinds(settings), settings.identity
    made: list[Authenticator] = []
    if given.api_keys_file is not None:
        made.append(_api_keys(given.api_keys_file))
    if given.certificates_file is not None:
        made.append(_certificates(given.certificates_file))
    if DEVELOPMENT in kinds:
        made.append(_development(given, frozenset(scopes)))
    if JWT not in kinds:
        yield tuple(made)
        return
    async with _tokens(given.jwt, clock) as tokens:
        yield (*made, tokens)


def _api_keys(path: Path) -> Authenticator:
    from heddle_grpc.api_keys import ApiKeys, read_records

    return read_identities("identity.api_keys_file", path, lambda: ApiKeys(read_records(path)))


def _certificates(path: Path) -> Authenticator:
    from heddle_grpc.certificates import ClientCertificates, identities_of, read_certificates

    return read_identities(
        "identity.certificates_file", path, lambda: ClientCertificates(identities_of(read_certificates(path)))
    )


def _development(given: IdentitySettings, scopes: frozenset[str]) -> Authenticator:
    try:
        return Development(identity_of(given.tenant, given.principal, scopes))
    except CredentialInvalid as error:
        raise CannotServe("identity.tenant and principal", error.problem, "choose other names") from error


@asynccontextmanager
async def _tokens(given: JwtSettings, clock: Clock) -> AsyncGenerator[Authenticator]:
    from heddle_grpc.jwt_tokens import UNREADABLE, Issuer, JwtTokens, SigningKeys, keys_at, keys_in_file

    issuer = Issuer(
        given.issuer,
        given.audience,
        tenant_claim=given.tenant_claim,
        principal_claim=given.principal_claim,
        scope_claim=given.scope_claim,
        leeway=given.leeway,
    )
    fetch = keys_in_file(given.jwks_file) if given.jwks_file is not None else keys_at(given.jwks_url)
    keys = SigningKeys(fetch, refresh_every=given.refresh_every)
    async with AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(keys.kept_fresh())
        except UNREADABLE as error:
            setting = "identity.jwt.jwks_file" if given.jwks_file is not None else "identity.jwt.jwks_url"
            problem = f"the keys of {given.issuer} cannot be read: {error}"
            remedy = "check that it leads to a JWKS document that this process may read"
            raise CannotServe(setting, problem, remedy) from error
        yield JwtTokens(issuer, keys, clock)
