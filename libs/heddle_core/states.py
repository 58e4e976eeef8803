"""States that change by a table, whoever's they are: what the table does not have cannot happen.

Each service keeps its tables; how one is looked up, and what is said where it has no line, stands here.
"""

from collections.abc import Mapping
from enum import Enum
from typing import TypeVar

S = TypeVar("S", bound=Enum)
T = TypeVar("T", bound=Enum)


class NoTransition(Exception):
    """A state was asked to change in a way that its table does not know: a fault of the caller's."""

    def __init__(self, kind: str, state: Enum, why: str) -> None:
        super().__init__(f"a {kind} that is {state.name} cannot change because {why}")


def state_after(table: Mapping[tuple[S, T], S], kind: str, state: S, transition: T) -> S:
    """The state to which a transition leads. A transition's value says what happened, as "it was stopped".

    Raises:
        NoTransition: the table has no such line.
    """
    try:
        return table[state, transition]
    except KeyError:
        raise NoTransition(kind, state, transition.value) from None
