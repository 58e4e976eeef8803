"""The page that is committed: the table of a run, what was asked of it, and honestly how it came about."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from tests.faults import results
from tests.faults.record import Line, Record
from tests.faults.run_cell import Report


def page(records: Sequence[Record], reports: Sequence[Report], judged: Sequence[dict[str, Any]]) -> str:
    """All of it, as Markdown."""
    parts = [
        "# What the fault suite found",
        "Written by `python -m tests.faults --assemble FOLDER --write tests/faults/RESULTS.md`; what is measured,"
        " and how, is in [README.md](README.md).",
        "## How it was assembled",
        *(_assembled(record) for record in records),
        _same_code(records),
        "## What was asked",
        _demands(reports, judged),
        "## Cells and mutants",
        f"```text\n{results.table_of(reports, judged)}\n```",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _assembled(record: Record) -> str:
    plan, lines = record.plan, record.lines()
    sittings = [line for line in lines if line["kind"] == "sitting"]
    took = sum(line["seconds"] for line in lines if line["kind"] == "over")
    loads = ", ".join(f"{each['load']:.1f}" for each in sittings)
    told = [
        f"`{plan['command']}`, seed {plan['seed']}, begun on {_day(plan['at'])}",
        f"sources: product {plan['product']}, suite {plan['suite']}, commit {plan['commit'] or 'not known'}",
        f"machine: {plan['system']}, {plan['cores']} cores, Python {plan['python']}",
        f"{len(sittings)} {'sitting' if len(sittings) == 1 else 'sittings'}, {took / 60:.0f} minutes in all, from the"
        f" same copy of the sources throughout; load before each: {loads}",
        *_irregular(lines),
    ]
    return "\n".join(f"- {each}" for each in told)


def _irregular(lines: Sequence[Line]) -> Iterator[str]:
    """What a reader must know beside the last result of each cell."""
    begun = Counter(line["what"] for line in lines if line["kind"] == "begun")
    ended = Counter(line["cell"] for line in lines if line["kind"] == "cell")
    ended.update(line["mutant"] for line in lines if line["kind"] == "mutant")
    cut = sorted(name for name, times in begun.items() if times > ended[name])
    if cut:
        yield f"begun anew because a sitting ended in them: {', '.join(cut)}"
    last: dict[str, Line] = {}
    for line in lines:
        if line["kind"] == "again" and line["what"] in last:
            before = last[line["what"]]
            yield f"run once more: {before['cell']}, which was {before['outcome']} with seed {before['seed']}"
        elif line["kind"] == "cell":
            last[line["cell"]] = line
    tried = {line["mutant"]: line["attempt"] for line in lines if line["kind"] == "mutant" and line["attempt"]}
    if tried:
        yield "planted more than once until seen: " + ", ".join(f"{name} ({n + 1})" for name, n in tried.items())


def _same_code(records: Sequence[Record]) -> str:
    if len({(record.plan["product"], record.plan["suite"]) for record in records}) < 2:
        return ""
    return "**These runs were not all about the same sources**: read each cell with the run that it belongs to."


def _demands(reports: Sequence[Report], judged: Sequence[dict[str, Any]]) -> str:
    lines = ["| | wanted | reached | |", "|---|---|---|---|"]
    lines += [
        f"| {each.what} | {each.wanted:,} | {each.reached:,} | {'yes' if each.met else '**no**'} |"
        for each in results.demands(reports, judged)
    ]
    violated = sum(bool(report.violations) for report in reports)
    vacuous = sum(report.outcome == "VACUOUS" for report in reports) + len(results.vacuous(reports))
    lines.append(f"| cells with a violation | 0 | {violated} | {'**no**' if violated else 'yes'} |")
    lines.append(f"| cells that tested nothing | 0 | {vacuous} | {'**no**' if vacuous else 'yes'} |")
    return "\n".join(lines)


def _day(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M UTC")
