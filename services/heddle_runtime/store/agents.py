"""A tenant's own agents, a row for each version. What is archived is the newest version."""

from dataclasses import replace

from heddle_core.clock import Micros
from heddle_core.errors import AlreadyExists, EtagMismatch
from heddle_core.ids import TenantId
from heddle_core.runtime_errors import AgentNotFound
from heddle_database.port import Row, Transaction
from heddle_runtime.codec.agents import spec_of_stored, stored_spec
from heddle_runtime.facade.agent_commands import ArchiveAgent, CreateAgent, ListAgents, ListAgentVersions, UpdateAgent
from heddle_runtime.facade.page_commands import Listing
from heddle_runtime.runs.agent import Agent, AgentSpec
from heddle_runtime.store import requests
from heddle_runtime.store.log import LogWriter
from heddle_runtime.store.pages import Key, Query, read_page
from heddle_runtime.store.store import Store

_COLUMNS = "a.agent_id, a.version, a.spec, a.archived, a.revision, a.create_time"
_NEWEST = "a.version = (SELECT MAX(n.version) FROM agents n WHERE n.tenant = a.tenant AND n.agent_id = a.agent_id)"


class AgentStore:
    """Agents in the database. All methods raise StoreUnavailable when it is in trouble."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def find_agent(self, tenant: TenantId, agent_id: str, version: int = 0) -> Agent | None:
        """An agent at a version, or at its newest for zero, if the tenant has one of its own."""
        return await self._store.read(lambda tx: find_agent(tx, tenant, agent_id, version))

    async def list_agents(self, command: ListAgents) -> Listing[Agent]:
        """A page of the tenant's own agents at their newest versions, by id."""
        return await self._store.read(lambda tx: list_agents(tx, command))

    async def list_versions(self, command: ListAgentVersions) -> Listing[Agent]:
        """A page of the versions of one of the tenant's own agents."""
        return await self._store.read(lambda tx: list_versions(tx, command))

    async def create_agent(self, command: CreateAgent, first_version: int) -> Agent:
        """Make an agent. Raises AlreadyExists, RequestIdReused."""
        return await self._store.write(lambda writer: create_agent(writer, command, first_version))

    async def update_agent(self, command: UpdateAgent) -> Agent:
        """Make a new version. Raises AgentNotFound, EtagMismatch, RequestIdReused."""
        return await self._store.write(lambda writer: update_agent(writer, command))

    async def archive_agent(self, command: ArchiveAgent) -> Agent:
        """Have an agent take no new turns. Raises AgentNotFound, RequestIdReused."""
        return await self._store.write(lambda writer: archive_agent(writer, command))


def find_agent(tx: Transaction, tenant: TenantId, agent_id: str, version: int = 0) -> Agent | None:
    """An agent at a version, or at its newest for zero."""
    row = tx.row(
        f"SELECT {_COLUMNS} FROM agents a WHERE a.tenant = :tenant AND a.agent_id = :agent"
        " AND (:version = 0 OR a.version = :version) ORDER BY a.version DESC LIMIT 1",
        tenant=tenant,
        agent=agent_id,
        version=version,
    )
    return _agent(row) if row else None


def list_agents(tx: Transaction, command: ListAgents) -> Listing[Agent]:
    """A page of agents at their newest versions, by id."""
    conditions = ["a.tenant = :tenant", _NEWEST]
    if not command.include_archived:
        conditions.append("a.archived = 0")
    keys = (Key("a.agent_id", command.descending, text=True),)
    return read_page(
        tx, Query(_COLUMNS, "FROM agents a", keys, conditions, {"tenant": command.tenant}), command.page, _agent
    )


def list_versions(tx: Transaction, command: ListAgentVersions) -> Listing[Agent]:
    """A page of an agent's versions, newest first unless asked otherwise."""
    query = Query(
        _COLUMNS,
        "FROM agents a",
        (Key("a.version", descending=not command.oldest_first),),
        ["a.tenant = :tenant", "a.agent_id = :agent"],
        {"tenant": command.tenant, "agent": command.agent_id},
    )
    return read_page(tx, query, command.page, _agent)


def create_agent(writer: LogWriter, command: CreateAgent, first_version: int) -> Agent:
    """Make an agent, or find the one that this request made before."""
    tenant = command.caller.tenant
    known = requests.find(writer.tx, command.caller, command.key)
    found = find_agent(writer.tx, tenant, command.agent_id)
    if known is not None and found is not None:
        return _at(writer.tx, tenant, command.agent_id, known.response) or found
    if found is not None:
        raise AlreadyExists("agent", command.agent_id)
    agent = Agent(command.agent_id, first_version, command.spec, revision=1, create_time=writer.tx.now)
    if not command.validate_only:
        _insert(writer.tx, tenant, agent)
        requests.remember(writer.tx, command.caller, command.key, response=str(first_version).encode())
    return agent


def update_agent(writer: LogWriter, command: UpdateAgent) -> Agent:
    """Make a new version, or find the one that this request made before."""
    tenant = command.caller.tenant
    known = requests.find(writer.tx, command.caller, command.key)
    newest = _get_locked(writer.tx, tenant, command.agent_id)
    if known is not None:
        return _at(writer.tx, tenant, command.agent_id, known.response) or newest
    if command.etag and command.etag != str(newest.revision):
        raise EtagMismatch("Agent", command.agent_id, command.etag, str(newest.revision))
    spec: AgentSpec = replace(newest.spec, **{name: getattr(command.spec, name) for name in command.fields})
    agent = Agent(command.agent_id, newest.version + 1, spec, False, newest.revision + 1, writer.tx.now)
    if not command.validate_only:
        _insert(writer.tx, tenant, agent)
        requests.remember(writer.tx, command.caller, command.key, response=str(agent.version).encode())
    return agent


def archive_agent(writer: LogWriter, command: ArchiveAgent) -> Agent:
    """Mark the newest version; one that is archived already is left as it is."""
    tenant = command.caller.tenant
    known = requests.find(writer.tx, command.caller, command.key)
    newest = _get_locked(writer.tx, tenant, command.agent_id)
    if known is not None:
        return newest
    if not newest.archived:
        newest = replace(newest, archived=True, revision=newest.revision + 1)
        writer.tx.run(
            "UPDATE agents SET archived = 1, revision = :revision WHERE tenant = :tenant AND agent_id = :agent"
            " AND version = :version",
            revision=newest.revision,
            tenant=tenant,
            agent=command.agent_id,
            version=newest.version,
        )
    requests.remember(writer.tx, command.caller, command.key)
    return newest


def _get_locked(tx: Transaction, tenant: TenantId, agent_id: str) -> Agent:
    """The newest version, kept from others until the commit. Raises AgentNotFound."""
    # They all lock the oldest one: the newest is not the same for whoever comes second.
    tx.row(
        f"SELECT 1 FROM agents WHERE tenant = :tenant AND agent_id = :agent ORDER BY version LIMIT 1{tx.row_lock}",
        tenant=tenant,
        agent=agent_id,
    )
    row = tx.row(
        f"SELECT {_COLUMNS} FROM agents a WHERE a.tenant = :tenant AND a.agent_id = :agent"
        " ORDER BY a.version DESC LIMIT 1",
        tenant=tenant,
        agent=agent_id,
    )
    if row is None:
        raise AgentNotFound(agent_id)
    return _agent(row)


def _at(tx: Transaction, tenant: TenantId, agent_id: str, version: bytes) -> Agent | None:
    return find_agent(tx, tenant, agent_id, int(version or b"0"))


def _insert(tx: Transaction, tenant: TenantId, agent: Agent) -> None:
    tx.run(
        "INSERT INTO agents (tenant, agent_id, version, archived, revision, create_time, spec)"
        " VALUES (:tenant, :agent, :version, 0, :revision, :now, :spec)",
        tenant=tenant,
        agent=agent.agent_id,
        version=agent.version,
        revision=agent.revision,
        now=tx.now,
        spec=stored_spec(agent.spec),
    )


def _agent(row: Row) -> Agent:
    return Agent(
        agent_id=row[0],
        version=row[1],
        spec=spec_of_stored(row[2]),
        archived=bool(row[3]),
        revision=row[4],
        create_time=Micros(row[5]),
    )
