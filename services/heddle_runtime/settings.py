"""The runtime's settings: environment variables with the prefix HEDDLE_, nested by two underscores, or a file.

`HEDDLE_LISTEN=127.0.0.1:0`, `HEDDLE_LIMITS__STEPS=12`. Secrets are never printed.
"""

from datetime import timedelta
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_serializer
from pydantic_settings import SettingsConfigDict

from heddle_database.addresses import without_password
from heddle_grpc.served_settings import ServedSettings


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LimitSettings(_Part):
    """What a run may use where neither turn nor agent says anything; zero: no bound."""

    steps: int = Field(default=8, ge=0, description="Model calls that lead somewhere.")
    tokens: int = Field(default=0, ge=0, description="Input and output together.")
    output_tokens_per_step: int = Field(default=0, ge=0, description="Of one reply; zero: the model's own.")
    cost_micro_usd: int = Field(default=0, ge=0, description="Millionths of a US dollar.")
    wall_time: timedelta = Field(default=timedelta(minutes=15), description="At work; waiting does not count.")
    tool_calls: int = Field(default=64, ge=0)


class TurnRateSettings(_Part):
    """How much callers may ask for."""

    turns_per_minute: int = Field(
        default=30, ge=0, description="Per principal; zero: no limit. The development identity is never limited."
    )
    text_characters: int = Field(default=32_000, ge=1, description="Of one turn.")
    most_steps: int = Field(default=100, ge=0, description="What no turn may exceed; zero: no bound.")
    most_depth: int = Field(default=3, ge=0, description="Of a child below its root.")
    most_children: int = Field(default=8, ge=0, description="Open children of one run.")


class ModelSettings(_Part):
    """Which models there are. Keys are read from their usual variables, as OPENAI_API_KEY, when not set here."""

    scenario_folders: tuple[Path, ...] = Field(default=(), description="Where `scripted:NAME` is looked up first.")
    openai_api_key: SecretStr | None = None
    openai_base_url: str | None = None
    anthropic_api_key: SecretStr | None = None
    anthropic_base_url: str | None = None
    google_api_key: SecretStr | None = None
    google_base_url: str | None = None
    compatible: dict[str, str] = Field(
        default_factory=dict, description="OpenAI-compatible servers: base URL by alias, for `compatible:ALIAS/MODEL`."
    )
    compatible_api_keys: dict[str, SecretStr] = Field(default_factory=dict, description="By the same aliases.")
    local_threads: int = Field(default=1, ge=1, description="Of the local model's child process.")


class CredentialSettings(_Part):
    """What the runtime shows to the tool providers at one address, as files: they are read again when they change."""

    token_file: Path | None = Field(default=None, description="Holds a bearer token, as an API key or a JWT.")
    tls: bool = Field(default=False, description="Speak TLS, trusting the system's roots unless `ca_file` is set.")
    ca_file: Path | None = Field(default=None, description="PEM roots of the server's certificate; with it, TLS.")
    certificate_file: Path | None = Field(default=None, description="PEM chain to show; with it, TLS.")
    key_file: Path | None = Field(default=None, description="PEM key of that certificate.")
    server_name: str | None = Field(default=None, description="Name in the server's certificate, if not the host's.")
    allow_plaintext: bool = Field(default=False, description="Send the token without TLS, as behind a mesh.")


class ToolSettings(_Part):
    """The tools inside the runtime, and those that tenants may reach."""

    sandbox: Path | None = Field(
        default=None, description="Folder of read_file and write_file; data_dir/sandbox if unset."
    )
    http_fetch: bool = Field(default=False, description="Whether agents may be given `http_fetch`.")
    http_allow: tuple[str, ...] = Field(
        default=(), description="Private hosts that `http_fetch` may reach all the same, as `10.1.2.3:8080`."
    )
    provider_targets: tuple[str, ...] = Field(
        default=(),
        description="Addresses that tenants may register as tool providers; callers in development may name any.",
    )
    credentials: dict[str, CredentialSettings] = Field(
        default_factory=dict[str, CredentialSettings],
        description="What is shown to tool providers, by their exact address; to every other, nothing.",
    )
    input_expiry: timedelta = Field(default=timedelta(hours=24), description="How long a question or approval waits.")


class LaneTimes(_Part):
    """How the worker behaves (SEMANTICS 11 to 15)."""

    slots: int = Field(default=1_000, ge=1, description="Runs worked on at the same time.")
    lease: timedelta = timedelta(seconds=10)
    renew_every: timedelta = timedelta(seconds=3)
    sweep_every: timedelta = timedelta(seconds=1)
    cancel_grace: timedelta = timedelta(seconds=8)
    drain_grace: timedelta = timedelta(seconds=10)


class StreamTimes(_Part):
    """How long streams live."""

    checkpoint_every: timedelta = timedelta(seconds=15)
    rotate_after: timedelta = timedelta(minutes=15)


class PostgresSettings(_Part):
    """How a PostgreSQL database is used, where there is one."""

    writers: int = Field(default=4, ge=1, le=64, description="Connections that write.")
    readers: int = Field(default=4, ge=1, le=64, description="Connections that read.")
    prepared_statements: bool = Field(
        default=True, description="Off behind a proxy that pools by transaction, as PgBouncer does in that mode."
    )
    patience: timedelta = Field(
        default=timedelta(seconds=30), description="How long a start waits for a server that does not answer yet."
    )


class BusSettings(_Part):
    """The event stream on NATS, and how to get in."""

    replicas: int = Field(default=1, ge=1, le=5, description="Copies in a cluster; 3 survive the loss of one server.")
    age_limit: timedelta = Field(default=timedelta(days=3), description="How long the stream keeps an event.")
    bytes_limit: int = Field(default=4 * 1024**3, ge=1024**2, description="The oldest are dropped beyond it.")
    duplicate_window: timedelta = Field(
        default=timedelta(minutes=2), description="How long the server remembers what it has stored."
    )
    token: SecretStr | None = None
    user: str = ""
    password: SecretStr | None = None
    credentials: Path | None = Field(default=None, description="A .creds file with a user JWT and its key.")
    ca_file: Path | None = Field(default=None, description="Who signed the certificates of tls:// servers.")


class RetentionSettings(_Part):
    """Which events of the log may go, once their runs have ended; an event stays as long as any rule wants it."""

    keep_for: timedelta = Field(default=timedelta(0), ge=timedelta(0), description="Their age, as P90D; zero: any.")
    keep_events: int = Field(default=0, ge=0, description="The newest of each thread; zero: any number.")
    every: timedelta = Field(
        default=timedelta(hours=1), ge=timedelta(seconds=1), description="How often the log is looked through."
    )
    requests: timedelta = Field(
        default=timedelta(days=7),
        ge=timedelta(days=1),
        description="How long requests are known that made no run and no thread.",
    )


class RuntimeSettings(ServedSettings):
    """Everything that can be set on a runtime."""

    model_config = SettingsConfigDict(env_prefix="HEDDLE_")

    data_dir: Path = Field(default=Path(".heddle"), description="Folder of the embedded database.")
    database: str = Field(
        default="",
        repr=False,
        pattern="^$|^postgres(ql)?://",
        description="`postgresql://user:password@host/name`; empty: SQLite in data_dir.",
    )
    postgres: PostgresSettings = PostgresSettings()
    nats: str = Field(
        default="",
        pattern="^$|^(nats|tls)://[^@,]+(, *(nats|tls)://[^@,]+)*$",
        description="`nats://host:4222`, several with commas. Empty: events are not published, but for `heddle up`,"
        " which brings a server along. Secrets go into `bus`.",
    )
    no_nats: bool = Field(default=False, description="Leave out the server that `heddle up` brings along.")
    bus: BusSettings = BusSettings()
    listen: str = Field(default="127.0.0.1:7233", description="`host:port` or `unix:/path`; port 0 picks one.")
    model: str = Field(
        default="scripted:hello",
        description="Used where nobody names a model; `scripted:` may be followed by a scenario file's path.",
    )
    limits: LimitSettings = LimitSettings()
    turns: TurnRateSettings = TurnRateSettings()
    models: ModelSettings = ModelSettings()
    tools: ToolSettings = ToolSettings()
    lanes: LaneTimes = LaneTimes()
    streams: StreamTimes = StreamTimes()
    retention: RetentionSettings = RetentionSettings()

    @field_serializer("database")
    def _without_password(self, address: str) -> str:
        return without_password(address)
