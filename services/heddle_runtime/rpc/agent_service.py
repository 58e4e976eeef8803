"""AgentService as gRPC sees it: decode, hand to the facade, encode. Nothing is decided here."""

from collections.abc import Iterator, Mapping
from dataclasses import fields

from heddle.runtime.v1 import agent_pb2
from heddle.runtime.v1 import agent_service_pb2 as pb
from heddle_core.errors import InvalidField, invalid
from heddle_core.faults import Violation
from heddle_core.values import value
from heddle_grpc import calls
from heddle_grpc.authorization import Rule
from heddle_grpc.calls import Context
from heddle_grpc.masks import fields_named
from heddle_grpc.paging import order_asked
from heddle_runtime.codec.agents import agent_message, model_message, spec_value
from heddle_runtime.facade.agent_commands import (
    ArchiveAgent,
    CreateAgent,
    ListAgents,
    ListAgentVersions,
    ServerDescription,
    UpdateAgent,
)
from heddle_runtime.facade.agents import Agents
from heddle_runtime.facade.paging import page_of
from heddle_runtime.models.catalogue import Catalogue, ModelDescription
from heddle_runtime.rpc.paging import page_asked, page_given
from heddle_runtime.rpc.requests import caller, request_key
from heddle_runtime.rpc.scopes import MANAGE, READ
from heddle_runtime.runs.agent import Agent, AgentSpec
from heddle_runtime.threads.state import FOLD_VERSION
from heddle_runtime.tools.selection import problem_of_pattern

NAME = "heddle.runtime.v1.AgentService"

RULES: Mapping[str, Rule] = {
    "CreateAgent": MANAGE,
    "GetAgent": READ,
    "ListAgents": READ,
    "ListAgentVersions": READ,
    "UpdateAgent": MANAGE,
    "ArchiveAgent": MANAGE,
    "ListModels": READ,
    "GetServerInfo": READ,
}
"""Which scope each RPC asks for."""

MOST_DISPLAY_NAME = 128
MOST_DESCRIPTION = 1_024
MOST_INSTRUCTIONS = 32_000
"""Characters of what an agent is (contract: AgentSpec)."""

MOST_PATTERNS = 256
"""Tools that an agent can name."""

MOST_WINDOW = 200
"""Messages of history that an agent may ask for (contract: AgentSpec.history_window)."""

_SPEC = tuple(field.name for field in fields(AgentSpec))


@value
class AgentServicer:
    """Agents, models, and what this server is."""

    agents: Agents
    models: Catalogue
    default_model: str
    server: ServerDescription

    async def CreateAgent(self, request: pb.CreateAgentRequest, context: Context) -> pb.CreateAgentResponse:
        """Make an agent."""
        spec = self._spec(request.spec, _SPEC)
        key = request_key("CreateAgent", request)
        command = CreateAgent(caller(context), key, request.agent_id, spec, request.validate_only)
        return pb.CreateAgentResponse(agent=agent_message(await self.agents.create(command)))

    async def GetAgent(self, request: pb.GetAgentRequest, context: Context) -> pb.GetAgentResponse:
        """An agent at a version."""
        _require_version(request.version)
        agent = await self.agents.get(caller(context).tenant, request.agent_id, request.version)
        return pb.GetAgentResponse(agent=agent_message(agent))

    async def ListAgents(self, request: pb.ListAgentsRequest, context: Context) -> pb.ListAgentsResponse:
        """A page of agents."""
        tenant = caller(context).tenant
        order = order_asked(request.order_by, ("agent_id", "agent_id desc"))
        page = page_asked(tenant, request)
        labels = dict(request.labels)
        command = ListAgents(tenant, page, order == "agent_id desc", request.include_archived, labels)
        given = page_given(tenant, request, await self.agents.list(command), agent_message, _agent_reference)
        return pb.ListAgentsResponse(agents=given.messages, next_page_token=given.next_page_token)

    async def ListAgentVersions(
        self, request: pb.ListAgentVersionsRequest, context: Context
    ) -> pb.ListAgentVersionsResponse:
        """A page of an agent's versions."""
        tenant = caller(context).tenant
        order = order_asked(request.order_by, ("version desc", "version"))
        command = ListAgentVersions(tenant, page_asked(tenant, request), request.agent_id, order == "version")
        listing = await self.agents.list_versions(command)
        given = page_given(tenant, request, listing, agent_message, _agent_reference)
        return pb.ListAgentVersionsResponse(agents=given.messages, next_page_token=given.next_page_token)

    async def UpdateAgent(self, request: pb.UpdateAgentRequest, context: Context) -> pb.UpdateAgentResponse:
        """Make a new version."""
        named = fields_named(request.update_mask, _SPEC, prefix="spec")
        command = UpdateAgent(
            caller=caller(context),
            key=request_key("UpdateAgent", request),
            agent_id=request.agent_id,
            spec=self._spec(request.spec, named),
            fields=named,
            etag=request.etag,
            validate_only=request.validate_only,
        )
        return pb.UpdateAgentResponse(agent=agent_message(await self.agents.update(command)))

    async def ArchiveAgent(self, request: pb.ArchiveAgentRequest, context: Context) -> pb.ArchiveAgentResponse:
        """Have an agent take no new turns."""
        command = ArchiveAgent(caller(context), request_key("ArchiveAgent", request), request.agent_id)
        return pb.ArchiveAgentResponse(agent=agent_message(await self.agents.archive(command)))

    async def ListModels(self, request: pb.ListModelsRequest, context: Context) -> pb.ListModelsResponse:
        """A page of models."""
        tenant = caller(context).tenant
        order_asked(request.order_by, ("model",))
        listing = page_of(self.models.offered(), lambda model: (model.name,), page_asked(tenant, request))
        given = page_given(tenant, request, listing, self._model, _model_reference)
        return pb.ListModelsResponse(models=given.messages, next_page_token=given.next_page_token)

    async def GetServerInfo(self, request: pb.GetServerInfoRequest, context: Context) -> pb.GetServerInfoResponse:
        """What this server is, and who the caller is to it."""
        identity = calls.current().identity
        server = self.server
        return pb.GetServerInfoResponse(
            server=pb.ServerInfo(
                version=server.version,
                packages=server.packages,
                capabilities=server.capabilities,
                limits=dict(server.limits),
                defaults=dict(server.defaults),
                tenant=identity.tenant,
                principal=identity.principal,
                scopes=sorted(identity.scopes),
                worker_id=server.worker_id,
                fold_version=FOLD_VERSION,
                log_epoch=server.log_epoch,
            )
        )

    def _model(self, model: ModelDescription) -> agent_pb2.Model:
        return model_message(model, self.default_model)

    def _spec(self, message: agent_pb2.AgentSpec, named: tuple[str, ...]) -> AgentSpec:
        """What an agent is, whose named fields keep the contract's limits. Raises InvalidField, ModelNotFound."""
        spec = spec_value(message)
        found = tuple(violation for violation in _violations(spec) if _top(violation.field) in named)
        if found:
            raise InvalidField(found)
        if spec.model and "model" in named:
            self.models.describe(spec.model)
        return spec


def _violations(spec: AgentSpec) -> Iterator[Violation]:
    for name, text, most in (
        ("display_name", spec.display_name, MOST_DISPLAY_NAME),
        ("description", spec.description, MOST_DESCRIPTION),
        ("instructions", spec.instructions, MOST_INSTRUCTIONS),
    ):
        if len(text) > most:
            yield Violation(f"spec.{name}", f"at most {most} characters; these are {len(text)}")
    if len(spec.tools) > MOST_PATTERNS:
        yield Violation("spec.tools", f"at most {MOST_PATTERNS}; these are {len(spec.tools)}")
    for place, pattern in enumerate(spec.tools[:MOST_PATTERNS]):
        problem = problem_of_pattern(pattern)
        if problem:
            yield Violation(f"spec.tools[{place}]", problem)
    if spec.temperature is not None and not 0 <= spec.temperature <= 2:
        yield Violation("spec.temperature", "0 to 2")
    if not 0 <= spec.history_window <= MOST_WINDOW:
        yield Violation("spec.history_window", f"0 (the default) to {MOST_WINDOW}")
    if spec.limits is not None:
        yield from _limit_violations(spec)


def _limit_violations(spec: AgentSpec) -> Iterator[Violation]:
    for field in fields(spec.limits) if spec.limits else ():
        value = getattr(spec.limits, field.name)
        if value < type(value)(0):
            yield Violation(f"spec.limits.{field.name}", "zero (not bounded) or more")


def _top(path: str) -> str:
    return path.removeprefix("spec.").partition("[")[0].partition(".")[0]


def _require_version(version: int) -> None:
    if version < 0:
        raise invalid("version", "zero for the newest, or a version from 1")


def _agent_reference(agent: Agent) -> str:
    return f"GetAgent of {agent.agent_id}"


def _model_reference(model: ModelDescription) -> str:
    return f"the settings of {model.name}"
