"""What CampaignService refuses of a campaign itself: each refusal names the field and says what to do about it."""

from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest
import pytest_asyncio

from heddle.campaign.v1alpha1 import campaign_pb2, schedule_pb2
from heddle_campaign.codec.campaigns import SETTINGS
from heddle_core.companion_errors import CampaignNotFound
from heddle_core.errors import InvalidField
from tests.kit.running_campaigns import Studio, at, campaign, refusal, studio


@pytest_asyncio.fixture(name="here", scope="module", loop_scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Studio]:
    async with studio(tmp_path_factory.mktemp("refusals")) as here:
        yield here


pytestmark = pytest.mark.asyncio(loop_scope="module")


def scheduled(**fields: Any) -> campaign_pb2.Campaign:
    return campaign(schedule=schedule_pb2.Schedule(**fields))


def agent(**fields: Any) -> campaign_pb2.Campaign:
    return campaign(agents=[{"role": "writer", "agent_id": "writer", **fields}])


def trigger(**fields: Any) -> campaign_pb2.Campaign:
    return campaign(triggers=[{"key": "own", **fields}])


def target(**fields: Any) -> campaign_pb2.Campaign:
    return campaign(rotation={"targets": [{"key": "a", **fields}]})


EPOCH = {"start_time": {"seconds": 0}}
LONG = "x" * 5_000

BAD_CAMPAIGNS: dict[str, tuple[Callable[[], campaign_pb2.Campaign], str]] = {
    "no title": (lambda: campaign(title=""), "campaign.title"),
    "a title that is too long": (lambda: campaign(title="x" * 201), "campaign.title"),
    "a brief that is too long": (lambda: campaign(brief="x" * 8_001), "campaign.brief"),
    "a cron expression with an impossible hour": (lambda: scheduled(cron="0 25 * * *"), "campaign.schedule.cron"),
    "a cron expression of a day that never comes": (lambda: scheduled(cron="0 0 31 2 *"), "campaign.schedule.cron"),
    "a cron expression of six fields": (lambda: scheduled(cron="* * * * * *"), "campaign.schedule.cron"),
    "no cron expression at all": (lambda: scheduled(cron="tomorrow"), "campaign.schedule.cron"),
    "a rule without a frequency": (lambda: scheduled(rrule="BYDAY=MO"), "campaign.schedule.rrule"),
    "a rule of seconds": (lambda: scheduled(rrule="FREQ=SECONDLY"), "campaign.schedule.rrule"),
    "an interval of seconds": (lambda: scheduled(interval={"seconds": 5}), "campaign.schedule.interval"),
    "a negative interval": (lambda: scheduled(interval={"seconds": -600}), "campaign.schedule.interval"),
    "dates without a recurrence that are over": (
        lambda: scheduled(start_time=at("2019-01-01T00:00:00Z"), end_time=at("2020-01-01T00:00:00Z")),
        "campaign.schedule.end_time",
    ),
    "one time that is past": (lambda: scheduled(once=at("2020-01-01T00:00:00Z")), "campaign.schedule.once"),
    "an unknown time zone": (lambda: scheduled(cron="0 9 * * *", time_zone="Mars/Base"), "campaign.schedule.time_zone"),
    "a time zone that is a path": (
        lambda: scheduled(cron="0 9 * * *", time_zone="../../etc/passwd"),
        "campaign.schedule.time_zone",
    ),
    "an end before the start": (
        lambda: scheduled(cron="0 9 * * *", start_time=at("2030-01-02T00:00:00Z"), end_time=at("2030-01-01T00:00:00Z")),
        "campaign.schedule.end_time",
    ),
    "an end in the past": (
        lambda: scheduled(cron="0 9 * * *", start_time=at("2020-01-01T00:00:00Z"), end_time=at("2020-02-01T00:00:00Z")),
        "campaign.schedule.end_time",
    ),
    "a start at the epoch": (lambda: scheduled(cron="0 9 * * *", **EPOCH), "campaign.schedule.start_time"),
    "a start in the year 9999": (
        lambda: scheduled(cron="0 9 * * *", start_time=at("9999-01-01T00:00:00Z")),
        "campaign.schedule.start_time",
    ),
    "a jitter of a day": (
        lambda: scheduled(cron="0 9 * * *", jitter={"seconds": 86_400}),
        "campaign.schedule.jitter",
    ),
    "a catch-up window of ten years": (
        lambda: scheduled(cron="0 9 * * *", catch_up_window={"seconds": 315_360_000}),
        "campaign.schedule.catch_up_window",
    ),
    "a negative number of cycles": (
        lambda: scheduled(cron="0 9 * * *", max_cycles=-1),
        "campaign.schedule.max_cycles",
    ),
    "a date that does not exist": (
        lambda: scheduled(cron="0 9 * * *", excluded_dates=["2027-01-01", "2027-02-30"]),
        "campaign.schedule.excluded_dates[1]",
    ),
    "a date in another form": (
        lambda: scheduled(cron="0 9 * * *", excluded_dates=["20270101"]),
        "campaign.schedule.excluded_dates[0]",
    ),
    "more dates than a year has": (
        lambda: scheduled(cron="0 9 * * *", excluded_dates=["2027-01-01"] * 367),
        "campaign.schedule.excluded_dates",
    ),
    "an excluded stretch that ends before it starts": (
        lambda: scheduled(
            cron="0 9 * * *",
            excluded_ranges=[{"start_time": at("2027-02-01T00:00:00Z"), "end_time": at("2027-01-01T00:00:00Z")}],
        ),
        "campaign.schedule.excluded_ranges[0].end_time",
    ),
    "two agents of one role": (
        lambda: campaign(agents=[{"role": "a", "agent_id": "x"}, {"role": "a", "agent_id": "y"}]),
        "campaign.agents[0].role",
    ),
    "an agent without an id": (lambda: campaign(agents=[{"role": "a"}]), "campaign.agents[0].agent_id"),
    "a role that is no name": (lambda: campaign(agents=[{"role": "a b", "agent_id": "x"}]), "campaign.agents[0].role"),
    "a version below one": (lambda: agent(agent_version=-1), "campaign.agents[0].agent_version"),
    "an objective that is too long": (lambda: agent(objective=LONG), "campaign.agents[0].objective"),
    "a weight that is too great": (lambda: agent(weight=1_001), "campaign.agents[0].weight"),
    "a daily budget in euros": (
        lambda: agent(daily_budget={"currency_code": "EUR", "units": 1}),
        "campaign.agents[0].daily_budget.currency_code",
    ),
    "a kind of signal in capitals": (lambda: agent(signal_kinds=["Trend"]), "campaign.agents[0].signal_kinds[0]"),
    "thirty-three agents": (
        lambda: campaign(agents=[{"role": f"r{each}", "agent_id": "x"} for each in range(33)]),
        "campaign.agents",
    ),
    "a target whose role nobody has": (lambda: target(role="painter"), "campaign.rotation.targets[0].role"),
    "a target of a negative weight": (lambda: target(weight=-1), "campaign.rotation.targets[0].weight"),
    "a look back of nothing": (
        lambda: campaign(rotation={"look_back": {"seconds": 0}}),
        "campaign.rotation.look_back",
    ),
    "a trigger without a condition": (lambda: trigger(max_agents=1), "campaign.triggers[0].condition"),
    "a condition that is no CEL": (
        lambda: trigger(custom={"kind": "a", "condition": "signal. <"}),
        "campaign.triggers[0].custom.condition",
    ),
    "a condition that is too costly": (
        lambda: trigger(custom={"kind": "a", "condition": "[1].map(x, [1].map(y, y))"}),
        "campaign.triggers[0].custom.condition",
    ),
    "a kind that is no name": (lambda: trigger(custom={"kind": "A!"}), "campaign.triggers[0].custom.kind"),
    "a virality above a hundred": (
        lambda: trigger(trend_spike={"min_virality": 101}),
        "campaign.triggers[0].trend_spike.min_virality",
    ),
    "a cool-down below nothing": (
        lambda: trigger(viral_post={}, cool_down={"seconds": -1}),
        "campaign.triggers[0].cool_down",
    ),
    "two goals of one key": (
        lambda: campaign(goals=[{"key": "g", "description": "x"}] * 2),
        "campaign.goals[0].key",
    ),
    "a goal that is not said": (lambda: campaign(goals=[{"key": "g"}]), "campaign.goals[0].description"),
    "a quota below nothing": (lambda: campaign(quota={"posts": -1}), "campaign.quota.posts"),
    "a budget below nothing": (
        lambda: campaign(budget={"currency_code": "USD", "units": -1}),
        "campaign.budget.units",
    ),
    "a budget beyond all money": (
        lambda: campaign(budget={"currency_code": "USD", "units": 2**62}),
        "campaign.budget.units",
    ),
    "a priority out of range": (lambda: campaign(priority=101), "campaign.priority"),
    "seventeen cycles at once": (lambda: campaign(max_concurrent_cycles=17), "campaign.max_concurrent_cycles"),
    "six agents a cycle": (lambda: campaign(max_agents_per_cycle=6), "campaign.max_agents_per_cycle"),
    "eleven attempts": (lambda: campaign(failure_policy={"max_attempts": 11}), "campaign.failure_policy.max_attempts"),
    "a backoff of a day": (
        lambda: campaign(failure_policy={"initial_backoff": {"seconds": 86_400}}),
        "campaign.failure_policy.initial_backoff",
    ),
    "thirty-three labels": (lambda: campaign(labels={f"l{each}": "" for each in range(33)}), "campaign.labels"),
}


@pytest.mark.parametrize("name", BAD_CAMPAIGNS)
async def test_a_campaign_that_cannot_be_kept_is_refused_by_its_field(here: Studio, name: str) -> None:
    made, path = BAD_CAMPAIGNS[name]
    refused = await refusal(here.create(campaign=made()))
    assert isinstance(refused, InvalidField)
    found = {each.field: each.remedy for each in refused.violations}
    assert path in found, found
    assert found[path]


async def test_all_that_is_wrong_is_told_at_once(here: Studio) -> None:
    refused = await refusal(here.create(campaign=campaign(title="x" * 300, priority=500, quota={"videos": -1})))
    assert isinstance(refused, InvalidField)
    fields = {each.field for each in refused.violations}
    assert fields == {"campaign.title", "campaign.priority", "campaign.quota.videos"}


async def test_an_update_is_refused_by_its_field_as_a_new_campaign_is(here: Studio) -> None:
    made = await here.create()

    def given(**fields: Any) -> campaign_pb2.Campaign:
        return campaign_pb2.Campaign(**{"campaign_id": made.campaign_id, **fields})

    for changed, paths, field in (
        (given(schedule={"cron": "61 * * * *"}), ("schedule",), "campaign.schedule.cron"),
        (given(), ("title",), "campaign.title"),
        (given(), (), "update_mask"),
        (given(), ("state",), "update_mask"),
        (given(), ("schedule.cron",), "update_mask"),
        (given(), ("No_Such__Field",), "update_mask"),
        (given(campaign_id=""), ("title",), "campaign.campaign_id"),
    ):
        refused = await refusal(here.update(changed, *paths))
        assert isinstance(refused, InvalidField), paths
        assert field in {each.field for each in refused.violations}
    unknown = await refusal(here.update(given(campaign_id="none"), "priority"))
    assert isinstance(unknown, CampaignNotFound)


async def test_only_what_a_mask_names_is_looked_at(here: Studio) -> None:
    made = await here.create()
    given = campaign_pb2.Campaign(campaign_id=made.campaign_id, priority=3, schedule={"excluded_dates": ["never"]})
    given.triggers.add(key="without a condition")
    assert (await here.update(given, "priority")).priority == 3
    assert len(SETTINGS) == len(campaign_pb2.Campaign.DESCRIPTOR.fields) - 13
