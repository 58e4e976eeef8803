"""What stays the same for a run while it is worked on: its agent, tools, bounds and words. Values and pure rules."""

from collections.abc import Mapping
from datetime import timedelta

from heddle_core.ids import ThreadId
from heddle_core.values import value
from heddle_runtime.runs.agent import HISTORY_WINDOW, AgentSpec, ApprovalPolicy
from heddle_runtime.runs.turn import ClientTool
from heddle_runtime.runs.usage import Limits
from heddle_runtime.threads.state import HISTORY_MESSAGES
from heddle_runtime.tools.port import RiskClass, ToolSpec
from heddle_runtime.tools.selection import Selection

MOST_FAILURES = 3
"""Attempts at one model call that may fail before the run does (SEMANTICS 18)."""

ALWAYS_ASKED = (RiskClass.PUBLISH, RiskClass.SPEND)
"""Classes that a person approves call by call, never for a whole thread (SEMANTICS 27)."""


@value
class Defaults:
    """What holds where neither turn nor agent says anything; from the settings."""

    limits: Limits
    input_expiry: timedelta = timedelta(hours=24)
    """How long an input waits before its default decision."""
    tool_concurrency: int = 8
    """Reading tool calls of one run at the same time."""


@value
class Setup:
    """A run's agent, tools and bounds."""

    thread_id: ThreadId
    agent: AgentSpec
    model: str
    tools: Selection
    client_tools: Mapping[str, ClientTool]
    limits: Limits
    defaults: Defaults
    thread_instructions: str = ""
    wanted_schema: str = ""
    """JSON Schema that the answer must satisfy; empty: free text."""

    @property
    def history_window(self) -> int:
        """Messages of history that the model sees, as far as the fold keeps them."""
        return min(self.agent.history_window or HISTORY_WINDOW, HISTORY_MESSAGES)


def needs_approval(spec: ToolSpec, policy: ApprovalPolicy, approved_for_thread: Mapping[str, str]) -> bool:
    """Whether a person must approve a call of this tool before it is sent (SEMANTICS 27)."""
    if spec.risk in ALWAYS_ASKED:
        return True
    wanted = (
        spec.needs_approval
        or policy is ApprovalPolicy.ALWAYS
        or (policy is ApprovalPolicy.WRITES and not spec.read_only)
    )
    return wanted and approved_for_thread.get(spec.path) != spec.schema_digest
