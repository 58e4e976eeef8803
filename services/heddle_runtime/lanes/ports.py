"""What the lanes need of the rest: a store that claims and sweeps, and whoever knows agents and tools."""

from typing import Protocol

from heddle_core.ids import TenantId, ThreadId, WorkerId
from heddle_runtime.runs.agent import AgentSpec
from heddle_runtime.runs.claim import Claim
from heddle_runtime.threads.log import ThreadKey
from heddle_runtime.tools.selection import Selection, Wishes


class ClaimStore(Protocol):
    """Claims, leases and sweeps. All methods raise StoreUnavailable when the store is in trouble."""

    async def claim_thread(self, worker_id: WorkerId, tenant: TenantId, thread_id: ThreadId) -> Claim | None:
        """Take the next run of one thread, if its lane is free and there is one."""
        ...

    async def claim_any(self, worker_id: WorkerId, limit: int) -> list[Claim]:
        """Take the next runs of any threads, at most `limit`."""
        ...

    async def renew_lease(self, worker_id: WorkerId, address: str, lease: int) -> None:
        """Prolong a worker's lease by `lease` microseconds."""
        ...

    async def owned(self, worker_id: WorkerId) -> frozenset[Claim]:
        """What a worker holds, as the database knows it."""
        ...

    async def cancelled(self, worker_id: WorkerId) -> frozenset[ThreadKey]:
        """Threads of runs that a worker holds and that are cancelled."""
        ...

    async def release_run(self, claim: Claim) -> None:
        """Hand over one run."""
        ...

    async def release_worker(self, worker_id: WorkerId) -> None:
        """Hand over all runs of a worker, and end its lease."""
        ...

    async def sweep(self, cancel_grace: int, survivor: WorkerId | None = None) -> int:
        """Queue runs of lost workers, force overdue cancels, take default decisions."""
        ...


class Agents(Protocol):
    """Agents at their versions."""

    async def spec(self, tenant: TenantId, agent_id: str, version: int) -> AgentSpec:
        """What an agent is at a version, archived or not. Raises AgentNotFound."""
        ...


class Toolbox(Protocol):
    """The tools of a tenant."""

    async def select(self, tenant: TenantId, wishes: Wishes) -> Selection:
        """The tools that an agent's wishes and the tenant's rules give."""
        ...

    def select_at_once(self, tenant: TenantId, wishes: Wishes) -> Selection | None:
        """The same, where nothing has to be loaded or looked up; else None."""
        ...
