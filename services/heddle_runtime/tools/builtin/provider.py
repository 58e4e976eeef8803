"""The tools inside the runtime, as one provider among the others."""

import json
from collections.abc import AsyncGenerator, Sequence

from heddle_runtime.tools.builtin.tool import PROVIDER_ID, BuiltinTool
from heddle_runtime.tools.port import ToolEvent, ToolFault, ToolFaultKind, ToolInvocation, ToolSpec
from heddle_runtime.tools.schema import Schemas


class BuiltinProvider:
    """Serves the tools that it is given."""

    provider_id = PROVIDER_ID
    confirms_stop = True
    """A tool here that is cancelled has no effect after, or says what it was."""

    def __init__(self, tools: Sequence[BuiltinTool], *, schemas: Schemas) -> None:
        self._tools = {tool.spec.name: tool for tool in tools}
        self._schemas = schemas

    async def list_tools(self) -> tuple[ToolSpec, ...]:
        """The declarations, in order of names."""
        return tuple(self._tools[name].spec for name in sorted(self._tools))

    async def call(self, invocation: ToolInvocation) -> AsyncGenerator[ToolEvent, None]:
        """Perform a call; see `ToolProvider`. Raises ToolFault for an unknown tool or arguments that do not fit."""
        tool = self._tools.get(invocation.spec.name)
        if tool is None:
            raise ToolFault(ToolFaultKind.REFUSED, f"no tool {invocation.spec.name} is built in: refresh the provider")
        arguments_json = invocation.arguments_json or "{}"
        problems = self._schemas.problems(tool.spec.parameters_json, arguments_json)
        if problems:
            raise ToolFault(ToolFaultKind.REFUSED, f"{tool.spec.name}: {'; '.join(problems)}")
        yield await tool.perform(json.loads(arguments_json), invocation)

    async def close(self) -> None:
        """Nothing is kept open between calls."""
