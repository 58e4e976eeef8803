"""All that is wrong with a campaign is told at once, each fault by its field."""

from pathlib import Path

from google.type.money_pb2 import Money

from heddle.campaign.v1alpha1.campaign_pb2 import CampaignAgent
from heddle.campaign.v1alpha1.schedule_pb2 import Schedule
from heddle.campaign.v1alpha1.signal_pb2 import SignalTrigger, ViralPost
from heddle_core.errors import InvalidField
from tests.kit.running_campaigns import campaign, refusal, studio


async def test_every_fault_of_a_campaign_is_told_in_one_answer(tmp_path: Path) -> None:
    wrong = campaign(
        agents=[CampaignAgent(role="a b", agent_id="writer", daily_budget=Money(currency_code="EUR", units=1))],
        triggers=[SignalTrigger(key="t"), SignalTrigger(key="u", viral_post=ViralPost(), max_agents=9)],
        budget=Money(currency_code="USD", units=-1),
        priority=101,
        schedule=Schedule(cron="0 25 * * *", excluded_dates=["soon", "2026-12-24"]),
    )
    async with studio(tmp_path) as here:
        error = await refusal(here.create(campaign=wrong))
    assert isinstance(error, InvalidField)
    assert [each.field for each in error.violations] == [
        "campaign.agents[0].daily_budget.currency_code",
        "campaign.schedule.excluded_dates[0]",
        "campaign.triggers[0].condition",
        "campaign.budget.units",
        "campaign.agents[0].role",
        "campaign.triggers[1].max_agents",
        "campaign.priority",
        "campaign.schedule.cron",
    ]
