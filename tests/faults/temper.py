"""How a workload leans: what clients do how often, and what they ask for."""

from dataclasses import dataclass, replace

PLANS = (
    ("say", 6),
    ("write/say", 5),
    ("once/say", 3),
    ("read+read/say", 3),
    ("slow/say", 3),
    ("peek/say", 2),
    ("write+once/read/say", 3),
    ("asked/say", 2),
    ("ask/say", 2),
    ("later/say", 2),
    ("look/say", 2),
    ("write/write/say", 2),
)
"""Steps of turns, and how often they come."""

ACTIONS = (
    ("start", 34),
    ("stream", 18),
    ("again", 10),
    ("reuse", 3),
    ("cancel", 7),
    ("answer", 14),
    ("answer_again", 3),
    ("retry", 3),
    ("watch", 8),
    ("snapshot", 6),
    ("stranger", 3),
    ("redact", 1),
    ("fork", 0),
    ("delete", 0),
)


@dataclass(frozen=True)
class Temper:
    """How a workload leans."""

    actors: int = 10
    threads: int = 6
    """Threads that the actors of a tenant share at a time."""
    turns_per_thread: int = 12
    """After so many turns a thread is left alone."""
    pause: float = 0.01
    """Longest pause of an actor between two things, in seconds."""
    pace: int = 4
    """Longest time between two words of the model, in milliseconds."""
    actions: tuple[tuple[str, int], ...] = ACTIONS
    plans: tuple[tuple[str, int], ...] = PLANS


def leaning(plans: dict[str, int] | None = None, actions: dict[str, int] | None = None, **rest: int) -> Temper:
    """A temper in which some plans or actions come more or less often than usual."""
    more_plans = tuple((name, (plans or {}).get(name, weight)) for name, weight in PLANS)
    more_actions = tuple((name, (actions or {}).get(name, weight)) for name, weight in ACTIONS)
    return replace(Temper(), plans=more_plans, actions=more_actions, **rest)
