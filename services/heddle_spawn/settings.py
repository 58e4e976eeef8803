"""The spawn service's settings: environment variables with the prefix HEDDLE_SPAWN_, nested by two underscores.

`HEDDLE_SPAWN_LISTEN=127.0.0.1:0`, `HEDDLE_SPAWN_ASSETS='{"image": "image"}'`. Secrets are never printed.
"""

from typing import Literal

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from heddle_service.settings import ServiceSettings

Kind = Literal["image", "video", "audio", "text"]


def _texts() -> dict[Kind, str]:
    """What needs no pipeline: texts, by the writer that comes with the runtime."""
    return {"text": "writer"}


class SpawnSettings(ServiceSettings):
    """Everything that can be set on the spawn service."""

    model_config = SettingsConfigDict(env_prefix="HEDDLE_SPAWN_")

    listen: str = Field(default="127.0.0.1:7234", description="`host:port` or `unix:/path`; port 0 picks one.")
    most_depth: int = Field(default=3, ge=0, description="Of a child below its root; the runtime's bound holds too.")
    most_children: int = Field(default=8, ge=1, description="Open children of one run; likewise.")
    cycles: bool = Field(default=False, description="Whether an agent may delegate to itself.")
    assets: dict[Kind, str] = Field(
        default_factory=_texts,
        description="Which agent makes which kind of asset; `request_asset` refuses the others.",
    )
