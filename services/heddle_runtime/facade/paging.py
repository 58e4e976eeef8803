"""Pages of lists that are in memory anyway. Pure."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from heddle_core.errors import invalid
from heddle_runtime.facade.page_commands import Cursor, Listing, Page

T = TypeVar("T")


def page_of(items: Iterable[T], key: Callable[[T], Cursor], page: Page) -> Listing[T]:
    """The page behind a cursor of `items`, ordered by `key`, whose values are unique.

    Raises:
        InvalidField: the cursor is not one of this list's.
    """
    ordered = sorted(items, key=key)
    try:
        behind = [item for item in ordered if not page.after or key(item) > page.after]
    except TypeError:
        raise invalid("page_token", "send the token that this very list gave, with the same filters") from None
    taken = tuple(behind[: page.size])
    cursors = tuple(key(item) for item in taken)
    return Listing(taken, cursors, cursors[-1] if len(behind) > len(taken) else ())
