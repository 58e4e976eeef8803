"""How long this worker may take its runs for its own, by its own clock (SEMANTICS 14).

A fence keeps a stale owner from writing, but not from calling a tool. So before each dispatch the owner looks whether
its lease still holds: one that was paused, or cannot reach the database, hands over instead. What it cannot rule out is
a pause after that look; then a call whose intent is in the log goes out late, at most once as ever.
"""

from collections.abc import Awaitable
from datetime import timedelta

from heddle_core.clock import Clock
from heddle_core.runtime_errors import StaleFence
from heddle_runtime.runs.claim import Claim


class Lease:
    """The lease of one worker; none at first."""

    def __init__(self, clock: Clock, length: timedelta) -> None:
        self._clock = clock
        self._length = length.total_seconds()
        self._until = clock.monotonic()

    async def prolong(self, renewal: Awaitable[None]) -> None:
        """Wait for a renewal. Its time counts from here: the database begins to count later, so ends later."""
        asked = self._clock.monotonic()
        await renewal
        self._until = asked + self._length

    @property
    def holds(self) -> bool:
        """Whether nobody else can have taken this worker's runs yet."""
        return self._clock.monotonic() < self._until

    def require(self, claim: Claim) -> None:
        """Raises StaleFence unless the lease under which `claim` is held still holds."""
        if not self.holds:
            raise StaleFence(claim.run_id, claim.fence)
