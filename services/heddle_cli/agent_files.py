"""Reads agents from YAML files: the fields of the contract's AgentSpec, and `agent_id`."""

from collections.abc import Mapping
from typing import Any, cast

import typer
import yaml
from google.protobuf.json_format import ParseDict, ParseError

from heddle.runtime.v1.agent_pb2 import AgentSpec

_POLICY = "APPROVAL_POLICY_"


def read_agent(text: str, origin: str, agent_id: str = "") -> tuple[str, AgentSpec]:
    """The agent's id and what it is. `agent_id` wins over the file's.

    Enums may be written short, as `approval_policy: writes`. Raises BadParameter that names `origin`.
    """
    try:
        content: Any = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise typer.BadParameter(f"{origin} is not YAML: {error}") from error
    if not isinstance(content, dict):
        raise typer.BadParameter(f"{origin} must be a mapping with agent_id, instructions, tools and so on")
    fields = dict(cast("dict[str, Any]", content))
    name = agent_id or fields.pop("agent_id", "")
    fields.pop("agent_id", None)
    if not isinstance(name, str) or not name:
        raise typer.BadParameter(f"{origin} names no agent_id: add one, or give --id")
    try:
        return name, agent_spec(fields)
    except ParseError as error:
        raise typer.BadParameter(f"{origin} does not fit AgentSpec: {error}") from error


def agent_spec(fields: Mapping[str, Any]) -> AgentSpec:
    """What an agent is, from a file's fields without `agent_id`. Raises ParseError."""
    said = dict(fields)
    policy = said.get("approval_policy")
    if isinstance(policy, str) and not policy.startswith(_POLICY):
        said["approval_policy"] = _POLICY + policy.upper()
    return ParseDict(said, AgentSpec())
