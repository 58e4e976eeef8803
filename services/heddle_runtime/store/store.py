"""The runtime's store: every write is one operation of a group commit, and is published once it is committed."""

import secrets
from collections.abc import Callable
from typing import Generic, TypeVar

from heddle_core.ids import InputId, PrincipalId, RequestId, RunId, TenantId, ThreadId, WorkerId
from heddle_core.values import value
from heddle_database.port import Database, Transaction
from heddle_runtime.facade.commands import Accepted, AcceptTurn, Cancelled, CancelRuns, Resolved, ResolveInput
from heddle_runtime.runs.claim import Claim
from heddle_runtime.runs.inputs import InputRequest
from heddle_runtime.runs.run import Run
from heddle_runtime.store import appends, cancels, claims, inputs, reads, requests, run_rows, turns
from heddle_runtime.store.log import LogWriter, draft
from heddle_runtime.threads.append import AppendOutcome, OwnerAppend
from heddle_runtime.threads.events import Event
from heddle_runtime.threads.log import Committed, ThreadKey, ThreadLog
from heddle_runtime.threads.state import ThreadFold

T = TypeVar("T")


@value
class _Written(Generic[T]):
    result: T
    committed: tuple[Committed, ...]


class Store:
    """What the facade and the lanes need of the database. All methods raise StoreUnavailable when it is in trouble."""

    def __init__(self, database: Database, *, shared: bool = False) -> None:
        """Keep the log in `database`; `shared` says that other processes write to it, too."""
        self._database = database
        self.log = ThreadLog(self, shared=shared)

    # --- turns, cancels, inputs: for the facade ---

    async def accept_turn(self, command: AcceptTurn) -> Accepted:
        """Take a turn; see `store.turns`."""
        return await self.write(lambda writer: turns.accept_turn(writer, command), command.thread_id)

    async def cancel_runs(self, command: CancelRuns) -> Cancelled:
        """Mark runs as cancelled; see `store.cancels`."""
        return await self.write(lambda writer: cancels.cancel_runs(writer, command))

    async def resolve_input(self, command: ResolveInput) -> Resolved:
        """Answer an input; see `store.inputs`."""
        return await self.write(lambda writer: inputs.resolve_input(writer, command))

    async def get_run(self, tenant: TenantId, run_id: RunId) -> Run:
        """A run by its id. Raises RunNotFound."""
        return await self.read(lambda tx: run_rows.get_run(tx, tenant, run_id), brief=True)

    async def find_input(self, tenant: TenantId, input_id: InputId) -> InputRequest | None:
        """An input by its id, if it has been asked."""
        return await self.read(lambda tx: inputs.find_input(tx, tenant, input_id))

    async def find_turn(
        self, tenant: TenantId, principal: PrincipalId, request_id: RequestId
    ) -> tuple[RunId, ThreadId] | None:
        """The run that a turn's request started, with its thread."""
        found = await self.read(lambda tx: requests.find_turn(tx, tenant, principal, request_id), brief=True)
        return (found.run_id, found.thread_id) if found else None

    # --- the log: for everybody who reads ---

    async def load_fold(self, tenant: TenantId, thread_id: ThreadId, at_sequence: int = 0) -> ThreadFold:
        """The state of a thread; see `store.reads`."""
        await self.log_bounds(tenant, thread_id)  # most that are not in memory are not there: a turn is to make them
        return await self.read(lambda tx: reads.load_fold(tx, tenant, thread_id, at_sequence))

    async def read_events(
        self, tenant: TenantId, thread_id: ThreadId, after: int, limit: int, run_id: RunId = RunId("")
    ) -> tuple[Event, ...]:
        """Events after a sequence, oldest first. Raises ThreadNotFound, CursorTooOld."""
        return await self.read(lambda tx: reads.read_kept_events(tx, tenant, thread_id, after, limit, run_id))

    async def log_bounds(self, tenant: TenantId, thread_id: ThreadId) -> tuple[int, int]:
        """The last sequence and the first that is kept. Raises ThreadNotFound."""
        return await self.read(lambda tx: reads.log_bounds(tx, tenant, thread_id), brief=True)

    async def last_snapshot(self, tenant: TenantId, thread_id: ThreadId) -> int:
        """Sequence of the newest stored snapshot of a thread; zero: there is none."""
        return await self.read(lambda tx: reads.last_snapshot(tx, tenant, thread_id), brief=True)

    async def store_snapshot(self, tenant: TenantId, fold: ThreadFold, body: bytes) -> None:
        """Keep a fold's bytes."""
        thread_id, sequence, head = fold.thread_id, fold.last_sequence, fold.head_hash
        await self.write(lambda writer: reads.store_snapshot(writer.tx, tenant, thread_id, sequence, head, body))

    # --- claims and appends: for the lanes ---

    async def append(self, command: OwnerAppend) -> AppendOutcome:
        """Write an owner's facts; see `store.appends`. Raises StaleFence."""
        drafts = tuple(draft(command.claim.run_id, payload) for payload in command.payloads)
        return await self.write(lambda writer: appends.append(writer, command, drafts), command.claim.thread_id)

    async def claim_thread(self, worker_id: WorkerId, tenant: TenantId, thread_id: ThreadId) -> Claim | None:
        """Take the next run of one thread."""
        return await self.write(lambda writer: claims.claim_thread(writer.tx, worker_id, tenant, thread_id), thread_id)

    async def claim_any(self, worker_id: WorkerId, limit: int) -> list[Claim]:
        """Take the next runs of any threads."""
        return await self.write(lambda writer: claims.claim_any(writer.tx, worker_id, limit))

    async def renew_lease(self, worker_id: WorkerId, address: str, lease: int) -> None:
        """Prolong a worker's lease by `lease` microseconds from now. Waits behind nothing but the writer."""
        await self.write(lambda writer: claims.renew_lease(writer.tx, worker_id, address, lease))

    async def owned(self, worker_id: WorkerId) -> frozenset[Claim]:
        """What a worker holds, as the database knows it."""
        return await self.read(lambda tx: claims.owned(tx, worker_id))

    async def cancelled(self, worker_id: WorkerId) -> frozenset[ThreadKey]:
        """Threads of runs that a worker holds and that are cancelled."""
        return await self.read(lambda tx: claims.cancelled(tx, worker_id))

    async def release_run(self, claim: Claim) -> None:
        """Hand over one run."""
        await self.write(lambda writer: claims.release_run(writer.tx, claim))

    async def release_worker(self, worker_id: WorkerId) -> None:
        """Hand over all runs of a worker."""
        await self.write(lambda writer: claims.release_worker(writer.tx, worker_id))

    async def sweep(self, cancel_grace: int, survivor: WorkerId | None = None) -> int:
        """Queue runs of lost workers and of owners that do not stop; take default decisions. How much changed."""

        def swept(writer: LogWriter) -> int:
            return (
                inputs.expire_inputs(writer)  # first: it holds threads, and those are taken before runs
                + claims.release_lost(writer.tx, survivor)
                + claims.force_cancelled(writer.tx, cancel_grace)
            )

        return await self.write(swept)

    async def secret(self, name: str) -> bytes:
        """A key that all processes on this database share, made at first use: 32 random bytes."""
        fresh = secrets.token_bytes(32)

        def kept(writer: LogWriter) -> bytes:
            writer.tx.run(
                "INSERT INTO secrets (name, value) VALUES (:name, :value) ON CONFLICT (name) DO NOTHING",
                name=name,
                value=fresh,
            )
            row = writer.tx.row("SELECT value FROM secrets WHERE name = :name", name=name)
            return row[0] if row else fresh

        return await self.write(kept)

    # --- how all of them run ---

    async def write(self, operation: Callable[[LogWriter], T], affinity: str = "", *, bulk: bool = False) -> T:
        """Carry out a repeatable operation; what it appended is published in the order of commits.

        `affinity` (the thread's id) and `bulk` are those of `Database.write`.
        """

        def written(tx: Transaction) -> _Written[T]:
            writer = LogWriter(tx)
            return _Written(operation(writer), tuple(writer.committed))

        return (await self._database.write(written, self._publish, affinity=affinity, bulk=bulk)).result

    async def read(self, operation: Callable[[Transaction], T], *, brief: bool = False) -> T:
        """Carry out a read on a consistent snapshot; `brief`: it looks up a few small rows (`Database.read`)."""
        return await self._database.read(operation, brief=brief)

    def _publish(self, written: _Written[T]) -> None:
        for committed in written.committed:
            self.log.publish(committed)
