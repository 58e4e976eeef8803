"""P15 as checks over what is on record. Nothing of Heddle is imported: the times of a schedule are reckoned anew.

One small function for each thing that the promise says; each yields what is wrong.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any
from uuid import UUID, uuid5

from tests.faults.campaigns.rows import (
    ACTIVE,
    BACKFILL,
    CANCELLED,
    COMPLETED,
    DROPPED,
    DUE,
    FAILED,
    MISSED,
    PAUSED,
    PAUSED_STATE,
    RUN_CANCELLED,
    RUN_COMPLETED,
    RUN_FAILED,
    RUNNING,
    SCHEDULE,
    SKIPPED,
    Cycle,
    Evidence,
    Gap,
    Run,
)

_NAMESPACE = UUID("6e0f4c1e-6f0f-5a53-9d2b-6f3c3c0f8a11")
"""Of request ids of turns, fixed for ever."""

_ENDED = (RUN_COMPLETED, RUN_FAILED, RUN_CANCELLED)


@dataclass(frozen=True)
class Violation:
    """Something that must not be."""

    check: str
    what: str


@dataclass(frozen=True)
class Story:
    """What is on record of one campaign."""

    campaign_id: str
    made: Mapping[str, Any]
    asked: int
    answered: int
    """Between these two moments it was activated."""
    state: int
    counters: Mapping[str, int]
    cycles: Sequence[Cycle]
    gaps: Sequence[Gap]
    backfills: Sequence[Mapping[str, Any]]

    @cached_property
    def of_schedule(self) -> list[Cycle]:
        """The cycles that the schedule made."""
        return [each for each in self.cycles if each.origin == SCHEDULE]

    @cached_property
    def named(self) -> list[int]:
        """All times that the schedule names."""
        every, start, end = self.made["every"], self.made["start"], self.made["end"]
        match self.made["recurrence"]:
            case "interval":
                return list(range(start, end, every))
            case "cron":  # whole minutes of the hour, each that `every` divides
                return list(range(-(-start // every) * every, end, every))
            case "once":
                return [start]
            case other:
                raise ValueError(f"no recurrence: {other}")

    @cached_property
    def scheduled(self) -> list[int]:
        """The times that had to fall due: those after its activation.

        Of one that lies between the call's question and its answer, only the service knows; it counts if it is there.
        """
        there = {each.scheduled for each in self.of_schedule}
        return [
            at
            for at in self.named
            if at > self.answered or (at >= self.asked and (at in there or any(_holds(each, at) for each in self.gaps)))
        ]


def check(evidence: Evidence) -> list[Violation]:
    """All that is wrong."""
    found: list[Violation] = []
    for story in stories(evidence):
        for each in (
            one_cycle_a_time,
            no_cycle_beside,
            gaps_hold_their_times,
            counters_add_up,
            backfilled_once,
            overlap_is_kept,
        ):
            found += [Violation(each.__name__, f"{story.campaign_id}: {what}") for what in each(story)]
    for each in (nothing_open, one_run_an_attempt, no_run_beside, claimed_once):
        found += [Violation(each.__name__, what) for what in each(evidence)]
    return found


def stories(evidence: Evidence) -> list[Story]:
    """What is on record, by campaign."""
    cycles: dict[str, list[Cycle]] = defaultdict(list)
    gaps: dict[str, list[Gap]] = defaultdict(list)
    backfills: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for cycle in evidence.cycles:
        cycles[cycle.campaign_id].append(cycle)
    for gap in evidence.gaps:
        gaps[gap.campaign_id].append(gap)
    for line in evidence.told("backfilled"):
        backfills[line["campaign"]].append(line)
    activated = {line["campaign"]: line for line in evidence.told("activated")}
    return [
        Story(
            name,
            made,
            activated[name]["asked"],
            activated[name]["answered"],
            evidence.states[name],
            evidence.counters[name],
            cycles[name],
            gaps[name],
            backfills[name],
        )
        for made in evidence.told("made")
        if (name := made["campaign"]) in activated
    ]


def one_cycle_a_time(story: Story) -> Iterator[str]:
    """Each scheduled time has exactly one cycle, or lies in exactly one gap."""
    fired = Counter(each.scheduled for each in story.of_schedule)
    for at in story.scheduled:
        gaps = sum(_holds(gap, at) for gap in story.gaps)
        if (fired[at], gaps) not in ((1, 0), (0, 1)):
            yield f"{at} has {fired[at]} cycles and lies in {gaps} gaps"


def no_cycle_beside(story: Story) -> Iterator[str]:
    """The schedule makes cycles for its times only."""
    times = set(story.scheduled)
    yield from (f"{each.cycle_id} at {each.scheduled}" for each in story.of_schedule if each.scheduled not in times)
    yield from (
        f"{each.cycle_id} was made by {each.origin}" for each in story.cycles if each.origin not in (SCHEDULE, BACKFILL)
    )


def gaps_hold_their_times(story: Story) -> Iterator[str]:
    """A gap says how many scheduled times lie in it."""
    for gap in story.gaps:
        times = sum(_holds(gap, at) for at in story.scheduled)
        if times != gap.times:
            yield f"the gap from {gap.start} to {gap.end} says {gap.times}, and holds {times}"


def counters_add_up(story: Story) -> Iterator[str]:
    """fired + skipped + missed + paused + dropped = scheduled times, and each is what its rows say."""
    expected: Counter[str] = Counter()
    for cycle in story.of_schedule:
        expected["skipped" if cycle.state == SKIPPED else "dropped" if cycle.never_began else "fired"] += 1
    for gap in story.gaps:
        expected[gap.kind] += gap.times
    beside = [each for each in story.cycles if each.origin == BACKFILL]
    expected["unscheduled"] = sum(each.state != SKIPPED and not each.never_began for each in beside)
    for name in ("fired", "skipped", MISSED, PAUSED, DROPPED, "unscheduled"):
        if story.counters[name] != expected[name]:
            yield f"{name} is {story.counters[name]}, by the rows {expected[name]}"
    total = sum(story.counters[name] for name in ("fired", "skipped", MISSED, PAUSED, DROPPED))
    if total != len(story.scheduled):
        yield f"the counters add up to {total}, of {len(story.scheduled)} scheduled times"


def backfilled_once(story: Story) -> Iterator[str]:
    """A backfill makes one cycle for each time of its stretch that has none, and no other."""
    fired = {each.scheduled for each in story.of_schedule}
    made = Counter(each.scheduled for each in story.cycles if each.origin == BACKFILL)
    wanted = {
        at for at in story.named for line in story.backfills if line["start"] <= at < line["end"] and at not in fired
    }
    for at in sorted(wanted | set(made)):
        if made[at] != (at in wanted):
            yield f"{at} has {made[at]} backfilled cycles instead of {int(at in wanted)}"


def overlap_is_kept(story: Story) -> Iterator[str]:
    """What became of the schedule's cycles beside each other is what their overlap policy says, one at work at once."""
    policy = story.made["overlap"]
    in_order = sorted(story.of_schedule, key=lambda each: each.scheduled)
    left_out = [each for each in in_order if each.state == SKIPPED]
    begun = [each for each in in_order if each.start]
    match policy:
        case "SKIP" | "BUFFER_ONE":
            yield from _side_by_side(story)
            for each in left_out:
                if not any(other.end > each.due for other in story.cycles if other is not each):
                    yield f"{each.cycle_id} was left out, and no other was open"
        case "BUFFER_ALL":
            yield from _side_by_side(story)
            yield from (f"{each.cycle_id} was left out under {policy}" for each in left_out)
            for earlier, later in pairwise(begun):
                if later.start < earlier.start:
                    yield f"{later.cycle_id} began before {earlier.cycle_id}, which had waited longer"
        case "CANCEL_OTHER":
            for earlier, later in pairwise(begun):
                if earlier.end > later.start and not earlier.stopped:
                    yield f"{earlier.cycle_id} worked on beside {later.cycle_id}, and was not cancelled"
            if in_order and in_order[-1].state == SKIPPED:
                yield f"{in_order[-1].cycle_id} was left out, and no later one took its place"
        case "ALLOW_ALL":
            yield from (f"{each.cycle_id} was left out under {policy}" for each in left_out)
        case other:
            raise ValueError(f"no overlap policy: {other}")


def nothing_open(evidence: Evidence) -> Iterator[str]:
    """Every cycle, turn and run has ended, and so has every campaign that was activated: its schedule is over."""
    for cycle in evidence.cycles:
        if cycle.state in (DUE, RUNNING):
            yield f"{cycle.cycle_id} is open"
        elif any(turn.state in (DUE, RUNNING) for turn in cycle.turns):
            yield f"{cycle.cycle_id} has ended, and a turn of it has not"
    yield from (f"{run.run_id} is open" for run in evidence.runs if run.state not in _ENDED)
    yield from (f"{name} has not ended" for name, state in evidence.states.items() if state in (ACTIVE, PAUSED_STATE))


def one_run_an_attempt(evidence: Evidence) -> Iterator[str]:
    """Each attempt of a turn has started one run under the request id that its key gives; a later one, after it failed.

    A turn that was cancelled may have started none.
    """
    runs: dict[str, list[Run]] = defaultdict(list)
    for run in evidence.runs:
        runs[run.request_id].append(run)
    for cycle in evidence.cycles:
        for turn in cycle.turns:
            for attempt in range(1, turn.attempt + 1):
                place = f"{cycle.cycle_id}, {turn.role}, attempt {attempt}"
                found = runs[request_id(cycle.cycle_id, turn.role, attempt)]
                last = attempt == turn.attempt
                if len(found) > 1 or (not found and (turn.state != CANCELLED or not last)):
                    yield f"{place}: {len(found)} runs"
                    continue
                if not found:
                    continue
                if not last and found[0].state != RUN_FAILED and not cycle.retries:
                    yield f"{place}: another attempt followed a run in state {found[0].state}"
                if (
                    last
                    and turn.state in (COMPLETED, FAILED)
                    and (found[0].run_id != turn.run_id or found[0].state != turn.state + 1)
                ):
                    yield f"{place}: the turn ended as {turn.state} by {turn.run_id}, not as its run"


def no_run_beside(evidence: Evidence) -> Iterator[str]:
    """Every run belongs to an attempt of a turn of a cycle that was not left out."""
    wanted = {
        (cycle.cycle_id, request_id(cycle.cycle_id, turn.role, attempt))
        for cycle in evidence.cycles
        if cycle.state != SKIPPED and not cycle.never_began
        for turn in cycle.turns
        for attempt in range(1, turn.attempt + 1)
    }
    for run in evidence.runs:
        if (run.cycle_id, run.request_id) not in wanted:
            yield f"{run.run_id} of {run.cycle_id}"


def claimed_once(evidence: Evidence) -> Iterator[str]:
    """A cycle begins once, and once more for each time that it was retried."""
    claims = Counter(each.cycle_id for each in evidence.moves if (each.from_state, each.to_state) == (DUE, RUNNING))
    for cycle in evidence.cycles:
        wanted = cycle.retries + 1 if cycle.start else 0
        if claims[cycle.cycle_id] != wanted:
            yield f"{cycle.cycle_id} was begun {claims[cycle.cycle_id]} times instead of {wanted}"


def request_id(cycle_id: str, role: str, attempt: int) -> str:
    """The request id of an attempt: its parts with their lengths, so that no two lists of parts read the same."""
    parts = (cycle_id, role, str(attempt))
    return str(uuid5(_NAMESPACE, "".join(f"{len(each)}:{each}" for each in parts)))


def _side_by_side(story: Story) -> Iterator[str]:
    """Cycles that began before another had ended."""
    begun = sorted((each for each in story.cycles if each.start), key=lambda each: each.start)
    for earlier, later in pairwise(begun):
        if later.start < earlier.end:
            yield f"{later.cycle_id} began while {earlier.cycle_id} was at work"


def _holds(gap: Gap, at: int) -> bool:
    return gap.start <= at < gap.end
