"""The worker of this process: takes runs from free lanes, works on them, and hands them over when it goes.

Doorbells start work at once; a sweep each second finds what no doorbell told of (SEMANTICS 11, 12).
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

import structlog

from heddle_core.errors import StaleFence
from heddle_core.faults import HeddleError
from heddle_core.ids import RunId, TenantId, ThreadId, WorkerId
from heddle_runtime.lanes.ports import ClaimStore
from heddle_runtime.lanes.preparing import Preparation
from heddle_runtime.orchestrator.journal import Journal, RunLog
from heddle_runtime.orchestrator.opening import opening
from heddle_runtime.orchestrator.orchestrator import Equipment, Orchestrator
from heddle_runtime.orchestrator.settlement import cancelled, closing
from heddle_runtime.runs.claim import Claim
from heddle_runtime.runs.run import FailureReason, RunFailure
from heddle_runtime.runs.state import RunState
from heddle_runtime.threads.append import Appended
from heddle_runtime.threads.events import RUN_ENDS, InputResolved, RunCancelRequested, RunFailed
from heddle_runtime.threads.log import Committed, ThreadKey
from heddle_runtime.threads.state import RunFold, ThreadFold

_log = structlog.get_logger()

_MICROS = 1_000_000


@dataclass(frozen=True, slots=True)
class LaneSettings:
    """How a worker behaves; the defaults are those of SEMANTICS 11 to 15."""

    slots: int = 1_000
    """Runs that are worked on at the same time."""
    lease: timedelta = timedelta(seconds=10)
    renew_every: timedelta = timedelta(seconds=3)
    sweep_every: timedelta = timedelta(seconds=1)
    cancel_grace: timedelta = timedelta(seconds=8)
    """How long an owner may take to settle a cancelled run before it is taken away."""
    drain_grace: timedelta = timedelta(seconds=15)
    """How long runs may go on after the process was told to stop."""


@dataclass(slots=True)
class _Work:
    claim: Claim
    stop: asyncio.Event
    task: "asyncio.Task[None] | None" = None


class Lanes:
    """Runs of this process."""

    def __init__(
        self,
        worker_id: WorkerId,
        store: ClaimStore,
        log: RunLog,
        equipment: Equipment,
        preparation: Preparation,
        settings: LaneSettings,
    ) -> None:
        self.worker_id = worker_id
        self._store = store
        self._log = log
        self._equipment = equipment
        self._preparation = preparation
        self._settings = settings
        self._working: dict[tuple[TenantId, RunId], _Work] = {}
        self._rung: dict[ThreadKey, None] = {}
        self._doorbell = asyncio.Event()
        self._draining = False
        self._idle = asyncio.Event()
        self._tasks: asyncio.TaskGroup | None = None

    @property
    def accepts(self) -> bool:
        """Whether a slot is free for a run that is accepted now."""
        return not self._draining and self._tasks is not None and len(self._working) < self._settings.slots

    def held_back(self) -> str:
        """The limit that keeps this worker from taking runs now, in words; empty: it takes them."""
        if self._draining:
            return "this worker is shutting down"
        return "" if len(self._working) < self._settings.slots else f"all {self._settings.slots} slots are taken"

    @property
    def running(self) -> int:
        """Runs that are worked on here."""
        return len(self._working)

    @asynccontextmanager
    async def serving(self, address: str, *, sole_process: bool) -> AsyncGenerator[None]:
        """Work until the block is left, then let runs go on for a while and hand over what is left.

        Args:
            address: where other replicas reach this one.
            sole_process: whether the database admits no other process, so that all other leases have ended.
        """
        await self._store.renew_lease(self.worker_id, address, self._lease)
        await self._store.sweep(self._cancel_grace, self.worker_id if sole_process else None)
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                own = [
                    tasks.create_task(task) for task in (self._renew(address), self._sweep(), self._answer_doorbell())
                ]
                try:
                    yield
                finally:
                    await self._drain()
                    for task in own:
                        task.cancel()
                    self._tasks = None
        except BaseExceptionGroup as group:
            if len(group.exceptions) != 1:
                raise
            raise group.exceptions[0] from None  # as it was raised in the block: whoever serves knows what to say of it

    async def _drain(self) -> None:
        self._draining = True
        if self._working:
            self._idle.clear()
            try:
                async with asyncio.timeout(self._settings.drain_grace.total_seconds()):
                    await self._idle.wait()
            except TimeoutError:
                _log.info("handing over", runs=len(self._working))
        left = [work.task for work in self._working.values() if work.task]
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)
        await self._patiently("end the lease", self._store.release_worker(self.worker_id))

    def start(self, claim: Claim) -> None:
        """Work on a run that this worker holds."""
        if self._tasks is None or self._draining:
            return  # handed over with the lease, or taken by whoever lives on when it has ended
        work = _Work(claim, asyncio.Event())
        self._working[claim.tenant, claim.run_id] = work
        work.task = self._tasks.create_task(self._work(work))

    def committed(self, committed: Committed, fold: ThreadFold | None) -> None:
        """Ring for runs that can be claimed, and stop those that are cancelled. A listener of the ThreadLog."""
        for event in committed.events:
            match event.payload:
                case RunCancelRequested():
                    work = self._working.get((committed.tenant, event.run_id))
                    if work is not None:
                        work.stop.set()
                    else:
                        self.ring(committed.tenant, committed.thread_id)
                case InputResolved():
                    run = fold.runs.get(event.run_id) if fold else None
                    if run is None or run.state is RunState.QUEUED:
                        self.ring(committed.tenant, committed.thread_id)
                case payload if isinstance(payload, RUN_ENDS):
                    if fold is None or fold.runs:
                        self.ring(committed.tenant, committed.thread_id)
                case _:
                    pass

    def ring(self, tenant: TenantId, thread_id: ThreadId) -> None:
        """Look soon whether a thread has a run to claim."""
        self._rung[tenant, thread_id] = None
        self._doorbell.set()

    # --- one run ---

    async def _work(self, work: _Work) -> None:
        claim = work.claim
        log = _log.bind(tenant=claim.tenant, thread=claim.thread_id, run=claim.run_id, fence=claim.fence)
        journal = Journal(self._log, claim)
        try:
            await self._orchestrate(journal, work)
        except StaleFence:
            log.warning("lost the run to a later claim")
        except HeddleError as error:
            log.warning("cannot go on", reason=error.reason, problem=str(error))
            await self._give_up(journal, str(error))
        except Exception:
            incident = self._equipment.ids.new("inc")
            log.exception("the orchestrator failed", incident=incident)
            await self._give_up(journal, f"a fault of the runtime, noted in its log as {incident}")
        finally:
            self._working.pop((claim.tenant, claim.run_id), None)
            if not self._working:
                self._idle.set()

    async def _orchestrate(self, journal: Journal, work: _Work) -> None:
        thread = await journal.thread()
        run = thread.runs[work.claim.run_id]
        if run.cancel_sequence:
            work.stop.set()
        setup = await self._preparation.setup(work.claim.tenant, thread, run)
        await Orchestrator(self._equipment, journal, setup, work.stop).work()

    async def _give_up(self, journal: Journal, problem: str) -> None:
        """End a run that cannot be worked on; if not even that can be written, hand it over."""
        claim = journal.claim
        try:
            run = (await journal.thread()).runs.get(claim.run_id)
            if run is not None:
                await _end(journal, run, RunFailure(FailureReason.INTERNAL, problem))
        except HeddleError as error:
            _log.warning("handing over", run=claim.run_id, reason=error.reason, problem=str(error))
            await self._patiently("hand over", self._store.release_run(claim))
        except Exception:  # one run that cannot even be ended must not take the others of this worker with it
            _log.exception("handing over", run=claim.run_id)
            await self._patiently("hand over", self._store.release_run(claim))

    # --- the worker's own tasks ---

    async def _renew(self, address: str) -> None:
        while True:
            await asyncio.sleep(self._settings.renew_every.total_seconds())
            await self._patiently("renew the lease", self._store.renew_lease(self.worker_id, address, self._lease))

    async def _sweep(self) -> None:
        while True:
            await self._patiently("sweep", self._store.sweep(self._cancel_grace))
            free = self._settings.slots - len(self._working)
            if free > 0 and not self._draining:
                await self._patiently("claim", self._claim(free))
            await asyncio.sleep(self._settings.sweep_every.total_seconds())

    async def _claim(self, free: int) -> None:
        for claim in await self._store.claim_any(self.worker_id, min(free, 100)):
            self.start(claim)

    async def _answer_doorbell(self) -> None:
        while True:
            await self._doorbell.wait()
            self._doorbell.clear()  # before reading, or a ring in between is lost
            rung, self._rung = list(self._rung), {}
            for tenant, thread_id in rung:
                if self._draining or len(self._working) >= self._settings.slots:
                    break  # the sweep finds them when there is room
                await self._patiently("claim", self._claim_thread(tenant, thread_id))

    async def _claim_thread(self, tenant: TenantId, thread_id: ThreadId) -> None:
        claim = await self._store.claim_thread(self.worker_id, tenant, thread_id)
        if claim is not None:
            self.start(claim)

    async def _patiently(self, what: str, doing: Awaitable[object]) -> None:
        """Wait for something that the next round does again if the store is in trouble."""
        try:
            await doing
        except HeddleError as error:
            _log.warning(f"could not {what}", reason=error.reason, problem=str(error))

    @property
    def _lease(self) -> int:
        return round(self._settings.lease.total_seconds() * _MICROS)

    @property
    def _cancel_grace(self) -> int:
        return round(self._settings.cancel_grace.total_seconds() * _MICROS)


async def _end(journal: Journal, run: RunFold, failure: RunFailure) -> None:
    """Write a run's failure, behind its beginning; or its cancellation, if that came first."""
    last = (*opening(journal.claim, run, run.model), *closing(run, None), RunFailed(failure, run.usage))
    if run.cancel_sequence or not isinstance(await journal.append(last), Appended):
        await journal.append(cancelled(await journal.run(), None))
