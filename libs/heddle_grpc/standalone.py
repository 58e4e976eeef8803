"""What a service beside the runtime needs to be served by itself: who may call, under which certificate, and where."""

from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from heddle_core.ids import PrincipalId, TenantId
from heddle_grpc.api_keys import ApiKeys, read_records
from heddle_grpc.identity import Authenticator, Development, Identity
from heddle_grpc.identity_files import read_identities
from heddle_grpc.settings import ServerTls


class IdentitySettings(BaseModel):
    """Who may call. With nothing set, the development identity, which works on loopback only."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tenant: str = Field(default="default", description="Of the development identity.")
    principal: str = Field(default="developer", description="Of the development identity.")
    api_keys_file: Path | None = Field(default=None, description="JSON list of hashed keys.")


def authenticators_of(given: IdentitySettings, scopes: Iterable[str]) -> tuple[Authenticator, ...]:
    """Who may call by the settings; the development identity has all `scopes` that the service asks for.

    Raises CannotServe for a file of keys that cannot be used.
    """
    path = given.api_keys_file
    if path is not None:
        return (read_identities("identity.api_keys_file", path, lambda: ApiKeys(read_records(path))),)
    everything = frozenset(scopes)
    return (Development(Identity(TenantId(given.tenant), PrincipalId(given.principal), everything)),)


def server_tls_of(certificate: Path | None, key: Path | None, client_ca: Path | None) -> ServerTls | None:
    """The server's certificate; None without one and its key."""
    if certificate is None or key is None:
        return None
    return ServerTls(certificate=certificate, key=key, client_ca=client_ca)


def told_address(listen: str, port: int) -> str:
    """`listen` with the port that was picked; a socket file has none."""
    host, colon, _ = listen.rpartition(":")
    return listen if listen.startswith("unix:") or not colon else f"{host}:{port}"
