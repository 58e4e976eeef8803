"""What a campaign's file may say: the contract's fields by their names, with spans, times and money in human form."""

from datetime import datetime, timedelta
from typing import Annotated, Literal, TypeVar

from google.type.money_pb2 import Money
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from heddle_cli.manifests.values import moment, money, span

Span = Annotated[timedelta, BeforeValidator(span)]
Moment = Annotated[datetime, BeforeValidator(moment)]
Amount = Annotated[Money, BeforeValidator(money)]
Whole = Annotated[int, Field(ge=-(2**31), lt=2**31)]
Words = Annotated[str, Field(min_length=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


class Part(BaseModel):
    """A part of a file: unknown fields are refused, and nothing is guessed from another type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, arbitrary_types_allowed=True)


PartT = TypeVar("PartT", bound=Part)


class TimeRange(Part):
    """A stretch of time."""

    start_time: Moment
    end_time: Moment


class Schedule(Part):
    """When cycles are due."""

    cron: str | None = None
    interval: Span | None = None
    rrule: str | None = None
    once: Moment | None = None
    time_zone: str | None = None
    start_time: Moment | None = None
    end_time: Moment | None = None
    jitter: Span | None = None
    excluded_dates: list[str] | None = None
    excluded_ranges: list[TimeRange] | None = None
    missing_time: Literal["shift", "skip"] | None = None
    repeated_time: Literal["first", "last", "both"] | None = None
    overlap: Literal["skip", "buffer_one", "buffer_all", "cancel_other", "allow_all"] | None = None
    catch_up_window: Span | None = None
    max_cycles: Whole | None = None

    @model_validator(mode="after")
    def _one_recurrence(self) -> "Schedule":
        names = ("cron", "interval", "rrule", "once")
        # One that names no times gives dates and a limit to cycles by hand and by signal.
        return _require_one(self, names) if _said(self, names) else self


class Agent(Part):
    """One agent's part in the campaign."""

    role: Words
    agent_id: Words
    agent_version: Whole | None = None
    objective: str | None = None
    weight: Whole | None = None
    daily_budget: Amount | None = None
    signal_kinds: list[str] | None = None
    platforms: list[str] | None = None
    disabled: bool | None = None


class RotationTarget(Part):
    """One thing that cycles take turns with."""

    key: Words
    topic: str | None = None
    platform: str | None = None
    role: str | None = None
    weight: Whole | None = None


class Rotation(Part):
    """What the cycles take turns with."""

    targets: list[RotationTarget]
    look_back: Span | None = None


class Goal(Part):
    """Something to reach."""

    key: Words
    description: Words
    metric: str | None = None
    target_value: float | None = None
    current_value: float | None = None
    due_time: Moment | None = None


class Quota(Part):
    """How much may be made."""

    posts: Whole | None = None
    images: Whole | None = None
    videos: Whole | None = None


class FailurePolicy(Part):
    """How failures are borne."""

    pause_after: Whole | None = None
    require_person_after: Whole | None = None
    max_attempts: Whole | None = None
    initial_backoff: Span | None = None


class TrendSpike(Part):
    """Fires when a trend rises."""

    min_virality: float | None = None
    min_growth_percent: float | None = None
    keywords: list[str] | None = None


class ViralPost(Part):
    """Fires when a post does unusually well."""

    min_engagement_percent: float | None = None


class PerformanceDip(Part):
    """Fires when engagement falls."""

    min_fall_percent: float | None = None
    window: Span | None = None


class CustomSignal(Part):
    """Fires on a signal of one's own, when a condition holds."""

    kind: Words
    condition: str | None = None


class Trigger(Part):
    """A rule by which signals start cycles."""

    key: Words
    trend_spike: TrendSpike | None = None
    viral_post: ViralPost | None = None
    performance_dip: PerformanceDip | None = None
    custom: CustomSignal | None = None
    max_agents: Whole | None = None
    cool_down: Span | None = None
    disabled: bool | None = None

    @model_validator(mode="after")
    def _one_condition(self) -> "Trigger":
        return _require_one(self, ("trend_spike", "viral_post", "performance_dip", "custom"))


class CampaignFile(Part):
    """A campaign's file. `campaign` and `state` are for `heddle apply`; all else is the contract's `Campaign`."""

    campaign: Name
    """Its name, which stands for it in this folder for as long as it is there."""
    state: Literal["draft", "active", "paused"] = "draft"
    title: Words
    brief: str | None = None
    agents: list[Agent] | None = None
    schedule: Schedule | None = None
    rotation: Rotation | None = None
    triggers: list[Trigger] | None = None
    goals: list[Goal] | None = None
    quota: Quota | None = None
    budget: Amount | None = None
    exhaustion_policy: Literal["pause", "complete"] | None = None
    failure_policy: FailurePolicy | None = None
    priority: Whole | None = None
    max_concurrent_cycles: Whole | None = None
    max_agents_per_cycle: Whole | None = None
    labels: dict[str, str] | None = None


def _require_one(part: PartT, names: tuple[str, ...]) -> PartT:
    said = _said(part, names)
    if len(said) != 1:
        raise ValueError(
            f"must have exactly one of {', '.join(names)}" + (f"; it has {', '.join(said)}" if said else "")
        )
    return part


def _said(part: Part, names: tuple[str, ...]) -> list[str]:
    return [name for name in names if getattr(part, name) is not None]
