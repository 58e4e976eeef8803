"""Who may call this runtime: the kinds of credentials that are set, and what each needs beside it."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

from heddle_core.clock import Clock
from heddle_core.errors import CannotServe, CredentialInvalid
from heddle_grpc.addresses import is_loopback
from heddle_grpc.identity import ACT_AS, Authenticator, Development, identity_of
from heddle_grpc.identity_files import read_identities
from heddle_runtime.rpc.scopes import MANAGE, READ, RUN
from heddle_runtime.settings import JwtSettings, RuntimeSettings

API_KEYS, JWT, CERTIFICATES, DEVELOPMENT = "api_keys", "jwt", "certificates", "development"


def accepted_kinds(settings: RuntimeSettings) -> tuple[str, ...]:
    """The kinds of credentials that are taken; the development identity alone where nothing else is set.

    Raises CannotServe for one that is set by half.
    """
    given = settings.identity
    kinds: list[str] = []
    if given.api_keys_file is not None:
        kinds.append(API_KEYS)
    if _is_complete(given.jwt):
        kinds.append(JWT)
    if given.certificates_file is not None:
        if settings.tls_client_ca is None:
            problem = "no client is asked for a certificate"
            raise _refused("certificates_file", problem, "set HEDDLE_TLS_CLIENT_CA to the roots of client certificates")
        kinds.append(CERTIFICATES)
    return tuple(kinds) or (DEVELOPMENT,)


def is_development(settings: RuntimeSettings) -> bool:
    """Whether callers are taken at their word, which only loopback allows. Raises as `accepted_kinds`."""
    return accepted_kinds(settings) == (DEVELOPMENT,)


@asynccontextmanager
async def authenticators(settings: RuntimeSettings, clock: Clock) -> AsyncGenerator[tuple[Authenticator, ...]]:
    """What verifies each kind that is taken. The keys of an issuer are kept fresh while the block lasts.

    Raises CannotServe for what is set by half, cannot be read or does not read as it should.
    """
    kinds, given = accepted_kinds(settings), settings.identity
    made: list[Authenticator] = []
    if given.api_keys_file is not None:
        made.append(_api_keys(given.api_keys_file))
    if given.certificates_file is not None:
        made.append(_certificates(given.certificates_file))
    if DEVELOPMENT in kinds:
        made.append(_development(given.tenant, given.principal))
    if JWT not in kinds:
        yield tuple(made)
        return
    async with _tokens(given.jwt, clock) as tokens:
        yield (*made, tokens)


def _is_complete(given: JwtSettings) -> bool:
    places = {"jwks_file": given.jwks_file, "jwks_url": given.jwks_url}
    named = [name for name, value in {"issuer": given.issuer, "audience": given.audience, **places}.items() if value]
    if not named:
        return False
    for name in ("issuer", "audience"):
        if name not in named:
            raise _refused(f"jwt.{name}", "it is missing", f"set it too, or leave out jwt.{' and jwt.'.join(named)}")
    found = [name for name in places if name in named]
    if len(found) != 1:
        problem = "both say where the issuer's keys are" if found else "nothing says where the issuer's keys are"
        raise _refused("jwt.jwks_file and jwt.jwks_url", problem, "set one of them")
    if given.jwks_url:
        _check_url(given.jwks_url)
    return True


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        port = parts.port or 80
    except ValueError as error:
        raise _refused("jwt.jwks_url", f"{url} is no address: {error}", "write it as https://HOST/PATH") from error
    host = parts.hostname or ""
    local = bool(host) and is_loopback(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    if not host or not (parts.scheme == "https" or (parts.scheme == "http" and local)):
        problem = f"{url} is no https address, and whoever changes the keys on the way could sign"
        raise _refused("jwt.jwks_url", problem, "use https, or a file")


def _api_keys(path: Path) -> Authenticator:
    from heddle_grpc.api_keys import ApiKeys, read_records

    return read_identities("identity.api_keys_file", path, lambda: ApiKeys(read_records(path)))


def _certificates(path: Path) -> Authenticator:
    from heddle_grpc.certificates import ClientCertificates, identities_of, read_certificates

    return read_identities(
        "identity.certificates_file", path, lambda: ClientCertificates(identities_of(read_certificates(path)))
    )


def _development(tenant: str, principal: str) -> Authenticator:
    try:
        return Development(identity_of(tenant, principal, frozenset((RUN, READ, MANAGE, ACT_AS))))
    except CredentialInvalid as error:
        raise _refused("tenant and principal", error.problem, "choose other names") from error


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
            setting = "jwt.jwks_file" if given.jwks_file is not None else "jwt.jwks_url"
            problem = f"the keys of {given.issuer} cannot be read: {error}"
            remedy = "check that it leads to a JWKS document that this process may read"
            raise _refused(setting, problem, remedy) from error
        yield JwtTokens(issuer, keys, clock)


def _refused(setting: str, problem: str, remedy: str) -> CannotServe:
    return CannotServe(f"identity.{setting}", problem, remedy)
