"""How many turns a principal may start: a token bucket each, in this process. No clock of its own."""

from collections import OrderedDict
from dataclasses import dataclass

from heddle_core.ids import PrincipalId, TenantId

MOST_BUCKETS = 100_000
"""Principals that are remembered; the one that was quiet for longest is forgotten first, with a full bucket."""


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


class Rates:
    """Turns per minute and principal; zero means that there is no limit."""

    def __init__(self, per_minute: int) -> None:
        self.per_minute = per_minute
        self._buckets: OrderedDict[tuple[TenantId, PrincipalId], _Bucket] = OrderedDict()

    def admit(self, tenant: TenantId, principal: PrincipalId, now: float) -> bool:
        """Whether one more turn is within the rate; if so, it is counted. `now` in seconds of a monotonic clock."""
        if not self.per_minute:
            return True
        bucket = self._buckets.pop((tenant, principal), None) or _Bucket(float(self.per_minute), now)
        bucket.tokens = min(float(self.per_minute), bucket.tokens + (now - bucket.at) * self.per_minute / 60)
        bucket.at = now
        self._buckets[tenant, principal] = bucket
        if len(self._buckets) > MOST_BUCKETS:
            self._buckets.popitem(last=False)
        if bucket.tokens < 1:
            return False
        bucket.tokens -= 1
        return True
