"""Writes docs/schedules-compared.md: where other libraries differ from the schedule rules, and why."""

from collections import Counter
from dataclasses import dataclass, field
from fnmatch import fnmatch
from importlib.metadata import version

REASONS: list[tuple[str, str, str, str]] = [
    (
        "cronsim",
        "never answers",
        "does not come back",
        "Looking for the next hour it sets the minute back to 0. Where clocks go back by half an hour at half past "
        "midnight, that leads into the first pass again, without end.",
    ),
    (
        "cronsim",
        "star * part *fewer",
        "leaves out times after a change of part of an hour, when minute or hour has a star",
        "Its steps are whole hours of passing time: after a change of half an hour they land on other minutes, and an "
        "hour that should fire is passed over.",
    ),
    (
        "cronsim",
        "star gap * midnight fewer",
        "leaves out times right after a gap near midnight, when minute or hour has a star",
        "A step of an hour from before the gap passes over what is left of the hour after it.",
    ),
    (
        "croniter",
        "fixed repetition * more",
        "fires in both passes of a repeated time",
        "It knows no policy for repeated times. Here one pass fires, the first unless asked otherwise: whoever names "
        "half past two means it once a day. `BOTH` gives what croniter gives.",
    ),
    (
        "croniter",
        "star gap * more",
        "fires at the end of a gap for an hour that is left out, when minute or hour has a star",
        "It shifts every missing time. Here, as in Debian's cron, a star counts the minutes that exist: the next one "
        "that matches comes soon enough, and nothing is shifted.",
    ),
    (
        "croniter",
        "star repetition * fewer",
        "leaves out times in the second pass, when minute or hour has a star",
        "After a change of part of an hour it goes on from a reading of the first pass.",
    ),
    (
        "croniter",
        "days",
        "fires on other days",
        "When one day field is a step of a star, as `*/2`, and the other is restricted, it fires when either matches; "
        "here, as in Debian's cron, both must.",
    ),
]
"""Library, pattern of the kinds of difference, what differs, and why."""

PAGE = """<!-- Made by tests/kit/schedule_oracle.py: run `python -m tests.kit.schedule_oracle --write`. -->
# Schedules compared

What a cron expression means when clocks change is decided in `services/heddle_campaign/rules/wall.py`, and held to a
second statement of the same that walks every minute and asks the zone what the wall shows
(`tests/kit/minute_walker.py`). `make schedules` compares both on every distinct date and offset change of every zone
of tzdata {tzdata} from 2000 to 2037, with 200 expressions, under each policy that the change can touch;
`make test` compares all 200 at changes that a seed draws and at special ones, under all six policies.

| | |
|---|---|
| clock changes | {changes} |
| comparisons | {comparisons} |
| differences from the walker | {faults} |

## Other libraries

A third of the changes is also put to other libraries, with {asked_expressions}, under the policies SHIFT and FIRST. A
difference is a set of times around one change that is not the same.

| library | asked | other answers |
|---|---|---|
{libraries}

{differences}
## RRULE

RRULE is held to python-dateutil {dateutil} over drawn rules (`tests/unit/test_campaign_rrule.py`). The rules differ on
purpose in four places:

* `BYDAY=MO,-1FR` means every Monday and the last Friday, as in RFC 5545; dateutil wants a day to be both.
* In a week that the start cuts in two, `BYSETPOS` counts from the week's beginning; dateutil counts from the start.
* A rule that means nothing ends after 50 years; dateutil walks to the year 9999, for ten seconds and more.
* FREQ=SECONDLY, BYEASTER, a number in BYDAY beside FREQ=WEEKLY or rarer parts that RFC 5545 forbids, and COUNT above
  10,000 are refused.
"""


@dataclass
class Findings:
    """What a comparison found."""

    changes: int = 0
    comparisons: int = 0
    faults: list[str] = field(default_factory=list)
    differences: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Of other libraries: by library and kind."""
    asked: Counter[str] = field(default_factory=Counter)
    examples: dict[tuple[str, str], str] = field(default_factory=dict)

    def add(self, other: "Findings") -> None:
        """Take over what another comparison found, which came after this one."""
        self.changes += other.changes
        self.comparisons += other.comparisons
        self.faults += other.faults
        self.differences += other.differences
        self.asked += other.asked
        self.examples = {**other.examples, **self.examples}

    def unexplained(self) -> list[tuple[str, str]]:
        """Differences that no reason is known for."""
        return sorted(each for each in self.differences if reason_of(each) is None)


def page(findings: Findings, asked_expressions: int) -> str:
    """The page."""
    sections: list[str] = []
    for reason in REASONS:
        library, _, what, why = reason
        kinds = sorted(each for each in findings.differences if reason_of(each) is reason)
        if kinds:
            count = sum(findings.differences[each] for each in kinds)
            sections.append(f"### {library} {what}\n\n{why}\n\n{count} times, as {findings.examples[kinds[0]]}.\n")
    libraries = [
        f"| {library} {version(library)} | {asked:,} | "
        f"{sum(count for (each, _), count in findings.differences.items() if each == library):,} |"
        for library, asked in sorted(findings.asked.items())
    ]
    return PAGE.format(
        tzdata=version("tzdata"),
        dateutil=version("python-dateutil"),
        changes=f"{findings.changes:,}",
        comparisons=f"{findings.comparisons:,}",
        faults=len(findings.faults),
        asked_expressions=f"{asked_expressions} of the expressions",
        libraries="\n".join(libraries),
        differences="\n".join(sections),
    )


def reason_of(difference: tuple[str, str]) -> tuple[str, str, str, str] | None:
    """The first reason that fits."""
    library, kind = difference
    return next((each for each in REASONS if each[0] == library and fnmatch(kind, each[1])), None)
