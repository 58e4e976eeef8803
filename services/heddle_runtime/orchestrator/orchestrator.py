"""The one loop: look at the run, decide, act, append, again. It never knows who listens or who asked.

Facts ride: what is known already is written together with the next thing that must be on disk before it is done.
"""

import asyncio
from datetime import timedelta
from typing import assert_never

from heddle_core.clock import Clock
from heddle_core.failpoints import failpoint
from heddle_core.ids import Ids, MessageId, StepId
from heddle_core.values import value
from heddle_runtime.orchestrator.asking import Asking, Models
from heddle_runtime.orchestrator.compacting import Compacting
from heddle_runtime.orchestrator.decide import decide
from heddle_runtime.orchestrator.decisions import Ask, Compact, Complete, Decision, Dispatch, Fail, Record, Settle, Wait
from heddle_runtime.orchestrator.foresight import foresee
from heddle_runtime.orchestrator.journal import Journal
from heddle_runtime.orchestrator.opening import opening
from heddle_runtime.orchestrator.performing import OwnLease, Performing, Providers
from heddle_runtime.orchestrator.prompt import build_request, new_fence_word
from heddle_runtime.orchestrator.settlement import cancelled, closing
from heddle_runtime.orchestrator.setup import Setup
from heddle_runtime.runs.content import plain_text
from heddle_runtime.runs.run import FinishReason, RunResult
from heddle_runtime.runs.stop import Stop, following
from heddle_runtime.threads.accounting import admitted_after_cancel
from heddle_runtime.threads.append import Appended, CancelledMeanwhile, Overtaken
from heddle_runtime.threads.events import (
    Payload,
    RunCompleted,
    RunFailed,
    RunWaiting,
    StepStarted,
    ToolCallCompleted,
    ToolCallRequested,
)
from heddle_runtime.threads.state import AgentSaid, RunFold
from heddle_runtime.tools.executor import Executor
from heddle_runtime.tools.schema import Schemas


@value
class Equipment:
    """What every run is worked on with."""

    clock: Clock
    ids: Ids
    models: Models
    providers: Providers
    executor: Executor
    schemas: Schemas
    token_secret: bytes
    lease: OwnLease
    backoff: timedelta = timedelta(milliseconds=200)
    """Wait before the second attempt at a model call; doubled for the third."""


Facts = tuple[Payload, ...]
"""What is known and not on disk yet, in order."""


class Orchestrator:
    """Works on one claimed run until it ends, waits, or is handed over."""

    def __init__(
        self,
        equipment: Equipment,
        journal: Journal,
        setup: Setup,
        stop: asyncio.Event,
        begun: StepStarted | None = None,
    ) -> None:
        """Prepare to work.

        Args:
            equipment: clocks, models, tools.
            journal: the claim's pen.
            setup: the run's agent, tools and bounds.
            stop: set when the run is cancelled, or is to be handed over.
            begun: a step of this claim that is in the log already, while its model has not been asked yet.
        """
        self._kit = equipment
        self._journal = journal
        self._setup = setup
        self._begun = begun
        self._told = stop
        self._stop = Stop()
        kit = equipment
        self._performing = Performing(
            journal, setup, kit.providers, kit.executor, kit.clock, kit.token_secret, kit.lease
        )

    async def work(self) -> None:
        """Carry the run on, from wherever it stands.

        Raises:
            StaleFence: somebody else owns the run now.
        """
        run, setup = await self._journal.run(), self._setup
        facts: Facts | None = opening(self._journal.claim, run, setup.model, setup.tools.digest)
        async with following(self._told) as self._stop:
            while facts is not None:
                facts = await self._advance(facts)

    async def _advance(self, facts: Facts) -> Facts | None:
        """One round: facts that are not on disk yet go in, new ones come out; None when there is no more to do."""
        decision, run = await self._decide(facts)
        match decision:
            case Record():
                return (*facts, *decision.facts)
            case Ask():
                return await self._ask(decision, run, facts)
            case Compact():
                return await self._compact(decision, facts)
            case Dispatch():
                return await self._dispatch(decision, run, facts)
            case Wait():
                return await self._finish(facts, RunWaiting(decision.input_ids))
            case Complete():
                return await self._finish(facts, self._completed(run))
            case Fail():
                return await self._fail(decision, facts)
            case Settle():
                return await self._settle(facts)
            case _:
                assert_never(decision)

    async def _decide(self, facts: Facts) -> tuple[Decision, RunFold]:
        thread = await self._journal.thread()
        now = self._kit.clock.now()
        run = foresee(thread, thread.runs[self._journal.claim.run_id], facts, now)
        return decide(thread, run, self._setup, self._kit.schemas, self._journal.claim.fence, now), run

    # --- asking the model ---

    async def _ask(self, decision: Ask, run: RunFold, facts: Facts) -> Facts | None:
        started = self._take_begun(run)
        if started is None:
            started = self._step_started(decision, run)
            if not await self._append((*facts, started)):
                return _still_admitted(facts)
        elif facts and not await self._append(facts):
            return _still_admitted(facts)
        thread = await self._journal.thread()
        now = thread.runs[self._journal.claim.run_id]
        request = build_request(thread, now, self._setup, with_tools=decision.with_tools, fence_word=new_fence_word())
        asking = Asking(self._journal, self._kit.models, self._setup, self._kit.schemas, started, thread.last_sequence)
        heard = await asking.ask(request, self._stop, self._seconds_left(now))
        if heard.failure is not None:
            return await self._fail(Fail(heard.failure), heard.facts)
        if heard.retry_after is not None:
            await self._pause(max(heard.retry_after, self._kit.backoff.total_seconds() * started.attempt), now)
        return heard.facts

    async def _compact(self, decision: Compact, facts: Facts) -> Facts:
        """Write a summary before the run goes on; an owner that dies meanwhile has written nothing of it."""
        if facts and not await self._append(facts):
            return _still_admitted(facts)
        compacting = Compacting(self._kit.models, self._setup, self._kit.schemas)
        step_id = StepId(self._kit.ids.new("step"))
        thread = await self._journal.thread()
        left = self._seconds_left(thread.runs[self._journal.claim.run_id])
        written = await compacting.compact(decision, thread.summary, step_id, new_fence_word(), self._stop, left)
        return () if await self._append(written) else _still_admitted(written)

    def _take_begun(self, run: RunFold) -> StepStarted | None:
        """The step that is begun already, once, if it is the one that the model is asked for now."""
        begun, self._begun = self._begun, None
        return begun if begun and run.step and run.step.message_id == begun.message_id else None

    def _step_started(self, decision: Ask, run: RunFold) -> StepStarted:
        message_id = MessageId(self._kit.ids.new("msg"))
        if decision.again and run.step is not None:
            return StepStarted(
                run.step.step_id,
                decision.number,
                run.step.attempt + 1,
                message_id,
                discards_message_id=run.step.message_id,
                model=self._setup.model,
            )
        return StepStarted(StepId(self._kit.ids.new("step")), decision.number, 1, message_id, model=self._setup.model)

    async def _pause(self, seconds: float, run: RunFold) -> None:
        """Wait before another attempt, unless the run is stopped or runs out of time first."""
        left = self._seconds_left(run)
        async with self._stop.within(left):
            await asyncio.sleep(seconds)

    # --- tools ---

    async def _dispatch(self, decision: Dispatch, run: RunFold, facts: Facts) -> Facts:
        intents = self._performing.intents(run, decision.calls)
        if not await self._append((*facts, *intents)):
            return _still_admitted(facts)
        failpoint("intent_committed")
        now = await self._journal.run()
        return await self._performing.perform(now, decision.calls, self._stop, self._seconds_left(now))

    # --- ends ---

    async def _finish(self, facts: Facts, last: Payload) -> Facts | None:
        """Write what ends this work, unless something happened that must be looked at first."""
        match await self._journal.append((*facts, last), decisive=True):
            case Appended():
                return None
            case Overtaken():
                if facts and not await self._append(facts):
                    return _still_admitted(facts)
                return ()
            case CancelledMeanwhile():
                return _still_admitted(facts)

    def _completed(self, run: RunFold) -> RunCompleted:
        said = run.exchange.entries[-1]
        assert isinstance(said, AgentSaid), "a run is complete when the agent has spoken last"
        structured = plain_text(said.parts) if self._setup.wanted_schema else ""
        finish = run.step.finish_reason if run.step else FinishReason.STOP
        return RunCompleted(RunResult(said.message_id, said.parts, structured, finish, run.usage))

    async def _fail(self, decision: Fail, facts: Facts) -> Facts | None:
        run = await self._foreseen(facts)
        exceeded = (decision.exceeded,) if decision.exceeded else ()
        last = (*exceeded, *closing(run, self._setup), RunFailed(decision.failure, run.usage))
        return None if await self._append((*facts, *last)) else _still_admitted(facts)

    async def _settle(self, facts: Facts) -> None:
        kept = _still_admitted(facts)
        await self._append((*kept, *cancelled(await self._foreseen(kept), self._setup)))

    async def _append(self, facts: Facts) -> bool:
        """Write facts; False if the run is cancelled and they are not admitted any more."""
        return isinstance(await self._journal.append(facts), Appended)

    async def _foreseen(self, facts: Facts) -> RunFold:
        thread = await self._journal.thread()
        return foresee(thread, thread.runs[self._journal.claim.run_id], facts, self._kit.clock.now())

    def _seconds_left(self, run: RunFold) -> float | None:
        bound = self._setup.limits.wall_time
        if not bound:
            return None
        worked = timedelta(microseconds=run.worked_until(self._kit.clock.now()))
        return max((bound - worked).total_seconds(), 0.001)


def _still_admitted(facts: Facts) -> Facts:
    """What of `facts` may be written behind a cancel. A result whose call was never written is no fact any more."""
    unsaid = {fact.call_id for fact in facts if isinstance(fact, ToolCallRequested)}
    return tuple(
        fact
        for fact in facts
        if admitted_after_cancel(fact) and not (isinstance(fact, ToolCallCompleted) and fact.call_id in unsaid)
    )
