"""What an agent is: instructions, model, tools and bounds, at a version. Values only."""

from collections.abc import Mapping
from dataclasses import field
from enum import IntEnum

from heddle_core.clock import Micros
from heddle_core.values import value
from heddle_runtime.runs.usage import Limits

HISTORY_WINDOW = 20
"""Messages of history that a model sees where the agent does not say (contract: AgentSpec.history_window)."""


class ApprovalPolicy(IntEnum):
    """When a tool call must be approved by a person; the numbers are the contract's."""

    UNSPECIFIED = 0
    BY_TOOL = 1
    WRITES = 2
    ALWAYS = 3


@value
class AgentSpec:
    """What an agent is."""

    display_name: str = ""
    description: str = ""
    instructions: str = ""
    model: str = ""
    tools: tuple[str, ...] = ()
    """Tools it may use, as `provider/name` or `provider/*`."""
    limits: Limits | None = None
    approval_policy: ApprovalPolicy = ApprovalPolicy.UNSPECIFIED
    temperature: float | None = None
    history_window: int = 0
    """Messages of history that the model sees; zero: `HISTORY_WINDOW`."""
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    """For whoever manages agents; no model sees them."""


@value
class Agent:
    """An agent at one of its versions."""

    agent_id: str
    version: int
    """From 1. A run is pinned to one."""
    spec: AgentSpec
    archived: bool = False
    revision: int = 0
    """Counts up with every version and with archiving; the etag."""
    create_time: Micros | None = None
    """When this version was made; None for one that comes with Heddle."""
    built_in: bool = False


@value
class ResolvedAgent:
    """The agent that answers a turn, pinned to a version."""

    agent_id: str
    version: int
    spec: AgentSpec
