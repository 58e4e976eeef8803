"""What a tool inside the runtime is. One file a tool stands beside this one."""

import json
from collections.abc import Mapping
from typing import Any, Protocol

from heddle_runtime.runs.content import Json, Text
from heddle_runtime.tools.port import ToolEnd, ToolInvocation, ToolReply, ToolSpec

PROVIDER_ID = "builtin"
"""The first part of the paths of these tools, as in `builtin/ask_user`."""

Arguments = Mapping[str, Any]
"""Arguments that fit the tool's schema."""


class BuiltinTool(Protocol):
    """One tool inside the runtime."""

    @property
    def spec(self) -> ToolSpec:
        """Its declaration."""
        ...

    async def perform(self, arguments: Arguments, invocation: ToolInvocation) -> ToolEnd:
        """Do it. Cancelled, it either has no effect and re-raises, or returns what it has done already."""
        ...


def said(text: str) -> ToolReply:
    """A reply of words."""
    return ToolReply(ok=True, content=(Text(text),))


def answered(value: Any) -> ToolReply:
    """A reply of JSON."""
    return ToolReply(ok=True, content=(Json(json.dumps(value, ensure_ascii=False)),))


def refused(why: str) -> ToolReply:
    """A reply that says what is wrong and what to do instead."""
    return ToolReply(ok=False, content=(Text(why),))


def schema_of(properties: Mapping[str, Any], *, required: tuple[str, ...] = ()) -> str:
    """The JSON schema of an object with just these properties."""
    schema = {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}
    return json.dumps(schema)
