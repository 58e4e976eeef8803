"""What a worker holds while it works on a run. Values only."""

from heddle_core.ids import RunId, TenantId, ThreadId, WorkerId
from heddle_core.values import value


@value
class Claim:
    """A run that a worker holds, under a fence."""

    tenant: TenantId
    thread_id: ThreadId
    run_id: RunId
    worker_id: WorkerId
    fence: int
    attempt: int
