"""What a service removes by itself once nobody needs it any more, a batch a transaction: nobody waits behind it."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

from heddle_core.background import in_background
from heddle_core.faults import HeddleError
from heddle_core.log_lines import LogLines

BATCH = 500
"""Rows that go in one transaction."""

_log = LogLines(__name__)


class Housekeeping:
    """Goes round at the start, and from then on every so often. Several processes may do so side by side."""

    def __init__(
        self, purge: Callable[[int], Awaitable[int]], *, every: timedelta = timedelta(hours=1), batch: int = BATCH
    ) -> None:
        """`purge` removes at most so many rows, and says how many these were."""
        self._purge = purge
        self._every = every
        self._batch = batch

    @asynccontextmanager
    async def serving(self) -> AsyncGenerator[None]:
        """Keep house until the block is left."""
        async with in_background({"letting old requests go": self._rounds}, pause=self._every):
            yield

    async def round(self) -> int:
        """Remove all that may go; how much that was. Raises StoreUnavailable."""
        gone = 0
        while True:
            removed = await self._purge(self._batch)
            gone += removed
            if removed < self._batch:
                return gone

    async def _rounds(self) -> None:
        while True:
            try:
                gone = await self.round()
                if gone:
                    _log.info("old requests were let go", requests=gone)
            except HeddleError as error:
                _log.warning("old requests stay for a while", reason=error.reason, problem=str(error))
            await asyncio.sleep(self._every.total_seconds())
