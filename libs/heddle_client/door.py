"""The way into the runtime for a service beside it: where it is, and one channel for everybody's name."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from heddle_client.over_grpc import GrpcAgentRuntime
from heddle_client.runs import Runs
from heddle_client.stubs import RuntimeStubs
from heddle_core.requests import Creator
from heddle_grpc.channel import Channel, open_channel
from heddle_grpc.settings import ChannelSettings, ChannelTls


class DoorSettings(BaseModel):
    """Where the runtime is, and how to get in."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: str = Field(default="127.0.0.1:7233", description="`host:port` or `unix:/path`.")
    token: SecretStr | None = Field(default=None, description="Bearer token with the scope `act_as`.")
    ca: Path | None = Field(default=None, description="PEM roots; TLS is spoken where this or `tls` is set.")
    tls: bool = Field(default=False, description="Speak TLS, trusting the system's roots.")
    allow_plaintext: bool = Field(default=False, description="Send the token without TLS, as behind a mesh.")


class RuntimeDoor:
    """The only way into the runtime: one channel, opened when it is first needed."""

    def __init__(self, settings: DoorSettings) -> None:
        self._settings = settings
        self._channel: Channel | None = None
        self._runs: Runs | None = None

    def runs_of(self, creator: Creator) -> Runs:
        """The runtime in the name of a creator."""
        if self._runs is None:
            self._runs = self._opened()
        return self._runs.acting_as(creator.tenant, creator.principal)

    async def close(self) -> None:
        """Close the channel, if it was opened."""
        if self._channel is not None:
            await self._channel.close()

    def _opened(self) -> Runs:
        given, address = self._settings, self._settings.address
        tls = ChannelTls(ca=given.ca) if given.tls or given.ca is not None else None
        secret = given.token
        self._channel = open_channel(
            ChannelSettings(address=address, tls=tls, allow_plaintext=given.allow_plaintext),
            token=secret.get_secret_value if secret is not None else None,
        )
        return Runs(GrpcAgentRuntime(RuntimeStubs.on(self._channel), target=address))
