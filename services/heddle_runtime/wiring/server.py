"""How the runtime is served: its services, who may call, and where it listens."""

from collections.abc import Sequence

from heddle_core.errors import CannotServe
from heddle_core.ids import Ids
from heddle_grpc.drain import Drain
from heddle_grpc.identity import Authenticator
from heddle_grpc.measures import Source
from heddle_grpc.routes import Service
from heddle_grpc.server import Server
from heddle_grpc.settings import CallSettings, ServerSettings, ServerTls
from heddle_runtime.settings import RuntimeSettings


def server_of(
    settings: RuntimeSettings,
    services: tuple[Service, ...],
    authenticators: Sequence[Authenticator],
    *,
    inside: str | None,
    sources: Sequence[Source],
    ids: Ids,
    drain: Drain,
) -> Server:
    """The server of a runtime, not running yet; `inside` is where parts of this process reach it, and `sources` are
    read for /metrics.

    Raises:
        CannotServe: the development identity, or plaintext, on an address that others can reach; TLS set by half.
    """
    served = ServerSettings(
        listen=(settings.listen,),
        inside=inside,
        tls=_tls(settings),
        allow_plaintext=settings.allow_plaintext,
        reflection=settings.reflection,
        operations=settings.operations,
        operations_http=settings.operations_http,
        calls=CallSettings(log_ok_calls=settings.log_calls),
    )
    return Server(served, services, authenticators=authenticators, ids=ids, drain=drain, sources=sources)


def _tls(settings: RuntimeSettings) -> ServerTls | None:
    certificate, key = settings.tls_certificate, settings.tls_key
    if certificate is not None and key is not None:
        return ServerTls(certificate=certificate, key=key, client_ca=settings.tls_client_ca)
    given = {"tls_certificate": certificate, "tls_key": key, "tls_client_ca": settings.tls_client_ca}
    named = [name for name, value in given.items() if value is not None]
    if named:
        problem = f"of certificate and key, it has {'one' if certificate or key else 'neither'}"
        raise CannotServe(f"TLS by {' and '.join(named)}", problem, "set both tls_certificate and tls_key")
    return None
