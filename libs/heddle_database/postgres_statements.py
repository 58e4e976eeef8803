"""Statements as PostgreSQL's driver wants them: `$1` where stores write `:name`.

Each text is translated once and kept, since a store has a few hundred statements and says them over and over.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from heddle_database.port import StatementFailed

_TOKENS = re.compile(
    r"""
    '(?:[^']|'')*'           # a text, in which colons are only colons
    | "(?:[^"]|"")*"         # a quoted name
    | --[^\n]*               # a comment
    | ::                     # a cast
    | :(?P<name>[A-Za-z_]\w*)
    """,
    re.VERBOSE,
)
_CHANGING = ("INSERT", "UPDATE", "DELETE", "MERGE")
_READING = ("SELECT", "SHOW", "VALUES", "EXPLAIN")


class Statement(NamedTuple):
    """One statement, translated."""

    text: str
    names: tuple[str, ...]
    """The parameter that stands for `$1`, for `$2`, and so on."""
    returning: bool
    """Whether the rows that it returns are rows that it changed."""

    def arguments(self, params: Mapping[str, object]) -> list[object]:
        """The parameters in their order; those that the statement does not name are left out.

        Raises:
            StatementFailed: one is missing.
        """
        try:
            return [params[name] for name in self.names]
        except KeyError as missing:
            raise StatementFailed(f"there is no parameter {missing}", self.text) from None


@lru_cache(maxsize=4_096)
def translated(sql: str) -> Statement:
    """The statement for a text with `:name` parameters."""
    numbers: dict[str, int] = {}

    def numbered(token: re.Match[str]) -> str:
        name = token["name"]
        return token[0] if name is None else f"${numbers.setdefault(name, len(numbers) + 1)}"

    text = _TOKENS.sub(numbered, sql)
    return Statement(text, tuple(numbers), sql.lstrip()[:6].upper() in _CHANGING)


def changed_rows(status: str) -> int:
    """How many rows a statement has changed, from what the server said of it: `UPDATE 3`, `INSERT 0 1`, `CREATE TABLE`.

    What changes no rows, but is no reading, counts as one: a change of the schema has to be committed, too.
    """
    words = status.split()
    if not words or words[0] in _READING:
        return 0
    return int(words[-1]) if words[-1].isdecimal() else 1
