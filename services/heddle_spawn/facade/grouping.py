"""One group at a time: its stages are opened, what is not needed is stopped, and its end is told to the parent."""

from dataclasses import dataclass, replace
from functools import partial

from heddle_core.clock import Clock, Micros
from heddle_core.failpoints import failpoint
from heddle_core.faults import HeddleError
from heddle_spawn.facade.ports import Runs, RunsOf, SpawnStore
from heddle_spawn.facade.steps import Agenda, tell_end, tell_progress, until_idle
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
    agenda: Agenda

    async def attend(self, group: Group) -> Group:
        """Do all that can be done for a group now; how it stands then."""
        step = partial(self._step, self.runs_of(group.origin.creator))
        return await until_idle(group, step, again=self._again, later=self._later)

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
            moved = self.agenda.scheduled(replace(group, current_stage=verdict.stage))
            saved = await self.store.save_group(group, moved, stop=verdict.stop, stopped=to_stop)
            failpoint("stage_opened")
            return saved
        return await self._report(runs, group, members)

    async def _report(self, runs: Runs, group: Group, members: tuple[Spawn, ...]) -> Group | None:
        message, fraction = group_report(group, members)
        waiter = group.origin.waiter
        if message == group.progress or not waiter.input_id or group.told is not Told.NOT_YET:
            return group
        saved = await self.store.save_group(group, self.agenda.scheduled(replace(group, progress=message, tries=0)))
        if saved is None:
            return None
        report_id = names.request_id(group.group_id, f"progress {saved.revision}")
        await tell_progress(runs, waiter, (message, fraction), request_id=report_id)
        return saved

    async def _tell(self, runs: Runs, group: Group, members: tuple[Spawn, ...]) -> Group | None:
        if group.told is not Told.NOT_YET:
            return group
        answer_id = names.request_id(group.group_id, "answer")
        told = await tell_end(runs, group.origin.waiter, group_answer(group, members), request_id=answer_id)
        return await self.store.save_group(group, replace(group, told=told, due=Micros(0), tries=0))

    async def _again(self, group: Group) -> Group | None:
        return await self.store.group(group.tenant, group.group_id)

    async def _later(self, group: Group, error: HeddleError) -> Group:
        return await self.store.save_group(group, self.agenda.put_off(group, error)) or group
