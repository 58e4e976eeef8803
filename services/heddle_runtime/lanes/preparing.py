"""What a claimed run is worked on with: its pinned agent, the tools it may use, and the strictest of all bounds."""

from heddle_core.ids import TenantId, ThreadId
from heddle_core.values import value
from heddle_runtime.lanes.ports import Agents, Toolbox
from heddle_runtime.orchestrator.setup import Defaults, Setup
from heddle_runtime.runs.agent import AgentSpec
from heddle_runtime.runs.turn import AgentReference, Turn
from heddle_runtime.runs.usage import Limits
from heddle_runtime.threads.settings import ThreadSettings
from heddle_runtime.threads.state import RunFold, ThreadFold
from heddle_runtime.tools.selection import Selection, Wishes


@value
class Preparation:
    """Makes setups."""

    agents: Agents
    toolbox: Toolbox
    defaults: Defaults

    async def setup(self, tenant: TenantId, thread: ThreadFold, run: RunFold) -> Setup:
        """The setup of a run. Raises AgentNotFound."""
        reference = run.turn.agent or AgentReference("")
        agent = await self.agents.spec(tenant, reference.agent_id, reference.version)
        tools = await self.toolbox.select(tenant, _wishes(agent, run.turn))
        return self._setup(thread.thread_id, thread.settings, run.turn, agent, tools)

    def ready(
        self, tenant: TenantId, thread_id: ThreadId, settings: ThreadSettings, turn: Turn, agent: AgentSpec
    ) -> Setup | None:
        """The setup of a turn that is resolved, if nobody has to be asked for its tools; else None."""
        tools = self.toolbox.select_at_once(tenant, _wishes(agent, turn))
        return None if tools is None else self._setup(thread_id, settings, turn, agent, tools)

    def _setup(
        self, thread_id: ThreadId, settings: ThreadSettings, turn: Turn, agent: AgentSpec, tools: Selection
    ) -> Setup:
        return Setup(
            thread_id=thread_id,
            agent=agent,
            model=turn.model,
            tools=tools,
            client_tools={tool.name: tool for tool in turn.client_tools},
            limits=turn.limits or Limits(),
            defaults=self.defaults,
            thread_instructions=settings.instructions,
            wanted_schema=turn.response_format.json_schema if turn.response_format else "",
        )


def _wishes(agent: AgentSpec, turn: Turn) -> Wishes:
    taken = tuple(tool.name for tool in turn.client_tools)
    return Wishes(agent=agent.tools, turn=turn.allowed_tools, taken=taken)
