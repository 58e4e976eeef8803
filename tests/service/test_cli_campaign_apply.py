"""`heddle apply`: what it makes of a folder, over and over again, and what it leaves alone."""

import json
from pathlib import Path

import pytest

from heddle.campaign.v1alpha1.campaign_pb2 import Campaign, CampaignState
from heddle.campaign.v1alpha1.campaign_service_pb2 import CreateCampaignRequest, UpdateCampaignRequest
from heddle.runtime.v1.agent_pb2 import Agent, AgentSpec
from tests.kit.cli import Answer, heddle
from tests.kit.cli_campaigns import CampaignBook, serving_campaigns

AGENT = """agent_id: writer
description: Writes posts.
instructions: |
  Write a post.
  Be brief.
"""
CAMPAIGN = """campaign: shoes
state: active
title: Trail shoes
budget: 12.50 USD
schedule:
  cron: 0 9 * * MON
  time_zone: Europe/Berlin
  jitter: 5m
agents:
  - role: writer
    agent_id: writer
"""


@pytest.fixture(name="folder")
def written(tmp_path: Path) -> Path:
    folder = tmp_path / "studio"
    folder.mkdir()
    (folder / "writer.yaml").write_text(AGENT)
    (folder / "shoes.yaml").write_text(CAMPAIGN)
    return folder


async def apply(book: CampaignBook, folder: Path, *options: str) -> Answer:
    book.asked.clear()
    return await heddle("apply", "-f", str(folder), *options, address=book.address)


async def test_a_folder_is_created_once_and_then_left_as_it_is(folder: Path) -> None:
    async with serving_campaigns() as book:
        tried = await apply(book, folder, "--dry-run")
        assert tried.code == 0, tried.err
        assert book.changes() == []
        assert "+ agent writer" in tried.out
        assert "+ schedule.jitter: 5m" in tried.out
        assert "~ state: draft -> active" in tried.out
        assert tried.err.strip() == "studio: 2 to create"

        first = await apply(book, folder)
        assert first.err.strip() == "studio: 2 created"
        assert book.changes() == ["CreateAgent", "CreateCampaign", "ActivateCampaign"]
        campaign = book.campaigns["campaign_1"]
        assert campaign.state == CampaignState.CAMPAIGN_STATE_ACTIVE
        assert dict(campaign.labels) == {"heddle.dev/managed-by": "studio", "heddle.dev/name": "shoes"}
        assert campaign.budget.units == 12
        writer = book.agents["writer"].spec
        assert (writer.description, dict(writer.labels)) == ("Writes posts.", {"heddle.dev/managed-by": "studio"})

        again = await apply(book, folder)
        assert again.err.strip() == "studio: 2 unchanged"
        assert book.changes() == []


async def test_only_the_fields_that_differ_are_changed_and_shown(folder: Path) -> None:
    async with serving_campaigns() as book:
        await apply(book, folder)
        (folder / "shoes.yaml").write_text(CAMPAIGN.replace("MON", "TUE") + "labels: {team: a}\n")
        (folder / "writer.yaml").write_text(AGENT.replace("Be brief", "Be long, and tell the whole story of the walk"))
        changed = await apply(book, folder)
        assert changed.code == 0, changed.err
        lines = [line.strip() for line in changed.out.splitlines()]
        assert "~ schedule.cron: 0 9 * * MON -> 0 9 * * TUE" in lines
        assert "+ labels[team]: a" in lines
        assert "- Be brief." in lines
        assert "+ Be long, and tell the whole story of the walk." in lines
        assert not [line for line in lines if "budget" in line or "start_time" in line or "Write a post" in line]
        assert list(book.last(UpdateCampaignRequest).update_mask.paths) == ["labels", "schedule"]
        assert book.agents["writer"].version == 2
        assert book.campaigns["campaign_1"].state == CampaignState.CAMPAIGN_STATE_ACTIVE


async def test_prune_removes_what_the_folder_managed_and_nothing_else(folder: Path) -> None:
    others = CampaignBook()
    others.campaigns["campaign_9"] = Campaign(
        campaign_id="campaign_9", title="Other", labels={"heddle.dev/managed-by": "elsewhere"}, etag="1"
    )
    others.agents["general"] = Agent(agent_id="general", built_in=True)
    theirs = AgentSpec(description="x", labels={"heddle.dev/managed-by": "elsewhere"})
    others.agents["theirs"] = Agent(agent_id="theirs", spec=theirs)
    async with serving_campaigns(others) as book:
        await apply(book, folder)
        (folder / "shoes.yaml").unlink()
        (folder / "writer.yaml").write_text(AGENT.replace("agent_id: writer", "agent_id: author"))
        kept = await apply(book, folder)
        assert book.changes() == ["CreateAgent"], "nothing is removed unless asked"
        assert kept.err.strip() == "studio: 1 created"
        refused = await apply(book, folder, "--prune", "--json")
        assert (refused.code, book.changes()) == (2, []), "nobody can be asked where there is no terminal"
        assert "campaign shoes campaign_1, agent writer would be removed for good" in refused.err
        assert "give --yes" in refused.err
        tried = await apply(book, folder, "--prune", "--dry-run")
        assert (tried.code, book.changes()) == (0, [])
        pruned = await apply(book, folder, "--prune", "--yes", "--json")
        assert book.changes() == ["PauseCampaign", "DeleteCampaign", "ArchiveAgent"]
        assert [(each["name"], each["action"]) for each in pruned.json["steps"]] == [
            ("author", "unchanged"),
            ("shoes", "remove"),
            ("writer", "remove"),
        ]
        assert list(book.campaigns) == ["campaign_9"]
        assert [each.agent_id for each in book.agents.values() if each.archived] == ["writer"]


async def test_what_was_pruned_can_be_created_again_and_an_archived_agent_comes_back(folder: Path) -> None:
    async with serving_campaigns() as book:
        await apply(book, folder)
        first = book.last(CreateCampaignRequest).request_id
        (folder / "shoes.yaml").unlink()
        (folder / "writer.yaml").unlink()
        (folder / "reader.yaml").write_text("agent_id: reader\n")
        await apply(book, folder, "--prune", "--yes")
        assert book.campaigns == {}
        (folder / "shoes.yaml").write_text(CAMPAIGN)
        (folder / "writer.yaml").write_text(AGENT)
        back = await apply(book, folder, "--json")
        assert back.code == 0, back.err
        ids = [each.request_id for each in book.asked if isinstance(each, CreateCampaignRequest)][1:]
        assert ids[0] == first, "the same content asks under the same id"
        assert ids[1] != first
        (campaign,) = book.campaigns.values()
        assert campaign.state == CampaignState.CAMPAIGN_STATE_ACTIVE
        assert not book.agents["writer"].archived


async def test_an_agent_that_somebody_else_made_is_taken_over_only_if_asked(folder: Path) -> None:
    book = CampaignBook()
    book.agents["writer"] = Agent(agent_id="writer", version=3, etag="3", spec=AgentSpec(instructions="Mine."))
    async with serving_campaigns(book):
        refused = await apply(book, folder)
        assert refused.code == 3
        assert f"{folder / 'writer.yaml'}:1: agent_id: agent writer exists and was made otherwise" in refused.err
        assert book.changes() == []
        adopted = await apply(book, folder, "--adopt")
        assert adopted.code == 0, adopted.err
        assert book.agents["writer"].version == 4


async def test_what_people_paused_or_ended_stays_so(folder: Path) -> None:
    async with serving_campaigns() as book:
        await apply(book, folder)
        book.campaigns["campaign_1"].state = CampaignState.CAMPAIGN_STATE_PAUSED
        paused = await apply(book, folder)
        assert "stays PAUSED: `heddle campaign resume shoes` goes on" in paused.out
        book.campaigns["campaign_1"].state = CampaignState.CAMPAIGN_STATE_COMPLETED
        (folder / "shoes.yaml").write_text(CAMPAIGN.replace("MON", "TUE"))
        ended = await apply(book, folder)
        assert "is COMPLETED, for good" in ended.out
        assert book.changes() == []


async def test_a_file_can_pause_an_active_campaign(folder: Path) -> None:
    async with serving_campaigns() as book:
        await apply(book, folder)
        (folder / "shoes.yaml").write_text(CAMPAIGN.replace("state: active", "state: paused"))
        await apply(book, folder)
        assert book.changes() == ["PauseCampaign"]
        assert book.campaigns["campaign_1"].state == CampaignState.CAMPAIGN_STATE_PAUSED


async def test_faults_are_told_with_file_line_and_field_and_nothing_is_done(folder: Path) -> None:
    async with serving_campaigns() as book:
        (folder / "shoes.yaml").write_text(CAMPAIGN.replace("0 9 * * MON", "impossible"))
        refused = await apply(book, folder)
        assert refused.code == 3
        assert f"{folder / 'shoes.yaml'}:6: schedule.cron: has 1 of five fields" in refused.err
        assert book.changes() == []
        (folder / "shoes.yaml").write_text(CAMPAIGN.replace("jitter: 5m", "jitter: soon"))
        (folder / "writer.yaml").write_text(AGENT.replace("instructions", "instruction"))
        both = await apply(book, folder, "--json")
        assert both.code == 2
        assert book.changes() == []
        assert [
            (Path(each["file"]).name, each["line"], each["field"]) for each in json.loads(both.err)["error"]["faults"]
        ] == [
            ("shoes.yaml", 8, "schedule.jitter"),
            ("writer.yaml", 3, "instruction"),
        ]


async def test_all_faults_are_told_in_one_round(folder: Path) -> None:
    (folder / "shoes.yaml").write_text(CAMPAIGN.replace("0 9 * * MON", "impossible").replace("writer", "typist"))
    (folder / "hats.yaml").write_text("campaign: hats\ntitle: ''\ngoals:\n  - key: k\n")
    (folder / "bags.yaml").write_text("campaign: bags\ntitle: [\n")
    (folder / "writer.yaml").write_text(f"agent_id: writer\ninstructions: {'x' * 32_001}\n")
    expected = [
        "hats.yaml:2: title: must not be empty",
        "hats.yaml:4: goals[0].description: must be there",
        "shoes.yaml:6: schedule.cron: has 1 of five fields",
        "writer.yaml:2: instructions: at most 32000 characters",
    ]
    async with serving_campaigns() as book:
        refused = await apply(book, folder)
        lines = [line.removeprefix(f"error: {folder}/") for line in refused.err.splitlines()]
        assert lines[0].startswith("bags.yaml:3: is not YAML")
        assert (refused.code, lines[1:]) == (2, expected)
        (folder / "bags.yaml").unlink()
        refused = await apply(book, folder)
        lines = [line.removeprefix(f"error: {folder}/") for line in refused.err.splitlines()]
        assert lines[3].startswith("shoes.yaml:11: agents[0].agent_id: there is no agent typist: ")
        assert (refused.code, [*lines[:3], *lines[4:]]) == (2, expected)
        assert book.changes() == []
    away = await apply(book, folder)
    assert away.code == 2
    assert f"error: {folder}/hats.yaml:2: title: must not be empty" in away.err


async def test_a_campaign_names_agents_that_are_there_or_come_with_it(folder: Path) -> None:
    book = CampaignBook()
    book.agents["old"] = Agent(agent_id="old", version=2, archived=True)
    book.agents["new"] = Agent(agent_id="new", version=2)
    agents = "agents:\n" + "".join(
        f"  - {{role: {role}, agent_id: {agent_id}{more}}}\n"
        for role, agent_id, more in (
            ("a", "writer", ""),
            ("b", "nobody", ""),
            ("c", "nobody", ", disabled: true"),
            ("d", "old", ""),
            ("e", "new", ", agent_version: 3"),
            ("f", "new", ", agent_version: 2"),
        )
    )
    (folder / "shoes.yaml").write_text(f"campaign: shoes\ntitle: Shoes\n{agents}")
    async with serving_campaigns(book):
        refused = await apply(book, folder)
        told = [line.partition("shoes.yaml:")[2] for line in refused.err.splitlines()]
        assert told == [
            "5: agents[1].agent_id: there is no agent nobody: `heddle agents list` tells those that are there,"
            " or put its file beside this one",
            "7: agents[3].agent_id: agent old is archived: name another",
            "8: agents[4].agent_version: agent new has versions up to 2",
        ]
        assert book.changes() == []
        (folder / "shoes.yaml").write_text("campaign: shoes\ntitle: Shoes\nagents: [{role: a, agent_id: writer}]\n")
        assert (await apply(book, folder)).code == 0
        (folder / "writer.yaml").unlink()
        kept = await apply(book, folder, "--prune", "--yes")
        assert "agents[0].agent_id: agent writer is removed with --prune: name another" in kept.err
        assert not book.agents["writer"].archived


async def test_what_the_server_says_of_an_agent_is_told_with_its_line_too(folder: Path) -> None:
    async with serving_campaigns() as book:
        (folder / "writer.yaml").write_text(f"agent_id: writer\ndescription: x\ninstructions: {'x' * 32_001}\n")
        refused = await apply(book, folder, "--dry-run")
        assert refused.code == 3
        assert f"{folder / 'writer.yaml'}:3: instructions: at most 32000 characters" in refused.err
        assert book.changes() == [], "asked before anything is made"
        (folder / "writer.yaml").write_text(AGENT)
        await apply(book, folder)
        (folder / "writer.yaml").write_text("agent_id: writer\n")
        refused = await apply(book, folder, "--dry-run")
        assert f"{folder / 'writer.yaml'}:1: instructions: must not be empty here" in refused.err
        assert book.changes() == []


async def test_one_file_is_applied_alone_and_prunes_nothing(folder: Path) -> None:
    async with serving_campaigns() as book:
        await apply(book, folder / "writer.yaml")
        assert book.changes() == ["CreateAgent"]
        refused = await apply(book, folder / "writer.yaml", "--prune")
        assert refused.code == 2
        assert "--prune wants the folder" in refused.err


async def test_an_older_server_that_does_not_know_labels_of_a_list_loses_no_agent_to_prune(folder: Path) -> None:
    book = CampaignBook(older=True)
    theirs = AgentSpec(description="x", labels={"heddle.dev/managed-by": "elsewhere"})
    book.agents["theirs"] = Agent(agent_id="theirs", spec=theirs)
    book.agents["nobodys"] = Agent(agent_id="nobodys", spec=AgentSpec(description="x"))
    book.agents["general"] = Agent(agent_id="general", built_in=True)
    async with serving_campaigns(book):
        await apply(book, folder)
        (folder / "shoes.yaml").unlink()
        (folder / "writer.yaml").write_text(AGENT.replace("agent_id: writer", "agent_id: author"))
        pruned = await apply(book, folder, "--prune", "--yes", "--json")
        assert pruned.code == 0, pruned.err
        assert [each["name"] for each in pruned.json["steps"] if each["action"] == "remove"] == ["shoes", "writer"]
        assert [each.agent_id for each in book.agents.values() if each.archived] == ["writer"]


async def test_a_dry_run_makes_nothing_on_an_older_server_and_still_asks_it(folder: Path) -> None:
    book = CampaignBook(older=True)
    book.agents["general"] = Agent(agent_id="general", built_in=True)
    (folder / "general.yaml").write_text(AGENT.replace("agent_id: writer", "agent_id: general"))
    async with serving_campaigns(book):
        tried = await apply(book, folder, "--dry-run")
        assert tried.code == 0, tried.err
        assert (list(book.agents), book.changes()) == (["general"], [])
        assert "takes the place of the one that comes with Heddle" in tried.out
        (folder / "general.yaml").write_text(f"agent_id: general\ninstructions: {'x' * 32_001}\n")
        (folder / "writer.yaml").write_text(f"agent_id: writer\ninstructions: {'x' * 32_001}\n")
        refused = await apply(book, folder, "--dry-run")
        assert refused.code == 3
        assert refused.err.count(":2: instructions: at most 32000 characters") == 2
        assert (list(book.agents), book.changes()) == (["general"], [])
        (folder / "general.yaml").unlink()
        (folder / "writer.yaml").write_text(AGENT)
        assert (await apply(book, folder)).code == 0
        assert book.changes() == ["CreateAgent", "CreateCampaign", "ActivateCampaign"]
