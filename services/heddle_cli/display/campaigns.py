"""Campaigns, what they learned and when they are due, as lists and sheets."""

from collections.abc import Iterable, Sequence
from typing import Any

from google.protobuf.message import Message
from rich.console import RenderableType
from rich.text import Text

from heddle.campaign.v1alpha1.campaign_pb2 import Campaign, CampaignState, Goal, Quota
from heddle.campaign.v1alpha1.cycle_request_pb2 import PreviewScheduleResponse
from heddle.campaign.v1alpha1.memory_pb2 import Memory
from heddle.campaign.v1alpha1.schedule_pb2 import Schedule, ScheduledTime
from heddle.campaign.v1alpha1.signal_pb2 import SignalMatch
from heddle_cli.display.screen import clean
from heddle_cli.display.tables import sheet, table
from heddle_cli.display.times import spent, when
from heddle_cli.manifests.folder import MANAGED_BY, NAME
from heddle_cli.manifests.messages import enum_word
from heddle_cli.manifests.values import money_text, span_text

_COUNTERS = ("fired", "skipped", "missed", "paused", "dropped")
_MOST_WORDS = 100


def word(message: Message, field: str) -> str:
    """An enum field of a message in words: `buffer one`."""
    kind: Any = message.DESCRIPTOR.fields_by_name[field].enum_type
    return enum_word(kind, getattr(message, field)).replace("_", " ")


def cut(text: str, most: int = _MOST_WORDS) -> str:
    """The first words of a text, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


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
            ("schedule", schedule_line(campaign.schedule) if campaign.HasField("schedule") else "none"),
            ("next", when(campaign.next_cycle_time)),
            ("last", when(campaign.last_cycle_time)),
            ("times", counters_line(campaign)),
            ("used", spent(campaign.usage)),
            ("budget", money_text(campaign.budget) if campaign.HasField("budget") else ""),
            ("quota", _quota(campaign.quota, campaign.produced)),
            *((f"agent {each.role}", _agent(each)) for each in campaign.agents),
            *(
                (f"takes turns {each.key}", f"{each.topic} (weight {each.weight})")
                for each in campaign.rotation.targets
            ),
            *((f"trigger {each.key}", (each.WhichOneof("condition") or "")) for each in campaign.triggers),
            *((f"goal {each.key}", _goal(each)) for each in campaign.goals),
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


def schedule_line(schedule: Schedule) -> str:
    """As `cron 0 9 * * MON in Europe/Berlin; overlap skip`."""
    match schedule.WhichOneof("recurrence"):
        case "interval":
            told = f"every {span_text(schedule.interval.ToTimedelta())}"
        case "once":
            told = f"once at {when(schedule.once)}"
        case "cron":
            told = f"cron {schedule.cron}"
        case "rrule":
            told = f"rrule {schedule.rrule}"
        case None:
            return "none"
    return f"{told} in {schedule.time_zone or 'UTC'}; overlap {word(schedule, 'overlap')}"


def preview_lines(found: PreviewScheduleResponse) -> list[RenderableType]:
    """What a schedule means, and when it would fire."""
    rows = ((each.local_time, when(each.scheduled_time), _moved(each)) for each in found.times)
    empty = "It names no time any more."
    return [Text(clean(found.description)), table(("local time", "UTC", ""), rows, empty=empty)]


def next_times(times: Sequence[ScheduledTime]) -> str:
    """The next times in the schedule's zone, on one line."""
    return ", ".join(f"{each.local_time} ({_moved(each)})" if _moved(each) else each.local_time for each in times)


def memory_list(memories: Iterable[Memory]) -> RenderableType:
    """What was learned, one a line."""
    rows = (
        (
            each.memory_id,
            word(each, "kind") + (", pinned" if each.pinned else ""),
            f"{each.importance:.2f}",
            when(each.create_time),
            when(each.last_use_time),
            _cited(each),
            cut(each.text),
        )
        for each in memories
    )
    columns = ("id", "kind", "matters", "learned", "last used", "from", "what")
    return table(columns, rows, empty="Nothing is remembered yet.")


def memory_line(memory: Memory) -> str:
    """One memory, in one line."""
    pinned = ", pinned" if memory.pinned else ""
    return f"{memory.memory_id}  {word(memory, 'kind')}{pinned}  {cut(memory.text)}"


def match_list(matches: Iterable[SignalMatch]) -> RenderableType:
    """What campaigns did with a signal, one a line."""
    rows = (
        (each.campaign_id, each.trigger_key, word(each, "outcome"), each.cycle_id or "-", f"{each.score:g}")
        for each in matches
    )
    empty = "No campaign has a trigger of this kind."
    return table(("campaign", "trigger", "outcome", "cycle", "score"), rows, empty=empty)


def _agent(agent: Any) -> str:
    told = f"{agent.agent_id}, weight {agent.weight if agent.HasField('weight') else 1}"
    if agent.signal_kinds:
        told += f", answers {', '.join(agent.signal_kinds)}"
    return told + (", disabled" if agent.disabled else "")


def _goal(goal: Goal) -> str:
    progress = f" ({goal.metric}: {goal.current_value:g} of {goal.target_value:g})" if goal.metric else ""
    return f"{goal.description}{progress}"


def _quota(most: Quota, made: Quota) -> str:
    bound = ((name, getattr(most, name), getattr(made, name)) for name in ("posts", "images", "videos"))
    return ", ".join(f"{count} of {limit} {name}" for name, limit, count in bound if limit)


def _moved(time: ScheduledTime) -> str:
    if time.shifted:
        return "moved by a clock change"
    return "a clock change repeats it" if time.repeated else ""


def _cited(memory: Memory) -> str:
    where = memory.citation
    return f"{where.thread_id} {where.first_sequence}-{where.last_sequence}" if where.thread_id else "-"
