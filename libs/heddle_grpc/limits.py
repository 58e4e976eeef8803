"""How many calls may be under way at once, in all and for one tenant.

gRPC's own limit counts streams with unary calls, and has miscounted after refusals; a refused caller here
learns what was full and when to come again.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from heddle_core.errors import Overloaded


@dataclass(frozen=True)
class CallLimits:
    """Calls at once. A stream may last for minutes and does little, so streams are counted apart."""

    unary: int = 1_000
    unary_per_tenant: int = 500
    streams: int = 20_000
    streams_per_tenant: int = 10_000
    methods: Mapping[str, int] = field(default_factory=dict[str, int])
    """A tighter limit for single methods, by full path."""


class Admission:
    """Counts calls. Nobody queues here: a caller that waits in line holds memory and learns nothing."""

    def __init__(self, limits: CallLimits | None = None) -> None:
        given = limits or CallLimits()
        self.unary = Lane("unary calls", given.unary, given.unary_per_tenant)
        self.streams = Lane("streams", given.streams, given.streams_per_tenant)
        self._methods = {path: Lane(f"calls to {path}", most, most) for path, most in given.methods.items()}

    def lanes(self, path: str, *, streaming: bool) -> tuple["Lane", ...]:
        """The lanes that calls to `path` enter."""
        method = self._methods.get(path)
        kind = self.streams if streaming else self.unary
        return (kind,) if method is None else (kind, method)


class Lane:
    """One class of calls with its two limits."""

    def __init__(self, name: str, limit: int, limit_per_tenant: int) -> None:
        self._name = name
        self._limit = limit
        self._limit_per_tenant = limit_per_tenant
        self._by_tenant: Counter[str] = Counter()
        self.under_way = 0

    def enter(self, tenant: str) -> None:
        """Count one more. Raises Overloaded, counting nothing, when a limit is reached."""
        if self.under_way >= self._limit:
            raise Overloaded(f"the number of {self._name} at once on this server", self._limit)
        if self._by_tenant[tenant] >= self._limit_per_tenant:
            raise Overloaded(f"the number of {self._name} at once of tenant {tenant}", self._limit_per_tenant)
        self.under_way += 1
        self._by_tenant[tenant] += 1

    def leave(self, tenant: str) -> None:
        """Take back one `enter`."""
        self.under_way -= 1
        self._by_tenant[tenant] -= 1
        if not self._by_tenant[tenant]:
            del self._by_tenant[tenant]
