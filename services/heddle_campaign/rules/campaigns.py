"""What a campaign is: what its owner asked for, and how it stands. Values only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import IntEnum

from heddle_campaign.rules.budget import Quota
from heddle_campaign.rules.due import ScheduleState
from heddle_campaign.rules.failures import FailurePolicy
from heddle_campaign.rules.reports import Reports
from heddle_campaign.rules.rotation import LOOK_BACK, MOST_AGENTS, RotationTarget
from heddle_campaign.rules.schedule import Schedule
from heddle_campaign.rules.states import CampaignState
from heddle_campaign.rules.triggers import SignalTrigger
from heddle_core.clock import Micros
from heddle_core.ids import TenantId
from heddle_core.requests import Creator
from heddle_core.usage import NOTHING, MicroUsd, Usage


class PauseReason(IntEnum):
    """Why a campaign is paused; the numbers are the contract's."""

    NONE = 0
    MANUAL = 1
    FAILURES = 2
    BUDGET = 3
    QUOTA = 4
    AGENT_MISSING = 5


class ExhaustionPolicy(IntEnum):
    """What happens when a budget or a quota is reached; the numbers are the contract's."""

    PAUSE = 1
    COMPLETE = 2


@dataclass(frozen=True, slots=True)
class CampaignAgent:
    """One agent's part in a campaign."""

    role: str
    agent_id: str
    agent_version: int = 0
    """Zero: the newest at each cycle."""
    objective: str = ""
    weight: int = 1
    """Zero: never chosen by a schedule."""
    daily_budget: MicroUsd | None = None
    """For a day of the schedule's time zone. None: no bound of its own."""
    signal_kinds: tuple[str, ...] = ()
    platforms: tuple[str, ...] = ()
    """Empty: all."""
    disabled: bool = False


@dataclass(frozen=True, slots=True)
class Rotation:
    """What the cycles take turns with."""

    targets: tuple[RotationTarget, ...] = ()
    look_back: timedelta = LOOK_BACK


@dataclass(frozen=True, slots=True)
class Goal:
    """Something to reach."""

    key: str
    description: str
    metric: str = ""
    """Empty: judged by people only."""
    target_value: float = 0.0
    current_value: float = 0.0
    due_time: Micros | None = None


@dataclass(frozen=True, slots=True)
class CampaignSettings:
    """What its owner asks of a campaign. The contract's `Campaign` says what each field means and its bounds."""

    title: str
    brief: str = ""
    agents: tuple[CampaignAgent, ...] = ()
    schedule: Schedule | None = None
    """None: only triggers by hand and signals start cycles."""
    rotation: Rotation = Rotation()
    triggers: tuple[SignalTrigger, ...] = ()
    goals: tuple[Goal, ...] = ()
    quota: Quota = Quota()
    budget: MicroUsd | None = None
    exhaustion_policy: ExhaustionPolicy = ExhaustionPolicy.PAUSE
    failure_policy: FailurePolicy = FailurePolicy()
    priority: int = 0
    max_concurrent_cycles: int = 1
    max_agents_per_cycle: int = MOST_AGENTS
    labels: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Campaign:
    """A campaign, as stored."""

    tenant: TenantId
    campaign_id: str
    settings: CampaignSettings
    creator: Creator
    """In whose name its turns are started."""
    state: CampaignState
    schedule_state: ScheduleState
    """Of a campaign without a schedule, only its counters count."""
    next_due: Micros | None = None
    """When its schedule is asked again. None: not before something changes."""
    pause_reason: PauseReason = PauseReason.NONE
    pause_note: str = ""
    failures_in_row: int = 0
    """Cycles that failed since the last one that did not."""
    usage: Usage = NOTHING
    """Of ended cycles."""
    produced: Quota = Quota()
    reports: Reports = Reports()
    last_cycle_time: Micros | None = None
    create_time: Micros = Micros(0)
    update_time: Micros = Micros(0)
    revision: int = 1
    """Raised by every write of settings or state; the etag."""
