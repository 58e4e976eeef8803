"""Holds the schedule rules to the minute walker, and looks where other libraries differ.

    python -m tests.kit.schedule_oracle [--write]

Runs every distinct change of every zone of tzdata from 2000 to 2037, with 200 expressions and all clock change
policies, and compares docs/schedules-compared.md with what it found; `--write` writes the page anew.
"""

import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import date, timedelta
from itertools import pairwise, product, takewhile
from pathlib import Path

from croniter import croniter
from cronsim import CronSim

from heddle_campaign.rules.cron import CronRule
from heddle_campaign.rules.recurrence import MissingTime, RepeatedTime
from heddle_campaign.rules.wall import WallTimes
from heddle_campaign.rules.zones import instant
from tests.kit.cron_expressions import FOR_OTHERS, expressions
from tests.kit.minute_walker import ClockChange, Expression, Walk, all_zones, clock_changes, read, table_of
from tests.kit.schedule_page import Findings, page

PAGE = Path(__file__).parents[2] / "docs" / "schedules-compared.md"
FIRST_YEAR, LAST_YEAR = 2000, 2037
POLICIES = list(product(MissingTime, RepeatedTime))
PATIENCE = 1.0
"""Seconds of processor time that a library gets for one question; a hundred times what it needs."""
DENSE = 100
"""An expression with more times than this around a change is not asked of the other libraries: it would take hours."""


def distinct_changes(changes: Iterable[ClockChange]) -> list[ClockChange]:
    """One change for each date (of UTC) and pair of offsets."""
    found: dict[tuple[date, timedelta, timedelta], ClockChange] = {}
    for change in changes:
        found.setdefault((change.at.date(), change.before, change.after), change)
    return sorted(found.values(), key=lambda each: (each.at, each.zone))


def compare(changes: Iterable[ClockChange], texts: Sequence[str], *, thorough: bool, others: bool = False) -> Findings:
    """Hold the rules to the walker, and the other libraries to the rules where `others` is set.

    Every policy that a change can touch is tried; when `thorough`, the others too, and counting is held to telling.
    """
    findings = Findings()
    read_all = [(read(text), CronRule(text)) for text in texts]
    for change in changes:
        findings.changes += 1
        walk = Walk(change)
        for expression, rule in read_all:
            for missing, repeated in _policies(walk, expression, thorough):
                times = WallTimes(rule, change.zone, missing, repeated)
                fault = _fault(walk, expression, times, missing, repeated, thorough)
                findings.comparisons += 1
                if fault:
                    findings.faults.append(f"{_named(change, expression)} {missing.name} {repeated.name}: {fault}")
            if others and expression.text in FOR_OTHERS:
                _look(findings, walk, change, expression)
    return findings


def _policies(walk: Walk, expression: Expression, thorough: bool) -> list[tuple[MissingTime, RepeatedTime]]:
    """What a change can touch. Without fixed times no policy decides anything; one is asked all the same."""
    if thorough and expression.fixed:
        return POLICIES
    return list(
        product(
            MissingTime if walk.has_gap and expression.fixed else [MissingTime.SHIFT],
            RepeatedTime if walk.has_repetition and expression.fixed else [RepeatedTime.FIRST],
        )
    )


def _fault(
    walk: Walk,
    expression: Expression,
    times: WallTimes,
    missing: MissingTime,
    repeated: RepeatedTime,
    thorough: bool,
) -> str:
    first, end = instant(walk.first), instant(walk.end)
    told = list(times.between(first, end))
    if walk.bits(each // 1_000_000 for each in told) != walk.fires(expression, missing.name, repeated.name):
        return "other than the walker's"
    if any(earlier >= later for earlier, later in pairwise(told)):
        return "out of order"
    return "miscounted" if thorough and times.count(first, end) != len(told) else ""


def _look(findings: Findings, walk: Walk, change: ClockChange, expression: Expression) -> None:
    wanted = walk.fires(expression, "SHIFT", "FIRST")
    if wanted.bit_count() > DENSE:
        return
    libraries: dict[str, Callable[[], Iterator[int]]] = {"cronsim": lambda: _cronsim(expression, change, walk)}
    if croniter.is_valid(expression.text):
        libraries["croniter"] = lambda: _croniter(expression, change, walk)
    for library, ask in libraries.items():
        findings.asked[library] += 1
        moments = _answer(ask, walk)
        if moments is None:
            kinds, example = ["never answers"], f"`{expression.text}` in {change.zone}, at {change.at:%Y-%m-%dT%H:%MZ}"
        else:
            told = walk.bits(moments)
            kinds = _kinds(change, expression, wanted, told)
            if len(set(moments)) < len(moments):
                kinds.append("twice")
            example = (
                f"`{expression.text}` in {change.zone}: here {_times(walk, wanted & ~told)}, "
                f"there {_times(walk, told & ~wanted)}"
            )
        for kind in kinds:
            findings.differences[library, kind] += 1
            findings.examples.setdefault((library, kind), example)


class _Hangs(Exception):
    """A library used more processor time than all its answers could need."""


def _answer(ask: Callable[[], Iterator[int]], walk: Walk) -> list[int] | None:
    """What a library tells, or None when it does not come back."""

    def give_up(*_: object) -> None:
        raise _Hangs

    before = signal.signal(signal.SIGVTALRM, give_up)
    signal.setitimer(signal.ITIMER_VIRTUAL, PATIENCE)
    try:
        return list(takewhile(walk.end.timestamp().__gt__, ask()))
    except _Hangs:
        return None
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def _kinds(change: ClockChange, expression: Expression, wanted: int, told: int) -> list[str]:
    if wanted == told:
        return []
    if _days_are_disputed(expression):
        return ["days"]
    times = "fixed" if expression.fixed else "star"
    size = abs(change.after - change.before)
    edge = "gap" if change.after > change.before else "repetition"
    length = "hour" if size == timedelta(hours=1) else "part" if size < timedelta(hours=1) else "long"
    at_midnight = (change.at + change.before).hour == 0 or (change.at + change.after).hour == 0
    more, fewer = told & ~wanted, wanted & ~told
    what = "other" if more and fewer else "more" if more else "fewer"
    return [f"{times} {edge} {length} {'midnight' if at_midnight else 'day'} {what}"]


def _days_are_disputed(expression: Expression) -> bool:
    """Whether one day field is a step of a star and the other is restricted: both must match, or either."""
    fields = expression.days, expression.weekdays
    return "*" not in fields and any(each.startswith("*") for each in fields)


def _times(walk: Walk, bits: int) -> str:
    moments = walk.moments(bits)
    return ", ".join(moments[:2]) + (f" and {len(moments) - 2} more" if len(moments) > 2 else "") or "nothing"


def _cronsim(expression: Expression, change: ClockChange, walk: Walk) -> Iterator[int]:
    start = (walk.first - timedelta(minutes=1)).astimezone(table_of(change.zone))
    return (int(each.timestamp()) for each in CronSim(expression.text, start))


def _croniter(expression: Expression, change: ClockChange, walk: Walk) -> Iterator[int]:
    start = (walk.first - timedelta(minutes=1)).astimezone(table_of(change.zone))
    times = croniter(expression.text, start)
    while True:
        yield int(times.get_next(float))


def _named(change: ClockChange, expression: Expression) -> str:
    return f"{change.zone} {change.at:%Y-%m-%dT%H:%MZ} `{expression.text}`"


def compare_all() -> Findings:
    """Compare every distinct change of tzdata, on all processors."""
    findings = Findings()
    with ProcessPoolExecutor() as workers:
        by_zone = workers.map(changes_of, all_zones(), chunksize=4)
        changes = distinct_changes(each for found in by_zone for each in found)
        chunks = [changes[place : place + 20] for place in range(0, len(changes), 20)]
        for found in workers.map(_compare_chunk, chunks):
            findings.add(found)
    return findings


def changes_of(zone: str) -> list[ClockChange]:
    """A zone's changes in the years that are compared."""
    return list(clock_changes(zone, FIRST_YEAR, LAST_YEAR))


def _compare_chunk(changes: list[ClockChange]) -> Findings:
    findings = compare(changes[::3], expressions(), thorough=False, others=True)
    for rest in (changes[1::3], changes[2::3]):
        findings.add(compare(rest, expressions(), thorough=False))
    return findings


def main(arguments: list[str]) -> int:
    """Compare all; returns the exit code."""
    began = time.monotonic()
    findings = compare_all()
    for fault in findings.faults[:20]:
        sys.stderr.write(f"{fault}\n")
    sys.stdout.write(
        f"schedules: {findings.changes} changes, {findings.comparisons} comparisons, "
        f"{len(findings.faults)} faults, in {time.monotonic() - began:.0f} s\n"
    )
    text = page(findings, len(FOR_OTHERS))
    if "--write" in arguments:
        PAGE.write_text(text)
    elif PAGE.read_text() != text:
        sys.stderr.write(f"{PAGE.name} is no longer what is found: run this with --write\n")
        return 1
    unexplained = findings.unexplained()
    sys.stderr.writelines(f"{library} differs for no known reason: {kind}\n" for library, kind in unexplained)
    return 1 if findings.faults or unexplained else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
