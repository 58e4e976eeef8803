"""One group at a time: its stages are opened, what is not needed is stopped, and its end is told to the parent."""

from dataclasses import dataclass, replace
from datetime import timedelta

from heddle_core.clock import MICROS_PER_SECOND, Clock, Micros
from heddle_core.failpoints import failpoint
from heddle_core.faults import HeddleError
from heddle_spawn.facade.ports import Runs, RunsOf, SpawnStore
from heddle_spawn.facade.transience import is_passing, pause_after
from heddle_spawn.rules import names
from heddle_spawn.rules.fan_in import judge
from heddle_spawn.rules.progress import group_report
from heddle_spawn.rules.results import group_answer
from heddle_spawn.rules.spawns import Group, Spawn
from heddle_spawn.rules.states import Stop, Told, advance_group


@dataclass(frozen=True, slots=True)
class Grouping:
    """Looks after groups."""

    store: SpawnStore
    runs_of: RunsOf
    clock: Clock
    sweep_every: timedelta

    async def attend(self, group: Group) -> Group:
        """Do all that can be done for a group now; how it stands then."""
        runs = self.runs_of(group.origin.creator)
        while True:
            try:
                new = await self._step(runs, group)
            except HeddleError as error:
                if not is_passing(error):
                    raise
                return await self._later(group, error)
            if new is None:
                found = await self.store.group(group.tenant, group.group_id)
                if found is None:
                    return group
                new = found
            elif new is group:
                return group
            group = new

    async def _step(self, runs: Runs, group: Group) -> Group | None:
        """The next step: the group after it, the same one where nothing is left, None where another was faster."""
        members = await self.store.members(group.tenant, group.group_id)
        if group.state.terminal:
            return await self._tell(runs, group, members)
        if group.stop is Stop.NONE and self.clock.now() >= group.deadline_at:
            return await self.store.save_group(group, replace(group, stop=Stop.DEADLINE))
        verdict = judge(group, members)
        if verdict.end is not None:
            ended = replace(
                group,
                state=advance_group(group.state, verdict.end),
                stop=verdict.stop,
                end_time=self.clock.now(),
                due=self.clock.now() if group.told is Told.NOT_YET else Micros(0),
                tries=0,
            )
            saved = await self.store.save_group(group, ended)
            failpoint("group_end_recorded")
            return saved
        to_stop = [each.spawn_id for each in members if each.spawn_id in verdict.surplus and each.stop is Stop.NONE]
        if verdict.stage != group.current_stage or to_stop:
            moved = self._scheduled(replace(group, current_stage=verdict.stage))
            saved = await self.store.save_group(group, moved, stop=verdict.stop, stopped=to_stop)
            failpoint("stage_opened")
            return saved
        return await self._report(runs, group, members)

    async def _report(self, runs: Runs, group: Group, members: tuple[Spawn, ...]) -> Group | None:
        message, fraction = group_report(group, members)
        waiter = group.origin.waiter
        if message == group.progress or not waiter.input_id or group.told is not Told.NOT_YET:
            return group
        saved = await self.store.save_group(group, self._scheduled(replace(group, progress=message, tries=0)))
        if saved is None:
            return None
        report_id = names.request_id(group.group_id, f"progress {saved.revision}")
        try:
            await runs.report(waiter.input_id, message, fraction, request_id=report_id, token=waiter.token)
        except HeddleError as error:
            # A report is worth nothing later: what is refused now shows again where the end is told.
            if is_passing(error):
                return saved
        return saved

    async def _tell(self, runs: Runs, group: Group, members: tuple[Spawn, ...]) -> Group | None:
        if group.told is not Told.NOT_YET:
            return group
        waiter = group.origin.waiter
        parts, is_error = group_answer(group, members)
        told = Told.TOLD
        try:
            answer_id = names.request_id(group.group_id, "answer")
            await runs.answer(waiter.input_id, parts, request_id=answer_id, is_error=is_error, token=waiter.token)
        except HeddleError as error:
            if is_passing(error):
                raise
            told = Told.REFUSED
        failpoint("parent_told")
        return await self.store.save_group(group, replace(group, told=told, due=Micros(0), tries=0))

    def _scheduled(self, group: Group) -> Group:
        sweep = self.clock.now() + round(self.sweep_every.total_seconds() * MICROS_PER_SECOND)
        deadline = group.deadline_at if group.stop is Stop.NONE else sweep
        return replace(group, due=Micros(min(sweep, deadline)))

    async def _later(self, group: Group, error: HeddleError) -> Group:
        pause = round(pause_after(error, group.tries, self.sweep_every).total_seconds() * MICROS_PER_SECOND)
        due = Micros(self.clock.now() + pause)
        later = replace(group, tries=group.tries + 1, due=due)
        return await self.store.save_group(group, later) or group
