"""How the runtime is served: its services, who may call, and where it listens."""

from collections.abc import Sequence

from heddle_core.ids import Ids
from heddle_grpc.drain import Drain
from heddle_grpc.identity import Authenticator
from heddle_grpc.measures import Source
from heddle_grpc.routes import Service
from heddle_grpc.server import Server
from heddle_grpc.settings import CallSettings, ServerSettings
from heddle_grpc.standalone import server_tls_of
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
        tls=server_tls_of(settings.tls_certificate, settings.tls_key, settings.tls_client_ca),
        allow_plaintext=settings.allow_plaintext,
        reflection=settings.reflection,
        operations=settings.operations,
        operations_http=settings.operations_http,
        calls=CallSettings(log_ok_calls=settings.log_calls),
    )
    return Server(served, services, authenticators=authenticators, ids=ids, drain=drain, sources=sources)
