"""Whether the agents that a campaign names are there, asked of the runtime before the first cycle does.

A runtime that cannot be asked now is no reason to refuse: a cycle finds out, and says so.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from heddle_campaign.facade.ports.runs import RunsOf
from heddle_campaign.rules.campaigns import CampaignAgent
from heddle_client.values import Cause, NewTurn, Text
from heddle_core.errors import IllegalTransition, InvalidField
from heddle_core.faults import HeddleError, Violation
from heddle_core.ids import RequestId
from heddle_core.log_lines import LogLines
from heddle_core.requests import Creator
from heddle_core.runtime_errors import AgentNotFound

_PATIENCE = timedelta(seconds=3)
"""For all agents of a campaign together: somebody waits for the answer."""

_log = LogLines(__name__)


@dataclass(frozen=True, slots=True)
class Staffing:
    """Looks for agents."""

    runs_of: RunsOf

    async def check(self, creator: Creator, agents: Iterable[tuple[int, CampaignAgent]]) -> None:
        """Refuse agents that the runtime does not know; those that are disabled are not asked for.

        Args:
            creator: in whose name they will be asked.
            agents: each with its place in the campaign's list.

        Raises:
            InvalidField: with every agent that is unknown or archived.
        """
        asked = [(place, each) for place, each in agents if not each.disabled]
        try:
            async with asyncio.timeout(_PATIENCE.total_seconds()):
                found = [await self._problem(creator, place, each) for place, each in asked]
        except (HeddleError, TimeoutError) as error:
            _log.info("agents were not looked for", reason=str(error) or "the runtime takes too long")
            return
        violations = tuple(each for each in found if each is not None)
        if violations:
            raise InvalidField(violations)

    async def _problem(self, creator: Creator, place: int, agent: CampaignAgent) -> Violation | None:
        turn = NewTurn(
            RequestId(f"staffing-{place}"),
            (Text("Only checked, and never sent."),),
            agent_id=agent.agent_id,
            agent_version=agent.agent_version,
            cause=Cause.CAMPAIGN,
        )
        try:
            await self.runs_of(creator).forecast(turn)
        except AgentNotFound:
            version = f" at version {agent.agent_version}" if agent.agent_version else ""
            remedy = f"there is no agent {agent.agent_id}{version}: create it, or name one that ListAgents tells"
            return Violation(f"campaign.agents[{place}].agent_id", remedy)
        except IllegalTransition:
            remedy = f"agent {agent.agent_id} is archived: name another, or have UpdateAgent make a new version of it"
            return Violation(f"campaign.agents[{place}].agent_id", remedy)
        return None
