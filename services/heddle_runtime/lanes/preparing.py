"""What a claimed run is worked on with: its pinned agent, the tools it may use, and the strictest of all bounds."""

from dataclasses import dataclass

from heddle_core.ids import TenantId
from heddle_runtime.lanes.ports import Agents, Toolbox
from heddle_runtime.orchestrator.setup import Defaults, Setup
from heddle_runtime.runs.turn import AgentReference
from heddle_runtime.runs.usage import Limits
from heddle_runtime.threads.state import RunFold, ThreadFold
from heddle_runtime.tools.selection import Wishes


@dataclass(frozen=True, slots=True)
class Preparation:
    """Makes setups."""

    agents: Agents
    toolbox: Toolbox
    defaults: Defaults

    async def setup(self, tenant: TenantId, thread: ThreadFold, run: RunFold) -> Setup:
        """The setup of a run. Raises AgentNotFound."""
        turn = run.turn
        reference = turn.agent or AgentReference("")
        agent = await self.agents.spec(tenant, reference.agent_id, reference.version)
        client_tools = {tool.name: tool for tool in turn.client_tools}
        wishes = Wishes(agent=agent.tools, turn=turn.allowed_tools, taken=tuple(client_tools))
        return Setup(
            thread_id=thread.thread_id,
            agent=agent,
            model=turn.model,
            tools=await self.toolbox.select(tenant, wishes),
            client_tools=client_tools,
            limits=turn.limits or Limits(),
            defaults=self.defaults,
            thread_instructions=thread.settings.instructions,
            wanted_schema=turn.response_format.json_schema if turn.response_format else "",
        )
