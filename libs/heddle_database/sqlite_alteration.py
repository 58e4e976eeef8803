"""A change of the schema: the only thing for which the writing connection is lent to SQLAlchemy.

Loaded only when there is something to change, since SQLAlchemy costs a quarter of a second at the start.
"""

import sqlite3
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import StaticPool

from heddle_database.port import StatementFailed
from heddle_database.sqlite_connection import meaning

T = TypeVar("T")


def altered(driver: sqlite3.Connection, change: Callable[[Connection], T]) -> T:
    """Carry out `change` in one transaction, without foreign keys on the way; they are checked at its end.

    The connection should not be used for anything else afterwards. Raises as `Database.alter`.
    """
    engine = create_engine("sqlite://", creator=lambda: driver, poolclass=StaticPool)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:  # pyright: ignore[reportUnusedFunction]
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    try:
        driver.execute("PRAGMA foreign_keys = 0")
        with engine.connect() as connection, connection.begin():
            result = change(connection)
            broken = driver.execute("PRAGMA foreign_key_check").fetchone()
            if broken is not None:
                raise StatementFailed(f"a foreign key of table {broken[0]} is broken", "change of schema")
        return result
    except DBAPIError as error:
        raise meaning(error.orig or error, error.statement or "change of schema", writing=True) from error
    except sqlite3.Error as error:
        raise meaning(error, "change of schema", writing=True) from error
