"""The one server that every Heddle service runs in."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2
from grpc_health.v1.health import aio as health_aio

from heddle_core.errors import CannotServe
from heddle_core.ids import Ids
from heddle_core.log_lines import LogLines
from heddle_grpc.addresses import is_loopback
from heddle_grpc.authorization import Access
from heddle_grpc.call_metrics import CallMetrics
from heddle_grpc.callers import Callers
from heddle_grpc.drain import Drain
from heddle_grpc.field_rules import FieldLimits
from heddle_grpc.identity import Authenticator, Development
from heddle_grpc.limits import Admission, CallLimits
from heddle_grpc.measures import Level, Source, in_prometheus_text
from heddle_grpc.operations import Probes, probes_over_grpc, probes_over_http
from heddle_grpc.pipeline import CallPolicy, MethodHandler, Pipeline
from heddle_grpc.ports import bound
from heddle_grpc.readers import Readers
from heddle_grpc.routes import Service, routes_of
from heddle_grpc.settings import MIB, ServerSettings, ServerTls
from heddle_grpc.validation import OwnCheck, Validation

_HEALTH = "grpc.health.v1.Health"
_REFLECTION = "grpc.reflection.v1alpha.ServerReflection"
_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING

_log = LogLines(__name__)


class Server:
    """Serves proto services. Use `running()`; everything it starts has ended when that block is left."""

    def __init__(
        self,
        settings: ServerSettings,
        services: Sequence[Service],
        *,
        authenticators: Sequence[Authenticator],
        ids: Ids,
        own_checks: Mapping[str, OwnCheck] | None = None,
        drain: Drain | None = None,
        sources: Sequence[Source] = (),
    ) -> None:
        """`own_checks` maps a request's full message name to a check that its service adds; `sources` are read for
        /metrics, beside the counts of calls.

        Raises CannotServe for a missing authorization rule, a development identity or plaintext on an
        address that others can reach.
        """
        _refuse_exposure(settings, authenticators)
        self.drain = drain or Drain()
        self.metrics = CallMetrics()
        self.metrics.count_under_way(lambda: self.drain.under_way)
        self.health = health_aio.HealthServicer()
        self.ports: tuple[int, ...] = ()
        """As bound, one for each of `settings.listen`; set while running."""
        self.operations_port = 0
        self.operations_http_port = 0
        self._settings = settings
        self._names = tuple(each.name for each in services)
        self._statuses: dict[str, bool] = dict.fromkeys(self._names, False)
        self._routes = [route for each in (*services, *self._own_services()) for route in routes_of(each)]
        self._readers = Readers(settings.calls.write_patience)
        self._sources = tuple(sources)
        self._pipeline = _pipeline(settings, authenticators, own_checks, self.drain, self._readers, self.metrics, ids)

    @property
    def is_ready(self) -> bool:
        """Whether every service is up and the server is not going away."""
        return not self.drain.started.is_set() and all(self._statuses.values())

    async def set_serving(self, serving: bool, *, service: str | None = None) -> None:
        """Tell health about one service, or about all."""
        for name in (service,) if service else self._names:
            self._statuses[name] = serving
            await self.health.set(name, _SERVING if serving else _NOT_SERVING)
        await self.health.set("", _SERVING if all(self._statuses.values()) else _NOT_SERVING)

    @asynccontextmanager
    async def running(self) -> AsyncGenerator["Server"]:
        """Serve until the block is left, then drain. Raises CannotServe when an address cannot be had."""
        settings = self._settings
        async with AsyncExitStack() as stack:
            server = self._built()
            await server.start()
            stack.push_async_callback(self._stop, server)
            await stack.enter_async_context(self._readers.watched())
            if settings.operations is not None:
                probes = probes_over_grpc(settings.operations, self.health)
                self.operations_port = await stack.enter_async_context(probes)
            if settings.operations_http is not None:
                in_prometheus_text(())  # loads what the first scrape would otherwise wait for
                answers = Probes(lambda: self.is_ready, self._scraped)
                over_http = probes_over_http(settings.operations_http, answers)
                self.operations_http_port = await stack.enter_async_context(over_http)
            await self.set_serving(True)
            _log.info("serving", listen=settings.listen, ports=self.ports, services=self._names)
            try:
                yield self
            finally:
                await self._go_away()

    def _built(self) -> grpc.aio.Server:
        settings = self._settings
        server = grpc.aio.server(options=_options(settings))
        handlers = {route.path: self._pipeline.handler(route) for route in self._routes}
        server.add_generic_rpc_handlers((_Handlers(handlers, self._pipeline),))
        bind = server.add_insecure_port
        if settings.tls is not None:
            credentials = _credentials(settings.tls)

            def bind(address: str) -> int:
                return server.add_secure_port(address, credentials)

        self.ports = tuple(bound(address, bind) for address in settings.listen)
        if settings.inside is not None:
            bound(settings.inside, server.add_insecure_port)
        return server

    async def _scraped(self) -> bytes:
        lanes = self._pipeline.admission
        open_calls = {("unary",): lanes.unary.under_way, ("stream",): lanes.streams.under_way}
        measures = [*self.metrics.measures()]
        measures.append(Level("heddle_grpc_admitted", "Calls that are let in, by kind.", open_calls, ("kind",)))
        for each in self._sources:
            measures += await each()
        return in_prometheus_text(measures)

    async def _go_away(self) -> None:
        _log.info("draining", under_way=self.drain.under_way)
        await self.health.enter_graceful_shutdown()
        await self.drain.finish(stream_grace=self._settings.stream_grace, grace=self._settings.grace)

    async def _stop(self, server: grpc.aio.Server) -> None:
        # Calls are over by now; this second is for last answers that are still on their way out.
        await server.stop(1.0)
        _log.info("stopped", listen=self._settings.listen)

    def _own_services(self) -> list[Service]:
        public = Access.PUBLIC
        own = [
            Service(
                _HEALTH,
                self.health,
                {"Check": public, "List": public, "Watch": public},
                answers_while_draining=True,
            )
        ]
        if self._settings.reflection:
            from grpc_reflection.v1alpha import reflection

            names = (*self._names, _HEALTH, _REFLECTION)
            servicer = reflection.aio.ReflectionServicer(names)
            own.append(Service(_REFLECTION, servicer, {"ServerReflectionInfo": public}))
        return own


class _Handlers(grpc.GenericRpcHandler):
    """Finds a method's handler; what is not found is refused in Heddle's own words."""

    def __init__(self, handlers: Mapping[str, MethodHandler], pipeline: Pipeline) -> None:
        self._handlers = dict(handlers)
        self._pipeline = pipeline

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> MethodHandler:
        path = handler_call_details.method
        return self._handlers.get(path) or self._pipeline.unknown(path)


def _pipeline(
    settings: ServerSettings,
    authenticators: Sequence[Authenticator],
    own_checks: Mapping[str, OwnCheck] | None,
    drain: Drain,
    readers: Readers,
    metrics: CallMetrics,
    ids: Ids,
) -> Pipeline:
    calls = settings.calls
    return Pipeline(
        policy=CallPolicy(
            request_bytes=calls.request_bytes,
            response_bytes=calls.response_bytes,
            unary_deadline=calls.unary_deadline,
            log_ok_calls=calls.log_ok_calls,
        ),
        callers=Callers(
            authenticators, reads_certificates=settings.tls is not None and settings.tls.client_ca is not None
        ),
        validation=Validation(
            FieldLimits(text_bytes=calls.text_bytes, json_bytes=calls.json_bytes), own_checks=own_checks
        ),
        admission=Admission(
            CallLimits(calls.unary, calls.unary_per_tenant, calls.streams, calls.streams_per_tenant, calls.methods)
        ),
        drain=drain,
        readers=readers,
        metrics=metrics,
        ids=ids,
    )


def _refuse_exposure(settings: ServerSettings, authenticators: Sequence[Authenticator]) -> None:
    for address in settings.listen:
        if is_loopback(address):
            continue
        if any(isinstance(each, Development) for each in authenticators):
            problem = "the development identity takes everybody for one caller, and others can reach it"
            remedy = "listen on 127.0.0.1, or configure tokens, API keys or client certificates"
            raise CannotServe(f"address {address}", problem, remedy)
        if settings.tls is None and not settings.allow_plaintext:
            problem = "others can reach it and it would be plaintext"
            remedy = "set tls.certificate and tls.key, or allow_plaintext where a mesh encrypts"
            raise CannotServe(f"address {address}", problem, remedy)


def _options(settings: ServerSettings) -> list[tuple[str, Any]]:
    age, age_grace = settings.connection_age, settings.connection_age_grace
    return [
        ("grpc.so_reuseport", 0),  # Or a second process would take the port silently, and half of the calls.
        # Above our own limit, so that a request not far beyond it is refused in words, not by the transport.
        ("grpc.max_receive_message_length", settings.calls.request_bytes + MIB),
        ("grpc.max_metadata_size", 16 << 10),
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.keepalive_permit_without_calls", 1),
        # Clients ping every 30 s; gRPC's own minimum of 5 minutes would cut them off.
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
        ("grpc.max_connection_age_ms", round(age.total_seconds() * 1_000)),
        ("grpc.max_connection_age_grace_ms", round(age_grace.total_seconds() * 1_000)),
    ]


def _credentials(tls: ServerTls) -> grpc.ServerCredentials:
    pairs = [(_read(tls.key), _read(tls.certificate))]
    if tls.client_ca is None:
        return grpc.ssl_server_credentials(pairs)
    return grpc.ssl_server_credentials(pairs, root_certificates=_read(tls.client_ca), require_client_auth=True)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        problem = error.strerror or str(error)
        raise CannotServe(f"TLS with {path}", problem, "check the path and who may read it") from error


async def until_asked(server: Server, asked: asyncio.Event) -> None:
    """Serve until `asked` is set."""
    async with server.running():
        await asked.wait()
