"""Who waits in this process for something to change; what another process changes is told by doorbells, or found."""

import asyncio
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Told = Callable[[str, tuple[str, ...]], None]
"""Called with tenant and ids of what this process has changed; quick, and never failing."""


class Leaving(Protocol):
    """A server that may go away while somebody waits."""

    started: asyncio.Event
    """Set once it goes away."""

    def ringing(self, doorbell: asyncio.Event, /) -> AbstractContextManager[None]:
        """Have a doorbell set too when it goes away."""
        ...


class Changes:
    """Bells by tenant and id."""

    def __init__(self) -> None:
        self._bells: dict[tuple[str, str], set[asyncio.Event]] = {}
        self._listeners: list[Told] = []

    def listen(self, told: Told) -> None:
        """Have what this process changes told elsewhere, too."""
        self._listeners.append(told)

    def tell(self, tenant: str, *ids: str) -> None:
        """Ring for everybody who waits for one of these, here and elsewhere; empty ids are nobody's."""
        self.ring(tenant, *ids)
        for told in self._listeners:
            told(tenant, ids)

    def ring(self, tenant: str, *ids: str) -> None:
        """Ring for everybody who waits for one of these in this process: it was changed, wherever that was."""
        for each in ids:
            for bell in self._bells.get((tenant, each), ()):
                bell.set()

    def ring_all(self) -> None:
        """Ring for everybody who waits in this process: something may have changed unheard."""
        for bells in self._bells.values():
            for bell in bells:
                bell.set()

    @contextmanager
    def bell(self, tenant: str, id: str) -> Generator[asyncio.Event]:
        """A bell that rings at every change from now on. Clear it before reading, or a ring in between is lost."""
        bell, key = asyncio.Event(), (tenant, id)
        self._bells.setdefault(key, set()).add(bell)
        try:
            yield bell
        finally:
            bells = self._bells[key]
            bells.discard(bell)
            if not bells:
                del self._bells[key]


async def rung(bell: asyncio.Event, seconds: float) -> None:
    """Wait for a bell, so long at most."""
    try:
        async with asyncio.timeout(seconds):
            await bell.wait()
    except TimeoutError:
        pass
