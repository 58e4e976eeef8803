"""Campaigns, and what they learned, as lists and sheets."""

from collections.abc import Iterable

from rich.console import RenderableType

from heddle.campaign.v1alpha1.campaign_pb2 import (
    Campaign,
    CampaignAgent,
    CampaignState,
    CampaignTemplate,
    Goal,
    Quota,
    RotationTarget,
)
from heddle.campaign.v1alpha1.memory_pb2 import Memory
from heddle.campaign.v1alpha1.signal_pb2 import SignalMatch, SignalTrigger
from heddle_cli.display.campaign_words import in_short, word
from heddle_cli.display.schedules import schedule_rows
from heddle_cli.display.tables import sheet, table
from heddle_cli.display.times import spent, when
from heddle_cli.manifests.folder import MANAGED_BY, NAME
from heddle_cli.manifests.values import money_text, span_text

_COUNTERS = ("fired", "skipped", "missed", "paused", "dropped")


def campaign_list(campaigns: Iterable[Campaign]) -> RenderableType:
    """Campaigns, one a line."""
    rows = (
        (
            each.campaign_id,
            each.labels.get(NAME, ""),
            standing(each),
            when(each.next_cycle_time),
            when(each.last_cycle_time),
            str(each.counters.fired + each.counters.unscheduled),
            each.title,
        )
        for each in campaigns
    )
    empty = "No campaigns fit: `heddle apply -f examples/campaigns/trail-shoes` makes one."
    return table(("id", "name", "state", "next", "last", "cycles", "title"), rows, empty=empty)


def campaign_sheet(campaign: Campaign) -> RenderableType:
    """One campaign."""
    return sheet(
        (
            ("campaign", campaign.campaign_id),
            ("title", campaign.title),
            ("name", campaign.labels.get(NAME, "")),
            ("managed by", campaign.labels.get(MANAGED_BY, "")),
            ("state", standing(campaign)),
            ("note", campaign.pause_note),
            *(schedule_rows(campaign.schedule) if campaign.HasField("schedule") else (("schedule", "none"),)),
            ("next", when(campaign.next_cycle_time)),
            ("last", when(campaign.last_cycle_time)),
            ("times", counters_line(campaign)),
            ("used", spent(campaign.usage)),
            ("budget", money_text(campaign.budget) if campaign.HasField("budget") else ""),
            ("quota", _quota(campaign.quota, campaign.produced)),
            ("bounds", _bounds(campaign)),
            ("failures", _failures(campaign)),
            *((f"agent {each.role}", _agent(each)) for each in campaign.agents),
            *((f"takes turns {each.key}", _target(each)) for each in campaign.rotation.targets),
            *((f"trigger {each.key}", _trigger(each)) for each in campaign.triggers),
            *((f"goal {each.key}", _goal(each)) for each in campaign.goals),
            ("labels", _labels(campaign)),
            ("created", when(campaign.create_time)),
            ("changed", when(campaign.update_time)),
            ("brief", campaign.brief),
        )
    )


def standing(campaign: Campaign) -> str:
    """As `paused (failures)`."""
    told = word(campaign, "state")
    if campaign.state == CampaignState.CAMPAIGN_STATE_PAUSED and campaign.pause_reason:
        told += f" ({word(campaign, 'pause_reason')})"
    return told


def counters_line(campaign: Campaign) -> str:
    """As `12 scheduled: 10 fired, 2 skipped; 1 beside`."""
    counters = campaign.counters
    parts = [f"{getattr(counters, name)} {name}" for name in _COUNTERS if getattr(counters, name)]
    beside = f"; {counters.unscheduled} beside the schedule" if counters.unscheduled else ""
    return f"{counters.scheduled} scheduled" + (f": {', '.join(parts)}" if parts else "") + beside


def template_list(templates: Iterable[CampaignTemplate]) -> RenderableType:
    """Campaigns that can be copied, one a line."""
    return table(("id", "what for"), ((each.template_id, each.description) for each in templates), empty="None here.")


def memory_list(memories: Iterable[Memory]) -> RenderableType:
    """What was learned, one a line."""
    rows = (
        (
            each.memory_id,
            word(each, "kind") + (", pinned" if each.pinned else ""),
            " ".join(filter(None, (each.platform, each.content_type))) or "-",
            f"{each.importance:.2f}",
            when(each.create_time),
            when(each.last_use_time),
            _cited(each),
            in_short(each.text),
        )
        for each in memories
    )
    columns = ("id", "kind", "for", "matters", "learned", "last used", "from", "what")
    return table(columns, rows, empty="Nothing is remembered yet.")


def memory_line(memory: Memory) -> str:
    """One memory, in one line."""
    pinned = ", pinned" if memory.pinned else ""
    return f"{memory.memory_id}  {word(memory, 'kind')}{pinned}  {in_short(memory.text)}"


def match_list(matches: Iterable[SignalMatch]) -> RenderableType:
    """What campaigns did with a signal, one a line."""
    rows = (
        (each.campaign_id, each.trigger_key, word(each, "outcome"), each.cycle_id or "-", f"{each.score:g}")
        for each in matches
    )
    empty = "No campaign has a trigger of this kind."
    return table(("campaign", "trigger", "outcome", "cycle", "score"), rows, empty=empty)


def _agent(agent: CampaignAgent) -> str:
    parts = [agent.agent_id + (f" version {agent.agent_version}" if agent.agent_version else "")]
    parts.append(f"weight {agent.weight if agent.HasField('weight') else 1}")
    if agent.HasField("daily_budget"):
        parts.append(f"at most {money_text(agent.daily_budget)} a day")
    if agent.platforms:
        parts.append(f"for {', '.join(agent.platforms)}")
    if agent.signal_kinds:
        parts.append(f"answers {', '.join(agent.signal_kinds)}")
    return ", ".join([*parts, *(["disabled"] if agent.disabled else [])])


def _target(target: RotationTarget) -> str:
    parts = [f"weight {target.weight}"]
    parts += [f"for {target.platform}"] if target.platform else []
    parts += [f"by {target.role}"] if target.role else []
    return f"{target.topic or target.key} ({', '.join(parts)})"


def _trigger(trigger: SignalTrigger) -> str:
    agents = f"{trigger.max_agents} agent{'s' if trigger.max_agents != 1 else ''}"
    apart = f", at least {span_text(trigger.cool_down.ToTimedelta())} apart" if trigger.cool_down.seconds else ""
    return f"{_condition(trigger)}; at most {agents}{apart}{'; disabled' if trigger.disabled else ''}"


def _condition(trigger: SignalTrigger) -> str:
    """What fires it: `trend_spike from virality 70 and growth 25 %, on rain`."""
    match trigger.WhichOneof("condition"):
        case "trend_spike":
            spike = trigger.trend_spike
            words = ", ".join(spike.keywords) or "the words of brief and topics"
            least = f"virality {spike.min_virality:g} and growth {spike.min_growth_percent:g} %"
            return f"trend_spike from {least}, on {words}"
        case "viral_post":
            return f"viral_post from {trigger.viral_post.min_engagement_percent:g} % engagement"
        case "performance_dip":
            dip = trigger.performance_dip
            return f"performance_dip from {dip.min_fall_percent:g} % over {span_text(dip.window.ToTimedelta())}"
        case "custom":
            return f"{trigger.custom.kind}, {trigger.custom.condition or 'always'}"
        case None:
            return "none that is known here"


def _bounds(campaign: Campaign) -> str:
    cycles, agents = campaign.max_concurrent_cycles, campaign.max_agents_per_cycle
    parts = [f"{cycles} cycle{'s' if cycles != 1 else ''} at once", f"{agents} agent{'s' if agents != 1 else ''} each"]
    if campaign.priority:
        parts.append(f"priority {campaign.priority}")
    if campaign.HasField("budget") or campaign.HasField("quota"):
        parts.append(f"{word(campaign, 'exhaustion_policy')} when budget or quota is used up")
    return ", ".join(parts)


def _failures(campaign: Campaign) -> str:
    policy = campaign.failure_policy
    if not policy.max_attempts:
        return ""
    again = f", the second after {span_text(policy.initial_backoff.ToTimedelta())}" if policy.max_attempts > 1 else ""
    tried = f"{policy.max_attempts} attempt{'s' if policy.max_attempts > 1 else ''}{again}"
    return f"{tried}; {policy.pause_after} cycles in a row pause it, {policy.require_person_after} need a person"


def _labels(campaign: Campaign) -> str:
    return ", ".join(f"{key}={each}" for key, each in sorted(campaign.labels.items()) if key not in (MANAGED_BY, NAME))


def _goal(goal: Goal) -> str:
    part = f", {goal.current_value / goal.target_value:.0%}" if goal.target_value > 0 else ""
    progress = f" ({goal.metric}: {goal.current_value:g} of {goal.target_value:g}{part})" if goal.metric else ""
    return f"{goal.description}{progress}" + (f", by {when(goal.due_time)}" if goal.HasField("due_time") else "")


def _quota(most: Quota, made: Quota) -> str:
    bound = ((name, getattr(most, name), getattr(made, name)) for name in ("posts", "images", "videos"))
    return ", ".join(f"{count} of {limit} {name}" for name, limit, count in bound if limit)


def _cited(memory: Memory) -> str:
    where = memory.citation
    return f"{where.thread_id} {where.first_sequence}-{where.last_sequence}" if where.thread_id else "-"
