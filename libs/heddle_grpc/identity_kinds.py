"""Which kinds of credentials a server takes: decided by its settings alone, the same for every service.

Nothing here loads what verifies a credential, so whoever only asks, as `heddle doctor`, does not wait for it.
"""

from urllib.parse import urlsplit

from heddle_core.errors import CannotServe
from heddle_grpc.addresses import is_loopback
from heddle_grpc.identity_settings import JwtSettings
from heddle_grpc.served_settings import ServedSettings

API_KEYS, JWT, CERTIFICATES, DEVELOPMENT = "api_keys", "jwt", "certificates", "development"


def accepted_kinds(settings: ServedSettings) -> tuple[str, ...]:
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
            variable = f"{settings.model_config.get('env_prefix', '')}TLS_CLIENT_CA"
            remedy = f"set {variable} to the roots of client certificates"
            raise _refused("certificates_file", "no client is asked for a certificate", remedy)
        kinds.append(CERTIFICATES)
    return tuple(kinds) or (DEVELOPMENT,)


def is_development(settings: ServedSettings) -> bool:
    """Whether callers are taken at their word, which only loopback allows. Raises as `accepted_kinds`."""
    return accepted_kinds(settings) == (DEVELOPMENT,)


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


def _refused(setting: str, problem: str, remedy: str) -> CannotServe:
    return CannotServe(f"identity.{setting}", problem, remedy)
