"""The spawn service's settings: environment variables with the prefix HEDDLE_SPAWN_, nested by two underscores.

`HEDDLE_SPAWN_LISTEN=127.0.0.1:0`, `HEDDLE_SPAWN_ASSETS='{"image": "image"}'`. Secrets are never printed.
"""

import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_serializer
from pydantic_settings import BaseSettings, SettingsConfigDict

from heddle_client.door import DoorSettings
from heddle_grpc.standalone import IdentitySettings

Positive = Annotated[timedelta, Field(gt=timedelta(0))]


class SpawnSettings(BaseSettings):
    """Everything that can be set on the spawn service."""

    model_config = SettingsConfigDict(
        env_prefix="HEDDLE_SPAWN_", env_nested_delimiter="__", extra="ignore", frozen=True, secrets_dir=None
    )

    data_dir: Path = Field(default=Path(".heddle"), description="Folder of the embedded database, spawn.db.")
    listen: str = Field(default="127.0.0.1:7234", description="`host:port` or `unix:/path`; port 0 picks one.")
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
        description="`nats://host:4222`, several with commas; rings when a child moves. Empty: sweeps and watching do.",
    )
    nats_token: SecretStr | None = None
    nats_endpoint: Path | None = Field(
        default=None, description="File in which `heddle up` says where its own NATS listens, instead of `nats`."
    )
    most_depth: int = Field(default=3, ge=0, description="Of a child below its root; the runtime's bound holds too.")
    most_children: int = Field(default=8, ge=1, description="Open children of one run; likewise.")
    cycles: bool = Field(default=False, description="Whether an agent may delegate to itself.")
    assets: dict[Literal["image", "video", "audio", "text"], str] = Field(
        default_factory=dict[Literal["image", "video", "audio", "text"], str],
        description="Which agent makes which kind of asset. Empty: `request_asset` refuses.",
    )
    sweep_every: Positive = Field(default=timedelta(seconds=10), description="Longest time without a look.")
    at_once: int = Field(default=64, ge=1, description="Children that are looked at side by side.")
    most_watched: int = Field(default=256, ge=0, description="Children whose threads are watched live.")
    log_level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")
    log_calls: bool = Field(default=False, description="Log calls that ended well, too.")

    @field_serializer("database")
    def _without_password(self, address: str) -> str:
        return re.sub(r"(?<=password=)[^&]*", "***", re.sub(r"(//[^:@/]*:).*@", r"\1***@", address))
