"""Columns for version files, in types that mean the same on both engines."""

from typing import Any

from sqlalchemy import BigInteger, Column, LargeBinary, Text
from sqlalchemy import text as words

_BYTEWISE = Text().with_variant(Text(collation="C"), "postgresql")
"""SQLite compares texts byte by byte. PostgreSQL would go by a language, which changes with the system's libraries:
lists would come in another order, and their cursors lose rows."""


def text(name: str) -> Column[str]:
    """A text, empty by default."""
    return Column(name, _BYTEWISE, nullable=False, server_default="")


def integer(name: str) -> Column[int]:
    """An integer of 64 bits, zero by default: counts, states, microseconds, truths as 0 and 1."""
    return Column(name, BigInteger, nullable=False, server_default="0")


def octets(name: str) -> Column[bytes]:
    """Bytes as they are, or NULL: BLOB or BYTEA. What models write may hold NUL, which no text of PostgreSQL may."""
    return Column(name, LargeBinary, nullable=True)


def where(condition: str) -> dict[str, Any]:
    """What makes an index partial; a statement must say the same condition to use it."""
    return {"sqlite_where": words(condition), "postgresql_where": words(condition)}
