"""A value that others can watch, for state such as "connected": no callbacks, and nothing polled."""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Observed(Generic[T]):
    """A current value, and a way to wait for the next. For one event loop."""

    def __init__(self, value: T) -> None:
        self._value = value
        self._changed = asyncio.Event()

    @property
    def value(self) -> T:
        """What it is now."""
        return self._value

    def set(self, value: T) -> None:
        """Change the value, and wake those who wait for a change. An equal value changes nothing."""
        if value == self._value:
            return
        self._value = value
        self.wake()

    def wake(self) -> None:
        """Make those who wait look again: for a condition that depends on more than the value."""
        # A fresh event for those who come later: whoever holds this one is woken, even if it runs late.
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def change_from(self, known: T) -> T:
        """The first value that differs from `known`: at once if it differs already."""
        return await self.until(lambda value: value != known)

    async def until(self, accepted: Callable[[T], bool]) -> T:
        """The first value that `accepted` accepts; values that came and went in between may be skipped."""
        while not accepted(self._value):
            await self._changed.wait()
        return self._value
