"""Tasks that tests start beside themselves."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


async def under_way(work: Awaitable[T]) -> asyncio.Task[T]:
    """A task that does the work, once it has got as far as its first wait."""
    begun = asyncio.Event()

    async def do() -> T:
        # Nobody who waits for the event runs before this task waits for something itself.
        begun.set()
        return await work

    task = asyncio.create_task(do())
    await begun.wait()
    return task
