"""The campaign service's settings: environment variables with the prefix HEDDLE_CAMPAIGN_, nested by two underscores.

`HEDDLE_CAMPAIGN_LISTEN=127.0.0.1:0`, `HEDDLE_CAMPAIGN_RUNTIME__ADDRESS=runtime:7233`. Secrets are never printed.
"""

from datetime import timedelta
from typing import Annotated

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from heddle_service.settings import Positive, ServiceSettings


class CampaignServiceSettings(ServiceSettings):
    """Everything that can be set on the campaign service."""

    model_config = SettingsConfigDict(env_prefix="HEDDLE_CAMPAIGN_")

    listen: str = Field(default="127.0.0.1:7235", description="`host:port` or `unix:/path`; port 0 picks one.")
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
    memory_round_every: Positive = Field(
        default=timedelta(days=1), description="How often what has faded, or whose thread is gone, is forgotten."
    )
