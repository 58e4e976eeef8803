"""Who waits in this process for something to change; what another process changes is found by looking."""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager


class Changes:
    """Bells by tenant and id."""

    def __init__(self) -> None:
        self._bells: dict[tuple[str, str], set[asyncio.Event]] = {}

    def tell(self, tenant: str, *ids: str) -> None:
        """Ring for everybody who waits for one of these; empty ids are nobody's."""
        for each in ids:
            for bell in self._bells.get((tenant, each), ()):
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
