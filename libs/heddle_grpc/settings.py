"""The settings of every server and every channel: one shape for all services, so that one page explains it."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

MIB = 1 << 20

Seconds = Annotated[timedelta, Field(gt=timedelta(0))]


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ServerTls(_Settings):
    """The server's certificate, and whose client certificates it asks for."""

    certificate: Path = Field(description="PEM chain of the server.")
    key: Path = Field(description="PEM key of the server.")
    client_ca: Path | None = Field(
        default=None, description="PEM roots of client certificates; when set, each client must show one."
    )


class CallSettings(_Settings):
    """How large, how long and how many calls may be."""

    request_bytes: int = Field(default=4 * MIB, gt=0)
    response_bytes: int = Field(default=3 * MIB, gt=0, description="Of one message; stock clients accept 4 MiB.")
    text_bytes: int = Field(default=MIB, gt=0, description="Of one field named `text`.")
    json_bytes: int = Field(default=MIB, gt=0, description="Of one field named `*_json`.")
    unary_deadline: Seconds = Field(
        default=timedelta(seconds=30), description="For a unary call that comes without one."
    )
    write_patience: Seconds = Field(
        default=timedelta(seconds=30), description="How long a stream waits for its client to read."
    )
    unary: int = Field(default=1_000, gt=0, description="Unary calls at once.")
    unary_per_tenant: int = Field(default=500, gt=0)
    streams: int = Field(default=20_000, gt=0, description="Streams at once.")
    streams_per_tenant: int = Field(default=10_000, gt=0)
    methods: dict[str, int] = Field(
        default_factory=dict, description="Tighter limits of calls at once, by full method path."
    )
    log_ok_calls: bool = Field(default=False, description="Log unary calls and streams that ended well, too.")


class ServerSettings(_Settings):
    """Where a server listens, and how it behaves there."""

    listen: tuple[str, ...] = Field(
        default=("127.0.0.1:7450",),
        min_length=1,
        description="`host:port` or `unix:/path`; port 0 picks one.",
    )
    inside: str | None = Field(
        default=None,
        pattern="^unix:/",
        description="Socket for parts of the same process, plaintext: keep it in a folder that only they may enter.",
    )
    tls: ServerTls | None = None
    allow_plaintext: bool = Field(
        default=False, description="Serve without TLS beyond loopback, as behind a mesh that encrypts."
    )
    reflection: bool = Field(default=False, description="Let clients ask for the contract.")
    operations: str | None = Field(
        default=None, description="Plaintext address for probes and channelz: health, without credentials."
    )
    operations_http: str | None = Field(default=None, description="Address of plain HTTP /livez, /readyz and /metrics.")
    stream_grace: Seconds = Field(
        default=timedelta(seconds=5), description="How long streams may take to end themselves in a drain."
    )
    grace: Seconds = Field(default=timedelta(seconds=15), description="How long unary calls may, likewise.")
    connection_age: Seconds = Field(
        default=timedelta(minutes=30), description="After which a connection is closed kindly, to rebalance."
    )
    connection_age_grace: Seconds = Field(
        default=timedelta(minutes=20), description="For its open calls; more than a stream's age limit."
    )
    calls: CallSettings = CallSettings()


class ChannelTls(_Settings):
    """Whom a client trusts, and what it shows."""

    ca: Path | None = Field(default=None, description="PEM roots; the system's when not set.")
    certificate: Path | None = Field(default=None, description="PEM chain shown to servers that ask.")
    key: Path | None = None
    authority: str | None = Field(default=None, description="Name expected in the server's certificate.")


class ChannelSettings(_Settings):
    """How a client reaches one server."""

    address: str = Field(
        default="127.0.0.1:7450", description="`host:port`, `unix:/path`, or `dns:///host:port` for all its addresses."
    )
    tls: ChannelTls | None = None
    allow_plaintext: bool = Field(
        default=False, description="Send credentials without TLS beyond loopback, as behind a mesh that encrypts."
    )
    unary_deadline: Seconds = Field(default=timedelta(seconds=30), description="When a call names none.")
    attempts: int = Field(
        default=4,
        ge=1,
        le=5,
        description="Of one call while the server is UNAVAILABLE; 1 for methods that must not be sent twice.",
    )
