"""The settings of who may call: one shape for all services, so that one page explains it (docs/identity.md)."""

from datetime import timedelta
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class JwtSettings(_Part):
    """Tokens of one issuer. Issuer, audience and one place of the keys belong together."""

    issuer: str = Field(default="", description="What `iss` must say.")
    audience: str = Field(default="", description="What `aud` must say or hold.")
    jwks_file: Path | None = Field(default=None, description="The issuer's public keys, as a JWKS document.")
    jwks_url: str = Field(default="", description="Where to read that document instead, over https.")
    tenant_claim: str = Field(default="tenant", min_length=1)
    principal_claim: str = Field(default="sub", min_length=1)
    scope_claim: str = Field(default="scope", min_length=1, description="A list, or one text with blanks between.")
    leeway: timedelta = Field(default=timedelta(seconds=30), description="Between the issuer's clock and ours.")
    refresh_every: timedelta = Field(default=timedelta(minutes=5), description="The keys are read again so often.")


class IdentitySettings(_Part):
    """Who may call: each kind that is set, together. With none, the development identity, on loopback only."""

    tenant: str = Field(default="default", description="Of the development identity.")
    principal: str = Field(default="developer", description="Of the development identity.")
    api_keys_file: Path | None = Field(default=None, description="JSON list of hashed keys.")
    jwt: JwtSettings = JwtSettings()
    certificates_file: Path | None = Field(
        default=None, description="JSON list of the names in client certificates and whose they are."
    )
