"""What the facade needs of the database about runs and inputs, beyond turns and control."""

from heddle_core.ids import InputId, RunId, TenantId, ThreadId
from heddle_runtime.facade.page_commands import Listing
from heddle_runtime.facade.run_commands import ListInputs, ListRuns, QueryUsage, RunFacts, UsageSum
from heddle_runtime.runs.inputs import InputRequest
from heddle_runtime.runs.run import Run
from heddle_runtime.store import input_queries, run_queries
from heddle_runtime.store.log import read_events
from heddle_runtime.store.store import Store
from heddle_runtime.threads.events import Event


class RunStore:
    """Runs and inputs in the database. All methods raise StoreUnavailable when it is in trouble."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def get_run(self, tenant: TenantId, run_id: RunId) -> Run:
        """A run by its id. Raises RunNotFound."""
        return await self._store.get_run(tenant, run_id)

    async def list_runs(self, command: ListRuns) -> Listing[Run]:
        """A page of runs; see `store.run_queries`."""
        return await self._store.read(lambda tx: run_queries.list_runs(tx, command))

    async def query_usage(self, command: QueryUsage) -> UsageSum:
        """What runs have used together; see `store.run_queries`."""
        return await self._store.read(lambda tx: run_queries.query_usage(tx, command))

    async def explain_run(self, tenant: TenantId, run_id: RunId) -> RunFacts:
        """What the rows tell about why a run stands where it stands. Raises RunNotFound."""
        return await self._store.read(lambda tx: run_queries.explain_run(tx, tenant, run_id))

    async def find_input(self, tenant: TenantId, input_id: InputId) -> InputRequest | None:
        """An input by its id, if it has been asked."""
        return await self._store.find_input(tenant, input_id)

    async def list_inputs(self, command: ListInputs) -> Listing[InputRequest]:
        """A page of inputs; see `store.input_queries`."""
        return await self._store.read(lambda tx: input_queries.list_inputs(tx, command))

    async def read_events(
        self, tenant: TenantId, thread_id: ThreadId, after: int, limit: int, run_id: RunId = RunId("")
    ) -> tuple[Event, ...]:
        """Those of the events after a sequence that are kept, oldest first."""
        return await self._store.read(lambda tx: read_events(tx, tenant, thread_id, after, limit, run_id))
