"""Between a bus that never waits and a reader that may be slow: bounded, and honest about loss."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Self

from heddle_bus.port import Gap, GapReason, Message


class Mailbox:
    """The subscription of every implementation: messages in order, and a mark wherever some are missing.

    Memory is bounded by `most_messages` and `most_bytes`; one message is always admitted. For one reader.
    """

    def __init__(self, *, most_messages: int, most_bytes: int, on_close: Callable[[], Awaitable[None]]) -> None:
        self._most_messages = most_messages
        self._most_bytes = most_bytes
        self._on_close = on_close
        self._items: deque[Message | Gap] = deque()
        self._messages = 0
        self._bytes = 0
        self._arrived = asyncio.Event()
        self._closed = False

    def offer(self, message: Message) -> None:
        """Keep the message for the reader, or a mark if there is no room."""
        if self._closed:
            return
        size = len(message.payload)
        if self._messages and (self._messages >= self._most_messages or self._bytes + size > self._most_bytes):
            self.mark(Gap(GapReason.OVERFLOW, missed=1))
            return
        self._items.append(message)
        self._messages += 1
        self._bytes += size
        self._arrived.set()

    def mark(self, gap: Gap) -> None:
        """Tell the reader that messages are missing here; marks with nothing between them become one."""
        if self._closed:
            return
        last = self._items[-1] if self._items else None
        if isinstance(last, Gap):
            self._items[-1] = last.joined(gap)
        else:
            self._items.append(gap)
        self._arrived.set()

    @property
    def empty(self) -> bool:
        """Whether there is nothing to read now."""
        return not self._items

    @property
    def closed(self) -> bool:
        """Whether nothing will come any more."""
        return self._closed

    async def close(self) -> None:
        """End the subscription and drop what was not read."""
        if self._closed:
            return
        self._closed = True
        self._items.clear()
        self._arrived.set()
        await self._on_close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message | Gap:
        while not self._items:
            if self._closed:
                raise StopAsyncIteration
            # Clear before waiting, after the look: an arrival in between cannot be lost on one loop.
            self._arrived.clear()
            await self._arrived.wait()
        item = self._items.popleft()
        if isinstance(item, Message):
            self._messages -= 1
            self._bytes -= len(item.payload)
        return item

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
