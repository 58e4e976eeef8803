"""What is asked of tool providers, and what is answered. Values only."""

from heddle_core.clock import Micros
from heddle_core.values import value
from heddle_runtime.facade.commands import Caller, RequestKey


@value
class ProviderRow:
    """A tool provider that a tenant has registered."""

    provider_id: str
    grpc_target: str
    """Where its ToolService is served, as `127.0.0.1:7300` or `unix:/path`."""
    allowed_tools: tuple[str, ...] = ()
    """Names of the tools to offer; empty: all that it lists."""
    revision: int = 1
    """Counts up with every change; the etag."""


@value
class ProviderView:
    """A tool provider as it stands."""

    provider_id: str
    grpc_target: str
    """Empty: its tools are inside the runtime, or it was given by the deployment."""
    allowed_tools: tuple[str, ...]
    revision: int
    problem: str
    """Why its tools cannot be had; empty: they can."""
    refresh_time: Micros | None


@value
class CreateProvider:
    """Register a provider."""

    caller: Caller
    key: RequestKey
    provider: ProviderRow


@value
class UpdateProvider:
    """Change a provider."""

    caller: Caller
    key: RequestKey
    provider: ProviderRow
    fields: tuple[str, ...]
    etag: str = ""
    validate_only: bool = False


@value
class DeleteProvider:
    """Remove a provider."""

    caller: Caller
    key: RequestKey
    provider_id: str
