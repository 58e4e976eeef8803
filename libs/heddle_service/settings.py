"""The settings that every service beside the runtime has: its database and its bus, its way in, how it goes round."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import Field, SecretStr, field_serializer

from heddle_bus.endpoint import FindEndpoint, endpoint_finder
from heddle_client.motion import MotionSettings
from heddle_database.addresses import without_password
from heddle_grpc.companions import WayIn
from heddle_grpc.served_settings import ServedSettings
from heddle_service.door import DoorSettings

_LOOK_ALONE = timedelta(seconds=1)
"""How often whoever watches looks by himself, where nobody can tell of what another process has changed."""

Positive = Annotated[timedelta, Field(gt=timedelta(0))]


class ServiceSettings(ServedSettings):
    """What can be set on every service beside the runtime."""

    data_dir: Path = Field(default=Path(".heddle"), description="Folder of the embedded database.")
    runtime: DoorSettings = DoorSettings()
    database: str = Field(
        default="",
        repr=False,
        pattern="^$|^postgres(ql)?://",
        description="`postgresql://user:password@host/name`; empty: SQLite in data_dir.",
    )
    database_patience: Positive = Field(
        default=timedelta(seconds=30), description="How long a start waits for a PostgreSQL that does not answer yet."
    )
    database_prepared_statements: bool = Field(
        default=True, description="Off behind a proxy that pools by transaction, as PgBouncer does in that mode."
    )
    nats: str = Field(
        default="",
        pattern="^$|^(nats|tls)://[^@,]+(, *(nats|tls)://[^@,]+)*$",
        description="`nats://host:4222`, several with commas; it rings when a run moves. Empty: sweeps find it.",
    )
    nats_token: SecretStr | None = None
    nats_user: str = ""
    nats_password: SecretStr | None = None
    nats_credentials: Path | None = Field(default=None, description="A .creds file with a user JWT and its key.")
    nats_ca_file: Path | None = Field(default=None, description="Who signed the certificates of tls:// servers.")
    nats_endpoint: Path | None = Field(
        default=None, description="File in which `heddle up` says where its own NATS listens, instead of `nats`."
    )
    sweep_every: Positive = Field(
        default=timedelta(seconds=10), description="Longest time without a look; what a lost worker had waits so long."
    )
    at_once: int = Field(default=64, ge=1, description="What is looked at side by side.")
    most_watched: int = Field(default=256, ge=0, description="Threads that are watched live.")
    requests_kept: Annotated[timedelta, Field(ge=timedelta(days=1))] = Field(
        default=timedelta(days=7), description="How long a repeated request is known to be one, at least a day."
    )

    @field_serializer("database")
    def _without_password(self, address: str) -> str:
        return without_password(address)

    @property
    def motion(self) -> MotionSettings:
        """How the service goes round."""
        return MotionSettings(self.sweep_every, self.at_once, self.most_watched)

    def look_every(self, *, beside_bus: bool) -> timedelta:
        """How often whoever watches looks by himself. Only a PostgreSQL has others who write; NATS tells of them."""
        return self.sweep_every if beside_bus or not self.database else min(_LOOK_ALONE, self.sweep_every)

    @property
    def bus(self) -> FindEndpoint | None:
        """Where the broker is, by `nats` or `nats_endpoint`; None: there is none.

        Raises CannotServe for a `nats_ca_file` that cannot be used.
        """
        return endpoint_finder(
            self.nats,
            self.nats_token.get_secret_value() if self.nats_token else "",
            self.nats_endpoint,
            user=self.nats_user,
            password=self.nats_password.get_secret_value() if self.nats_password else "",
            credentials=self.nats_credentials,
            ca_file=self.nats_ca_file,
            ca_setting=f"{self.model_config.get('env_prefix', '')}NATS_CA_FILE",
        )


Settings = TypeVar("Settings", bound=ServiceSettings)


def by_way(settings: Settings, way: WayIn, name: str) -> Settings:
    """The settings of the companion of that name: it goes into the runtime by the way that this leaves it."""
    door = DoorSettings(address=way.address, token=SecretStr(way.mint(name)))
    return settings.model_copy(update={"runtime": door})
