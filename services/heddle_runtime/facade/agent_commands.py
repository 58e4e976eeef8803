"""What is asked of agents and of the server itself, and what is answered. Values only."""

from collections.abc import Mapping
from dataclasses import field

from heddle_core.ids import TenantId
from heddle_core.values import value
from heddle_runtime.facade.commands import Caller, RequestKey
from heddle_runtime.facade.page_commands import Page
from heddle_runtime.runs.agent import AgentSpec


@value
class CreateAgent:
    """Make an agent."""

    caller: Caller
    key: RequestKey
    agent_id: str
    spec: AgentSpec
    validate_only: bool = False


@value
class UpdateAgent:
    """Make a new version of an agent."""

    caller: Caller
    key: RequestKey
    agent_id: str
    spec: AgentSpec
    fields: tuple[str, ...]
    etag: str = ""
    validate_only: bool = False


@value
class ArchiveAgent:
    """Have an agent take no new turns."""

    caller: Caller
    key: RequestKey
    agent_id: str


@value
class ListAgents:
    """Find agents."""

    tenant: TenantId
    page: Page
    descending: bool = False
    include_archived: bool = False
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    """All of which an agent must have."""


@value
class ListAgentVersions:
    """Find the versions of an agent."""

    tenant: TenantId
    page: Page
    agent_id: str
    oldest_first: bool = False


@value
class ServerDescription:
    """What this server is; given by the wiring."""

    version: str
    packages: tuple[str, ...]
    capabilities: tuple[str, ...]
    worker_id: str
    limits: Mapping[str, int] = field(default_factory=dict[str, int])
    """In force, by name, in their own units."""
    defaults: Mapping[str, str] = field(default_factory=dict[str, str])
    """In force, by name."""
    log_epoch: int = 1
