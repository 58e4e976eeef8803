"""The table that a run prints, and the file that it leaves."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.faults.run_cell import Report, as_dict

_COUNTED = ("acknowledged", "takeovers", "unknowns", "fence_refusals", "unknown_answers", "resumed_streams", "events")
_HEAD = ("cell", "outcome", "kills", "turns", "takeovers", "UNKNOWN", "refusals", "unsaid", "resumed", "events", "s")
_WIDTHS = (30, 9, 6, 7, 9, 8, 8, 7, 8, 8, 6)

NEVER_ZERO = ("takeovers", "unknowns", "fence_refusals")
"""A whole run on a store that shows none of one of these has tested nothing."""


def line_of(report: Report) -> str:
    """A cell's line."""
    counts = report.counts
    numbers = [report.kills, *(counts.get(name, 0) for name in _COUNTED), round(report.seconds)]
    return _line(report.cell, report.outcome, *map(str, numbers))


def table_of(reports: Sequence[Report], mutants: Sequence[dict[str, Any]]) -> str:
    """The whole table, with sums, and what was wrong beneath it."""
    lines = [_line(*_HEAD), *map(line_of, reports)]
    sums = [sum(report.counts.get(name, 0) for report in reports) for name in _COUNTED]
    numbers = [sum(report.kills for report in reports), *sums, round(sum(report.seconds for report in reports))]
    lines.append(_line("all", "", *map(str, numbers)))
    for report in reports:
        lines += wrongs_of(report)
    if mutants:
        caught = sum(each["outcome"] == "caught" for each in mutants)
        lines.append(f"mutants: {caught} of {len(mutants)} caught")
        lines += [f"    {each['mutant']:34} {each['outcome']:8} {each['by']}" for each in mutants]
    return "\n".join(lines)


def wrongs_of(report: Report) -> list[str]:
    """What must be said of a cell beneath its line."""
    if report.outcome == "passed":
        return []
    found = [f"    {each['promise']}: {each['what']}" for each in report.violations[:10]]
    return [f"{report.cell} (seed {report.seed}): {report.outcome}: {report.why}", *found]


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


def write(path: Path, told: dict[str, Any], reports: Sequence[Report], mutants: Sequence[dict[str, Any]]) -> None:
    """Leave everything as JSON."""
    written = {**told, "cells": [as_dict(report) for report in reports], "mutants": list(mutants)}
    path.write_text(json.dumps(written, indent=1) + "\n")


def _line(*columns: str) -> str:
    first, second, *rest = columns
    head = f"{first:{_WIDTHS[0]}} {second:{_WIDTHS[1]}}"
    return head + "".join(f"{each:>{width}}" for each, width in zip(rest, _WIDTHS[2:], strict=True))
