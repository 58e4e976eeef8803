"""Agents: those that come with Heddle, overlaid by a tenant's own, and which one answers a turn."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Protocol

from heddle_core.clock import Clock
from heddle_core.errors import IllegalTransition
from heddle_core.ids import TenantId
from heddle_core.runtime_errors import AgentNotFound
from heddle_core.values import value
from heddle_runtime.facade.agent_commands import ArchiveAgent, CreateAgent, ListAgents, ListAgentVersions, UpdateAgent
from heddle_runtime.facade.page_commands import Cursor, Listing
from heddle_runtime.runs.agent import Agent, AgentSpec, ResolvedAgent
from heddle_runtime.runs.turn import AgentReference
from heddle_runtime.threads.settings import ThreadSettings

FRESH = timedelta(seconds=5)
"""How long an agent is answered from memory: so late does this process learn of what another one has changed."""

MOST_KEPT = 4_096


class AgentSource(Protocol):
    """What is asked of the store about a tenant's own agents; see `store.agents.AgentStore`."""

    async def find_agent(self, tenant: TenantId, agent_id: str, version: int = 0) -> Agent | None:
        """An agent at a version, or at its newest for zero, if the tenant has one of its own."""
        ...

    async def list_agents(self, command: ListAgents) -> Listing[Agent]:
        """A page of the tenant's own agents at their newest versions, by id."""
        ...

    async def list_versions(self, command: ListAgentVersions) -> Listing[Agent]:
        """A page of the versions of one of the tenant's own agents."""
        ...

    async def create_agent(self, command: CreateAgent, first_version: int) -> Agent:
        """Make an agent. Raises AlreadyExists, RequestIdReused."""
        ...

    async def update_agent(self, command: UpdateAgent) -> Agent:
        """Make a new version. Raises AgentNotFound, EtagMismatch, RequestIdReused."""
        ...

    async def archive_agent(self, command: ArchiveAgent) -> Agent:
        """Have an agent take no new turns. Raises AgentNotFound, RequestIdReused."""
        ...


@value
class _Kept:
    agent: Agent | None
    until: float


class Agents:
    """The agents of all tenants."""

    def __init__(
        self,
        source: AgentSource,
        built_in: Mapping[str, Agent],
        clock: Clock,
        *,
        default_agent_id: str = "general",
        fresh: timedelta = FRESH,
    ) -> None:
        self._source = source
        self._built_in = dict(built_in)
        self._clock = clock
        self._fresh = fresh.total_seconds()
        self._newest: OrderedDict[tuple[TenantId, str], _Kept] = OrderedDict()
        self.default_agent_id = default_agent_id

    async def resolve(
        self, tenant: TenantId, reference: AgentReference | None = None, settings: ThreadSettings | None = None
    ) -> ResolvedAgent:
        """The agent that answers: the one that is referred to, else the thread's, else the default.

        Raises:
            AgentNotFound: there is none of that id or version.
            IllegalTransition: it is archived, and takes no new turns.
        """
        named = reference or AgentReference((settings.agent_id if settings else "") or self.default_agent_id)
        newest = await self.get(tenant, named.agent_id)
        if newest.archived:
            remedy = "name another agent, or call UpdateAgent, whose new version takes turns again"
            raise IllegalTransition("Agent", named.agent_id, "archived", "take turns", remedy)
        agent = newest if named.version in (0, newest.version) else await self.get(tenant, *_pinned(named))
        return ResolvedAgent(agent.agent_id, agent.version, agent.spec)

    async def spec(self, tenant: TenantId, agent_id: str, version: int) -> AgentSpec:
        """What an agent is at the version that a run is pinned to, archived or not: what was started is carried on.

        Raises:
            AgentNotFound: there is none of that id or version.
        """
        return (await self.get(tenant, agent_id, version)).spec

    async def get(self, tenant: TenantId, agent_id: str, version: int = 0) -> Agent:
        """An agent at a version, or at its newest for zero.

        Raises:
            AgentNotFound: there is none of that id or version.
        """
        own = await self._own(tenant, agent_id)
        if own is not None and version not in (0, own.version):
            own = await self._source.find_agent(tenant, agent_id, version)
        built_in = self._built_in.get(agent_id)
        if own is None and built_in is not None and version in (0, built_in.version):
            return built_in
        if own is None:
            raise AgentNotFound(agent_id)
        return own

    async def list(self, command: ListAgents) -> Listing[Agent]:
        """A page of agents at their newest versions; a tenant's own stands in the place of a built-in one."""
        wide = replace(command, include_archived=True)
        own = await self._source.list_agents(wide)
        overlaid = {agent.agent_id for agent in own.items}
        after = str(command.page.after[0]) if command.page.after else ""
        # Behind the last of the tenant's own that were read, nobody knows yet what is overlaid.
        horizon = str(own.more[0]) if own.more else ""
        shipped = [
            agent
            for agent_id, agent in self._built_in.items()
            if agent_id not in overlaid
            and _behind(agent_id, after, command.descending)
            and (not horizon or not _behind(agent_id, horizon, command.descending))
        ]
        merged = sorted([*own.items, *shipped], key=lambda agent: agent.agent_id, reverse=command.descending)
        shown = [agent for agent in merged if _is_asked_for(agent, command)]
        page = tuple(shown[: command.page.size])
        cursors: tuple[Cursor, ...] = tuple((agent.agent_id,) for agent in page)
        return Listing(page, cursors, cursors[-1] if len(shown) > len(page) else own.more)

    async def list_versions(self, command: ListAgentVersions) -> Listing[Agent]:
        """A page of an agent's versions; the version that comes with Heddle is the first.

        Raises:
            AgentNotFound: there is no such agent.
        """
        newest = await self.get(command.tenant, command.agent_id)
        built_in = self._built_in.get(command.agent_id)
        own: Listing[Agent] = Listing() if newest.built_in else await self._source.list_versions(command)
        items = list(own.items)
        after = int(command.page.after[0]) if command.page.after else None
        if built_in is not None:
            if command.oldest_first and after is None:
                items.insert(0, built_in)
            elif not command.oldest_first and not own.more and (after is None or after > built_in.version):
                items.append(built_in)
        page = tuple(items[: command.page.size])
        cursors: tuple[Cursor, ...] = tuple((agent.version,) for agent in page)
        return Listing(page, cursors, cursors[-1] if len(items) > len(page) or own.more else ())

    async def create(self, command: CreateAgent) -> Agent:
        """Make an agent. One with the id of a built-in agent takes its place, and goes on behind its version.

        Raises:
            AlreadyExists, RequestIdReused.
        """
        built_in = self._built_in.get(command.agent_id)
        try:
            return await self._source.create_agent(command, built_in.version + 1 if built_in else 1)
        finally:
            self._forget(command.caller.tenant, command.agent_id)

    async def update(self, command: UpdateAgent) -> Agent:
        """Make a new version; one of an archived agent takes turns again.

        Raises:
            AgentNotFound, EtagMismatch, RequestIdReused.
            IllegalTransition: the agent comes with Heddle.
        """
        await self._require_own(command.caller.tenant, command.agent_id, "be changed")
        try:
            return await self._source.update_agent(command)
        finally:
            self._forget(command.caller.tenant, command.agent_id)

    async def archive(self, command: ArchiveAgent) -> Agent:
        """Have an agent take no new turns.

        Raises:
            AgentNotFound, RequestIdReused.
            IllegalTransition: the agent comes with Heddle.
        """
        await self._require_own(command.caller.tenant, command.agent_id, "be archived")
        try:
            return await self._source.archive_agent(command)
        finally:
            self._forget(command.caller.tenant, command.agent_id)

    async def _require_own(self, tenant: TenantId, agent_id: str, verb: str) -> None:
        if agent_id in self._built_in and await self._source.find_agent(tenant, agent_id) is None:
            remedy = "call CreateAgent with this id: that agent takes its place, and is yours"
            raise IllegalTransition("Agent", agent_id, "part of Heddle", verb, remedy)

    async def _own(self, tenant: TenantId, agent_id: str) -> Agent | None:
        key, now = (tenant, agent_id), self._clock.monotonic()
        kept = self._newest.get(key)
        if kept is not None and now < kept.until:
            self._newest.move_to_end(key)
            return kept.agent
        marker = self._newest[key] = _Kept(kept.agent if kept else None, now)
        agent = await self._source.find_agent(tenant, agent_id)
        if self._newest.get(key) is marker:  # else it was changed while we read
            self._newest[key] = _Kept(agent, now + self._fresh)
            while len(self._newest) > MOST_KEPT:
                self._newest.popitem(last=False)
        return agent

    def _forget(self, tenant: TenantId, agent_id: str) -> None:
        self._newest.pop((tenant, agent_id), None)


def _pinned(reference: AgentReference) -> tuple[str, int]:
    return reference.agent_id, reference.version


def _is_asked_for(agent: Agent, command: ListAgents) -> bool:
    is_shown = command.include_archived or not agent.archived
    return is_shown and command.labels.items() <= agent.spec.labels.items()


def _behind(agent_id: str, after: str, descending: bool) -> bool:
    if not after:
        return True
    return agent_id < after if descending else agent_id > after
