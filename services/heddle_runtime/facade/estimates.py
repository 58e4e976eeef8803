"""What a turn would run and may cost, without starting anything (SEMANTICS 6)."""

from heddle_core.ids import TenantId
from heddle_core.values import value
from heddle_runtime.facade.turns import ResolvedTurn
from heddle_runtime.lanes.ports import Toolbox
from heddle_runtime.runs.content import plain_text
from heddle_runtime.runs.turn import AgentReference
from heddle_runtime.runs.usage import Limits
from heddle_runtime.tools.selection import Wishes


@value
class Estimate:
    """What would run."""

    agent: AgentReference
    model: str
    tools: tuple[str, ...]
    input_tokens: int
    """About a quarter of the first prompt's characters, without the history."""
    limits: Limits
    tool_paths: tuple[str, ...] = ()
    """The providers' tools among `tools`, as `provider/name`."""


async def estimate(toolbox: Toolbox, tenant: TenantId, resolved: ResolvedTurn) -> Estimate:
    """Say what a resolved turn would run."""
    turn = resolved.turn
    client_tools = tuple(tool.name for tool in turn.client_tools)
    selection = await toolbox.select(
        tenant, Wishes(agent=resolved.agent.tools, turn=turn.allowed_tools, taken=client_tools)
    )
    characters = len(resolved.agent.instructions) + len(plain_text(turn.content))
    characters += sum(len(item.text) for item in turn.context)
    characters += sum(len(tool.description) + len(tool.parameters_json) for tool in selection.by_name.values())
    return Estimate(
        agent=turn.agent or AgentReference(""),
        model=turn.model,
        tools=(*selection.by_name, *client_tools),
        input_tokens=characters // 4,
        limits=turn.limits or Limits(),
        tool_paths=tuple(sorted(spec.path for spec in selection.by_name.values())),
    )
