"""One turn of a cycle beside its run: what a start, a look and a stop make of it. Every call may be repeated."""

from dataclasses import dataclass, replace

from heddle_campaign.facade.ports.runs import Runs
from heddle_campaign.facade.scheduling import schedule_of
from heddle_campaign.rules.campaigns import Campaign
from heddle_campaign.rules.cycle_keys import turn_request_id
from heddle_campaign.rules.cycles import Cycle, CycleFailure, CycleTurn
from heddle_campaign.rules.failures import next_attempt
from heddle_campaign.rules.prompts import thread_title
from heddle_campaign.rules.states import TurnTransition, advance_turn
from heddle_client.transience import is_passing
from heddle_client.values import NewThread, RunState, RunView
from heddle_core.clock import Micros
from heddle_core.errors import NotFound
from heddle_core.faults import HeddleError
from heddle_core.ids import RequestId
from heddle_core.runtime_errors import RequestCancelled

RETRYABLE = frozenset(("MODEL_UNAVAILABLE", "DEADLINE_EXCEEDED", "INTERNAL"))
"""Failures of a run after which another run of the same turn may succeed; the names are the contract's."""

BUDGET_USED = CycleFailure("BUDGET_EXCEEDED", "Its earlier attempts have used its budget.", False)


@dataclass(frozen=True, slots=True)
class Following:
    """Works on the turns of one cycle, in the name of the campaign's creator."""

    runs: Runs
    campaign: Campaign
    cycle: Cycle
    now: Micros
    """The database's time."""

    async def started(self, turn: CycleTurn) -> CycleTurn:
        """A PENDING turn once its request was sent, or sent again.

        Raises:
            HeddleError: the outcome is not known, or the runtime cannot take it now: send the same again.
        """
        try:
            if turn.new_thread:
                await self.runs.open_thread(self._thread(turn))
            run = await self.runs.start(turn.prepared)
        except RequestCancelled:
            return _cancelled(turn)
        except HeddleError as error:
            if is_passing(error):
                raise
            # A refusal that names a wait, as of a tenant's budget, was no run: the next attempt may become one.
            return self.failed(turn, CycleFailure(error.reason, str(error), error.retry_after is not None))
        return _accepted(turn, run)

    async def followed(self, turn: CycleTurn) -> CycleTurn:
        """A RUNNING turn as its run stands; one that waits for an input is still at work. Raises HeddleError."""
        try:
            if self.cycle.stop:
                await self.runs.cancel(turn.run_id, request_id=self._own_id(turn, "stop"), note=self.cycle.stop_note)
            run = await self.runs.get(turn.run_id)
        except NotFound as error:
            return self.failed(turn, CycleFailure(error.reason, str(error), False))
        if not run.state.terminal:
            return turn
        used = replace(turn, usage=turn.usage + run.usage)
        if run.state is RunState.COMPLETED:
            return replace(used, state=advance_turn(turn.state, TurnTransition.COMPLETE), failure=None)
        if run.state is RunState.CANCELLED:
            return _cancelled(used)
        reason = run.failure_reason
        message = run.failure_message or reason
        return self.failed(used, CycleFailure(reason, message, reason in RETRYABLE, of_run=True))

    async def never_started(self, turn: CycleTurn) -> CycleTurn:
        """A PENDING turn of a cycle that is stopped: perhaps its request was sent, by a process that is gone.

        Raises:
            HeddleError: ask again.
        """
        if not turn.prepared:
            return _cancelled(turn)
        request_id = turn_request_id(self.cycle.cycle_id, turn.role, turn.attempt)
        cancel_id = self._own_id(turn, "cancel")
        run = await self.runs.cancel_start(request_id, request_id=cancel_id, note=self.cycle.stop_note)
        return _accepted(turn, run) if run is not None else _cancelled(turn)

    def failed(self, turn: CycleTurn, failure: CycleFailure) -> CycleTurn:
        """A turn whose attempt has failed: PENDING until the next one, or FAILED for good."""
        policy = self.campaign.settings.failure_policy
        request_id = turn_request_id(self.cycle.cycle_id, turn.role, turn.attempt)
        retryable = failure.retryable and not self.cycle.stop
        again = next_attempt(policy, request_id, turn.attempt, self.now, retryable=retryable)
        if again is None:
            return replace(turn, state=advance_turn(turn.state, TurnTransition.FAIL), failure=failure)
        return replace(
            turn,
            state=advance_turn(turn.state, TurnTransition.TRY_AGAIN),
            attempt=turn.attempt + 1,
            prepared=b"",
            new_thread="",
            thread_id="",
            run_id="",
            request_sequence=0,
            failure=failure,
            next_attempt=again,
        )

    def _thread(self, turn: CycleTurn) -> NewThread:
        zone = schedule_of(self.campaign).time_zone
        return NewThread(
            self._own_id(turn, "thread"),
            turn.new_thread,
            thread_title(self.campaign.settings, self.cycle, turn, zone),
            self.campaign.settings.labels,
        )

    def _own_id(self, turn: CycleTurn, what: str) -> RequestId:
        """The id of another request about a turn than its start; one for each thing that is asked."""
        # A role has no slash, so no turn's own request is called so.
        return turn_request_id(self.cycle.cycle_id, f"{turn.role}/{what}", turn.attempt)


def _accepted(turn: CycleTurn, run: RunView) -> CycleTurn:
    return replace(
        turn,
        state=advance_turn(turn.state, TurnTransition.ACCEPT),
        thread_id=run.thread_id,
        run_id=run.run_id,
        request_sequence=run.request_sequence,
        next_attempt=None,
    )


def _cancelled(turn: CycleTurn) -> CycleTurn:
    cancelled = advance_turn(turn.state, TurnTransition.CANCEL)
    return replace(turn, state=cancelled, failure=None, next_attempt=None)
