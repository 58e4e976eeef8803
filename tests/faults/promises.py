"""What is promised, in a line each, and where it is put to the test: for readers of the page, who know no numbers."""

from collections import defaultdict
from functools import cache

from tests.faults.checker.check import CHECKS
from tests.faults.planting import Mutant, mutants

PROMISES = {
    "P1": "What was acknowledged is on disk: it outlives `kill -9` and a power cut",
    "P2": "A thread's events are numbered without gaps, in the order of their commits",
    "P3": "Events do not change, unless a redaction says so; what retention or a deletion removes leaves its trace",
    "P4": "One run of a thread at a time, and no word of an owner that has lost it",
    "P5": "A run ends once, and nothing of it comes behind its end",
    "P6": "No run stays without an owner, and none waits for nobody",
    "P7": "A request that is repeated takes effect once, whichever replica answers",
    "P8": "A tool is called once; where that is in doubt, the log says so",
    "P9": "Each tool call has its one result before the model is asked again",
    "P10": "A snapshot is what its events add up to, on each replica",
    "P11": "A reader sees each event once and in order, over hang-ups, replicas and restarts",
    "P12": "Consumers of the broker get every event, in order, and none that the log lacks",
    "P13": "Behind a cancel no tool is called, and the run has ended ten seconds later",
    "P14": "An input takes one answer, which may be repeated",
    "P15": "A scheduled time fires once",
    "P16": "A key has one child; trees have bounds, and a cancel reaches all below",
    "P17": "What belongs to others looks like what does not exist",
    "P18": "A slow reader is cut off before it costs memory",
    "P19": "A store in trouble: nothing is acknowledged, nothing breaks, and nobody restarts anything",
    "P20": "A process that is told to stop has ended in 20 seconds, and loses nothing",
    "P21": "A new version reads an old log",
}
ELSEWHERE = {
    "P15": "[docs/campaigns-proof.md](../../docs/campaigns-proof.md)",
    "P21": "[test_golden_logs.py](../contract/test_golden_logs.py)",
}
"""Promises that this suite does not check, and where they are."""


@cache
def checks_of() -> dict[str, list[str]]:
    """The checks of each promise, by their names."""
    found: dict[str, list[str]] = defaultdict(list)
    for check in CHECKS:
        found[check.__name__.partition("_")[0].upper()].append(check.__name__)
    return dict(found)


@cache
def mutants_of() -> dict[str, list[Mutant]]:
    """The faults that break each promise, one of which at least must be seen as such."""
    found: dict[str, list[Mutant]] = defaultdict(list)
    for mutant in mutants():
        for promise in mutant.promises:
            found[promise].append(mutant)
    return dict(found)
