"""Which tables a database has, whichever engine it is, for what works on all of them: dumps."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Literal, Protocol, TypeVar

from heddle_database.port import Row, StatementFailed, Transaction

T = TypeVar("T")
Result = TypeVar("Result", covariant=True)

Kind = Literal["text", "integer", "bytes"]
"""What a column holds; the port knows no other that a table of ours would have."""

VERSION_SUFFIX = "_schema_version"
"""Ends the names of the tables that say at which revision a service's tables are."""

PAGE = 500
"""Rows that are fetched at a time."""


class Readable(Protocol):
    """What is asked of a database that is only read."""

    async def read(self, operation: "Operation[T]") -> T:
        """See `Database.read`."""
        ...


class Operation(Protocol[Result]):
    """Statements in one transaction."""

    def __call__(self, tx: Transaction, /) -> Result: ...


@dataclass(frozen=True)
class Table:
    """One table, with its columns in the order of their names."""

    name: str
    columns: dict[str, Kind]
    key: tuple[str, ...]
    """The columns of its primary key, in their order."""
    is_cursor_needed: bool
    """Whether rows in the order of bytes are no use of an index: then they are sorted once, on the server."""

    def rows(self, tx: Transaction) -> Iterator[Row]:
        """All rows in the order of their keys, texts by their bytes, a page in memory at a time."""
        return self._by_cursor(tx) if self.is_cursor_needed else self._by_key(tx)

    def _by_key(self, tx: Transaction) -> Iterator[Row]:
        places = [list(self.columns).index(name) for name in self.key]
        named, given = ", ".join(self.key), ", ".join(f":{name}" for name in self.key)
        select = f"SELECT {', '.join(self.columns)} FROM {self.name}"  # noqa: S608 - names of the catalogue
        order = f"ORDER BY {named} LIMIT :page_of_rows"
        page = tx.rows(f"{select} {order}", page_of_rows=PAGE)
        while page:
            yield from page
            after = {name: page[-1][place] for name, place in zip(self.key, places, strict=True)}
            page = tx.rows(f"{select} WHERE ({named}) > ({given}) {order}", **after, page_of_rows=PAGE)

    def _by_cursor(self, tx: Transaction) -> Iterator[Row]:
        order = ", ".join(f'{name} COLLATE "C"' if self.columns[name] == "text" else name for name in self.key)
        select = f"SELECT {', '.join(self.columns)} FROM {self.name} ORDER BY {order}"  # noqa: S608 - likewise
        tx.run(f"DECLARE rows_of_{self.name} NO SCROLL CURSOR FOR {select}")
        while page := tx.rows(f"FETCH {PAGE} FROM rows_of_{self.name}"):
            yield from page
        tx.run(f"CLOSE rows_of_{self.name}")


async def read_tables(database: Readable) -> tuple[Table, ...]:
    """The tables that the port can hold, in the order of their names.

    Those with a column of another kind, or without a key, belong to somebody else, and are left out.
    """
    try:
        return await database.read(_sqlite_tables)
    except StatementFailed:
        return await database.read(_postgres_tables)


def _sqlite_tables(tx: Transaction) -> tuple[Table, ...]:
    rows = tx.rows(
        "SELECT m.name, c.name, c.type, c.pk FROM sqlite_master m JOIN pragma_table_info(m.name) c"
        " WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%'"
    )
    return _tables(rows, {"TEXT": "text", "VARCHAR(32)": "text", "BIGINT": "integer", "BLOB": "bytes"}, cursor=False)


def _postgres_tables(tx: Transaction) -> tuple[Table, ...]:
    rows = tx.rows(
        "SELECT CAST(c.table_name AS text), CAST(c.column_name AS text), CAST(c.data_type AS text),"
        " CAST(COALESCE(k.ordinal_position, 0) AS bigint) FROM information_schema.columns c"
        " JOIN information_schema.tables n ON n.table_schema = c.table_schema AND n.table_name = c.table_name"
        " AND n.table_type = 'BASE TABLE'"
        " LEFT JOIN information_schema.table_constraints p ON p.table_schema = c.table_schema"
        " AND p.table_name = c.table_name AND p.constraint_type = 'PRIMARY KEY'"
        " LEFT JOIN information_schema.key_column_usage k ON k.constraint_schema = p.constraint_schema"
        " AND k.constraint_name = p.constraint_name AND k.table_name = c.table_name AND k.column_name = c.column_name"
        " WHERE c.table_schema = current_schema()"
    )
    kinds: dict[str, Kind] = {"text": "text", "character varying": "text", "bigint": "integer", "bytea": "bytes"}
    return _tables(rows, kinds, cursor=True)


def _tables(rows: list[Row], kinds: dict[str, Kind], *, cursor: bool) -> tuple[Table, ...]:
    found: list[Table] = []
    for name, group in groupby(sorted(rows), key=lambda row: row[0]):
        described = list(group)
        key = tuple(row[1] for row in sorted(described, key=lambda row: row[3]) if row[3])
        if key and all(row[2] in kinds for row in described):
            found.append(Table(name, {row[1]: kinds[row[2]] for row in described}, key, cursor))
    return tuple(found)
