"""A provider that is opened with files, as a token's or a certificate's: anew whenever they say something else.

They change while the runtime serves, because credentials that live long are found in the end.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

from heddle_runtime.tools.port import ToolEvent, ToolInvocation, ToolProvider, ToolSpec

Content = TypeVar("Content")


@dataclass(slots=True, eq=False, repr=False)
class _Opened(Generic[Content]):
    provider: ToolProvider
    content: Content
    """What stood in the files. Never shown, so it has no repr."""
    users: int = 0


class RenewedProvider(Generic[Content]):
    """A provider that is looked at before each use. Calls under way end where they began."""

    def __init__(
        self,
        provider_id: str,
        read: Callable[[], Content],
        connect: Callable[[Content], ToolProvider],
        *,
        confirms_stop: bool = False,
    ) -> None:
        """`read` gives what stands in the files now, to be compared; it may block. Both may raise ToolFault."""
        self._provider_id = provider_id
        self._read = read
        self._connect = connect
        self._confirms_stop = confirms_stop
        self._opened: _Opened[Content] | None = None
        self._looking = asyncio.Lock()

    @property
    def provider_id(self) -> str:
        """The first part of its tools' paths."""
        return self._provider_id

    @property
    def confirms_stop(self) -> bool:
        """What it opens says the same; see `ToolProvider`."""
        return self._confirms_stop

    async def list_tools(self) -> tuple[ToolSpec, ...]:
        """The tools, as declared. Raises ToolFault."""
        async with self._used() as provider:
            return await provider.list_tools()

    async def call(self, invocation: ToolInvocation) -> AsyncGenerator[ToolEvent, None]:
        """Perform a call; see `ToolProvider`. Raises ToolFault."""
        async with self._used() as provider, aclosing(provider.call(invocation)) as events:
            async for event in events:
                yield event

    async def close(self) -> None:
        """Close what is open. Calls under way must have ended."""
        opened, self._opened = self._opened, None
        if opened is not None:
            await opened.provider.close()

    @asynccontextmanager
    async def _used(self) -> AsyncGenerator[ToolProvider]:
        taken = await self._take()
        try:
            yield taken[-1].provider
        finally:
            for each in taken:
                each.users -= 1
            for each in taken:
                if each is not self._opened and not each.users:
                    await each.provider.close()

    async def _take(self) -> tuple[_Opened[Content], ...]:
        """What is open with the files as they are now; before it what it replaces, to be closed behind this use."""
        async with self._looking:  # or what was read first might be opened last
            content = await asyncio.to_thread(self._read)
            before = self._opened
            if before is not None and before.content == content:
                taken = (before,)
            else:
                self._opened = _Opened(self._connect(content), content)
                taken = (before, self._opened) if before is not None else (self._opened,)
            for each in taken:  # before anybody else can find that nobody uses it
                each.users += 1
        return taken
