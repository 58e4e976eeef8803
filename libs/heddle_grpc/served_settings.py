"""The settings that every service has of its own server: where it serves, under which certificate, and for whom."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from heddle_core.errors import CannotServe
from heddle_grpc.identity_settings import IdentitySettings
from heddle_grpc.settings import CallSettings, ServerSettings, ServerTls


class ServedSettings(BaseSettings):
    """What can be set on every service. Each adds its own, a prefix of its variables and its port."""

    model_config = SettingsConfigDict(
        env_nested_delimiter="__",
        extra="ignore",
        frozen=True,
        secrets_dir=None,
        hide_input_in_errors=True,  # what does not fit may be a secret in the wrong place
    )

    listen: str = Field(default="127.0.0.1:0", description="`host:port` or `unix:/path`; port 0 picks one.")
    operations: str | None = Field(default=None, description="Plaintext address of health and channelz.")
    operations_http: str | None = Field(default=None, description="Address of /livez, /readyz and /metrics.")
    reflection: bool = Field(default=True, description="Let clients ask for the contract.")
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = Field(default=None, description="With it, each client must show a certificate.")
    allow_plaintext: bool = Field(
        default=False, description="Serve without TLS beyond loopback, as behind a mesh that encrypts."
    )
    identity: IdentitySettings = IdentitySettings()
    log_level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")
    log_calls: bool = Field(default=False, description="Log calls that ended well, too.")

    def server(self, *, inside: str | None = None) -> ServerSettings:
        """What its server is opened with; `inside` is where parts of the same process reach it.

        Raises CannotServe for TLS that is set by half.
        """
        return ServerSettings(
            listen=(self.listen,),
            inside=inside,
            tls=self._tls(),
            allow_plaintext=self.allow_plaintext,
            reflection=self.reflection,
            operations=self.operations,
            operations_http=self.operations_http,
            calls=CallSettings(log_ok_calls=self.log_calls),
        )

    def address(self, port: int) -> str:
        """Where it is reached, once its server has this `port`: what `listen` says may have been 0."""
        host, colon, _ = self.listen.rpartition(":")
        return self.listen if self.listen.startswith("unix:") or not colon else f"{host}:{port}"

    def _tls(self) -> ServerTls | None:
        certificate, key = self.tls_certificate, self.tls_key
        if certificate is not None and key is not None:
            return ServerTls(certificate=certificate, key=key, client_ca=self.tls_client_ca)
        given = {"tls_certificate": certificate, "tls_key": key, "tls_client_ca": self.tls_client_ca}
        named = [name for name, value in given.items() if value is not None]
        if named:
            problem = f"of certificate and key, it has {'one' if certificate or key else 'neither'}"
            raise CannotServe(f"TLS by {' and '.join(named)}", problem, "set both tls_certificate and tls_key")
        return None
