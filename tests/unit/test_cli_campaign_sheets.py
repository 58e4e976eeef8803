"""What `heddle campaign` shows of a campaign: every field that an owner sets can be seen; and a template as a file."""

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.money_pb2 import Money
from rich.console import Console

from heddle.campaign.v1alpha1.campaign_pb2 import Campaign, CampaignTemplate
from heddle_campaign.codec.campaigns import SETTINGS, settings_message
from heddle_campaign.facade.templates import TEMPLATES
from heddle_cli.display.campaigns import campaign_sheet, template_list
from heddle_cli.display.cycles import cycle_list
from heddle_cli.manifests.folder import read_manifests
from heddle_cli.manifests.writing import file_text

HOUR = 3_600


def at(text: str) -> Timestamp:
    told = Timestamp()
    told.FromJsonString(text)
    return told


def shown(what: Any) -> str:
    said = StringIO()
    Console(file=said, width=400).print(what)
    return said.getvalue()


def everything() -> Campaign:
    """A campaign in which every field that an owner sets has a value of its own."""
    return Campaign(
        title="Shoes",
        brief="Tell of shoes.",
        agents=[
            {
                "role": "film",
                "agent_id": "filmer",
                "agent_version": 3,
                "objective": "Make films.",
                "weight": 7,
                "daily_budget": Money(currency_code="USD", units=2),
                "signal_kinds": ["rain"],
                "platforms": ["tiktok"],
                "disabled": True,
            }
        ],
        schedule={
            "cron": "30 2 * * *",
            "time_zone": "Europe/Berlin",
            "start_time": at("2026-01-01T00:00:00Z"),
            "end_time": at("2027-06-01T00:00:00Z"),
            "jitter": Duration(seconds=600),
            "excluded_dates": [f"2026-12-{day}" for day in range(20, 27)],
            "excluded_ranges": [{"start_time": at("2027-02-01T00:00:00Z"), "end_time": at("2027-02-02T00:00:00Z")}],
            "missing_time": 2,
            "repeated_time": 3,
            "overlap": 4,
            "catch_up_window": Duration(seconds=6 * HOUR),
            "max_cycles": 12,
        },
        rotation={"targets": [{"key": "grip", "topic": "wet roots", "platform": "x", "role": "film", "weight": 5}]},
        triggers=[
            {"key": "a", "trend_spike": {"min_virality": 71, "min_growth_percent": 26, "keywords": ["mud"]}},
            {"key": "b", "viral_post": {"min_engagement_percent": 9}, "cool_down": Duration(seconds=12 * HOUR)},
            {"key": "c", "performance_dip": {"min_fall_percent": 21, "window": Duration(seconds=48 * HOUR)}},
            {"key": "d", "custom": {"kind": "rain", "condition": "signal.mm > 3"}, "max_agents": 4, "disabled": True},
        ],
        goals=[
            {
                "key": "reach",
                "description": "Be read",
                "metric": "readers",
                "current_value": 4,
                "target_value": 90,
                "due_time": at("2027-05-05T00:00:00Z"),
            }
        ],
        quota={"posts": 11, "images": 13, "videos": 17},
        budget=Money(currency_code="USD", units=25),
        exhaustion_policy=2,
        failure_policy={
            "pause_after": 4,
            "require_person_after": 8,
            "max_attempts": 2,
            "initial_backoff": Duration(seconds=33),
        },
        priority=-6,
        max_concurrent_cycles=3,
        max_agents_per_cycle=2,
        labels={"team": "red"},
    )


@pytest.mark.parametrize(
    "words",
    [
        "Shoes",
        "Tell of shoes.",
        "filmer version 3, weight 7, at most 2.00 USD a day, for tiktok, answers rain, disabled",
        "cron 30 2 * * * in Europe/Berlin; overlap cancel other",
        "2026-01-01 00:00:00Z",
        "2027-06-01 00:00:00Z",
        "up to 10m",
        "2026-12-20, 2026-12-21, 2026-12-22, 2026-12-23, 2026-12-24 and 3 more",
        "missing time skip, repeated time both",
        "at most 6h, else missed",
        "12 cycles",
        "wet roots (weight 5, for x, by film)",
        "trend_spike from virality 71 and growth 26 %, on mud",
        "viral_post from 9 % engagement; at most 0 agents, at least 12h apart",
        "performance_dip from 21 % over 2d",
        "rain, signal.mm > 3; at most 4 agents; disabled",
        "Be read (readers: 4 of 90, 4%), by 2027-05-05 00:00:00Z",
        "0 of 11 posts, 0 of 13 images, 0 of 17 videos",
        "25.00 USD",
        "3 cycles at once, 2 agents each, priority -6, complete when budget or quota is used up",
        "2 attempts, the second after 33s; 4 cycles in a row pause it, 8 need a person",
        "team=red",
    ],
)
def test_a_sheet_shows_what_the_owner_has_set(words: str) -> None:
    assert words in shown(campaign_sheet(everything()))


def test_a_schedule_that_names_no_times_shows_what_it_bounds() -> None:
    told = shown(campaign_sheet(Campaign(schedule={"end_time": at("2027-06-01T00:00:00Z"), "max_cycles": 3})))
    for words in ("no times of its own in UTC; overlap", "2027-06-01", "3 cycles"):
        assert words in told


def test_a_schedule_that_is_bare_shows_no_empty_rows() -> None:
    told = shown(campaign_sheet(Campaign(schedule={"interval": Duration(seconds=HOUR)})))
    assert "every 1h in UTC" in told
    for row in ("not before", "before", "at most", "later by", "not on", "late by", "clock changes"):
        assert f"  {row} " not in told, row


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda each: each.template_id)
def test_a_template_is_a_file_that_apply_reads_back_as_it_was(template: Any, tmp_path: Path) -> None:
    campaign = settings_message(template.settings)
    (tmp_path / "campaign.yaml").write_text(file_text(template.template_id, campaign))
    (read,) = read_manifests(str(tmp_path), "set").campaigns
    assert read.name == template.template_id
    read.campaign.labels.clear()
    assert read.campaign == campaign


def test_every_setting_survives_the_way_to_a_file_and_back(tmp_path: Path) -> None:
    campaign = everything()
    assert {field.name for field, _ in campaign.ListFields()} == set(SETTINGS)
    campaign.schedule.version = 9
    campaign.labels["heddle.dev/managed-by"] = "elsewhere"
    (tmp_path / "campaign.yaml").write_text(file_text("shoes", campaign))
    (read,) = read_manifests(str(tmp_path), "here").campaigns
    campaign.schedule.version = 0
    campaign.labels.update({"heddle.dev/managed-by": "here", "heddle.dev/name": "shoes"})
    assert read.campaign == campaign


def test_templates_are_listed_with_what_they_are_for() -> None:
    told = shown(template_list([CampaignTemplate(template_id="weekly", description="Sums up the week.")]))
    assert "weekly" in told
    assert "Sums up the week." in told


def test_an_empty_list_of_cycles_says_whether_only_some_were_asked_for() -> None:
    assert "starts one" in shown(cycle_list([]))
    assert shown(cycle_list([], narrowed=True)).strip() == "No cycles fit."
