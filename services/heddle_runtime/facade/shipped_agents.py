"""The agents that come with Heddle: data files of this package, checked when they are read."""

from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

from heddle_core.errors import CannotServe
from heddle_core.usage import MicroUsd
from heddle_runtime.runs.agent import Agent, AgentSpec, ApprovalPolicy
from heddle_runtime.runs.usage import Limits

_LOADER: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's where there is one: ten times as fast, at every start. It overflows the stack on text that is nested a
hundred thousand deep, so it reads our own files alone."""

_POLICIES = {
    "by_tool": ApprovalPolicy.BY_TOOL,
    "writes": ApprovalPolicy.WRITES,
    "always": ApprovalPolicy.ALWAYS,
}


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LimitsFile(_File):
    """Bounds of an agent's runs, as a file says them; zero: not bounded here."""

    steps: int = Field(default=0, ge=0)
    tokens: int = Field(default=0, ge=0)
    output_tokens_per_step: int = Field(default=0, ge=0)
    cost_usd: Decimal = Field(default=Decimal(0), ge=0)
    wall_seconds: int = Field(default=0, ge=0)
    tool_calls: int = Field(default=0, ge=0)


class AgentFile(_File):
    """An agent, as a file says it. The file's name is its id."""

    version: int = Field(default=1, ge=1)
    display_name: str = Field(max_length=128)
    description: str = Field(max_length=1_024)
    instructions: str = Field(min_length=1, max_length=32_000)
    model: str = ""
    tools: tuple[str, ...] = ()
    limits: LimitsFile = LimitsFile()
    approval_policy: Literal["by_tool", "writes", "always"] = "by_tool"
    temperature: float | None = Field(default=None, ge=0, le=2)
    history_window: int = Field(default=20, ge=1, le=200)


def shipped_agents(folder: Traversable | None = None) -> Mapping[str, Agent]:
    """The agents of `folder`, which is the package's own unless said otherwise, by id.

    Raises:
        CannotServe: a file is not what it should be.
    """
    found = folder or files("heddle_runtime") / "agents"
    texts = {each.name.removesuffix(".yaml"): each for each in found.iterdir() if each.name.endswith(".yaml")}
    return {agent_id: _agent(agent_id, texts[agent_id].read_text("utf-8")) for agent_id in sorted(texts)}


def _agent(agent_id: str, text: str) -> Agent:
    try:
        file = AgentFile.model_validate(yaml.load(text, Loader=_LOADER))  # noqa: S506 - a safe one
    except (ValueError, yaml.YAMLError) as error:
        raise CannotServe(f"agent {agent_id}", str(error), "mend its file in heddle_runtime/agents") from error
    spec = AgentSpec(
        display_name=file.display_name,
        description=file.description,
        instructions=file.instructions.strip(),
        model=file.model,
        tools=file.tools,
        limits=Limits(
            steps=file.limits.steps,
            tokens=file.limits.tokens,
            output_tokens_per_step=file.limits.output_tokens_per_step,
            cost=MicroUsd(int(file.limits.cost_usd * 1_000_000)),
            wall_time=timedelta(seconds=file.limits.wall_seconds),
            tool_calls=file.limits.tool_calls,
        ),
        approval_policy=_POLICIES[file.approval_policy],
        temperature=file.temperature,
        history_window=file.history_window,
    )
    return Agent(agent_id, file.version, spec, revision=file.version, built_in=True)
