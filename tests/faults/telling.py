"""The page that is committed: what a run was asked for and has reached, for readers who know nothing of it."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from tests.faults import results
from tests.faults.cells import POSTGRES, SQLITE
from tests.faults.promises import ELSEWHERE, PROMISES, checks_of, mutants_of
from tests.faults.record import Line, Record
from tests.faults.run_cell import Report
from tests.faults.sitting import chosen_cells, chosen_mutants

_COLUMNS = (
    "Kills are times that something was broken; turns are those that were acknowledged, each counted once; takeovers"
    " are runs that went on under another owner; UNKNOWN are tool calls whose effect was in doubt, and the log says so;"
    " refusals are stale owners that were stopped; unsaid are calls whose clients were not told what became of them;"
    " resumed are streams that followed another; s is seconds."
)


def page(records: Sequence[Record], reports: Sequence[Report], judged: Sequence[dict[str, Any]]) -> str:
    """All of it, as Markdown."""
    parts = [
        "# What the fault suite found",
        "Real processes were killed, frozen, cut off and starved in the middle of their work, while clients put on"
        " record what they were told. Afterwards a checker that knows nothing of Heddle compared that with the"
        " database, the effects of tools and the broker's messages. Then faults were planted into copies of Heddle, to"
        " see that the checker sees them. What is done, and how: [README.md](README.md).",
        _verdict(records, reports, judged),
        "## How it was run",
        *(_assembled(record) for record in records),
        _same_code(records),
        "## What was asked",
        "A run that breaks nothing finds nothing: so much must have happened at least.",
        _demands(reports, judged),
        "## Promises",
        "A check is a function of [checker/](checker/); each reads every cell. A fault counts as seen only where a"
        " check of its own promise sees it.",
        _promises(reports, judged),
        "## Places of kills",
        "A process kills itself at a place in the code that it was told, so that the moment is always the same one."
        " Besides, processes were killed at any moment.",
        _places(reports),
        "## Cells",
        _COLUMNS,
        f"```text\n{results.cells_of(reports)}\n```",
        *_wrongs(reports),
        *_faults(judged),
        "Written by `python -m tests.faults --assemble FOLDER --write tests/faults/RESULTS.md`.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _verdict(records: Sequence[Record], reports: Sequence[Report], judged: Sequence[dict[str, Any]]) -> str:
    """The whole in a few lines."""
    cells = {cell.full_name for record in records for cell, _ in chosen_cells(record.plan)}
    faults = {mutant.name for record in records for mutant in chosen_mutants(record.plan)}
    passed = sum(report.outcome == "passed" for report in reports)
    caught = sum(each["outcome"] == "caught" for each in judged)
    demands = results.demands(reports, judged)
    lines = [
        f"cells: {passed} of {len(cells)} passed{_others(report.outcome for report in reports)}",
        f"planted faults: {caught} of {len(faults)} were seen{_others(each['outcome'] for each in judged)}",
        f"counts that were asked for: {sum(each.met for each in demands)} of {len(demands)} reached",
    ]
    left = len(cells - {report.cell for report in reports}) + len(faults - {each["mutant"] for each in judged})
    whole = passed == len(cells) and caught == len(faults) and all(each.met for each in demands)
    head = "No promise was broken, and all that was asked for was reached." if whole else ""
    head = head or (f"This run is not over: {left} cells and faults are left." if left else "Not all is as it should.")
    return "\n".join([f"**{head}**", "", *(f"- {each}" for each in lines)])


def _others(outcomes: Iterator[str]) -> str:
    told = Counter(each for each in outcomes if each not in ("passed", "caught"))
    return "".join(f", {times} {outcome}" for outcome, times in sorted(told.items()))


def _assembled(record: Record) -> str:
    plan, lines = record.plan, record.lines()
    sittings = [line for line in lines if line["kind"] == "sitting"]
    loads = ", ".join(f"{each['load']:.1f}" for each in sittings)
    jobs = " and ".join(sorted({str(each["jobs"]) for each in sittings}))
    told = [
        f"`{plan['command']}`, begun on {_day(plan['at'])}",
        f"seed {plan['seed']}: each cell makes its own of it and its name, so `--seed {plan['seed']} --cells NAME` runs"
        " one of them again",
        f"sources: product {plan['product']}, suite {plan['suite']}, commit {plan['commit'] or 'not known'}",
        f"machine: {plan['system']}, {plan['cores']} cores, Python {plan['python']}",
        f"{len(sittings)} {'sitting' if len(sittings) == 1 else 'sittings'}, {_minutes(lines):.0f} minutes in all, from"
        f" the same copy of the sources throughout; cells side by side: {jobs}; load before each sitting: {loads}",
        *_irregular(lines),
    ]
    return "\n".join(f"- {each}" for each in told)


def _minutes(lines: Sequence[Line]) -> float:
    """How long sittings took, the ones that were cut up to the last that is known of them."""
    took, began, last = 0.0, 0.0, 0.0
    for line in lines:
        if line["kind"] == "sitting":
            took, began = took + last - began, line["at"]
        last = line["at"] if began else 0.0
    return (took + last - began) / 60


def _irregular(lines: Sequence[Line]) -> Iterator[str]:
    """What a reader must know beside the last result of each cell."""
    begun = Counter(line["what"] for line in lines if line["kind"] == "begun")
    ended = Counter(line["cell"] for line in lines if line["kind"] == "cell")
    ended.update(line["mutant"] for line in lines if line["kind"] == "mutant")
    cut = sorted(name for name, times in begun.items() if times > max(ended[name], 1))
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
    if len({record.plan["product"] for record in records}) < 2:
        return "These runs were about the same Heddle; the suite was changed between them."
    return "**These runs were not all about the same sources**: read each cell with the run that it belongs to."


def _demands(reports: Sequence[Report], judged: Sequence[dict[str, Any]]) -> str:
    lines = ["| what | wanted | reached | |", "|---|---:|---:|---|"]
    lines += [
        f"| {each.what} | {each.wanted:,} | {each.reached:,} | {'yes' if each.met else '**no**'} |"
        for each in results.demands(reports, judged)
    ]
    violated = sum(bool(report.violations) for report in reports)
    vacuous = sum(report.outcome == "VACUOUS" for report in reports) + len(results.vacuous(reports))
    lines.append(f"| cells with a violation | 0 | {violated} | {'**no**' if violated else 'yes'} |")
    lines.append(f"| cells that tested nothing | 0 | {vacuous} | {'**no**' if vacuous else 'yes'} |")
    return "\n".join(lines)


def _promises(reports: Sequence[Report], judged: Sequence[dict[str, Any]]) -> str:
    """Each promise with what has put it to the test."""
    broken = Counter(promise for each in reports for promise in {found["promise"] for found in each.violations})
    outcomes = {each["mutant"]: each["outcome"] for each in judged}
    lines = ["| | promise | checks | cells that saw it broken | faults planted, and seen |", "|---|---|---:|---:|---|"]
    for number, words in PROMISES.items():
        if number in ELSEWHERE:
            lines.append(f"| {number} | {words} | | | not here: {ELSEWHERE[number]} |")
            continue
        planted = [each.name for each in mutants_of()[number]]
        seen = sum(outcomes.get(name) == "caught" for name in planted)
        lines.append(f"| {number} | {words} | {len(checks_of()[number])} | {broken[number]} | {len(planted)}, {seen} |")
    return "\n".join(lines)


def _places(reports: Sequence[Report]) -> str:
    sqlite, postgres = (results.points_of(store, reports) for store in (SQLITE, POSTGRES))
    lines = [f"| place | {SQLITE} | {POSTGRES} |", "|---|---:|---:|"]
    return "\n".join([*lines, *(f"| `{point}` | {times} | {postgres[point]} |" for point, times in sqlite.items())])


def _wrongs(reports: Sequence[Report]) -> Iterator[str]:
    found = [line for report in reports for line in results.wrongs_of(report)]
    if found:
        yield "Cells that did not pass:\n\n```text\n" + "\n".join(found) + "\n```"


def _faults(judged: Sequence[dict[str, Any]]) -> Iterator[str]:
    """What came of each planted fault."""
    if not judged:
        return
    lines = [
        "| fault | breaks | planted in | outcome | broken promises that were seen | s |",
        "|---|---|---|---|---|---:|",
    ]
    for each in judged:
        place, breaks = each.get("cell", ""), ", ".join(each.get("promises", ()))
        seconds = f"{each['seconds']:.0f}" if "seconds" in each else ""
        link = f"[{each['mutant']}](mutants/{each['mutant']}.patch)"
        lines.append(f"| {link} | {breaks} | {place} | {each['outcome']} | {_cell(each['by'])} | {seconds} |")
    yield "## Planted faults"
    yield "Each is a patch to a copy of the sources. One that needs luck to show has three attempts."
    yield "\n".join(lines)


def _cell(text: str) -> str:
    """A text that a column of a table can hold."""
    return text.replace("\n", " ").replace("|", "\\|")


def _day(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M UTC")
