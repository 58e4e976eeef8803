"""The way into the runtime for a service beside it: where it is, and one channel for everybody's name."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from heddle_client.over_grpc import GrpcAgentRuntime
from heddle_client.runs import Runs
from heddle_client.stubs import RuntimeStubs
from heddle_core.clock import Clock
from heddle_core.errors import CannotServe
from heddle_core.requests import Creator
from heddle_grpc.channel import TokenSource, open_channel
from heddle_grpc.settings import ChannelSettings, ChannelTls
from heddle_grpc.token_files import TokenFile, token_in


class DoorSettings(BaseModel):
    """Where the runtime is, and how to get in."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: str = Field(default="127.0.0.1:7233", description="`host:port` or `unix:/path`.")
    token: SecretStr | None = Field(default=None, description="Bearer token with the scope `act_as`.")
    token_file: Path | None = Field(
        default=None, description="Holds that token instead, and is read again whenever it changes."
    )
    ca: Path | None = Field(default=None, description="PEM roots; TLS is spoken where this or `tls` is set.")
    tls: bool = Field(default=False, description="Speak TLS, trusting the system's roots.")
    certificate: Path | None = Field(
        default=None, description="PEM chain to show to a runtime that asks for one; with it, TLS."
    )
    key: Path | None = Field(default=None, description="PEM key of that certificate.")
    allow_plaintext: bool = Field(default=False, description="Send the token without TLS, as behind a mesh.")


class RuntimeDoor:
    """The only way into the runtime: one channel, which connects when it is first needed."""

    def __init__(self, settings: DoorSettings, clock: Clock) -> None:
        """Reads the files that are named.

        Raises CannotServe for what is set by half or cannot be read, and for a token that would travel in plaintext.
        """
        channel = ChannelSettings(
            address=settings.address, tls=_tls(settings), allow_plaintext=settings.allow_plaintext
        )
        self._channel = open_channel(channel, token=_token(settings, clock), for_others=True)
        self._runs = Runs(GrpcAgentRuntime(RuntimeStubs.on(self._channel), target=settings.address))

    def runs_of(self, creator: Creator) -> Runs:
        """The runtime in the name of a creator."""
        return self._runs.acting_as(creator.tenant, creator.principal)

    async def close(self) -> None:
        """Close the channel."""
        await self._channel.close()


def _token(given: DoorSettings, clock: Clock) -> TokenSource | None:
    if given.token is not None and given.token_file is not None:
        raise CannotServe("runtime.token and runtime.token_file", "both are set", "set one of them")
    if given.token_file is not None:
        return TokenFile("runtime.token_file", given.token_file, clock)
    if given.token is None:
        return None
    token = token_in("runtime.token", given.token.get_secret_value(), "it")
    return lambda: token


def _tls(given: DoorSettings) -> ChannelTls | None:
    if (given.certificate is None) is not (given.key is None):
        problem = "a certificate and its key belong together"
        raise CannotServe("runtime.certificate and runtime.key", problem, "set both, or neither")
    if not given.tls and given.ca is None and given.certificate is None:
        return None
    return ChannelTls(ca=given.ca, certificate=given.certificate, key=given.key)
