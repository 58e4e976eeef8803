"""Changes of a PostgreSQL schema, through the connection of SQLAlchemy that alembic wants."""

import zlib
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import TypeVar

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from heddle_database.postgres_connection import meaning
from heddle_database.postgres_options import PostgresOptions

T = TypeVar("T")

_LOCK = zlib.crc32(b"heddle: change of the schema")
"""Of the database, for all services in it; held to the end of the transaction, so that it works behind a proxy."""


async def alter(url: str, options: PostgresOptions, change: Callable[[Connection], T]) -> T:
    """Carry out a change of the schema in one transaction; who comes second waits, and finds it done.

    Raises what `change` raised; `StoreUnavailable` while there is no connection, or while a table is locked.
    """
    patient = replace(options, statement_timeout=timedelta(0), idle_timeout=timedelta(0))
    engine = create_async_engine(
        "postgresql+asyncpg://",
        poolclass=NullPool,
        connect_args={
            "dsn": url,
            "timeout": options.connect_timeout.total_seconds(),
            # Nothing is kept on the connection: the next transaction may have another one.
            "statement_cache_size": 0,
            "prepared_statement_cache_size": 0,
            "prepared_statement_name_func": str,
        },
    )

    def locked(connection: Connection) -> T:
        for name, value in patient.settings.items():
            connection.execute(text(f"SET LOCAL {name} = '{0 if name == 'lock_timeout' else value}'"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        # From here on a table that somebody holds is not waited for long: everybody else would queue up behind us.
        connection.execute(text(f"SET LOCAL lock_timeout = '{patient.settings['lock_timeout']}'"))
        return change(connection)

    try:
        async with engine.begin() as connection:
            return await connection.run_sync(locked)
    except DBAPIError as error:
        cause = error.orig.__cause__ if error.orig is not None else None
        raise meaning(cause or error, error.statement or "change of schema", writing=True) from error
    finally:
        await engine.dispose()
