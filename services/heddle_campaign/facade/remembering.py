"""What a campaign learns of its turns: read from the thread's facts once a run has ended, and cited by them.

A memory cites the stretch of the log that it was learned from, so that anybody can look, and so that it goes when the
thread goes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from heddle_campaign.facade.ports.memories import MemoryStore
from heddle_campaign.facade.ports.runs import Runs, RunsOf
from heddle_campaign.rules.campaigns import Campaign
from heddle_campaign.rules.cycles import Cycle, CycleTurn
from heddle_campaign.rules.extraction import memories_of
from heddle_campaign.rules.learned import Citation, Learned
from heddle_client.values import RunFact, RunView
from heddle_core.errors import IllegalTransition
from heddle_core.runtime_errors import CursorTooOld, RunNotFound, ThreadNotFound

_PAGE = 500
_MOST_PAGES = 40
"""Of facts of one run; the stretch of a longer one ends there."""


@dataclass(frozen=True, slots=True)
class Remembering:
    """Learns from ended runs."""

    runs_of: RunsOf
    memories: MemoryStore

    async def remember(self, campaign: Campaign, cycle: Cycle, turn: CycleTurn) -> None:
        """Learn from a turn whose run has ended; a repeat learns nothing twice, and nothing that was forgotten.

        A run whose thread was deleted meanwhile teaches nothing. Errors of the runtime and of the store are passed on:
        call again.

        Raises:
            IllegalTransition: the run has not ended.
        """
        runs = self.runs_of(campaign.creator)
        try:
            run = await runs.get(turn.run_id)
            if not run.state.terminal:
                remedy = "remember it when it has ended"
                raise IllegalTransition("run", run.run_id, run.state.name, "be learned from", remedy)
            citation = await cited(runs, run)
        except (RunNotFound, ThreadNotFound):
            return
        await learn_from_thread(runs, self.memories, citation, memories_of(campaign.tenant, cycle, turn, run, citation))


async def learn_from_thread(runs: Runs, memories: MemoryStore, citation: Citation, learned: Sequence[Learned]) -> None:
    """Learn what one thread taught, unless it is gone.

    It is looked for afterwards: a deletion before that is noticed here, and one after it is told when this is learned.
    """
    await memories.learn(learned)
    try:
        await runs.facts(citation.thread_id, run_id=citation.run_id, after=citation.last_sequence, most=1)
    except CursorTooOld:
        return
    except ThreadNotFound:
        for tenant in {each.tenant for each in learned}:
            await memories.forget_thread(tenant, citation.thread_id)


async def cited(runs: Runs, run: RunView) -> Citation:
    """The whole stretch of a run in its thread. Raises ThreadNotFound."""
    facts = await facts_of(runs, run)
    first = facts[0].sequence if facts else run.request_sequence
    last = facts[-1].sequence if facts else run.request_sequence
    return Citation(run.thread_id, first, last, run.run_id)


async def facts_of(runs: Runs, run: RunView) -> list[RunFact]:
    """The facts of a run, oldest first; none of those that retention has trimmed. Raises ThreadNotFound."""
    found: list[RunFact] = []
    after = max(0, run.request_sequence - 1)
    for _ in range(_MOST_PAGES):
        try:
            page = await runs.facts(run.thread_id, run_id=run.run_id, after=after, most=_PAGE)
        except CursorTooOld:
            break
        found += page.facts
        if page.next_cursor <= after or page.next_cursor >= page.last_sequence:
            break
        after = page.next_cursor
    return found
