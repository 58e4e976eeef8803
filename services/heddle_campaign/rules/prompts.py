"""The words that a campaign's agents are given: a task from what its owner wrote, and beside it notes, which are data.

What the owner wrote is the task. What came from elsewhere (signals, what was learned, what other agents said) is in
notes: the runtime fences those in the prompt, so that nobody's data becomes an instruction.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import timedelta

from heddle_campaign.rules.budget import Quota
from heddle_campaign.rules.campaigns import CampaignSettings, Goal
from heddle_campaign.rules.cycles import Cycle, CycleTurn, Signal
from heddle_campaign.rules.learned import Learned, PeerMessage
from heddle_campaign.rules.produced import ASKED
from heddle_campaign.rules.reports import Reports, told_of
from heddle_campaign.rules.states import CycleState
from heddle_campaign.rules.zones import local_text
from heddle_client.values import Note
from heddle_core.clock import Micros, micros
from heddle_core.texts import clipped

WEEK = timedelta(days=7)
MOST_EVIDENCE = 16_000
"""Characters of a signal's payload that a turn is given; the whole stands in the cycle."""
MOST_MESSAGES = 20
"""Messages between agents that a turn is given, the newest."""

MOST_TITLE = 80
"""Characters of a campaign's title in those of its threads."""

_MARKED = "Write each decision that you make on a line of its own that begins with `Decision:`."


def objective(settings: CampaignSettings, role: str) -> str:
    """What a role is asked to achieve: its own objective, else the campaign's brief, else its title."""
    own = next((each.objective for each in settings.agents if each.role == role), "")
    return own or settings.brief or settings.title


def thread_title(settings: CampaignSettings, cycle: Cycle, turn: CycleTurn, zone: str) -> str:
    """What tells a turn's thread from all others: `Trail shoes: grip, writer, 2026-11-23 09:00`."""
    at = local_text(zone, cycle.key.scheduled_time)[: len("2026-11-23T09:00:00")].replace("T", " ").removesuffix(":00")
    again = [f"attempt {turn.attempt}"] if turn.attempt > 1 else []
    parts = [*([cycle.rotation_key] if cycle.rotation_key else []), turn.role, at, *again]
    return f"{clipped(settings.title, MOST_TITLE)}: {', '.join(parts)}"


def task(settings: CampaignSettings, cycle: Cycle, turn: CycleTurn) -> str:
    """What a turn says to its agent."""
    parts = [f"You work in the campaign: {settings.title}"]
    if settings.brief:
        parts.append(settings.brief)
    if turn.objective and turn.objective != settings.brief:
        parts.append(f"Your part ({turn.role}): {turn.objective}")
    if cycle.topic:
        parts.append(f"Work on this now: {cycle.topic}")
    if cycle.platform:
        parts.append(f"Platform: {cycle.platform}")
    if cycle.evidence is not None:
        parts.append("Something happened outside; the note of kind `signal` says what. Answer it.")
    if cycle.note:
        parts.append(f"You are told besides: {cycle.note}")
    parts.append(_MARKED)
    if settings.quota != Quota():
        parts.append(ASKED)
    return "\n\n".join(parts)


def evidence_note(signal: Signal, zone: str) -> Note:
    """What happened outside, and when."""
    source = f"{signal.kind} from {signal.source}" if signal.source else signal.kind
    at = local_text(zone, signal.occur_time)
    return Note("signal", signal.payload_json[:MOST_EVIDENCE] or "{}", "signal", f"{source}, {at}")


def goals_note(goals: Sequence[Goal], zone: str) -> Note | None:
    """What is to be reached, and how far it is. None: there are no goals."""
    if not goals:
        return None
    return Note("goals", "\n".join(_told(each, zone) for each in goals), "goals", "the campaign")


def week_note(recent: Sequence[Cycle], reports: Reports, now: Micros) -> Note | None:
    """What the campaign did in the last 7 days, and what was reported of it. None: nothing."""
    since = now - micros(WEEK)
    ended = [each for each in recent if each.end_time is not None and each.end_time >= since]
    lines = [*(_done(ended) if ended else ()), *told_of(reports, now)]
    return Note("last-7-days", "\n".join(lines), "analytics", "the campaign") if lines else None


def _done(ended: Sequence[Cycle]) -> list[str]:
    lines = [f"In the last 7 days {_counts(Counter(each.state.name.lower() for each in ended))} ended."]
    worked = Counter(each.rotation_key for each in ended if each.rotation_key and each.state is CycleState.COMPLETED)
    if worked:
        lines.append(f"Completed ones by target: {_counts(worked)}.")
    cost = sum(each.usage.cost for each in ended) / 1_000_000
    return [*lines, f"They cost {cost:.2f} US dollars together."]


def memory_note(learned: Learned) -> Note:
    """What the campaign has learned, and where."""
    citation = learned.citation
    place = (
        f"thread {citation.thread_id}, {citation.first_sequence} to {citation.last_sequence}"
        if citation is not None
        else "the campaign"
    )
    return Note(learned.memory.memory_id, learned.memory.text, "memory", place)


def message_notes(messages: Sequence[PeerMessage]) -> Iterator[Note]:
    """What other agents of the campaign said, the oldest first."""
    for each in reversed(messages[:MOST_MESSAGES]):
        about = f" (asset {each.asset.asset_id})" if each.asset is not None else ""
        source = f"{each.sender_role}, {each.kind.name.lower()}"
        yield Note(each.message_id, f"{each.text}{about}", "message", source)


def summary(answers: Sequence[tuple[str, str]], turns: Sequence[CycleTurn], most: int = 400) -> str:
    """What a cycle decided and made: the first words of each role's answer, and who failed at what."""
    said = [f"{role}: {clipped(' '.join(text.split()), most)}" for role, text in answers if text.strip()]
    failed = [
        f"{each.role} failed: {clipped(each.failure.message, most)}" for each in turns if each.failure is not None
    ]
    return "\n".join((*said, *failed))


def _told(goal: Goal, zone: str) -> str:
    told = f"{goal.key}: {goal.description}"
    if goal.metric:
        told += f" ({goal.metric}: {goal.current_value:g} of {goal.target_value:g}{_part(goal)})"
    return f"{told}, by {local_text(zone, goal.due_time)}" if goal.due_time is not None else told


def _part(goal: Goal) -> str:
    return f", {goal.current_value / goal.target_value:.0%}" if goal.target_value > 0 else ""


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counter.items(), key=lambda each: (-each[1], each[0])))
