"""How a page of a list is read: behind a cursor of the list's own order, so that pages survive changes."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from heddle_core.errors import invalid
from heddle_core.values import value
from heddle_database.port import Row, Transaction
from heddle_runtime.facade.page_commands import Cursor, Listing, Page

T = TypeVar("T")

MOST_SCANNED = 10_000
"""Rows that are looked at for one page where a filter cannot be said in SQL; a page may be short, and then go on."""


@value
class Key:
    """One expression that a list is ordered by. The last key of an order must be unique."""

    expression: str
    descending: bool = False
    text: bool = False
    """Whether its values are texts; integers otherwise."""

    def fits(self, value: str | int) -> bool:
        """Whether a cursor's value can be one of this key's; PostgreSQL refuses what is not."""
        if self.text:
            return isinstance(value, str) and "\0" not in value
        return isinstance(value, int) and abs(value) < 2**63


@value
class Query:
    """A list: its rows, their order and what they must meet. The keys' values are appended to each row."""

    select: str
    """Columns, and FROM with its joins."""
    source: str
    keys: tuple[Key, ...]
    conditions: Sequence[str]
    parameters: Mapping[str, object]


def read_page(
    tx: Transaction, query: Query, page: Page, value: Callable[[Row], T], keep: Callable[[T], bool] | None = None
) -> Listing[T]:
    """The items of a page.

    `value` makes the item of a row, without the keys' values behind it; `keep` says whether an item belongs to the
    list, for filters that no SQL of both engines can say.

    Raises:
        InvalidField: the page's cursor does not fit the list's order.
    """
    items: list[T] = []
    cursors: list[Cursor] = []
    after, scanned, batch = page.after, 0, page.size + 1
    if keep is not None:
        batch = min(max(batch, 200), 1_000)
    while True:
        rows = _read(tx, query, after, batch)
        for row in rows:
            after = tuple(row[-len(query.keys) :])
            item = value(row[: -len(query.keys)])
            if keep is None or keep(item):
                if len(items) == page.size:
                    return Listing(tuple(items), tuple(cursors), cursors[-1])
                items.append(item)
                cursors.append(after)
        scanned += len(rows)
        if len(rows) < batch:
            return Listing(tuple(items), tuple(cursors))
        if scanned >= MOST_SCANNED:
            return Listing(tuple(items), tuple(cursors), after)


def placeholders(name: str, values: Sequence[object]) -> tuple[str, dict[str, object]]:
    """`IN (...)` for some values, which both engines want one by one, with its parameters."""
    parameters = {f"{name}_{place}": value for place, value in enumerate(values)}
    return f"IN ({', '.join(f':{each}' for each in parameters)})", parameters


def _read(tx: Transaction, query: Query, after: Cursor, limit: int) -> list[Row]:
    conditions, parameters = list(query.conditions), dict(query.parameters)
    if after:
        condition, values = _behind(query.keys, after)
        conditions.append(condition)
        parameters.update(values)
    keys = ", ".join(key.expression for key in query.keys)
    order = ", ".join(f"{key.expression} DESC" if key.descending else key.expression for key in query.keys)
    return tx.rows(
        f"SELECT {query.select}, {keys} {query.source} WHERE {' AND '.join(conditions)} ORDER BY {order} LIMIT :_limit",
        **parameters,
        _limit=limit,
    )


def _behind(keys: Sequence[Key], after: Cursor) -> tuple[str, dict[str, object]]:
    """The condition for rows behind a cursor: by the first key, or equal there and by the next, and so on."""
    if len(after) != len(keys) or not all(key.fits(value) for key, value in zip(keys, after, strict=True)):
        raise invalid("page_token", "send the token that this very list gave, with the same filters and order")
    choices: list[str] = []
    for place, key in enumerate(keys):
        equal = [f"{each.expression} = :_after_{number}" for number, each in enumerate(keys[:place])]
        comparison = "<" if key.descending else ">"
        choices.append(" AND ".join([*equal, f"{key.expression} {comparison} :_after_{place}"]))
    return f"({' OR '.join(choices)})", {f"_after_{place}": value for place, value in enumerate(after)}
