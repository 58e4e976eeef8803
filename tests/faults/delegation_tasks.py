"""What agents are told to delegate: texts that the model server carries out, with the calls that they lead to."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

LEAD, LINE, HANDS = "lead", ("second", "third", "fourth", "fifth"), ("hand", "eye")
AGENTS = (LEAD, *LINE, *HANDS)
"""Who leads, who stands in line below, each one deeper than the one before, and who works."""

TOO_MANY_TOKENS = 5_000
"""More than any run that delegates has."""
_GREEDY_LIMIT, _GREEDY_SLICE = 160, 60
_OVER_MOST_CHILDREN = 9


@dataclass(frozen=True)
class Task:
    """A turn of a lead."""

    text: str
    children: int
    """That come of it if nothing goes wrong."""
    tokens: int
    """Its budget."""
    waits: bool = False
    """Whether it asks a question before it says anything: others may give it children meanwhile."""


def leaf_text(marker: str, random: Random, *, pace: int = 8) -> str:
    """A piece of work without children."""
    plan = random.choice(("say", "say", "once/say"))
    return f"{marker} plan={plan} words={random.randint(3, 10)} pace={random.randint(0, pace)}"


def slow_text(marker: str) -> str:
    """Three seconds of work."""
    return f"{marker} plan=say words=14 pace=200"


def asking_task(marker: str) -> Task:
    """A lead that waits for somebody's answer."""
    return Task(f"{marker} plan=ask_user/say words=4", 0, 500, waits=True)


def chain_task(marker: str, random: Random) -> Task:
    """Each delegates to the next one below; the last but one stands too deep for that, and hears so."""
    text = leaf_text(f"{marker}-5", random)
    for depth, agent in reversed(list(enumerate(LINE))):
        text = _delegating(f"{marker}-{depth}", ("spawn_agent", {"agent": agent, "task": text}))
    return Task(text, len(LINE) - 1, 900)


def lead_task(marker: str, random: Random, number: int) -> Task:
    """One of the ways to delegate: first each of them once, then any."""
    ways, weights = zip(*_WAYS, strict=True)
    way = ways[number] if number < len(ways) else random.choices(ways, weights)[0]
    return way(marker, random)


def _one(marker: str, random: Random) -> Task:
    return Task(_delegating(marker, ("spawn_agent", _child(marker, random))), 1, 300)


def _all(marker: str, random: Random) -> Task:
    count = random.randint(2, 4)
    return Task(_delegating(marker, ("spawn_group", {"children": _children(marker, random, count)})), count, 400)


def _any(marker: str, random: Random) -> Task:
    count = random.randint(2, 4)
    some = random.choice(({"wait_for": "any"}, {"wait_for": "first", "count": 2}))
    children = _children(marker, random, count, pace=60)
    return Task(_delegating(marker, ("spawn_group", {"children": children, **some})), count, 400)


def _stages(marker: str, random: Random) -> Task:
    stages = [_children(f"{marker}-{number}", random, 2) for number in range(2)]
    group = {"stages": stages, "stop_on_failure": random.random() < 0.5}
    return Task(_delegating(marker, ("spawn_group", group)), 4, 600)


def _wide(marker: str, random: Random) -> Task:
    """One stage with more children than any run may have."""
    group = {"children": _children(marker, random, _OVER_MOST_CHILDREN)}
    return Task(_delegating(marker, ("spawn_group", group)), 0, 900)


def _greedy(marker: str, random: Random) -> Task:
    """Each slice fits by itself, and all together do not."""
    children = [{**each, "budget": {"tokens": _GREEDY_SLICE}} for each in _children(marker, random, 3, pace=60)]
    return Task(_delegating(marker, ("spawn_group", {"children": children})), 3, _GREEDY_LIMIT)


def _over_ask(marker: str, random: Random) -> Task:
    child = {**_child(marker, random), "budget": {"tokens": TOO_MANY_TOKENS}}
    return Task(_delegating(marker, ("spawn_agent", child)), 0, 300)


def _self(marker: str, random: Random) -> Task:
    child = {"agent": LEAD, "task": leaf_text(f"{marker}-c", random)}
    return Task(_delegating(marker, ("spawn_agent", child)), 0, 300)


def _asking(marker: str, _: Random) -> Task:
    return asking_task(marker)


_WAYS: tuple[tuple[Callable[[str, Random], Task], int], ...] = (
    (_asking, 6),
    (chain_task, 2),
    (_wide, 1),
    (_greedy, 3),
    (_over_ask, 1),
    (_self, 1),
    (_any, 5),
    (_one, 5),
    (_all, 5),
    (_stages, 3),
)


def _children(marker: str, random: Random, count: int, *, pace: int = 8) -> list[dict[str, Any]]:
    return [_child(f"{marker}-{number}", random, pace=pace) for number in range(count)]


def _child(marker: str, random: Random, *, pace: int = 8) -> dict[str, Any]:
    child: dict[str, Any] = {"agent": random.choice(HANDS), "task": leaf_text(f"{marker}-c", random, pace=pace)}
    if random.random() < 0.3:
        child["budget"] = {"tokens": random.choice((40, 60, 80))}
    return child


def _delegating(marker: str, *calls: tuple[str, dict[str, Any]]) -> str:
    return f"{marker} plan=delegate/say words=4 calls={json.dumps(calls)}"
