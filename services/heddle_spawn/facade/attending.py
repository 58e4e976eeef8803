"""One child at a time: what it needs next is done, until nothing is left to do now. Every step may be repeated.

A step reads the row, asks the runtime, and writes the row where it is still as it was read. A process that dies in
between leaves a row that says what to do; whoever looks at it next does it again, under the same request ids.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from heddle_client.transience import is_passing
from heddle_client.values import Bounds, Cause, NewTurn, Parent, RunFact, RunState, RunView
from heddle_core.clock import MICROS_PER_SECOND, Clock, Micros
from heddle_core.errors import NotFound
from heddle_core.failpoints import failpoint
from heddle_core.faults import HeddleError
from heddle_core.runtime_errors import CursorTooOld, ParentCancelled, ParentFinished, RequestCancelled, ThreadNotFound
from heddle_spawn.facade.ports import Prepare, Runs, RunsOf, SpawnStore
from heddle_spawn.facade.spawning import turn_of
from heddle_spawn.facade.steps import Agenda, tell_end, tell_progress, until_idle
from heddle_spawn.rules import names
from heddle_spawn.rules.budgets import filled, share
from heddle_spawn.rules.ends import STOPS, end_of_run
from heddle_spawn.rules.erasure import erased
from heddle_spawn.rules.progress import progress_after, spawn_report
from heddle_spawn.rules.results import notes_of, spawn_answer
from heddle_spawn.rules.spawns import Spawn, SpawnFailure
from heddle_spawn.rules.states import Change, SpawnState, Stop, Told, advance

REVISED_AFTER = 24 * 3_600 * MICROS_PER_SECOND
"""Microseconds after which it is looked whether an ended child's threads are still there; then at twice its age."""

_PAGE = 500


@dataclass(frozen=True, slots=True)
class Attending:
    """Looks after children."""

    store: SpawnStore
    runs_of: RunsOf
    prepare: Prepare
    clock: Clock
    agenda: Agenda

    async def attend(self, spawn: Spawn) -> Spawn:
        """Do all that can be done for a child now; how it stands then."""
        step = partial(self._step, self.runs_of(spawn.origin.creator))
        return await until_idle(spawn, step, again=self._again, later=self._later)

    async def _step(self, runs: Runs, spawn: Spawn) -> Spawn | None:
        """The next step: the child after it, the same one where nothing is left, None where another was faster."""
        if spawn.state.terminal:
            return await self._tell(runs, spawn) if spawn.told is Told.NOT_YET else await self._revise(runs, spawn)
        if spawn.stop is Stop.NONE and self.clock.now() >= spawn.deadline_at:
            return await self.store.save_spawn(spawn, replace(spawn, stop=Stop.DEADLINE))
        if spawn.state is not SpawnState.PENDING:
            return await self._follow(runs, spawn)
        if spawn.stop is not Stop.NONE:
            return await self._never_start(runs, spawn)
        if not spawn.turn:
            return await self._fix_turn(runs, spawn)
        return await self._start(runs, spawn)

    # --- PENDING ------------------------------------------------------------------------------------------

    async def _fix_turn(self, runs: Runs, spawn: Spawn) -> Spawn | None:
        """Write down the very request that will be sent: a repeat of it must not differ by a byte."""
        try:
            turn = await self._turn(runs, spawn)
        except HeddleError as error:
            if is_passing(error):
                raise
            return await self._refused(spawn, error)
        granted = turn.parent.budget if turn.parent else spawn.granted
        fixed = replace(spawn, turn=self.prepare(turn), granted=granted)
        saved = await self.store.save_spawn(spawn, fixed)
        failpoint("child_fixed")
        return saved

    async def _turn(self, runs: Runs, spawn: Spawn) -> NewTurn:
        origin, spec = spawn.origin, spawn.spec
        request_id = names.turn_request_id(spawn.tenant, origin.family, spec.spawn_key)
        turn = replace(
            turn_of(spec, spawn.agent_id, request_id=request_id),
            agent_version=spawn.agent_version,
            allowed_tools=spawn.allowed_tools,
            cause=Cause.SPAWN,
            cause_id=spawn.spawn_id,
        )
        members = await self.store.members(spawn.tenant, spawn.group_id) if spawn.group_id else ()
        if spawn.stage:
            before = [each for each in members if each.stage == spawn.stage - 1]
            turn = replace(turn, context=(*turn.context, *notes_of(before)))
        if origin.parent_run_id:
            budget = filled(spec.budget, await self._share(runs, spawn, members))
            cascade = spec.cancel_policy.name == "CASCADE"
            turn = replace(turn, parent=Parent(origin.parent_run_id, cascade, budget))
        return turn

    async def _share(self, runs: Runs, spawn: Spawn, members: Sequence[Spawn]) -> Bounds:
        parent = await runs.get(spawn.origin.parent_run_id)
        beside = [each for each in members if each.stage == spawn.stage and each.spec.budget is None]
        ids = {each.spawn_id for each in beside}
        siblings = await self.store.open_under(spawn.tenant, parent.run_id)
        held = [each.granted for each in siblings if each.turn and each.spawn_id not in ids]
        return share(parent, held, max(len(beside), 1))

    async def _start(self, runs: Runs, spawn: Spawn) -> Spawn | None:
        try:
            run = await runs.start(spawn.turn)
        except HeddleError as error:
            if is_passing(error):
                raise
            return await self._refused(spawn, error)
        failpoint("child_made")
        return await self._started(spawn, run)

    async def _started(self, spawn: Spawn, run: RunView) -> Spawn | None:
        now = self.clock.now()
        deadline = Micros(now + round(spawn.spec.deadline.total_seconds() * MICROS_PER_SECOND))
        started = replace(
            spawn,
            state=advance(spawn.state, Change.START),
            run_id=run.run_id,
            thread_id=run.thread_id,
            cursor=max(run.request_sequence - 1, 0),
            agent_version=run.agent_version,
            start_time=now,
            deadline_at=min(spawn.deadline_at, deadline),
            tries=0,
        )
        return await self.store.save_spawn(spawn, self.agenda.scheduled(started))

    async def _never_start(self, runs: Runs, spawn: Spawn) -> Spawn | None:
        """End a child whose turn was perhaps never sent; perhaps it was, by a process that is gone."""
        if spawn.turn:
            turn_id = names.turn_request_id(spawn.tenant, spawn.origin.family, spawn.spec.spawn_key)
            cancel_id = names.request_id(spawn.spawn_id, "cancel_start")
            run = await runs.cancel_start(turn_id, request_id=cancel_id, note=STOPS[spawn.stop].message)
            if run is not None:
                return await self._started(spawn, run)
        change, failure = STOPS[spawn.stop].change, STOPS[spawn.stop].failure
        return await self._end(spawn, change, failure=failure)

    async def _refused(self, spawn: Spawn, error: HeddleError) -> Spawn | None:
        failure = SpawnFailure(error.reason, str(error))
        if isinstance(error, ParentCancelled | ParentFinished | RequestCancelled):
            stopped = replace(spawn, stop=spawn.stop or Stop.PARENT)
            return await self._end(spawn, Change.CANCEL, failure=failure, after=stopped)
        return await self._end(spawn, Change.FAIL, failure=failure)

    # --- RUNNING and WAITING ------------------------------------------------------------------------------

    async def _follow(self, runs: Runs, spawn: Spawn) -> Spawn | None:
        try:
            if spawn.stop is not Stop.NONE:
                cancel_id = names.request_id(spawn.spawn_id, "cancel")
                await runs.cancel(spawn.run_id, request_id=cancel_id, note=STOPS[spawn.stop].message)
            # The run first, so that the facts behind what it says are among those read.
            run = await runs.get(spawn.run_id)
            facts, cursor = await _facts_after(runs, spawn)
        except NotFound as error:
            gone = SpawnFailure(error.reason, str(error))
            after = erased(spawn) if await self._is_gone(runs, spawn) else spawn
            return await self._end(spawn, Change.FAIL, failure=gone, after=after)
        progress = progress_after(facts, spawn.progress)
        seen = replace(spawn, cursor=cursor, progress=progress, usage=run.usage, tries=0)
        if run.state.terminal:
            failpoint("child_done")
            ended = end_of_run(run, spawn.stop)
            after = replace(seen, stop=ended.stop, result=ended.result)
            return await self._end(spawn, ended.change, failure=ended.failure, after=after)
        waits = run.state is RunState.WAITING
        if waits and spawn.state is SpawnState.RUNNING:
            seen = replace(seen, state=advance(spawn.state, Change.WAIT))
        elif not waits and spawn.state is SpawnState.WAITING:
            seen = replace(seen, state=advance(spawn.state, Change.RESUME))
        if seen == spawn:
            return spawn
        saved = await self.store.save_spawn(spawn, self.agenda.scheduled(seen))
        if saved is not None and saved.progress != spawn.progress:
            await self._report(runs, saved)
        return saved

    async def _report(self, runs: Runs, spawn: Spawn) -> None:
        waiter = spawn.origin.waiter
        if waiter.input_id and spawn.told is Told.NOT_YET:
            report_id = names.request_id(spawn.spawn_id, f"progress {spawn.cursor}")
            await tell_progress(runs, waiter, spawn_report(spawn), request_id=report_id)

    # --- terminal -----------------------------------------------------------------------------------------

    async def _end(
        self,
        spawn: Spawn,
        change: Change,
        *,
        failure: SpawnFailure | None = None,
        after: Spawn | None = None,
    ) -> Spawn | None:
        now = self.clock.now()
        said = spawn.failure if change is Change.CANCEL and spawn.stop is Stop.ASKED else None
        ended = replace(
            after or spawn,
            state=advance(spawn.state, change),
            failure=said or failure,
            end_time=now,
            due=now if spawn.told is Told.NOT_YET else Micros(now + REVISED_AFTER),
            tries=0,
        )
        saved = await self.store.save_spawn(spawn, ended)
        failpoint("child_end_recorded")
        return saved

    async def _tell(self, runs: Runs, spawn: Spawn) -> Spawn | None:
        answer_id = names.request_id(spawn.spawn_id, "answer")
        told = await tell_end(runs, spawn.origin.waiter, spawn_answer(spawn), request_id=answer_id)
        due = Micros(self.clock.now() + REVISED_AFTER)
        return await self.store.save_spawn(spawn, replace(spawn, told=told, due=due, tries=0))

    async def forget(self, spawn: Spawn) -> None:
        """Erase the words of a child that has ended, if its thread or its parent's is deleted."""
        if spawn.state.terminal and spawn.spec.task and await self._is_gone(self.runs_of(spawn.origin.creator), spawn):
            await self._erase(spawn)

    async def _revise(self, runs: Runs, spawn: Spawn) -> Spawn | None:
        """Look whether the threads of an ended child are still there: rarely, and ever more so with its age.

        The event that tells of a deleted thread may be lost; the words must go all the same.
        """
        now = self.clock.now()
        age = now - spawn.end_time
        if age < REVISED_AFTER or not spawn.spec.task:
            return spawn
        if await self._is_gone(runs, spawn):
            return await self._erase(spawn)
        saved = await self.store.save_spawn(spawn, replace(spawn, due=Micros(now + age), tries=0))
        return spawn if saved is not None else None

    async def _is_gone(self, runs: Runs, spawn: Spawn) -> bool:
        """Whether its thread or its parent's was deleted: a tombstone says so.

        What the runtime only does not know, as after a restore of an old copy, is no reason to erase anything.
        """
        for thread_id in filter(None, (spawn.thread_id, spawn.origin.parent_thread_id)):
            try:
                await runs.facts(thread_id, run_id="", after=0, most=1)
            except ThreadNotFound as missing:
                if missing.deleted:
                    return True
            except CursorTooOld:
                pass  # It is there; only its beginning was let go.
        return False

    async def _erase(self, spawn: Spawn) -> Spawn | None:
        if spawn.group_id:
            await self.store.erase_group(spawn.tenant, spawn.group_id)
        return await self.store.save_spawn(spawn, replace(erased(spawn), due=Micros(0)))

    # --- when nothing more can be done now ----------------------------------------------------------------

    async def _again(self, spawn: Spawn) -> Spawn | None:
        return await self.store.spawn(spawn.tenant, spawn.spawn_id)

    async def _later(self, spawn: Spawn, error: HeddleError) -> Spawn:
        return await self.store.save_spawn(spawn, self.agenda.put_off(spawn, error)) or spawn


async def _facts_after(runs: Runs, spawn: Spawn) -> tuple[tuple[RunFact, ...], int]:
    """What the child's run has done since the cursor, and the cursor after it."""
    facts: list[RunFact] = []
    cursor = spawn.cursor
    while True:
        page = await runs.facts(spawn.thread_id, run_id=spawn.run_id, after=cursor, most=_PAGE)
        facts.extend(page.facts)
        if page.facts:
            cursor = page.facts[-1].sequence
        if len(page.facts) < _PAGE:
            return tuple(facts), cursor
