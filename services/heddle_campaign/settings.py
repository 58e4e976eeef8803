"""The campaign service's settings: environment variables with the prefix HEDDLE_CAMPAIGN_, nested by two underscores.

`HEDDLE_CAMPAIGN_LISTEN=127.0.0.1:0`, `HEDDLE_CAMPAIGN_RUNTIME__ADDRESS=runtime:7233`. Secrets are never printed.
"""

import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, field_serializer
from pydantic_settings import BaseSettings, SettingsConfigDict

from heddle_client.door import DoorSettings
from heddle_grpc.standalone import IdentitySettings

Positive = Annotated[timedelta, Field(gt=timedelta(0))]


class CampaignSettings(BaseSettings):
    """Everything that can be set on the campaign service."""

    model_config = SettingsConfigDict(
        env_prefix="HEDDLE_CAMPAIGN_", env_nested_delimiter="__", extra="ignore", frozen=True, secrets_dir=None
    )

    data_dir: Path = Field(default=Path(".heddle"), description="Folder of the embedded database, campaign.db.")
    listen: str = Field(default="127.0.0.1:7235", description="`host:port` or `unix:/path`; port 0 picks one.")
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
        description="`nats://host:4222`, several with commas; rings when a run ends, and brings signals.",
    )
    nats_token: SecretStr | None = None
    nats_endpoint: Path | None = Field(
        default=None, description="File in which `heddle up` says where its own NATS listens, instead of `nats`."
    )
    signal_replicas: int = Field(default=1, ge=1, le=5, description="Copies of the stream of signals in NATS.")
    webhooks: str | None = Field(default=None, description="`host:port` for signed webhooks. Unset: none are taken.")
    webhook_secrets: dict[str, list[SecretStr]] = Field(
        default_factory=dict[str, list[SecretStr]],
        description="By tenant, `whsec_...`; several while one is being changed.",
    )
    shortest_distance: Annotated[timedelta, Field(ge=timedelta(minutes=1))] = Field(
        default=timedelta(minutes=1), description="Least time between two times of a schedule."
    )
    cycles_per_tenant: int = Field(default=10, ge=1, description="Cycles of one tenant at work at once.")
    cycles_per_minute: int = Field(default=0, ge=0, description="Cycles of one tenant that may begin; 0: no bound.")
    tenant_shares: dict[str, Annotated[int, Field(ge=1)]] = Field(
        default_factory=dict[str, int], description="How much of the workers a tenant gets beside others; 1 else."
    )
    sweep_every: Positive = Field(
        default=timedelta(seconds=10), description="Longest time without a look; a lost worker's cycles wait so long."
    )
    at_once: int = Field(default=64, ge=1, description="Cycles that are looked at side by side.")
    most_watched: int = Field(default=256, ge=0, description="Threads of cycles that are watched live.")
    memory_round_every: Positive = Field(
        default=timedelta(days=1), description="How often what has faded, or whose thread is gone, is forgotten."
    )
    log_level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")
    log_calls: bool = Field(default=False, description="Log calls that ended well, too.")

    @field_serializer("database")
    def _without_password(self, address: str) -> str:
        return re.sub(r"(?<=password=)[^&]*", "***", re.sub(r"(//[^:@/]*:).*@", r"\1***@", address))
