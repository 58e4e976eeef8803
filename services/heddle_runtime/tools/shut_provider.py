"""Stands in for a registered provider that this deployment does not let be reached, or not any more."""

from collections.abc import AsyncGenerator

from heddle_runtime.tools.port import ToolEvent, ToolFault, ToolFaultKind, ToolInvocation, ToolSpec


class ShutProvider:
    """Serves nothing, and says why. What else a tenant has is not touched by it."""

    confirms_stop = True

    def __init__(self, provider_id: str, problem: str) -> None:
        self._provider_id = provider_id
        self._problem = problem

    @property
    def provider_id(self) -> str:
        """The first part of the paths that its tools would have."""
        return self._provider_id

    async def list_tools(self) -> tuple[ToolSpec, ...]:
        """Raises ToolFault."""
        raise ToolFault(ToolFaultKind.NOT_SENT, self._problem)

    async def call(self, invocation: ToolInvocation) -> AsyncGenerator[ToolEvent, None]:
        """Raises ToolFault."""
        raise ToolFault(ToolFaultKind.NOT_SENT, self._problem)
        yield  # which makes this a generator, as the port has it

    async def close(self) -> None:
        """Nothing is open."""
