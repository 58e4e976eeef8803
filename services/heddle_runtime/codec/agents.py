"""Agents, models, tools and their providers as messages."""

from heddle.runtime.v1 import agent_pb2, turn_pb2
from heddle.tools.v1 import tool_pb2
from heddle_runtime.codec.mapping import MessageMapping, duration, money, timestamp
from heddle_runtime.facade.provider_commands import ProviderView
from heddle_runtime.models.catalogue import ModelDescription
from heddle_runtime.runs.agent import Agent, AgentSpec
from heddle_runtime.runs.usage import Limits
from heddle_runtime.tools.port import ToolSpec

AGENTS = MessageMapping({Limits: turn_pb2.Limits, AgentSpec: agent_pb2.AgentSpec}, {})
"""Converters for what agents are made of."""


def spec_value(message: agent_pb2.AgentSpec) -> AgentSpec:
    """What an agent is, from its message."""
    return AGENTS.decode(AgentSpec, message)


def stored_spec(spec: AgentSpec) -> bytes:
    """What an agent is, as it is stored."""
    return AGENTS.encode(spec).SerializeToString(deterministic=True)


def spec_of_stored(stored: bytes) -> AgentSpec:
    """What an agent is, from its stored bytes."""
    return spec_value(agent_pb2.AgentSpec.FromString(stored))


def agent_message(agent: Agent) -> agent_pb2.Agent:
    """An agent as clients see it."""
    message = agent_pb2.Agent(
        agent_id=agent.agent_id,
        version=agent.version,
        spec=AGENTS.encode(agent.spec),
        archived=agent.archived,
        etag=str(agent.revision),
        built_in=agent.built_in,
    )
    if agent.create_time is not None:
        message.create_time.CopyFrom(timestamp(agent.create_time))
    return message


def model_message(model: ModelDescription, default: str) -> agent_pb2.Model:
    """A model as clients see it; `default` is the name of the one that is used where nothing else is said."""
    message = agent_pb2.Model(
        model=model.name,
        available=model.usable,
        note=model.reason,
        context_window=model.context_window or 0,
        is_default=model.name == default,
    )
    if model.price is not None:
        message.input_price.CopyFrom(money(model.price.input))
        message.output_price.CopyFrom(money(model.price.output))
    return message


def provider_message(provider: ProviderView) -> agent_pb2.ToolProvider:
    """A tool provider as clients see it."""
    message = agent_pb2.ToolProvider(
        provider_id=provider.provider_id,
        allowed_tools=list(provider.allowed_tools),
        etag=str(provider.revision),
        available=not provider.problem,
        problem=provider.problem,
    )
    if provider.grpc_target:
        message.grpc_target = provider.grpc_target
    else:
        message.built_in = True
    if provider.refresh_time is not None:
        message.refresh_time.CopyFrom(timestamp(provider.refresh_time))
    return message


def offered_tool_message(tool: ToolSpec) -> agent_pb2.OfferedTool:
    """A tool as clients see it, with its provider."""
    declared = tool_pb2.Tool(
        name=tool.name,
        description=tool.description,
        parameters_json=tool.parameters_json,
        risk=tool_pb2.RiskClass.ValueType(tool.risk),
        read_only=tool.read_only,
        idempotent=tool.idempotent,
        needs_approval=tool.needs_approval,
        deadline=duration(tool.deadline),
        category=tool.category,
    )
    if tool.price:
        declared.price.CopyFrom(money(tool.price))
    return agent_pb2.OfferedTool(provider_id=tool.provider_id, tool=declared, schema_digest=tool.schema_digest)
