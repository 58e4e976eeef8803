"""How the runtime is served: its services with their scopes, who may call, and where it listens."""

from heddle_core.ids import Ids, PrincipalId, TenantId
from heddle_grpc.api_keys import ApiKeys, read_records
from heddle_grpc.drain import Drain
from heddle_grpc.identity import Authenticator, Development, Identity
from heddle_grpc.routes import Service
from heddle_grpc.server import Server
from heddle_grpc.settings import CallSettings, ServerSettings, ServerTls
from heddle_runtime.rpc.scopes import MANAGE, READ, RUN
from heddle_runtime.settings import RuntimeSettings

ACT_AS = "act_as"
"""The scope to speak for somebody else."""


def server_of(settings: RuntimeSettings, services: tuple[Service, ...], ids: Ids, drain: Drain) -> Server:
    """The server of a runtime, not running yet.

    Raises:
        CannotServe: the development identity, or plaintext, on an address that others can reach.
    """
    served = ServerSettings(
        listen=(settings.listen,),
        tls=_tls(settings),
        reflection=settings.reflection,
        operations=settings.operations,
        operations_http=settings.operations_http,
        calls=CallSettings(log_ok_calls=settings.log_calls),
    )
    return Server(served, services, authenticators=authenticators(settings), ids=ids, drain=drain)


def authenticators(settings: RuntimeSettings) -> tuple[Authenticator, ...]:
    """Who may call; the development identity where nothing else is set."""
    given = settings.identity
    if given.api_keys_file is not None:
        return (ApiKeys(read_records(given.api_keys_file)),)
    everything = frozenset((RUN, READ, MANAGE, ACT_AS))
    return (Development(Identity(TenantId(given.tenant), PrincipalId(given.principal), everything)),)


def is_development(settings: RuntimeSettings) -> bool:
    """Whether callers are taken at their word, which only loopback allows."""
    return settings.identity.api_keys_file is None


def _tls(settings: RuntimeSettings) -> ServerTls | None:
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    return ServerTls(certificate=settings.tls_certificate, key=settings.tls_key, client_ca=settings.tls_client_ca)
