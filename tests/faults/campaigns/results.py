"""What a sitting was worth: counts, lateness, the table that is printed, and the page that is committed."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tests.faults.campaigns.checker import Violation, check, stories
from tests.faults.campaigns.rows import CANCELLED, SCHEDULE, SKIPPED, Cycle, Evidence, Move

_FROM_THE_DEAD = "cycles taken over from a replica that was killed"
_NEVER_ZERO = ("kills", _FROM_THE_DEAD)
"""A sitting without one of these has tested nothing."""


@dataclass(frozen=True)
class Lateness:
    """How long after they were due cycles began, in seconds."""

    cycles: int
    p50: float
    p99: float
    most: float


@dataclass(frozen=True)
class Results:
    """All that is told of a sitting."""

    outcome: str
    """`passed`, `VIOLATED` or `VACUOUS`."""
    counts: Mapping[str, int]
    lateness: Lateness
    unhindered: Lateness
    """Of cycles that nothing of their own campaign kept waiting: no pause, and no earlier cycle."""
    clocks: Mapping[str, float]
    """By how many seconds each replica's clock was ahead."""
    settled_seconds: float
    violations: Sequence[Violation]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def judge(evidence: Evidence) -> Results:
    """Check it, and count."""
    violations = check(evidence)
    counts = _counts(evidence)
    vacuous = [name for name in _NEVER_ZERO if not counts[name]]
    begun = [each for each in evidence.cycles if each.origin == SCHEDULE and each.start and not each.retries]
    return Results(
        "VIOLATED" if violations else "VACUOUS" if vacuous else "passed",
        counts,
        _lateness(begun),
        _lateness(_unhindered(evidence, begun)),
        {line["replica"]: line["ahead"] for line in evidence.told("clock")},
        sum(line["seconds"] for line in evidence.told("settled")),
        violations,
    )


def lines(results: Results) -> list[tuple[str, str]]:
    """The table: what was counted, and how much."""
    told = [(name, f"{count:,}") for name, count in results.counts.items()]
    clocks = ", ".join(f"{ahead:+.1f}" for ahead in results.clocks.values())
    for name, late in (("lateness, all", results.lateness), ("lateness, unhindered", results.unhindered)):
        told.append(
            (
                f"{name}: p50 / p99 / max",
                f"{late.p50:.2f} / {late.p99:.2f} / {late.most:.2f} s ({late.cycles:,} cycles)",
            )
        )
    return [
        *told,
        ("clocks ahead of the database's", f"{clocks} s"),
        ("all had ended after", f"{results.settled_seconds:.1f} s"),
        ("violations", str(len(results.violations))),
        ("outcome", results.outcome),
    ]


def table(results: Results) -> str:
    """As it is printed."""
    found = [f"{name:52} {told}" for name, told in lines(results)]
    return "\n".join([*found, *(f"    {each.check}: {each.what}" for each in results.violations[:20])])


def _counts(evidence: Evidence) -> dict[str, int]:
    told = stories(evidence)
    outcomes: Counter[str] = Counter()
    for story in told:
        outcomes.update(story.counters)
    taken_over = [each for each in evidence.moves if each.takes_over]
    turns = [turn for cycle in evidence.cycles for turn in cycle.turns]
    return {
        "campaigns": len(told),
        "scheduled times": sum(len(each.scheduled) for each in told),
        "fired": outcomes["fired"],
        "skipped": outcomes["skipped"],
        "missed": outcomes["missed"],
        "paused": outcomes["paused"],
        "dropped": outcomes["dropped"],
        "cycles by backfill": outcomes["unscheduled"],
        "cycles cancelled at work": sum(each.state == CANCELLED and not each.never_began for each in evidence.cycles),
        "gaps": len(evidence.gaps),
        "campaigns paused by hand, then resumed": len(evidence.told("paused")),
        "runs started": len(evidence.runs),
        "turns that took several attempts": sum(each.attempt > 1 for each in turns),
        "kills": len(evidence.told("killed")),
        "cycles taken over by another worker": len({each.cycle_id for each in taken_over}),
        _FROM_THE_DEAD: len(_taken_from_the_dead(evidence)),
        "workers that held a cycle": len({each.to_owner for each in evidence.moves if each.to_owner}),
        "calls refused": len(evidence.told("refused")),
    }


def _taken_from_the_dead(evidence: Evidence) -> set[str]:
    """Cycles that another worker went on with, after the one that had them was killed at work on them."""
    kills = [(line["replica"], line["asked"]) for line in evidence.told("killed")]
    found: set[str] = set()
    held: dict[tuple[str, str], Move] = {}
    """By cycle and worker: since when it has it."""
    for move in sorted(evidence.moves, key=lambda each: each.at):
        before = held.get((move.cycle_id, move.from_owner))
        if move.takes_over and before is not None and _killed_between(kills, before, move):
            found.add(move.cycle_id)
        if move.to_owner != move.from_owner:
            held[move.cycle_id, move.to_owner] = move
    return found


def _killed_between(kills: Sequence[tuple[str, int]], first: Move, then: Move) -> bool:
    return any(replica == first.replica and first.at <= at <= then.at for replica, at in kills)


def _unhindered(evidence: Evidence, begun: Sequence[Cycle]) -> list[Cycle]:
    pauses: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for line in sorted((*evidence.told("paused"), *evidence.told("resumed")), key=lambda each: each["asked"]):
        if line["kind"] == "paused":
            pauses[line["campaign"]].append((line["asked"], 1 << 62))
        elif pauses[line["campaign"]]:
            pauses[line["campaign"]][-1] = (pauses[line["campaign"]][-1][0], line["answered"])
    mine: dict[str, list[Cycle]] = defaultdict(list)
    for cycle in evidence.cycles:
        if cycle.state != SKIPPED and not cycle.never_began:
            mine[cycle.campaign_id].append(cycle)

    def hindered(cycle: Cycle) -> bool:
        if any(start <= cycle.start and cycle.due <= end for start, end in pauses[cycle.campaign_id]):
            return True
        return any(
            other is not cycle and other.due <= cycle.due and (other.end > cycle.due or not other.end)
            for other in mine[cycle.campaign_id]
        )

    return [each for each in begun if not hindered(each)]


def _lateness(cycles: Sequence[Cycle]) -> Lateness:
    late = sorted((each.start - each.due) / 1_000_000 for each in cycles)
    if not late:
        return Lateness(0, 0.0, 0.0, 0.0)
    return Lateness(len(late), late[len(late) // 2], late[min(len(late) - 1, len(late) * 99 // 100)], late[-1])
