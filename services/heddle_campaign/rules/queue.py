"""Who is next among the due cycles: fair between tenants first, then by priority, then by age. And rates."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from heapq import heapify, heappop, heappush

from heddle_core.clock import Micros, micros
from heddle_core.ids import TenantId


@dataclass(frozen=True, slots=True)
class DueCycle:
    """A cycle that waits to be claimed."""

    cycle_id: str
    tenant: TenantId
    campaign_id: str
    due: Micros
    priority: int = 0
    """Higher goes first within the tenant."""


@dataclass(frozen=True, slots=True)
class Rate:
    """How many may begin in a while; as many at once after a rest."""

    most: int
    per: timedelta


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many cycles may be at work at once, and how many may begin in a while."""

    per_tenant: int = 10
    tenant_shares: Mapping[TenantId, int] | None = None
    """How much of the workers a tenant gets beside the others; 1 when it is not named."""
    per_campaign: Mapping[tuple[TenantId, str], int] | None = None
    """1 when it is not named."""
    rate: Rate | None = None
    """Of each tenant. None: as fast as there is room."""

    def share(self, tenant: TenantId) -> int:
        """The tenant's share, at least 1."""
        return max(1, (self.tenant_shares or {}).get(tenant, 1))

    def of_campaign(self, tenant: TenantId, campaign_id: str) -> int:
        """Most cycles of a campaign at once."""
        return (self.per_campaign or {}).get((tenant, campaign_id), 1)


def choose(
    waiting: Sequence[DueCycle], running: Mapping[tuple[TenantId, str], int], free: int, bounds: Bounds
) -> tuple[DueCycle, ...]:
    """The cycles to begin now, in order: at most `free`, none beyond a bound.

    The next comes from the tenant with the fewest cycles at work for its share. So a tenant with a thousand due cycles
    delays another's one by no more than the cycles that are at work already.

    Args:
        waiting: due cycles, in any order.
        running: cycles at work, by tenant and campaign.
        free: how many more may begin.
        bounds: per tenant and campaign.
    """
    at_work = Counter(dict(running))
    of_tenant: Counter[TenantId] = Counter()
    for (tenant, _), cycles in running.items():
        of_tenant[tenant] += cycles
    queues: dict[TenantId, list[DueCycle]] = {}
    for cycle in sorted(waiting, key=_order, reverse=True):
        queues.setdefault(cycle.tenant, []).append(cycle)
    turns = [_turn(tenant, of_tenant, bounds, queue) for tenant, queue in queues.items()]
    heapify(turns)
    chosen: list[DueCycle] = []
    while turns and len(chosen) < free:
        *_, tenant = heappop(turns)
        cycle = _take(queues[tenant], at_work, bounds) if of_tenant[tenant] < bounds.per_tenant else None
        if cycle is None:
            continue
        chosen.append(cycle)
        at_work[cycle.tenant, cycle.campaign_id] += 1
        of_tenant[tenant] += 1
        if queues[tenant]:
            heappush(turns, _turn(tenant, of_tenant, bounds, queues[tenant]))
    return tuple(chosen)


def _order(cycle: DueCycle) -> tuple[int, Micros, str]:
    return -cycle.priority, cycle.due, cycle.cycle_id


def _turn(
    tenant: TenantId, of_tenant: Mapping[TenantId, int], bounds: Bounds, queue: Sequence[DueCycle]
) -> tuple[float, Micros, TenantId]:
    # Between two tenants that are served alike, the one whose next has waited longer.
    return of_tenant.get(tenant, 0) / bounds.share(tenant), queue[-1].due, tenant


def _take(queue: list[DueCycle], at_work: Mapping[tuple[TenantId, str], int], bounds: Bounds) -> DueCycle | None:
    """The tenant's next cycle whose campaign has room; those before it leave the queue, for they cannot begin now."""
    while queue:
        cycle = queue.pop()
        key = cycle.tenant, cycle.campaign_id
        if at_work.get(key, 0) < bounds.of_campaign(*key):
            return cycle
    return None


@dataclass(frozen=True, slots=True)
class Spent:
    """How much of a rate is used: the moment at which all of it will be free again. Zero: all of it is."""

    full_at: Micros = Micros(0)


def spend(rate: Rate, spent: Spent, now: Micros) -> tuple[Spent, Micros | None]:
    """Take one; returns what is spent then, and None, or when one is free again if none was left.

    The state is one moment (a leaky bucket told by its end): nothing has to be counted up while nobody asks.
    """
    whole = micros(rate.per)
    step = -(-whole // rate.most)
    full_at = Micros(max(spent.full_at, now) + step)
    free_at = Micros(full_at - step * rate.most)
    if free_at > now:
        return spent, free_at
    return Spent(full_at), None
