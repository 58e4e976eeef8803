"""Where campaigns and the messages of the contract meet: for the wire and for what is stored."""

from datetime import timedelta
from typing import assert_never

from heddle.campaign.v1alpha1 import campaign_pb2, signal_pb2
from heddle.common.v1.content_pb2 import Actor
from heddle_campaign.codec.schedules import schedule_message, schedule_value
from heddle_campaign.rules import campaigns as c
from heddle_campaign.rules.budget import Quota
from heddle_campaign.rules.failures import FailurePolicy
from heddle_campaign.rules.records import Counters
from heddle_campaign.rules.rotation import LOOK_BACK, RotationTarget
from heddle_campaign.rules.signals import CustomSignal, PerformanceDip, TrendSpike, TriggerRule, ViralPost
from heddle_campaign.rules.states import CampaignState
from heddle_campaign.rules.triggers import SignalTrigger
from heddle_client.runs import micro_usd, money, usage_message
from heddle_client.wire_times import duration, micros_of, span_of, timestamp, timestamp_if
from heddle_core.requests import Creator
from heddle_core.usage import MicroUsd

SETTINGS = (
    "title",
    "brief",
    "agents",
    "schedule",
    "rotation",
    "triggers",
    "goals",
    "quota",
    "budget",
    "exhaustion_policy",
    "failure_policy",
    "priority",
    "max_concurrent_cycles",
    "max_agents_per_cycle",
    "labels",
)
"""The fields of a Campaign that its owner sets: those of `CampaignSettings`, under the same names."""

# --- campaigns --------------------------------------------------------------------------------------------


def campaign_message(campaign: c.Campaign, counters: Counters) -> campaign_pb2.Campaign:
    """A campaign as clients see it; `counters` are those of the moment."""
    message = settings_message(campaign.settings)
    schedule = campaign.settings.schedule
    # A schedule that names no times is asked again at its end, and nothing is due then.
    is_due = campaign.state is CampaignState.ACTIVE and schedule is not None and bool(schedule.recurrences)
    message.MergeFrom(
        campaign_pb2.Campaign(
            campaign_id=campaign.campaign_id,
            state=campaign_pb2.CampaignState.ValueType(campaign.state),
            pause_reason=campaign_pb2.PauseReason.ValueType(campaign.pause_reason),
            pause_note=campaign.pause_note,
            counters=counters_message(counters),
            usage=usage_message(campaign.usage),
            produced=quota_message(campaign.produced),
            next_cycle_time=timestamp_if(campaign.next_due if is_due else None),
            last_cycle_time=timestamp_if(campaign.last_cycle_time),
            creator=actor(campaign.creator),
            create_time=timestamp(campaign.create_time),
            update_time=timestamp(campaign.update_time),
            etag=etag(campaign),
        )
    )
    return message


def etag(campaign: c.Campaign) -> str:
    """What changes with every change of a campaign."""
    return str(campaign.revision)


def settings_value(message: campaign_pb2.Campaign) -> c.CampaignSettings:
    """What an owner asks of a campaign, from its message; what is marked output only is not looked at."""
    return c.CampaignSettings(
        title=message.title,
        brief=message.brief,
        agents=tuple(_agent_value(each) for each in message.agents),
        schedule=schedule_value(message.schedule) if message.HasField("schedule") else None,
        rotation=_rotation_value(message.rotation),
        triggers=tuple(trigger_value(each) for each in message.triggers),
        goals=tuple(_goal_value(each) for each in message.goals),
        quota=Quota(message.quota.posts, message.quota.images, message.quota.videos),
        budget=MicroUsd(micro_usd(message.budget)) if message.HasField("budget") else None,
        exhaustion_policy=c.ExhaustionPolicy(message.exhaustion_policy or c.ExhaustionPolicy.PAUSE),
        failure_policy=_policy_value(message.failure_policy),
        priority=message.priority,
        max_concurrent_cycles=message.max_concurrent_cycles or 1,
        max_agents_per_cycle=message.max_agents_per_cycle or c.MOST_AGENTS,
        labels=dict(message.labels),
    )


def settings_message(settings: c.CampaignSettings) -> campaign_pb2.Campaign:
    """What an owner asks of a campaign, as the fields of its message that he sets."""
    return campaign_pb2.Campaign(
        title=settings.title,
        brief=settings.brief,
        agents=[_agent_message(each) for each in settings.agents],
        schedule=schedule_message(settings.schedule) if settings.schedule is not None else None,
        rotation=_rotation_message(settings.rotation),
        triggers=[trigger_message(each) for each in settings.triggers],
        goals=[_goal_message(each) for each in settings.goals],
        quota=quota_message(settings.quota) if settings.quota != Quota() else None,
        budget=money(settings.budget) if settings.budget is not None else None,
        exhaustion_policy=campaign_pb2.ExhaustionPolicy.ValueType(settings.exhaustion_policy),
        failure_policy=_policy_message(settings.failure_policy),
        priority=settings.priority,
        max_concurrent_cycles=settings.max_concurrent_cycles,
        max_agents_per_cycle=settings.max_agents_per_cycle,
        labels=dict(settings.labels),
    )


def counters_message(counters: Counters) -> campaign_pb2.CycleCounters:
    """Counters as their message."""
    return campaign_pb2.CycleCounters(
        scheduled=counters.scheduled,
        fired=counters.fired,
        skipped=counters.skipped,
        missed=counters.missed,
        paused=counters.paused,
        dropped=counters.dropped,
        unscheduled=counters.unscheduled,
    )


def quota_message(quota: Quota) -> campaign_pb2.Quota:
    """A quota, or what was made, as its message."""
    return campaign_pb2.Quota(posts=quota.posts, images=quota.images, videos=quota.videos)


def actor(creator: Creator) -> Actor:
    """Who asked for something."""
    return Actor(principal=creator.principal, acted_by=creator.acted_by)


# --- parts of the settings --------------------------------------------------------------------------------


def _agent_value(message: campaign_pb2.CampaignAgent) -> c.CampaignAgent:
    return c.CampaignAgent(
        role=message.role,
        agent_id=message.agent_id,
        agent_version=message.agent_version,
        objective=message.objective,
        weight=message.weight if message.HasField("weight") else 1,
        daily_budget=MicroUsd(micro_usd(message.daily_budget)) if message.HasField("daily_budget") else None,
        signal_kinds=tuple(message.signal_kinds),
        platforms=tuple(message.platforms),
        disabled=message.disabled,
    )


def _agent_message(agent: c.CampaignAgent) -> campaign_pb2.CampaignAgent:
    return campaign_pb2.CampaignAgent(
        role=agent.role,
        agent_id=agent.agent_id,
        agent_version=agent.agent_version,
        objective=agent.objective,
        weight=agent.weight,
        daily_budget=money(agent.daily_budget) if agent.daily_budget is not None else None,
        signal_kinds=agent.signal_kinds,
        platforms=agent.platforms,
        disabled=agent.disabled,
    )


def _rotation_value(message: campaign_pb2.Rotation) -> c.Rotation:
    targets = (
        RotationTarget(each.key, each.weight or 1, each.topic, each.platform, each.role) for each in message.targets
    )
    return c.Rotation(tuple(targets), span_of(message.look_back) if message.HasField("look_back") else LOOK_BACK)


def _rotation_message(rotation: c.Rotation) -> campaign_pb2.Rotation | None:
    if rotation == c.Rotation():
        return None
    targets = [
        campaign_pb2.RotationTarget(
            key=each.key, topic=each.topic, platform=each.platform, role=each.role, weight=each.weight
        )
        for each in rotation.targets
    ]
    return campaign_pb2.Rotation(targets=targets, look_back=duration(rotation.look_back))


def _goal_value(message: campaign_pb2.Goal) -> c.Goal:
    due_time = micros_of(message.due_time) if message.HasField("due_time") else None
    return c.Goal(
        message.key, message.description, message.metric, message.target_value, message.current_value, due_time
    )


def _goal_message(goal: c.Goal) -> campaign_pb2.Goal:
    return campaign_pb2.Goal(
        key=goal.key,
        description=goal.description,
        metric=goal.metric,
        target_value=goal.target_value,
        current_value=goal.current_value,
        due_time=timestamp_if(goal.due_time),
    )


def _policy_value(message: campaign_pb2.FailurePolicy) -> FailurePolicy:
    usual = FailurePolicy()
    return FailurePolicy(
        pause_after=message.pause_after or usual.pause_after,
        require_person_after=message.require_person_after or usual.require_person_after,
        max_attempts=message.max_attempts or usual.max_attempts,
        initial_backoff=span_of(message.initial_backoff)
        if message.HasField("initial_backoff")
        else usual.initial_backoff,
    )


def _policy_message(policy: FailurePolicy) -> campaign_pb2.FailurePolicy:
    return campaign_pb2.FailurePolicy(
        pause_after=policy.pause_after,
        require_person_after=policy.require_person_after,
        max_attempts=policy.max_attempts,
        initial_backoff=duration(policy.initial_backoff),
    )


# --- triggers ---------------------------------------------------------------------------------------------


def trigger_value(message: signal_pb2.SignalTrigger) -> SignalTrigger:
    """A trigger from its message, whose condition is set."""
    return SignalTrigger(
        key=message.key,
        rule=_rule_value(message),
        max_agents=message.max_agents or 2,
        cool_down=span_of(message.cool_down) if message.HasField("cool_down") else timedelta(hours=6),
        disabled=message.disabled,
    )


def trigger_message(trigger: SignalTrigger) -> signal_pb2.SignalTrigger:
    """A trigger as its message."""
    message = signal_pb2.SignalTrigger(
        key=trigger.key,
        max_agents=trigger.max_agents,
        cool_down=duration(trigger.cool_down),
        disabled=trigger.disabled,
    )
    rule = trigger.rule
    match rule:
        case TrendSpike():
            message.trend_spike.min_virality = rule.min_virality
            message.trend_spike.min_growth_percent = rule.min_growth_percent
            message.trend_spike.keywords.extend(rule.keywords)
        case ViralPost():
            message.viral_post.min_engagement_percent = rule.min_engagement_percent
        case PerformanceDip():
            message.performance_dip.min_fall_percent = rule.min_fall_percent
            message.performance_dip.window.CopyFrom(duration(rule.window))
        case CustomSignal():
            message.custom.kind = rule.kind
            message.custom.condition = rule.condition
        case _:
            assert_never(rule)
    return message


def _rule_value(message: signal_pb2.SignalTrigger) -> TriggerRule:
    match message.WhichOneof("condition"):
        case "trend_spike":
            spike, usual = message.trend_spike, TrendSpike()
            return TrendSpike(
                spike.min_virality if spike.HasField("min_virality") else usual.min_virality,
                spike.min_growth_percent if spike.HasField("min_growth_percent") else usual.min_growth_percent,
                tuple(spike.keywords),
            )
        case "viral_post":
            viral = message.viral_post
            return ViralPost(viral.min_engagement_percent) if viral.HasField("min_engagement_percent") else ViralPost()
        case "performance_dip":
            dip, usual = message.performance_dip, PerformanceDip()
            return PerformanceDip(
                dip.min_fall_percent if dip.HasField("min_fall_percent") else usual.min_fall_percent,
                span_of(dip.window) if dip.HasField("window") else usual.window,
            )
        case _:
            return CustomSignal(message.custom.kind, message.custom.condition)
