"""The table that a run prints, the counts that are asked of a whole run, and the file that it leaves."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults.cells import EVERY_POINT, POSTGRES, SQLITE
from tests.faults.run_cell import Report, as_dict
from tests.faults.spawn_breaking import POINTS

BAD = ("VIOLATED", "VACUOUS", "BROKEN")
"""Outcomes after which a run has failed."""

_COUNTED = ("acknowledged", "takeovers", "unknowns", "fence_refusals", "unknown_answers", "resumed_streams", "events")
_HEAD = ("cell", "outcome", "kills", "turns", "takeovers", "UNKNOWN", "refusals", "unsaid", "resumed", "events", "s")
_WIDTHS = (32, 9, 6, 7, 11, 9, 10, 8, 9, 9, 6)

NEVER_ZERO = ("takeovers", "unknowns", "fence_refusals")
"""A whole run on a store that shows none of one of these has tested nothing."""


@dataclass(frozen=True)
class Demand:
    """A count that a whole run is to reach."""

    what: str
    wanted: int
    reached: int

    @property
    def met(self) -> bool:
        """Whether it was."""
        return self.reached >= self.wanted


def line_of(report: Report) -> str:
    """A cell's line."""
    counts = report.counts
    numbers = [report.kills, *(counts.get(name, 0) for name in _COUNTED), round(report.seconds)]
    return _line(report.cell, report.outcome, *map(str, numbers))


def table_of(reports: Sequence[Report], judged: Sequence[dict[str, Any]]) -> str:
    """The whole table, with sums, and what was wrong beneath it."""
    lines = [cells_of(reports)]
    for report in reports:
        lines += wrongs_of(report)
    if judged:
        caught = sum(each["outcome"] == "caught" for each in judged)
        lines.append(f"mutants: {caught} of {len(judged)} caught")
        lines += [f"    {each['mutant']:34} {each['outcome']:8} {each['by']}" for each in judged]
    return "\n".join(lines)


def cells_of(reports: Sequence[Report]) -> str:
    """A line for each cell, and one with sums."""
    lines = [_line(*_HEAD), *map(line_of, reports)]
    sums = [sum(report.counts.get(name, 0) for report in reports) for name in _COUNTED]
    numbers = [sum(report.kills for report in reports), *sums, round(sum(report.seconds for report in reports))]
    return "\n".join([*lines, _line("all", "", *map(str, numbers))])


def wrongs_of(report: Report) -> list[str]:
    """What must be said of a cell beneath its line."""
    if report.outcome == "passed":
        return []
    found = [f"    {each['promise']}: {each['what']}" for each in report.violations[:10]]
    return [f"{report.cell} (seed {report.seed}): {report.outcome}: {report.why}", *found]


def planted(judged: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without what did not fit the sources in one run and was planted in another: it was not judged there."""
    tried = {each["mutant"] for each in judged if each["outcome"] != "STALE"}
    return [each for each in judged if each["outcome"] != "STALE" or each["mutant"] not in tried]


def vacuous(reports: Sequence[Report]) -> list[str]:
    """What a whole run has not shown at all on a store that it was to show it on."""
    found: list[str] = []
    for store in sorted({report.cell.partition("/")[0] for report in reports}):
        mine = [report for report in reports if report.cell.startswith(f"{store}/") and report.counts]
        found += [
            f"VACUOUS: no {name} in any cell of {store}"
            for name in NEVER_ZERO
            if mine and not any(report.counts[name] for report in mine)
        ]
    return found


def demands(reports: Sequence[Report], judged: Sequence[dict[str, Any]]) -> list[Demand]:
    """What a whole run on both stores is to reach, and what this one has."""
    broken: Counter[str] = Counter()
    for report in reports:
        for name in (report.cell, report.cell.partition("/")[2]):
            broken[name] += report.kills - report.missed
    return [
        Demand("runtimes killed", 1_000, sum(report.counts.get("killed", 0) for report in reports)),
        Demand("turns acknowledged", 20_000, sum(report.counts.get("acknowledged", 0) for report in reports)),
        *_at_each("a runtime", EVERY_POINT, reports),
        *_at_each("the spawn service", POINTS, reports),
        Demand("runtimes frozen past their lease", 100, broken["zombie"] + broken["replicas_zombie"]),
        Demand("NATS killed", 20, broken["nats_killed"]),
        Demand("NATS away for 15 s", 20, broken["nats_down"]),
        Demand("NATS wiped", 20, broken["nats_wiped"]),
        Demand("NATS away for 2 minutes", 2, broken["nats_long_down"]),
        Demand("PostgreSQL restarted under load", 20, broken["restarted"]),
        Demand("answers to a commit cut", 20, broken["commit_answer_cut"]),
        Demand("disk full under SQLite, then given room", 10, broken["sqlite/disk_full"]),
        Demand("disk full under PostgreSQL, then given room", 10, broken["postgres/disk_full"]),
        Demand("calls to a store that could commit nothing, none acknowledged", 100, _sum(reports, "tried_in_outage")),
        Demand("runtimes killed at their n-th sync", 20, broken["sync_killed"]),
        Demand("children of the spawn service, on either store", 4_000, _sum(reports, "children")),
        Demand("spawn services killed in a process of their own", 100, _sum(reports, "spawn_killed")),
        Demand("planted faults caught", 15, sum(each["outcome"] == "caught" for each in judged)),
        Demand("planted faults that were seen, in percent", 100, _percent_caught(judged)),
    ]


def write(
    path: Path, plans: Sequence[dict[str, Any]], reports: Sequence[Report], judged: Sequence[dict[str, Any]]
) -> None:
    """Leave everything as JSON."""
    written = {"runs": list(plans), "cells": [as_dict(report) for report in reports], "mutants": list(judged)}
    path.write_text(json.dumps(written, indent=1) + "\n")


def _sum(reports: Sequence[Report], count: str) -> int:
    return sum(report.counts.get(count, 0) for report in reports)


def points_of(store: str, reports: Sequence[Report]) -> dict[str, int]:
    """How often a process was really killed at each place that it names, on a store."""
    mine = [report.points for report in reports if report.cell.startswith(f"{store}/")]
    return {point: sum(points.get(point, 0) for points in mine) for point in (*EVERY_POINT, *POINTS)}


def _at_each(whom: str, points: Sequence[str], reports: Sequence[Report]) -> Iterator[Demand]:
    """That each of several places was reached on each store: the least often of them counts."""
    for store in (SQLITE, POSTGRES):
        reached = points_of(store, reports)
        least = min(points, key=lambda point: reached[point])
        yield Demand(f"kills of {whom} at each place, on {store} (least often: `{least}`)", 5, reached[least])


def _percent_caught(judged: Sequence[dict[str, Any]]) -> int:
    tried = [each for each in judged if each["outcome"] != "SKIPPED"]
    return 100 * sum(each["outcome"] == "caught" for each in tried) // len(tried) if tried else 0


def _line(*columns: str) -> str:
    first, second, *rest = columns
    head = f"{first:{_WIDTHS[0]}} {second:{_WIDTHS[1]}}"
    return head + "".join(f"{each:>{width}}" for each, width in zip(rest, _WIDTHS[2:], strict=True))
