"""The worker of this process: takes runs from free lanes, works on them, and hands them over when it goes.

Doorbells start work at once; a sweep each second finds what no doorbell told of (SEMANTICS 11, 12).
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

from heddle_core.clock import micros
from heddle_core.errors import Overloaded, StoreUnavailable
from heddle_core.failpoints import failpoint
from heddle_core.faults import HeddleError
from heddle_core.ids import RunId, TenantId, ThreadId, WorkerId
from heddle_core.log_lines import LogLines
from heddle_core.runtime_errors import StaleFence
from heddle_core.values import value
from heddle_runtime.lanes.beginning import Beginning, beginning
from heddle_runtime.lanes.lease import Lease
from heddle_runtime.lanes.ports import ClaimStore
from heddle_runtime.lanes.preparing import Preparation
from heddle_runtime.orchestrator.journal import Journal, RunLog
from heddle_runtime.orchestrator.opening import opening
from heddle_runtime.orchestrator.orchestrator import Equipment, Orchestrator
from heddle_runtime.orchestrator.settlement import cancelled, closing
from heddle_runtime.runs.agent import AgentSpec
from heddle_runtime.runs.claim import Claim
from heddle_runtime.runs.run import FailureReason, RunFailure
from heddle_runtime.runs.state import RunState
from heddle_runtime.runs.turn import Turn
from heddle_runtime.threads.append import Appended
from heddle_runtime.threads.events import (
    RUN_ENDS,
    Event,
    InputResolved,
    RunCancelRequested,
    RunFailed,
    RunResumed,
    RunStarted,
)
from heddle_runtime.threads.log import Committed, ThreadKey
from heddle_runtime.threads.settings import ThreadSettings
from heddle_runtime.threads.state import RunFold, ThreadFold

_log = LogLines(__name__)


@value
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
    beginning: Beginning | None = None
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
        lease: Lease,
        settings: LaneSettings,
    ) -> None:
        self.worker_id = worker_id
        self._lease = lease
        self._store = store
        self._log = log
        self._equipment = equipment
        self._preparation = preparation
        self._settings = settings
        self._working: dict[tuple[TenantId, RunId], _Work] = {}
        self._threads: Counter[ThreadKey] = Counter()
        self._idle_claims: frozenset[Claim] = frozenset()
        self._rung: dict[ThreadKey, None] = {}
        self._released = False
        self._doorbell = asyncio.Event()
        self._draining = False
        self._shared = True
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
        self._shared = not sole_process
        await self._renewed(address)
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
        failpoint("drain")
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

    def beginning(
        self, tenant: TenantId, thread_id: ThreadId, thread: ThreadFold | None, turn: Turn, agent: AgentSpec
    ) -> Beginning | None:
        """How this worker would begin with a turn that finds its lane free, where it can say so beforehand."""
        settings = thread.settings if thread is not None else ThreadSettings()
        setup = self._preparation.ready(tenant, thread_id, settings, turn, agent)
        return setup and beginning(setup, thread, turn, self.worker_id, self._equipment.ids)

    def start(self, claim: Claim, begun: Beginning | None = None) -> None:
        """Work on a run that this worker holds; `begun` is what the accepting transaction has written of it."""
        if self._tasks is None or self._draining:
            return  # handed over with the lease, or taken by whoever lives on when it has ended
        work = _Work(claim, asyncio.Event(), begun)
        self._working[claim.tenant, claim.run_id] = work
        self._threads[claim.tenant, claim.thread_id] += 1
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
                case RunStarted() | RunResumed():
                    self._stop_lost(committed.tenant, event, event.payload)
                case _:
                    pass

    def works_on(self, tenant: TenantId, thread_id: ThreadId) -> bool:
        """Whether a run of the thread is worked on here: then every event of it passes through here."""
        return (tenant, thread_id) in self._threads

    async def look_again(self, tenant: TenantId, thread_id: ThreadId) -> None:
        """Another process has written to a thread that is worked on here: be told of it, and stop what is cancelled.

        Raises:
            StoreUnavailable, ThreadNotFound.
        """
        fold = await self._log.caught_up(tenant, thread_id)
        for work in list(self._working.values()):
            if (work.claim.tenant, work.claim.thread_id) == (tenant, thread_id):
                run = fold.runs.get(work.claim.run_id)
                if run is None or run.cancel_sequence:
                    work.stop.set()

    def look_for_work(self) -> None:
        """Another worker has handed over its runs: take of them what fits."""
        self._released = True
        self._doorbell.set()

    def ring(self, tenant: TenantId, thread_id: ThreadId) -> None:
        """Look soon whether a thread has a run to claim."""
        self._rung[tenant, thread_id] = None
        self._doorbell.set()

    # --- one run ---

    async def _work(self, work: _Work) -> None:
        claim = work.claim
        failpoint("lease_taken")
        log = _log.bind(tenant=claim.tenant, thread=claim.thread_id, run=claim.run_id, fence=claim.fence)
        journal = Journal(self._log, claim)
        try:
            await self._orchestrate(journal, work)
        except StaleFence:
            log.warning("lost the run, or the lease to work on it")
            await self._hand_over(claim)
        except (StoreUnavailable, Overloaded) as error:  # no fault of the run's: it goes on when the store does
            log.warning("handing over", reason=error.reason, problem=str(error))
            await self._hand_over(claim)
        except HeddleError as error:
            log.warning("cannot go on", reason=error.reason, problem=str(error))
            await self._give_up(journal, str(error))
        except Exception:  # one run fails, and says under which number the log tells why; the others go on
            incident = self._equipment.ids.new("inc")
            log.exception("the orchestrator failed", incident=incident)
            await self._give_up(journal, f"a fault of the runtime, noted in its log as {incident}")
        finally:
            if self._working.get((claim.tenant, claim.run_id)) is work:  # it may have been claimed anew meanwhile
                del self._working[claim.tenant, claim.run_id]
            self._leave(claim)
            if not self._working:
                self._idle.set()

    def _leave(self, claim: Claim) -> None:
        key = (claim.tenant, claim.thread_id)
        self._threads[key] -= 1
        if not self._threads[key]:
            del self._threads[key]

    def _stop_lost(self, tenant: TenantId, event: Event, begun: RunStarted | RunResumed) -> None:
        """Stop working on a run that somebody else has begun to work on: nothing that is written here counts."""
        work = self._working.get((tenant, event.run_id))
        if work is not None and begun.fence > work.claim.fence:
            work.stop.set()

    async def _orchestrate(self, journal: Journal, work: _Work) -> None:
        thread = await self._log.caught_up(work.claim.tenant, work.claim.thread_id)
        run = thread.runs[work.claim.run_id]
        if run.cancel_sequence:
            work.stop.set()
        if work.beginning is not None:
            setup, begun = work.beginning.setup, work.beginning.step
        else:
            setup, begun = await self._preparation.setup(work.claim.tenant, thread, run), None
        await Orchestrator(self._equipment, journal, setup, work.stop, begun).work()

    async def _give_up(self, journal: Journal, problem: str) -> None:
        """End a run that cannot be worked on; if not even that can be written, hand it over."""
        claim = journal.claim
        try:
            run = (await journal.thread()).runs.get(claim.run_id)
            if run is not None:
                await _end(journal, run, RunFailure(FailureReason.INTERNAL, problem))
        except HeddleError as error:
            _log.warning("handing over", run=claim.run_id, reason=error.reason, problem=str(error))
            await self._hand_over(claim)
        except Exception:  # one run that cannot even be ended must not take the others of this worker with it
            _log.exception("handing over", run=claim.run_id)
            await self._hand_over(claim)

    async def _hand_over(self, claim: Claim) -> None:
        """Queue a run again, as soon as the store takes it: while this worker lives, nobody else would."""
        while True:
            try:
                return await self._store.release_run(claim)
            except HeddleError as error:
                _log.warning("could not hand over", run=claim.run_id, reason=error.reason, problem=str(error))
                await asyncio.sleep(self._settings.sweep_every.total_seconds())

    # --- the worker's own tasks ---

    async def _renew(self, address: str) -> None:
        while True:
            await asyncio.sleep(self._settings.renew_every.total_seconds())
            await self._patiently("renew the lease", self._renewed(address))

    async def _renewed(self, address: str) -> None:
        length = micros(self._settings.lease)
        await self._lease.prolong(self._store.renew_lease(self.worker_id, address, length))

    async def _sweep(self) -> None:
        while True:
            await self._patiently("sweep", self._store.sweep(self._cancel_grace))
            await self._patiently("compare runs", self._compare_runs())
            await self._patiently("look for cancelled runs", self._stop_cancelled())
            free = self._settings.slots - len(self._working)
            if free > 0 and not self._draining:
                await self._patiently("claim", self._claim(free))
            await asyncio.sleep(self._settings.sweep_every.total_seconds())

    async def _compare_runs(self) -> None:
        """Stop runs that this worker has lost, and hand over those that it holds and does not work on.

        Of the latter, the answer to the claim's commit was lost. They must have been so in the last sweep already: a
        claim may be on its way here at this moment.
        """
        working = list(self._working.values())
        owned = await self._store.owned(self.worker_id)
        for work in working:
            if work.claim not in owned:
                work.stop.set()  # lost, or at its end: nothing that it still writes is taken
        idle = frozenset(claim for claim in owned if (claim.tenant, claim.run_id) not in self._working)
        for claim in idle & self._idle_claims:
            _log.warning("found a forgotten run", run=claim.run_id)
            await self._store.release_run(claim)
        self._idle_claims = idle

    async def _stop_cancelled(self) -> None:
        """Stop runs that were cancelled through other processes, where no doorbell told of it."""
        if self._shared and self._working:
            for tenant, thread_id in await self._store.cancelled(self.worker_id):
                await self.look_again(tenant, thread_id)

    async def _claim(self, free: int) -> None:
        for claim in await self._store.claim_any(self.worker_id, min(free, 100)):
            self.start(claim)

    async def _answer_doorbell(self) -> None:
        while True:
            await self._doorbell.wait()
            self._doorbell.clear()  # before reading, or a ring in between is lost
            released, self._released = self._released, False
            free = self._settings.slots - len(self._working)
            if released and free > 0 and not self._draining:
                await self._patiently("claim", self._claim(free))
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
    def _cancel_grace(self) -> int:
        return micros(self._settings.cancel_grace)


async def _end(journal: Journal, run: RunFold, failure: RunFailure) -> None:
    """Write a run's failure, behind its beginning; or its cancellation, if that came first."""
    last = (*opening(journal.claim, run, run.model), *closing(run, None), RunFailed(failure, run.usage))
    if run.cancel_sequence or not isinstance(await journal.append(last), Appended):
        await journal.append(cancelled(await journal.run(), None))
