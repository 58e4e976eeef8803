"""Runs and inputs as callers use them beyond the turns: found, waited for, retried, explained and summed up."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Protocol

from heddle_core.errors import IllegalTransition
from heddle_core.ids import InputId, MessageId, RunId, TenantId, ThreadId
from heddle_core.runtime_errors import InputNotFound, RunNotFound
from heddle_runtime.facade.commands import Accepted, Cancelled, CancelRuns
from heddle_runtime.facade.explain import Explanation, explain
from heddle_runtime.facade.page_commands import Listing
from heddle_runtime.facade.run_commands import ListInputs, ListRuns, QueryUsage, RetryRun, RunFacts, UsageSum
from heddle_runtime.facade.turns import IncomingTurn
from heddle_runtime.facade.waiting import Doorbells, wait_run
from heddle_runtime.runs.inputs import InputRequest
from heddle_runtime.runs.run import Run
from heddle_runtime.runs.turn import ConflictPolicy, Turn
from heddle_runtime.threads.events import Event, TurnRequested


class RunSource(Protocol):
    """What is asked of the store; see `store.run_store.RunStore`."""

    async def get_run(self, tenant: TenantId, run_id: RunId) -> Run:
        """A run by its id. Raises RunNotFound."""
        ...

    async def list_runs(self, command: ListRuns) -> Listing[Run]:
        """A page of runs."""
        ...

    async def query_usage(self, command: QueryUsage) -> UsageSum:
        """What runs have used together."""
        ...

    async def explain_run(self, tenant: TenantId, run_id: RunId) -> RunFacts:
        """What the rows tell about why a run stands where it stands. Raises RunNotFound."""
        ...

    async def find_input(self, tenant: TenantId, input_id: InputId) -> InputRequest | None:
        """An input by its id, if it has been asked."""
        ...

    async def list_inputs(self, command: ListInputs) -> Listing[InputRequest]:
        """A page of inputs."""
        ...

    async def read_events(
        self, tenant: TenantId, thread_id: ThreadId, after: int, limit: int, run_id: RunId = RunId("")
    ) -> tuple[Event, ...]:
        """Events after a sequence, oldest first."""
        ...


class TurnStarter(Protocol):
    """The way in for turns; see `facade.turns.Turns`."""

    async def start(self, asked: IncomingTurn) -> Accepted:
        """Accept a turn, and start its run if its lane is free."""
        ...


class RunCanceller(Protocol):
    """Stops runs; see `facade.controls.Controls`."""

    async def cancel(self, command: CancelRuns) -> Cancelled:
        """Mark runs and their cascading children."""
        ...


class Runs:
    """What callers can do with runs. Where nothing is said, the store's errors come through."""

    def __init__(
        self,
        source: RunSource,
        doorbells: Doorbells,
        turns: TurnStarter,
        controls: RunCanceller,
        held_back: Callable[[], str] = str,
    ) -> None:
        """`held_back` names the limit of this process that keeps it from taking runs now; empty: it takes them."""
        self.source = source
        self._doorbells = doorbells
        self._turns = turns
        self._controls = controls
        self._held_back = held_back

    async def wait(self, tenant: TenantId, run_id: RunId, wait: timedelta) -> Run:
        """The run once it is terminal or waits, or when the time is over. Raises RunNotFound."""
        return await wait_run(self.source, self._doorbells, tenant, run_id, wait)

    async def explain(self, tenant: TenantId, run_id: RunId) -> Explanation:
        """Why a run does not move. Raises RunNotFound."""
        return explain(await self.source.explain_run(tenant, run_id), self._held_back())

    async def cancel_many(self, command: CancelRuns) -> Cancelled:
        """Cancel runs, each on its own: an unknown one is reported and keeps none of the others.

        Raises:
            RequestIdReused: the request id was used for other runs.
        """
        try:
            return await self._controls.cancel(command)
        except RunNotFound:  # raised where a single run is named
            return Cancelled((), None, command.run_ids)

    async def retry(self, command: RetryRun) -> Accepted:
        """Start the turn of an ended run again; the new run takes its place in the history.

        Raises:
            RunNotFound, RequestIdReused, and whatever a turn can be refused with.
            IllegalTransition: the run has not ended, was superseded, or its words were redacted.
        """
        run = await self.source.get_run(command.caller.tenant, command.run_id)
        turn, redacted = await self._turn_of(run)
        if redacted and not command.content:
            raise IllegalTransition("Run", run.run_id, "redacted", "be retried as it was", "send `content` with it")
        asked = IncomingTurn(
            caller=command.caller,
            key=command.key,
            turn=replace(turn, content=command.content or turn.content, model=command.model or turn.model),
            thread_id=run.thread_id,
            retry_of=run.run_id,
        )
        return await self._turns.start(asked)

    async def get_input(self, tenant: TenantId, input_id: InputId) -> InputRequest:
        """An input by its id. Raises InputNotFound."""
        found = await self.source.find_input(tenant, input_id)
        if found is None:
            raise InputNotFound(input_id)
        return found

    async def _turn_of(self, run: Run) -> tuple[Turn, bool]:
        """The turn of a run without what belongs to that run alone, and whether its words were redacted."""
        read = await self.source.read_events(run.tenant, run.thread_id, run.request_sequence - 1, 1)
        requested = read[0].payload if read else None
        if not isinstance(requested, TurnRequested) or read[0].run_id != run.run_id:
            remedy = "start a new turn: its own is no longer kept"
            raise IllegalTransition("Run", run.run_id, "older than the log", "be retried", remedy)
        parent = requested.turn.parent
        if parent is not None and await self._has_ended(run.tenant, parent.run_id):
            parent = None  # Nobody waits for it any more: it stands for itself.
        turn = replace(
            requested.turn,
            message_id=MessageId(""),
            conflict_policy=ConflictPolicy.ENQUEUE,
            not_before=None,
            parent=parent,
        )
        return turn, read[0].redacted

    async def _has_ended(self, tenant: TenantId, run_id: RunId) -> bool:
        try:
            return (await self.source.get_run(tenant, run_id)).state.terminal
        except RunNotFound:
            return True
