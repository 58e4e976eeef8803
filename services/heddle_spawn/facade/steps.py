"""What looking after a child and after a group share: step after step, when to look next, and what the parent hears."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TypeVar

from heddle_client.transience import is_passing, pause_after
from heddle_client.values import Parts
from heddle_core.clock import Clock, Micros, micros
from heddle_core.failpoints import failpoint
from heddle_core.faults import HeddleError
from heddle_spawn.facade.ports import Runs
from heddle_spawn.rules.spawns import Group, Spawn, Waiter
from heddle_spawn.rules.states import Stop, Told

W = TypeVar("W", Spawn, Group)


async def until_idle(
    work: W,
    step: Callable[[W], Awaitable[W | None]],
    *,
    again: Callable[[W], Awaitable[W | None]],
    later: Callable[[W, HeddleError], Awaitable[W]],
) -> W:
    """Do all that can be done now; how the work stands then.

    Args:
        work: a child or a group, as it was read.
        step: the work after its next step, the same one where nothing is left, None where another was faster.
        again: how it stands now that another was faster; None where it is gone.
        later: puts it off for a refusal that passes by itself.
    """
    while True:
        try:
            new = await step(work)
        except HeddleError as error:
            if not is_passing(error):
                raise
            return await later(work, error)
        if new is work:
            return work
        new = new or await again(work)
        if new is None:
            return work
        work = new


@dataclass(frozen=True, slots=True)
class Agenda:
    """Says when something is looked at next, unless somebody rings before."""

    clock: Clock
    sweep_every: timedelta
    """How long what is open may stay unlooked at."""

    def scheduled(self, work: W) -> W:
        """The work, to be looked at with the next sweep, or when its deadline passes."""
        sweep = self.clock.now() + micros(self.sweep_every)
        deadline = work.deadline_at if work.stop is Stop.NONE else sweep
        return replace(work, due=Micros(min(sweep, deadline)))

    def put_off(self, work: W, error: HeddleError) -> W:
        """The work, to be tried again after a pause that grows, since the runtime cannot be asked now."""
        due = Micros(self.clock.now() + micros(pause_after(error, work.tries, self.sweep_every)))
        return replace(work, tries=work.tries + 1, due=due)


async def tell_end(runs: Runs, waiter: Waiter, answer: tuple[Parts, bool], *, request_id: str) -> Told:
    """Answer the parent's input with what came out, and whether it is an error; whether it was taken.

    Raises:
        HeddleError: it is not known; the same may be sent again.
    """
    parts, is_error = answer
    told = Told.TOLD
    try:
        await runs.answer(waiter.input_id, parts, request_id=request_id, is_error=is_error, token=waiter.token)
    except HeddleError as error:
        if is_passing(error):
            raise
        told = Told.REFUSED
    failpoint("parent_told")
    return told


async def tell_progress(runs: Runs, waiter: Waiter, report: tuple[str, float], *, request_id: str) -> None:
    """Say in the parent's events how far it is: words, and a part of one."""
    message, fraction = report
    # A report is worth nothing later: what is refused now shows again where the end is told.
    with suppress(HeddleError):
        await runs.report(waiter.input_id, message, fraction, request_id=request_id, token=waiter.token)
