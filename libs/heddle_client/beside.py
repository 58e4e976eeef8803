"""What every service beside the runtime is set up and served with: where, by whose leave, on which database and bus."""

import re
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, field_serializer
from pydantic_settings import BaseSettings, SettingsConfigDict

from heddle_bus.endpoint import FindEndpoint, endpoint_finder
from heddle_client.door import DoorSettings, RuntimeDoor
from heddle_client.motion import MotionSettings
from heddle_core.clock import Clock
from heddle_core.ids import TimeOrderedIds
from heddle_database.migrations import Migrations
from heddle_database.opening import open_database
from heddle_database.port import Database
from heddle_grpc.drain import Drain
from heddle_grpc.routes import Service
from heddle_grpc.server import Server
from heddle_grpc.settings import CallSettings, ServerSettings
from heddle_grpc.standalone import IdentitySettings, authenticators_of, server_tls_of

Positive = Annotated[timedelta, Field(gt=timedelta(0))]


class BesideSettings(BaseSettings):
    """What can be set on every such service. Each adds its own, a prefix of its variables and its port."""

    model_config = SettingsConfigDict(env_nested_delimiter="__", extra="ignore", frozen=True, secrets_dir=None)

    data_dir: Path = Field(default=Path(".heddle"), description="Folder of the embedded database.")
    listen: str = Field(default="127.0.0.1:0", description="`host:port` or `unix:/path`; port 0 picks one.")
    operations: str | None = Field(default=None, description="Plaintext address of health and channelz.")
    operations_http: str | None = Field(default=None, description="Address of /livez, /readyz and /metrics.")
    reflection: bool = Field(default=True, description="Let clients ask for the contract.")
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    runtime: DoorSettings = DoorSettings()
    identity: IdentitySettings = IdentitySettings()
    database: str = Field(
        default="",
        repr=False,
        pattern="^$|^postgres(ql)?://",
        description="`postgresql://user:password@host/name`; empty: SQLite in data_dir.",
    )
    database_patience: Positive = Field(
        default=timedelta(seconds=30), description="How long a start waits for a PostgreSQL that does not answer yet."
    )
    nats: str = Field(
        default="",
        pattern="^$|^(nats|tls)://[^@,]+(, *(nats|tls)://[^@,]+)*$",
        description="`nats://host:4222`, several with commas; it rings when a run moves. Empty: sweeps find it.",
    )
    nats_token: SecretStr | None = None
    nats_endpoint: Path | None = Field(
        default=None, description="File in which `heddle up` says where its own NATS listens, instead of `nats`."
    )
    sweep_every: Positive = Field(
        default=timedelta(seconds=10), description="Longest time without a look; what a lost worker had waits so long."
    )
    at_once: int = Field(default=64, ge=1, description="What is looked at side by side.")
    most_watched: int = Field(default=256, ge=0, description="Threads that are watched live.")
    log_level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")
    log_calls: bool = Field(default=False, description="Log calls that ended well, too.")

    @field_serializer("database")
    def _without_password(self, address: str) -> str:
        return re.sub(r"(?<=password=)[^&]*", "***", re.sub(r"(//[^:@/]*:).*@", r"\1***@", address))

    @property
    def motion(self) -> MotionSettings:
        """How the service goes round."""
        return MotionSettings(self.sweep_every, self.at_once, self.most_watched)

    @property
    def bus(self) -> FindEndpoint | None:
        """Where the broker is, by `nats` or `nats_endpoint`; None: there is none."""
        token = self.nats_token.get_secret_value() if self.nats_token else ""
        return endpoint_finder(self.nats, token, self.nats_endpoint)


@asynccontextmanager
async def opened(
    settings: BesideSettings, migrations: Migrations, clock: Clock, runtime_address: Callable[[], str] | None
) -> AsyncGenerator[tuple[Database, RuntimeDoor]]:
    """The service's database, and its way into the runtime, which is used when it is first needed.

    `runtime_address` is asked then, instead of the settings: within one process, the port is known only once it is
    bound.

    Raises:
        IllegalTransition, StoreUnavailable: see `heddle_database.opening`.
    """
    database = await open_database(
        migrations,
        file=settings.data_dir / f"{migrations.service}.db",
        address=settings.database,
        patience=settings.database_patience,
        clock=clock,
    )
    async with AsyncExitStack() as closing:
        closing.push_async_callback(database.close)
        door = RuntimeDoor(settings.runtime, runtime_address)
        closing.push_async_callback(door.close)
        yield database, door


def server_of(
    settings: BesideSettings, services: Sequence[Service], scopes: Iterable[str], clock: Clock, drain: Drain
) -> Server:
    """The server of a service that is served by itself; `scopes` are all that its methods ask for.

    Raises:
        CannotServe: a credential setting does not fit where it listens.
    """
    served = ServerSettings(
        listen=(settings.listen,),
        tls=server_tls_of(settings.tls_certificate, settings.tls_key, settings.tls_client_ca),
        reflection=settings.reflection,
        operations=settings.operations,
        operations_http=settings.operations_http,
        calls=CallSettings(log_ok_calls=settings.log_calls),
    )
    authenticators = authenticators_of(settings.identity, scopes)
    return Server(served, tuple(services), authenticators=authenticators, ids=TimeOrderedIds(clock), drain=drain)
