"""One cycle at a time: what it needs next is done, until nothing is left to do now. Every step may be repeated.

A step reads, asks the runtime, and writes the cycle where it is still as it was read. A process that dies in between
leaves a cycle that says what to do; whoever takes it next does it again, under the same request ids (SEMANTICS 38).
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial

from heddle_campaign.facade.ending import Yield, after_begin, after_end, spent_since
from heddle_campaign.facade.following import BUDGET_USED, Following
from heddle_campaign.facade.planning import (
    LOOKED_BACK,
    MESSAGES_SINCE,
    MOST_MESSAGES_READ,
    LeftOut,
    Lore,
    look_back,
    plan,
    prepared_turn,
    wanted_words,
)
from heddle_campaign.facade.ports.campaigns import CampaignStore
from heddle_campaign.facade.ports.memories import MemoryStore
from heddle_campaign.facade.ports.runs import Prepare, Runs, RunsOf
from heddle_campaign.rules import prompts
from heddle_campaign.rules.budget import Quota
from heddle_campaign.rules.campaigns import Campaign
from heddle_campaign.rules.cycles import Cycle, CycleTurn
from heddle_campaign.rules.learned import Learned
from heddle_campaign.rules.memories import Known, with_words
from heddle_campaign.rules.produced import made_by, together
from heddle_campaign.rules.states import CycleState, CycleTransition, TurnState, advance_cycle, cycle_end
from heddle_client.transience import is_passing, pause_after
from heddle_client.values import Json, RunView, Text
from heddle_core.clock import Micros, micros
from heddle_core.errors import NotFound
from heddle_core.faults import HeddleError
from heddle_core.log_lines import LogLines
from heddle_core.usage import NOTHING

Remember = Callable[[Campaign, Cycle, CycleTurn], Awaitable[None]]
"""Learns from a turn whose run has ended; a repeat learns nothing twice."""

_AT_ONCE = 8
"""Memories whose words are split at a stretch: about a millisecond, however long they are."""

_log = LogLines(__name__)


@dataclass(frozen=True, slots=True)
class CycleWork:
    """Works through cycles that are RUNNING and this worker's."""

    store: CampaignStore
    memories: MemoryStore
    runs_of: RunsOf
    prepare: Prepare
    remember: Remember
    lease: timedelta
    """How long an open cycle may stay unlooked at; whoever looks after that has it."""
    most_put_off: int = 1_000
    """Cycles of which it is kept how often they were put off. Of one that went to another worker nobody would tell."""
    _tries: dict[str, int] = field(default_factory=dict[str, int])
    """Looks in a row that the runtime or the store refused, by cycle; the one that was refused last comes last."""
    _preparing: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by the one cycle that is prepared now: many that are due at once would each keep the others waiting."""

    async def attend(self, cycle: Cycle) -> Cycle:
        """Do all that can be done for a cycle now; how it stands then.

        Raises:
            HeddleError: something that does not pass by itself; the cycle stays due.
        """
        try:
            done = await self._until_idle(cycle)
        except HeddleError as error:
            if not is_passing(error):
                raise
            return await self._put_off(cycle, error)
        self._tries.pop(cycle.cycle_id, None)
        return done

    async def _until_idle(self, cycle: Cycle) -> Cycle:
        while cycle.state is CycleState.RUNNING:
            new = await self._step(cycle)
            if new is cycle:
                break
            if new is None:  # somebody was faster
                new = await self.store.cycle(cycle.key.tenant, cycle.cycle_id)
                if new is None or new.owner != cycle.owner:
                    return new or cycle
            cycle = new
        return cycle

    async def _step(self, cycle: Cycle) -> Cycle | None:
        """The next step: the cycle after it, the same one where nothing is left, None where another was faster."""
        campaign = await self.store.campaign(cycle.key.tenant, cycle.key.campaign_id)
        if campaign is None:
            return cycle
        if cycle.settings is not None:
            campaign = replace(campaign, settings=cycle.settings)
        at_work = Following(self.runs_of(campaign.creator), campaign, cycle, await self.store.now())
        if not cycle.turns and not cycle.stop:
            return await self._plan(at_work)
        if all(each.state.terminal for each in cycle.turns):
            return await self._end(at_work)
        for place, turn in enumerate(cycle.turns):
            if turn.state is TurnState.PENDING and (cycle.stop or _is_time(turn, at_work.now)):
                return await self._begin(at_work, place)
        turns = [await at_work.followed(each) if each.state is TurnState.RUNNING else each for each in cycle.turns]
        return await self._save(at_work, cycle, turns)

    # --- before its turns -----------------------------------------------------------------------------------

    async def _plan(self, at_work: Following) -> Cycle | None:
        campaign, cycle, now = at_work.campaign, at_work.cycle, at_work.now
        since, spent_since_ = look_back(campaign, now)
        past = await self.store.past(campaign.tenant, campaign.campaign_id, since=since, spent_since=spent_since_)
        planned = plan(campaign, cycle, past)
        if isinstance(planned, LeftOut):
            state = advance_cycle(cycle.state, CycleTransition.SKIP)
            left_out = replace(
                cycle,
                state=state,
                skip_reason=planned.reason,
                skip_note=planned.note,
                end_time=now,
                look_at=Micros(0),
            )
            return await self.store.save(cycle, left_out, partial(after_end, cycle=left_out, gain=Yield()))
        return await self._fix(at_work, planned)

    async def _fix(self, at_work: Following, planned: Cycle) -> Cycle | None:
        """Write down the very requests that will be sent: a repeat of one must not differ by a byte."""
        campaign = at_work.campaign
        turns = await self._prepared(at_work, planned)
        saved = await self._save(at_work, planned, turns)
        used = {use.memory_id for turn in turns if turn.state is TurnState.PENDING for use in turn.memories}
        if saved is not None and used:
            await self.memories.note_use(campaign.tenant, sorted(used))
        return saved

    async def _prepared(self, at_work: Following, planned: Cycle) -> list[CycleTurn]:
        """The turns, those with their requests whose time it is. Others get their turn in between."""
        campaign, now = at_work.campaign, at_work.now
        lore = await self._lore(campaign, now)
        turns: list[CycleTurn] = []
        async with self._preparing:
            lore = replace(lore, known=await _with_words(lore.memories, wanted_words(campaign, planned)))
            for turn in planned.turns:
                fixed: CycleTurn | None = turn
                if turn.state is TurnState.PENDING and not turn.prepared and _is_time(turn, now):
                    await asyncio.sleep(0)
                    fixed = prepared_turn(campaign, planned, turn, lore, self.prepare, now)
                turns.append(fixed or at_work.failed(turn, BUDGET_USED))
        return turns

    async def _lore(self, campaign: Campaign, now: Micros) -> Lore:
        tenant, campaign_id = campaign.tenant, campaign.campaign_id
        since = Micros(now - micros(MESSAGES_SINCE))
        return Lore(
            await self.memories.known(tenant, campaign_id),
            messages=await self.memories.messages(tenant, campaign_id, since=since, most=MOST_MESSAGES_READ),
            recent=await self.store.recent_cycles(tenant, campaign_id, LOOKED_BACK),
        )

    # --- its turns ------------------------------------------------------------------------------------------

    async def _begin(self, at_work: Following, place: int) -> Cycle | None:
        """One turn's next step towards its run, saved at once: what its run does first may ask for its record."""
        cycle = at_work.cycle
        turn = cycle.turns[place]
        if cycle.stop:
            turn = await at_work.never_started(turn)
        elif not turn.prepared:
            return await self._fix(at_work, cycle)
        else:
            turn = await at_work.started(turn)
        return await self._save(at_work, cycle, [*cycle.turns[:place], turn, *cycle.turns[place + 1 :]])

    async def _save(self, at_work: Following, planned: Cycle, turns: Sequence[CycleTurn]) -> Cycle | None:
        old = at_work.cycle
        if planned is old and tuple(turns) == old.turns:
            return old
        look_at = min((self._look_at(each, at_work.now) for each in turns if not each.state.terminal), default=None)
        # All turns have ended: the end is the next step, and another's after the lease if it is never done.
        new = replace(
            planned,
            turns=tuple(turns),
            look_at=look_at or self._after_lease(at_work.now),
            settings=at_work.campaign.settings,
        )
        return await self.store.save(old, new, None if old.turns else partial(after_begin, cycle=new))

    def _look_at(self, turn: CycleTurn, now: Micros) -> Micros:
        if turn.state is TurnState.PENDING and turn.next_attempt is not None and turn.next_attempt > now:
            return turn.next_attempt
        return self._after_lease(now)

    def _after_lease(self, now: Micros) -> Micros:
        return Micros(now + micros(self.lease))

    # --- after its turns ------------------------------------------------------------------------------------

    async def _end(self, at_work: Following) -> Cycle | None:
        """Learn from its turns, then end it: the next cycle begins with what this one has taught."""
        campaign, cycle = at_work.campaign, at_work.cycle
        answers: list[tuple[str, str]] = []
        made: list[Quota] = []
        for turn in cycle.turns:
            if not turn.run_id:
                continue
            await self._learn(campaign, cycle, turn)
            run = await _answer_of(at_work.runs, turn)
            if run is not None:
                answers.append((turn.role, "\n".join(_words(run))))
                made.append(made_by(run.parts))
        usage = sum((each.usage for each in cycle.turns), NOTHING)
        ended = replace(
            cycle,
            state=advance_cycle(cycle.state, _transition(cycle)),
            usage=usage,
            summary=prompts.summary(answers, cycle.turns),
            end_time=at_work.now,
            look_at=Micros(0),
        )
        gain = Yield(spent_since(usage, cycle.usage), together(made))
        return await self.store.save(cycle, ended, partial(after_end, cycle=ended, gain=gain))

    async def _learn(self, campaign: Campaign, cycle: Cycle, turn: CycleTurn) -> None:
        try:
            await self.remember(campaign, cycle, turn)
        except HeddleError as error:
            if is_passing(error):
                raise
            # A cycle must end even where nothing can be learned from it.
            _log.warning("nothing learned", cycle=cycle.cycle_id, run=turn.run_id, problem=str(error))

    async def _put_off(self, cycle: Cycle, error: HeddleError) -> Cycle:
        """Look again after a pause that grows, since the runtime cannot be asked now."""
        tries = self._tries.pop(cycle.cycle_id, 0)
        _log.info("a cycle waits", cycle=cycle.cycle_id, reason=error.reason, problem=str(error))
        current = await self.store.cycle(cycle.key.tenant, cycle.cycle_id)
        if current is None or current.state is not CycleState.RUNNING or current.owner != cycle.owner:
            return current or cycle
        self._tries[cycle.cycle_id] = tries + 1
        if len(self._tries) > self.most_put_off:
            del self._tries[next(iter(self._tries))]
        pause = micros(pause_after(error, tries, self.lease))
        later = replace(current, look_at=Micros(await self.store.now() + pause))
        return await self.store.save(current, later) or current


async def _with_words(memories: Sequence[Learned], wanted: frozenset[str]) -> Sequence[Known]:
    """The memories with their words; others get their turn in between."""
    found: list[Known] = []
    for place in range(0, len(memories), _AT_ONCE):
        await asyncio.sleep(0)
        found += [with_words(each.memory, wanted) for each in memories[place : place + _AT_ONCE]]
    return found


def _is_time(turn: CycleTurn, now: Micros) -> bool:
    return turn.next_attempt is None or turn.next_attempt <= now


def _transition(cycle: Cycle) -> CycleTransition:
    """How a cycle ends whose turns have all ended; one that was stopped is cancelled, unless a turn is done."""
    states = tuple(each.state for each in cycle.turns)
    if cycle.stop and TurnState.COMPLETED not in states:
        return CycleTransition.CANCEL
    end = cycle_end(states)
    assert end is not None
    return end


async def _answer_of(runs: Runs, turn: CycleTurn) -> RunView | None:
    if turn.state is not TurnState.COMPLETED:
        return None
    try:
        return await runs.get(turn.run_id)
    except NotFound:  # its thread was deleted meanwhile
        return None


def _words(run: RunView) -> list[str]:
    return [each.text if isinstance(each, Text) else each.json for each in run.parts if isinstance(each, Text | Json)]
