"""The server of a service beside the runtime, where it is served by itself."""

from collections.abc import Sequence

from heddle_core.clock import Clock
from heddle_core.ids import TimeOrderedIds
from heddle_grpc.drain import Drain
from heddle_grpc.identity import Authenticator
from heddle_grpc.routes import Service
from heddle_grpc.server import Server
from heddle_grpc.settings import CallSettings, ServerSettings
from heddle_grpc.standalone import server_tls_of
from heddle_service.settings import ServiceSettings


def server_of(
    settings: ServiceSettings,
    services: Sequence[Service],
    callers: Sequence[Authenticator],
    clock: Clock,
    drain: Drain,
) -> Server:
    """The server of a service that is served by itself, to whom `callers` vouch for; see `heddle_grpc.authenticators`.

    Raises:
        CannotServe: a credential setting does not fit where it listens; TLS is set by half.
    """
    served = ServerSettings(
        listen=(settings.listen,),
        tls=server_tls_of(settings.tls_certificate, settings.tls_key, settings.tls_client_ca),
        allow_plaintext=settings.allow_plaintext,
        reflection=settings.reflection,
        operations=settings.operations,
        operations_http=settings.operations_http,
        calls=CallSettings(log_ok_calls=settings.log_calls),
    )
    return Server(served, tuple(services), authenticators=callers, ids=TimeOrderedIds(clock), drain=drain)
