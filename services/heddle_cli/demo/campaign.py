"""The campaign of the demonstration: a folder is applied, a cycle triggered, and what comes of it shown and checked."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path

from heddle.campaign.v1alpha1.cycle_pb2 import Cycle, CycleState
from heddle.campaign.v1alpha1.cycle_request_pb2 import GetCycleRequest, PreviewScheduleRequest, TriggerCampaignRequest
from heddle.campaign.v1alpha1.memory_pb2 import Memory
from heddle.campaign.v1alpha1.memory_request_pb2 import ListMemoriesRequest
from heddle.campaign.v1alpha1.schedule_pb2 import ScheduledTime
from heddle.runtime.v1.run_pb2 import Run, RunState
from heddle.runtime.v1.run_service_pb2 import GetRunRequest
from heddle.runtime.v1.turn_pb2 import TriggerKind
from heddle.spawn.v1alpha1.spawn_pb2 import Spawn, SpawnState
from heddle.spawn.v1alpha1.spawn_service_pb2 import GetSpawnTreeRequest
from heddle.spawn.v1alpha1.spawn_service_pb2_grpc import SpawnServiceStub
from heddle_cli.demo.checks import Check
from heddle_cli.display.campaigns import memory_line
from heddle_cli.display.cycles import cycle_line
from heddle_cli.display.spawns import spawn_line
from heddle_cli.manifests.carrying import carry_out
from heddle_cli.manifests.folder import AgentManifest, Manifests, read_manifests
from heddle_cli.manifests.plan import Action, CampaignStep, make_plan
from heddle_cli.named_campaigns import campaigns_of
from heddle_cli.session import Session
from heddle_cli.watched_campaign import watch_campaign
from heddle_client.transcript_lines import text_of

_PATIENCE_SECONDS = 180
"""For one turn of a small model on a slow machine."""
_OPEN = (CycleState.CYCLE_STATE_DUE, CycleState.CYCLE_STATE_RUNNING)
_TIMES = 3
_DELEGATES = "spawn/"
"""Tools of an agent that gives work to others."""
_SCRIPT = "scripted:campaign"
"""What such an agent plays: a model as small as the demonstration's does not think of asking anybody by itself."""


@dataclass(frozen=True)
class Outcome:
    """What came of the campaign's cycle."""

    cycle: Cycle
    runs: Sequence[Run]
    children: Sequence[Spawn]
    """Of all these runs."""
    memories: Sequence[Memory]
    times: Sequence[ScheduledTime]
    unchanged: bool
    """Whether applying the folder once more would change nothing."""


async def play_campaign(session: Session, folder: Path, model: str, tell: Callable[[str], None]) -> list[Check]:
    """Apply `folder` with `model` for the agents that delegate nothing, trigger its campaign, and say what is true."""
    manifests = _with_model(await asyncio.to_thread(read_manifests, str(folder)), model)
    campaign_id = ""
    for step in (await make_plan(session, manifests)).steps:
        made = await carry_out(session, step)
        campaign_id = made if isinstance(step, CampaignStep) else campaign_id
        name = step.name if isinstance(step, CampaignStep) else step.agent_id
        kind = "campaign" if isinstance(step, CampaignStep) else "agent"
        tell(f"{kind} {name} is made as {Path(step.document.file).name if step.document else 'its file'} says")
    request = TriggerCampaignRequest(request_id=session.new_request_id(), campaign_id=campaign_id)
    triggered = (await campaigns_of(session).TriggerCampaign(request)).cycle
    cycle = await _ended(session, triggered, tell)
    outcome = await _outcome(session, cycle, manifests)
    _tell_outcome(outcome, tell)
    return check_campaign(outcome)


def check_campaign(outcome: Outcome) -> list[Check]:
    """What must be true of a cycle that was triggered."""
    runs = outcome.runs
    completed = [
        run
        for run in runs
        if run.state == RunState.RUN_STATE_COMPLETED and run.trigger.kind == TriggerKind.TRIGGER_KIND_CAMPAIGN
    ]
    ended = outcome.cycle.state == CycleState.CYCLE_STATE_COMPLETED
    threads = {run.thread_id for run in runs}
    cited = [memory for memory in outcome.memories if memory.citation.thread_id in threads]
    told = ", ".join(run.run_id for run in runs) or "none"
    answered = [each for each in outcome.children if each.state == SpawnState.SPAWN_STATE_COMPLETED]
    return [
        Check("the campaign's trigger started a run, and it completed", ended and bool(completed), told),
        Check(
            "the run asked another agent, whose answer it waited for",
            bool(answered) and len(answered) == len(outcome.children),
            ", ".join(f"{each.spec.agent_id} in {each.run_id}" for each in outcome.children) or "nobody",
        ),
        Check(
            "what the campaign learned names the facts that it comes from",
            bool(cited) and len(cited) == len(outcome.memories),
            f"{len(cited)} of {len(outcome.memories)} memories",
        ),
        Check(
            "the campaign goes on: its next times are known",
            len(outcome.times) == _TIMES,
            ", ".join(time.local_time for time in outcome.times),
        ),
        Check("applying the folder again changes nothing", outcome.unchanged, "the plan is empty"),
    ]


def _with_model(manifests: Manifests, model: str) -> Manifests:
    """The same, with every agent answered by `model`, but for those that delegate: they play their script."""

    def given(agent: AgentManifest) -> AgentManifest:
        spec = type(agent.spec)()
        spec.CopyFrom(agent.spec)
        spec.model = _SCRIPT if any(tool.startswith(_DELEGATES) for tool in spec.tools) else model
        return replace(agent, spec=spec)

    return replace(manifests, agents=tuple(given(each) for each in manifests.agents))


async def _ended(session: Session, cycle: Cycle, tell: Callable[[str], None]) -> Cycle:
    """The cycle once it is over, or as it stands when patience ends; each change of it is told."""
    campaigns, last = campaigns_of(session), ""
    try:
        async with (
            asyncio.timeout(_PATIENCE_SECONDS),
            aclosing(watch_campaign(campaigns, cycle.campaign_id)) as states,
        ):
            async for watched in states:
                every = (*watched.frame.open_cycles, *watched.frame.recent_cycles)
                now = next((each for each in every if each.cycle_id == cycle.cycle_id), cycle)
                if (line := cycle_line(now)) != last:
                    tell(f"  {line}")
                last = line
                if now.state not in _OPEN:
                    return now
    except TimeoutError:
        pass
    return (await campaigns.GetCycle(GetCycleRequest(cycle_id=cycle.cycle_id))).cycle


async def _outcome(session: Session, cycle: Cycle, manifests: Manifests) -> Outcome:
    campaigns = campaigns_of(session)
    runs = [
        (await session.runtime.get_run(GetRunRequest(run_id=turn.run_id))).run for turn in cycle.turns if turn.run_id
    ]
    children: list[Spawn] = []
    for run in runs:
        tree = await SpawnServiceStub(session.channel).GetSpawnTree(GetSpawnTreeRequest(run_id=run.run_id))
        children += tree.spawns
    learned = await campaigns.ListMemories(ListMemoriesRequest(campaign_id=cycle.campaign_id))
    preview = await campaigns.PreviewSchedule(PreviewScheduleRequest(campaign_id=cycle.campaign_id, count=_TIMES))
    again = await make_plan(session, manifests)
    return Outcome(
        cycle=cycle,
        runs=runs,
        children=children,
        memories=learned.memories,
        times=preview.times,
        unchanged=all(step.action is Action.UNCHANGED for step in again.steps),
    )


def _tell_outcome(outcome: Outcome, tell: Callable[[str], None]) -> None:
    for run in outcome.runs:
        tell(f"run {run.run_id} says:")
        for line in text_of(run.result.parts).strip().splitlines():
            tell(f"  {line}")
    tell("it asked other agents:" if outcome.children else "it asked no other agent")
    for spawn in outcome.children:
        tell(f"  {spawn_line(spawn)}")
        for line in text_of(spawn.result.content).strip().splitlines():
            tell(f"    {line}")
    tell("the next cycle's agents are given what this one learned:")
    for memory in outcome.memories:
        tell(f"  {memory_line(memory)}")
    tell("next times: " + ", ".join(time.local_time for time in outcome.times))
