"""Campaigns that can be copied. Their agents are disabled: whoever copies one names his own, and enables them."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from heddle_campaign.rules.campaigns import CampaignAgent, CampaignSettings, Goal, Rotation
from heddle_campaign.rules.recurrence import Cron, Recurrence
from heddle_campaign.rules.rotation import RotationTarget
from heddle_campaign.rules.schedule import START_UNSAID, OverlapPolicy, Schedule
from heddle_campaign.rules.signals import CustomSignal, PerformanceDip, TrendSpike, ViralPost
from heddle_campaign.rules.triggers import SignalTrigger
from heddle_core.ids import TenantId


@dataclass(frozen=True, slots=True)
class Template:
    """One of them."""

    template_id: str
    description: str
    settings: CampaignSettings


def template(template_id: str) -> Template | None:
    """A template by its id."""
    return next((each for each in TEMPLATES if each.template_id == template_id), None)


def _agent(role: str, objective: str, *, signal_kinds: tuple[str, ...] = (), weight: int = 1) -> CampaignAgent:
    return CampaignAgent(role, role, objective=objective, weight=weight, signal_kinds=signal_kinds, disabled=True)


def _schedule(*recurrences: Recurrence, **fields: Any) -> Schedule:
    return Schedule(TenantId(""), "", 0, recurrences, START_UNSAID, jitter=timedelta(minutes=5), **fields)


TEMPLATES: tuple[Template, ...] = (
    Template(
        "creator-studio",
        "Posts, pictures and short videos on several platforms, by agents that answer trends and learn what works.",
        CampaignSettings(
            title="Creator studio",
            brief="Publish what the audience finds useful or fun. Keep its voice, claim nothing unproven.",
            agents=(
                _agent("planner", "Choose what is made next, and say why.", weight=2),
                _agent("writer", "Write the posts.", signal_kinds=("trend_spike", "performance_dip")),
                _agent("image", "Make the pictures that posts need."),
                _agent("video", "Make short videos of what did well.", signal_kinds=("viral_post",)),
            ),
            schedule=_schedule(Cron("0 9,17 * * *")),
            rotation=Rotation(
                (
                    RotationTarget("tips", 3, "A tip that can be used at once"),
                    RotationTarget("stories", 2, "A story from behind the scenes"),
                    RotationTarget("questions", 1, "A question to the audience"),
                )
            ),
            triggers=(
                SignalTrigger("trend", TrendSpike()),
                SignalTrigger("viral", ViralPost()),
                SignalTrigger("dip", PerformanceDip(), cool_down=timedelta(days=1)),
            ),
            goals=(Goal("engagement", "An engagement rate of 5 percent", "engagement_rate", 5.0),),
        ),
    ),
    Template(
        "weekly-report",
        "One agent sums up the week every Monday morning; a report that is missed then is written up to 6 days later.",
        CampaignSettings(
            title="Weekly report",
            brief="Sum up what happened since the last report: facts first, then what follows from them, on one page.",
            agents=(_agent("reporter", "Write the report."),),
            schedule=_schedule(
                Cron("0 8 * * MON"),
                overlap=OverlapPolicy.BUFFER_ONE,
                # Almost until the next report, which covers what this one would have.
                catch_up_window=timedelta(days=6),
            ),
            max_agents_per_cycle=1,
        ),
    ),
    Template(
        "incident-watch",
        "No schedule: agents start when a signal of kind `incident` tells of something severe.",
        CampaignSettings(
            title="Incident watch",
            brief="Find out what is going on, what it touches, and what to do first. Change nothing by yourself.",
            agents=(
                _agent("analyst", "Find the cause.", signal_kinds=("incident",), weight=2),
                _agent("scribe", "Keep a record of what is known, with times.", signal_kinds=("incident",)),
            ),
            triggers=(
                SignalTrigger(
                    "severe", CustomSignal("incident", "signal.severity >= 3"), cool_down=timedelta(minutes=15)
                ),
            ),
            priority=50,
        ),
    ),
)
"""All of them, by id."""
