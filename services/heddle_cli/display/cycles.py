"""Cycles with their turns, and the gaps between them."""

from collections.abc import Iterable, Iterator

from rich.console import RenderableType

from heddle.campaign.v1alpha1.cycle_pb2 import Cycle, CycleGap, CycleState, CycleTurn
from heddle_cli.display.campaign_words import in_short, word
from heddle_cli.display.tables import sheet, table
from heddle_cli.display.times import spent, took, when
from heddle_cli.manifests.values import money_text


def cycle_list(
    cycles: Iterable[Cycle],
    gaps: Iterable[CycleGap] = (),
    *,
    oldest_first: bool = False,
    narrowed: bool = False,
    words: int = 100,
) -> RenderableType:
    """Cycles and the gaps between them, one a line, by their times.

    `narrowed`: only some were asked for; `words`: most characters of what each did.
    """
    rows = [(each.scheduled_time.ToNanoseconds(), _cycle_row(each, words)) for each in cycles]
    rows += [(each.range.start_time.ToNanoseconds(), _gap_row(each)) for each in gaps]
    rows.sort(key=lambda each: each[0], reverse=not oldest_first)
    columns = ("for", "id", "made by", "state", "turns", "took", "what")
    empty = "No cycles fit." if narrowed else "No cycles yet: `heddle campaign trigger CAMPAIGN` starts one."
    return table(columns, (row for _, row in rows), empty=empty)


def cycle_sheet(cycle: Cycle) -> list[RenderableType]:
    """One cycle, with its turns."""
    head = sheet(
        (
            ("cycle", cycle.cycle_id),
            ("campaign", cycle.campaign_id),
            ("for", when(cycle.scheduled_time)),
            ("made by", word(cycle, "origin")),
            ("state", cycle_standing(cycle)),
            ("why", cycle.end_note),
            ("topic", cycle.topic),
            ("signal", f"{cycle.evidence.kind} {cycle.evidence.dedupe_key}" if cycle.HasField("evidence") else ""),
            ("budget", money_text(cycle.budget) if cycle.HasField("budget") else ""),
            ("used", spent(cycle.usage)),
            ("retried", str(cycle.retry_count or "")),
            ("began", when(cycle.start_time)),
            ("took", took(cycle.start_time, cycle.end_time)),
            ("summary", cycle.summary),
        )
    )
    rows = ((each.role, each.agent_id, turn_state(each), each.run_id or "-", _memories(each)) for each in cycle.turns)
    return [head, table(("role", "agent", "state", "run", "memories given"), rows, empty="No turns yet.")]


def cycle_standing(cycle: Cycle) -> str:
    """As `skipped (overlap)`."""
    told = word(cycle, "state")
    return f"{told} ({word(cycle, 'skip_reason')})" if cycle.skip_reason else told


def cycle_line(cycle: Cycle) -> str:
    """One cycle, in one line."""
    turns = "; ".join(turn_line(each) for each in cycle.turns)
    topic = f"  {in_short(cycle.topic, 40)}" if cycle.topic else ""
    head = f"{cycle.cycle_id}  {word(cycle, 'origin')} {when(cycle.scheduled_time)}  {cycle_standing(cycle)}{topic}"
    return f"{head}  {turns}" if turns else head


def turn_line(turn: CycleTurn) -> str:
    """One turn, in some words."""
    return f"{turn.role} {turn_state(turn)}" + (f" ({turn.run_id})" if turn.run_id else "")


def turn_state(turn: CycleTurn) -> str:
    """As `running, attempt 2`, or why it failed."""
    told = word(turn, "state") + (f", attempt {turn.attempt}" if turn.attempt > 1 else "")
    if not turn.HasField("failure"):
        return told
    return f"{told}: {turn.failure.reason_name}: {in_short(turn.failure.message)}"


def _cycle_row(cycle: Cycle, words: int) -> tuple[str, ...]:
    return (
        when(cycle.scheduled_time),
        cycle.cycle_id,
        word(cycle, "origin"),
        cycle_standing(cycle),
        _turns(cycle),
        took(cycle.start_time, cycle.end_time),
        in_short(cycle.summary or cycle.end_note or cycle.topic, words),
    )


def _gap_row(gap: CycleGap) -> tuple[str, ...]:
    times = f"{gap.count} time{'s' if gap.count != 1 else ''} until {when(gap.range.end_time)}"
    return (when(gap.range.start_time), "-", "schedule", word(gap, "kind"), "-", "-", times)


def _turns(cycle: Cycle) -> str:
    if cycle.state in (CycleState.CYCLE_STATE_DUE, CycleState.CYCLE_STATE_SKIPPED):
        return "-"
    return ", ".join(_counted(word(each, "state") for each in cycle.turns)) or "-"


def _counted(words: Iterable[str]) -> Iterator[str]:
    told = list(words)
    yield from (f"{told.count(each)} {each}" for each in dict.fromkeys(told))


def _memories(turn: CycleTurn) -> str:
    return ", ".join(f"{each.memory_id} ({each.explanation})" for each in turn.memories) or "-"
