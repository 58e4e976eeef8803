"""Who manages an agent: the last line of its description, as an agent has no labels."""

from heddle.runtime.v1.agent_pb2 import AgentSpec
from heddle_cli.manifests.folder import MANAGED_BY

_MARK = f"{MANAGED_BY}: "
_MOST = 1_024
"""Characters of a description (contract: AgentSpec)."""


def marked(spec: AgentSpec, managed_by: str) -> AgentSpec:
    """The same with the mark. Raises ValueError where the description leaves no room for it."""
    found = AgentSpec()
    found.CopyFrom(spec)
    lines = [*found.description.rstrip().splitlines(), f"{_MARK}{managed_by}"]
    found.description = "\n".join(lines)
    if len(found.description) > _MOST:
        room = _MOST - len(_MARK) - len(managed_by) - 1
        raise ValueError(f"must have at most {room} characters, so that there is room to say who manages it")
    return found


def manager_of(spec: AgentSpec) -> str:
    """The set that an agent belongs to. Empty: it was made otherwise."""
    last = spec.description.rpartition("\n")[2]
    return last.removeprefix(_MARK) if last.startswith(_MARK) else ""
