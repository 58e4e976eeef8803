"""Much work of one kind, a few at a time: so that a thousand campaigns neither wait for each other nor keep others."""

import asyncio
from collections.abc import Awaitable, Iterable

AT_ONCE = 8
"""That are at work side by side."""


async def side_by_side(work: Iterable[Awaitable[None]], at_once: int = AT_ONCE) -> None:
    """Do all of it. What fails is raised, once those beside it were stopped; what comes behind is not begun."""
    left = iter(work)

    async def do() -> None:
        for each in left:
            await each

    try:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(at_once):
                tasks.create_task(do())
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from failed
