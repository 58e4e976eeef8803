"""A provider whose address is known later: one that is served by this very process, whose port is bound at the end."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from heddle_runtime.tools.port import ToolEvent, ToolInvocation, ToolProvider, ToolSpec


class LateProvider:
    """Opens the provider behind it when that is first needed, and owns it."""

    confirms_stop = False

    def __init__(self, provider_id: str, open_provider: Callable[[], ToolProvider]) -> None:
        self._provider_id = provider_id
        self._open = open_provider
        self._provider: ToolProvider | None = None

    @property
    def provider_id(self) -> str:
        """The first part of its tools' paths."""
        return self._provider_id

    async def list_tools(self) -> tuple[ToolSpec, ...]:
        """See `ToolProvider`. Raises ToolFault."""
        return await self._opened().list_tools()

    async def call(self, invocation: ToolInvocation) -> AsyncGenerator[ToolEvent, None]:
        """See `ToolProvider`. Raises ToolFault."""
        async with aclosing(self._opened().call(invocation)) as events:
            async for event in events:
                yield event

    async def close(self) -> None:
        """Close the provider behind it, if it was opened."""
        if self._provider is not None:
            await self._provider.close()

    def _opened(self) -> ToolProvider:
        if self._provider is None:
            self._provider = self._open()
        return self._provider
