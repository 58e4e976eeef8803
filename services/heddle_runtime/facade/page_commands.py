"""Pages of lists: what is asked for, and what is answered. Values only."""

from dataclasses import field
from typing import Generic, TypeVar

from heddle_core.values import value

T = TypeVar("T")

Cursor = tuple[str | int, ...]
"""The values by which a list is ordered, of one of its items. A page begins behind it, whatever changed meanwhile."""


@value
class Page:
    """A part of a list."""

    size: int
    """Most items, from 1."""
    after: Cursor = ()
    """Cursor of the last item before this page; empty: from the start."""


@value
class Listing(Generic[T]):
    """The items of a page, each with its cursor."""

    items: tuple[T, ...] = ()
    cursors: tuple[Cursor, ...] = ()
    more: Cursor = field(default=())
    """Where the next page begins; empty: this is the last."""
