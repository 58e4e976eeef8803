"""How every client reaches a server: deadlines, credentials and retries by default, and our own errors back.

A channel that wraps a channel, because client interceptors of grpc.aio start a task for each call.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from json import dumps
from pathlib import Path
from typing import Any

import grpc

from heddle_core.errors import (
    CannotServe,
    CredentialInvalid,
    CredentialMissing,
    ScopeMissing,
    ServiceCredentialRefused,
)
from heddle_core.faults import HeddleError
from heddle_grpc import calls
from heddle_grpc.addresses import is_loopback
from heddle_grpc.client_calls import StreamCall, StreamStreamCall, UnaryCall
from heddle_grpc.errors import from_rpc_error
from heddle_grpc.identity import ACT_AS_KEY, AUTHORIZATION_KEY, Identity
from heddle_grpc.settings import ChannelSettings, ChannelTls

TokenSource = Callable[[], str | None]
"""Gives the bearer token to send now; None for none. Called for every call, so it must not wait."""

Metadata = tuple[tuple[str, str | bytes], ...]


def open_channel(settings: ChannelSettings, *, token: TokenSource | None = None, for_others: bool = False) -> "Channel":
    """A channel to `settings.address`, for any generated stub. Connects when first used; close it after.

    Errors of calls through it are of the family in `heddle_core.errors`. With `for_others` it is used on behalf of this
    process's own callers: a refusal of its credential is told as ServiceCredentialRefused, or they would take it for
    one of theirs. Raises CannotServe for a token that would travel in plaintext beyond loopback, unless
    `allow_plaintext` is set.
    """
    if token is not None:
        check_exposure(settings)
    options = _options(settings)
    if settings.tls is None:
        raw = grpc.aio.insecure_channel(settings.address, options)
    else:
        raw = grpc.aio.secure_channel(settings.address, _credentials(settings.tls), options)
    return Channel(raw, Defaults(settings.address, settings.unary_deadline.total_seconds(), token, for_others))


def check_exposure(settings: ChannelSettings) -> None:
    """Raises CannotServe where a token would travel in plaintext beyond loopback, unless `allow_plaintext` is set."""
    if settings.tls is None and not settings.allow_plaintext and not is_loopback(settings.address):
        problem = "its token would travel in plaintext"
        raise CannotServe(f"channel to {settings.address}", problem, "set tls, or allow_plaintext in a mesh")


def act_as(identity: Identity) -> Metadata:
    """Metadata that makes a call speak for `identity`, which needs a credential with scope `act_as`."""
    return ((ACT_AS_KEY, f"{identity.tenant}/{identity.principal}"),)


@dataclass(frozen=True)
class Defaults:
    """What a call gets when its caller says nothing."""

    target: str
    unary_deadline: float
    token: TokenSource | None
    for_others: bool = False

    def told(self, error: grpc.aio.AioRpcError, method: str) -> HeddleError:
        """What to raise for a call that ended in `error`."""
        told = from_rpc_error(error, method=method, target=self.target)
        if self.for_others and isinstance(told, CredentialMissing | CredentialInvalid | ScopeMissing):
            return ServiceCredentialRefused(self.target, str(told))
        return told

    def metadata(self, given: Any) -> Metadata:
        """`given`, with the credential, and with the ids of the call that is being served, if one is."""
        added: list[tuple[str, str | bytes]] = []
        if self.token is not None:
            token = self.token()
            if token is not None:
                added.append((AUTHORIZATION_KEY, f"Bearer {token}"))
        call = calls.current_or_none()
        if call is not None:
            if call.request_id_was_sent:
                added.append((calls.REQUEST_ID_KEY, call.request_id))
            if call.traceparent:
                added.append((calls.TRACEPARENT_KEY, call.traceparent))
        return (*added, *(given or ()))


class Channel(grpc.aio.Channel):
    """A grpc.aio channel whose calls have defaults, and raise Heddle's errors."""

    def __init__(self, raw: grpc.aio.Channel, defaults: Defaults) -> None:
        self._raw = raw
        self._defaults = defaults

    def unary_unary(self, method: str, *arguments: Any, **options: Any) -> Any:
        raw = self._raw.unary_unary(method, *arguments, **options)
        defaults = self._defaults

        def call(request: Any, *, timeout: float | None = None, metadata: Any = None, **rest: Any) -> Any:
            limit = defaults.unary_deadline if timeout is None else timeout
            started = raw(request, timeout=limit, metadata=defaults.metadata(metadata), **rest)
            return UnaryCall(started, method, defaults.told)

        return call

    def unary_stream(self, method: str, *arguments: Any, **options: Any) -> Any:
        raw = self._raw.unary_stream(method, *arguments, **options)
        defaults = self._defaults

        def call(request: Any, *, metadata: Any = None, **rest: Any) -> Any:
            started = raw(request, metadata=defaults.metadata(metadata), **rest)
            return StreamCall(started, method, defaults.told)

        return call

    def stream_unary(self, method: str, *arguments: Any, **options: Any) -> Any:
        raw = self._raw.stream_unary(method, *arguments, **options)
        defaults = self._defaults

        def call(requests: Any = None, *, metadata: Any = None, **rest: Any) -> Any:
            started = raw(requests, metadata=defaults.metadata(metadata), **rest)
            return UnaryCall(started, method, defaults.told)

        return call

    def stream_stream(self, method: str, *arguments: Any, **options: Any) -> Any:
        raw = self._raw.stream_stream(method, *arguments, **options)
        defaults = self._defaults

        def call(requests: Any = None, *, metadata: Any = None, **rest: Any) -> Any:
            started = raw(requests, metadata=defaults.metadata(metadata), **rest)
            return StreamStreamCall(started, method, defaults.told)

        return call

    async def close(self, grace: float | None = None) -> None:
        await self._raw.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        return self._raw.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        await self._raw.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        await self._raw.channel_ready()

    async def __aenter__(self) -> "Channel":
        await self._raw.__aenter__()
        return self

    async def __aexit__(self, *exception: Any) -> None:
        await self._raw.__aexit__(*exception)


def _options(settings: ChannelSettings) -> Sequence[tuple[str, Any]]:
    options: list[tuple[str, Any]] = [
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.service_config", dumps(_service_config(settings.attempts))),
        ("grpc.service_config_disable_resolution", 1),  # A DNS record must not change how we retry.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 5_000),
        ("grpc.max_metadata_size", 16 << 10),
    ]
    if settings.tls is not None and settings.tls.authority is not None:
        options.append(("grpc.ssl_target_name_override", settings.tls.authority))
    return options


def _service_config(attempts: int) -> dict[str, Any]:
    spread: dict[str, Any] = {"loadBalancingConfig": [{"round_robin": {}}]}
    if attempts == 1:
        return spread
    retry = {
        "maxAttempts": attempts,
        "initialBackoff": "0.1s",
        "maxBackoff": "2s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    return {**spread, "methodConfig": [{"name": [{}], "retryPolicy": retry}]}


def _credentials(tls: ChannelTls) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(_read(tls.ca), _read(tls.key), _read(tls.certificate))


def _read(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        return path.read_bytes()
    except OSError as error:
        problem = error.strerror or str(error)
        raise CannotServe(f"TLS with {path}", problem, "check the path and who may read it") from error
