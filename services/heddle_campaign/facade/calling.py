"""Whose tool call it is: the campaign, cycle and role for which a run works, found by its thread."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from heddle_campaign.facade.ports.campaigns import CampaignStore
from heddle_campaign.facade.ports.runs import Runs, RunsOf
from heddle_campaign.rules.cycles import Cycle, CycleTurn
from heddle_client.values import RunView
from heddle_core.errors import InvalidField, invalid
from heddle_core.requests import Creator

PAUSES = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
"""Seconds between two looks for a run's cycle: a run may call before its start is on record."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who called, and for which turn."""

    run: RunView
    """The calling run; that of the turn itself, or of a child that it has started."""
    cycle: Cycle
    turn: CycleTurn
    runs: Runs
    """The runtime in the name of whoever runs it."""


@dataclass(frozen=True, slots=True)
class Calling:
    """Finds who called."""

    store: CampaignStore
    runs_of: RunsOf
    pauses: Sequence[float] = PAUSES

    async def caller(self, tenant: str, principal: str, run_id: str) -> Caller:
        """The turn that a run works for, itself or as a descendant.

        Raises:
            InvalidField: the run is of no open cycle.
            RunNotFound: the runtime does not know it.
        """
        runs = self.runs_of(Creator(tenant, principal))
        run = await runs.get(run_id)
        root = run if run.root_run_id in ("", run.run_id) else await runs.get(run.root_run_id)
        for pause in (*self.pauses, None):
            for cycle in await self.store.of_thread(tenant, root.thread_id):
                turn = next(_turns(cycle, root), None)
                if turn is not None:
                    return Caller(run, cycle, turn, runs)
            if pause is not None:
                await asyncio.sleep(pause)
        raise _stranger(run_id)


def _turns(cycle: Cycle, root: RunView) -> Iterator[CycleTurn]:
    """The turns of a cycle that a run may be of: the one with its id, else the one in its thread."""
    for each in cycle.turns:
        if each.run_id == root.run_id:
            yield each
    for each in cycle.turns:
        if each.thread_id == root.thread_id:
            yield each


def _stranger(run_id: str) -> InvalidField:
    return invalid("context.run_id", f"{run_id} works for no open cycle: only agents of a campaign have these tools")
