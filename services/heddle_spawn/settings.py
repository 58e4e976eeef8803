"""The spawn service's settings: environment variables with the prefix HEDDLE_SPAWN_, nested by two underscores.

`HEDDLE_SPAWN_LISTEN=127.0.0.1:0`, `HEDDLE_SPAWN_ASSETS='{"image": "image"}'`. Secrets are never printed.
"""

from typing import Literal

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from heddle_client.beside import BesideSettings


class SpawnSettings(BesideSettings):
    """Everything that can be set on the spawn service."""

    model_config = SettingsConfigDict(env_prefix="HEDDLE_SPAWN_")

    listen: str = Field(default="127.0.0.1:7234", description="`host:port` or `unix:/path`; port 0 picks one.")
    most_depth: int = Field(default=3, ge=0, description="Of a child below its root; the runtime's bound holds too.")
    most_children: int = Field(default=8, ge=1, description="Open children of one run; likewise.")
    cycles: bool = Field(default=False, description="Whether an agent may delegate to itself.")
    assets: dict[Literal["image", "video", "audio", "text"], str] = Field(
        default_factory=dict[Literal["image", "video", "audio", "text"], str],
        description="Which agent makes which kind of asset. Empty: `request_asset` refuses.",
    )
