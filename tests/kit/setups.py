"""What a run is worked on with, as a test wants it."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from heddle_runtime.orchestrator.setup import Defaults, Setup
from heddle_runtime.runs.agent import AgentSpec
from heddle_runtime.runs.turn import ClientTool
from heddle_runtime.runs.usage import Limits
from heddle_runtime.tools.port import ToolSpec
from heddle_runtime.tools.selection import Selection
from tests.kit.thread_stories import THREAD


def setup_of(
    tools: Sequence[ToolSpec] = (),
    *,
    client_tools: Sequence[ClientTool] = (),
    limits: Limits | None = None,
    agent: dict[str, Any] | None = None,
    **fields: Any,
) -> Setup:
    return Setup(
        thread_id=THREAD,
        agent=AgentSpec(**(agent or {})),
        model="m",
        tools=Selection({tool.name: tool for tool in tools}),
        client_tools={tool.name: tool for tool in client_tools},
        limits=limits or Limits(),
        defaults=Defaults(Limits(), timedelta(hours=1), tool_concurrency=3),
        **fields,
    )
