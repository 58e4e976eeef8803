"""Agents that are not there are noticed before the first cycle; and a turn's thread says which campaign it is of."""

from pathlib import Path

import pytest

from heddle.campaign.v1alpha1 import campaign_service_pb2 as pb
from heddle.campaign.v1alpha1.campaign_pb2 import Campaign, CampaignAgent, CampaignState, PauseReason
from heddle.campaign.v1alpha1.cycle_pb2 import CycleState
from heddle.runtime.v1.agent_pb2 import AgentSpec
from heddle.runtime.v1.agent_service_pb2 import ArchiveAgentRequest, CreateAgentRequest
from heddle.runtime.v1.thread_service_pb2 import ListThreadsRequest
from heddle_core.errors import InvalidField
from tests.kit.running_campaigns import Studio, campaign, refusal, studio
from tests.kit.running_runtime import House, new_id
from tests.kit.running_spawn import served_runtime

SCENARIO = 'turns:\n  - steps:\n      - text: "The news is told."\n'


async def hire(house: House, agent_id: str) -> None:
    spec = AgentSpec(instructions="Write.")
    await house.stubs.agents.CreateAgent(CreateAgentRequest(request_id=new_id(), agent_id=agent_id, spec=spec))


async def archive(house: House, agent_id: str) -> None:
    await house.stubs.agents.ArchiveAgent(ArchiveAgentRequest(request_id=new_id(), agent_id=agent_id))


async def told(here: Studio, campaign_id: str) -> list[tuple[str, str]]:
    """What is said against activating a campaign, by field."""
    error = await refusal(here.activate(campaign_id))
    assert isinstance(error, InvalidField)
    return [(each.field, each.remedy) for each in error.violations]


async def test_a_campaign_is_activated_only_with_agents_that_take_turns(tmp_path: Path) -> None:
    async with served_runtime(tmp_path, SCENARIO) as (address, house), studio(tmp_path, address) as here:
        for agent_id in ("writer", "retired"):
            await hire(house, agent_id)
        await archive(house, "retired")
        agents = [
            CampaignAgent(role="a", agent_id="writer"),
            CampaignAgent(role="b", agent_id="nobody"),
            CampaignAgent(role="c", agent_id="nobody", disabled=True),
            CampaignAgent(role="d", agent_id="retired"),
            CampaignAgent(role="e", agent_id="writer", agent_version=7),
        ]
        made = await here.create(campaign=campaign(agents=agents))
        said = await told(here, made.campaign_id)
        assert [field for field, _ in said] == [f"campaign.agents[{place}].agent_id" for place in (1, 3, 4)]
        assert said[0][1] == "there is no agent nobody: create it, or name one that ListAgents tells"
        assert "retired is archived" in said[1][1]
        assert "no agent writer at version 7" in said[2][1]
        await here.update(Campaign(campaign_id=made.campaign_id, agents=agents[:1]), "agents")
        assert (await here.activate(made.campaign_id)).state == CampaignState.CAMPAIGN_STATE_ACTIVE
        added = Campaign(campaign_id=made.campaign_id, agents=[*agents[:1], agents[1]])
        refused = await refusal(here.update(added, "agents"))
        assert isinstance(refused, InvalidField)
        assert [each.field for each in refused.violations] == ["campaign.agents[1].agent_id"]
        await hire(house, "nobody")
        assert len((await here.update(added, "agents")).agents) == 2


async def test_an_agent_that_is_archived_later_pauses_the_campaign(tmp_path: Path) -> None:
    async with served_runtime(tmp_path, SCENARIO) as (address, house), studio(tmp_path, address) as here:
        await hire(house, "writer")
        made = await here.active()
        await archive(house, "writer")
        cycle = await here.trigger(made.campaign_id)
        await here.until(cycle.cycle_id, CycleState.CYCLE_STATE_FAILED)
        found = (await here.campaigns.GetCampaign(pb.GetCampaignRequest(campaign_id=made.campaign_id))).campaign
        assert (found.state, found.pause_reason) == (
            CampaignState.CAMPAIGN_STATE_PAUSED,
            PauseReason.PAUSE_REASON_AGENT_MISSING,
        )


async def test_a_runtime_that_is_away_does_not_keep_a_campaign_from_being_activated(tmp_path: Path) -> None:
    async with studio(tmp_path) as here:
        made = await here.active(campaign=campaign(agents=[CampaignAgent(role="a", agent_id="nobody")]))
        assert made.state == CampaignState.CAMPAIGN_STATE_ACTIVE


@pytest.mark.parametrize("targets", [[], [{"key": "shoes"}]])
async def test_threads_are_found_by_the_campaigns_labels_and_told_apart_by_their_titles(
    tmp_path: Path, targets: list[dict[str, str]]
) -> None:
    async with served_runtime(tmp_path, SCENARIO) as (address, house), studio(tmp_path, address) as here:
        await hire(house, "writer")
        rotated = campaign(labels={"team": "red"}, rotation={"targets": targets})
        made = await here.active(campaign=rotated)
        threads: dict[str, str] = {}
        for _ in range(2):
            cycle = await here.trigger(made.campaign_id)
            (turn,) = (await here.until(cycle.cycle_id, CycleState.CYCLE_STATE_COMPLETED)).turns
            at = cycle.scheduled_time.ToJsonString()[:19].replace("T", " ").removesuffix(":00")
            threads[turn.thread_id] = f"News: {'shoes, ' if targets else ''}writer, {at}"
        request = ListThreadsRequest(labels={"team": "red"})
        found = (await house.stubs.threads.ListThreads(request)).threads
        assert {each.thread_id: each.settings.title for each in found} == threads
        assert len(threads) == 2
