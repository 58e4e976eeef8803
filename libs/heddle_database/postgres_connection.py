"""Connections to PostgreSQL: how they are made, what is demanded of them, and what their errors mean."""

import asyncio
import re
from collections.abc import Mapping
from datetime import timedelta

import asyncpg  # pyright: ignore[reportMissingTypeStubs]

from heddle_core.errors import IllegalTransition, StoreUnavailable
from heddle_database.port import StatementFailed
from heddle_database.postgres_driver import PostgresDriver
from heddle_database.postgres_options import PostgresOptions

MINIMUM_VERSION = 15
_GRACE = timedelta(seconds=10)
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0
"""Seconds between two attempts to connect; doubled from one to the next."""


async def connect(url: str, options: PostgresOptions) -> PostgresDriver:
    """A connection to the server that takes writes.

    Raises:
        StoreUnavailable: it cannot be had now.
    """
    kept = options.prepared_statements
    try:
        return await PostgresDriver.connect(
            url,
            prepares=kept,
            silence=(options.silence_timeout or options.statement_timeout + _GRACE).total_seconds(),
            timeout=options.connect_timeout.total_seconds(),
            server_settings={"application_name": "heddle", **options.settings} if kept else None,
            target_session_attrs="primary" if kept else None,
        )
    except Exception as error:
        raise StoreUnavailable(f"PostgreSQL cannot be reached: {_problem(error)}") from error


class PostgresLink:
    """One connection, made when it is needed, and made anew when it was lost: soon, then less and less often."""

    def __init__(self, url: str, options: PostgresOptions) -> None:
        self._url = url
        self._options = options
        self.begin_writing = options.opening("BEGIN ISOLATION LEVEL READ COMMITTED")
        self.begin_reading = options.opening("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        self._connection: PostgresDriver | None = None
        self._pause = 0.0
        self._not_before = 0.0

    async def driver(self) -> PostgresDriver:
        """The connection; at once while there is one.

        Raises:
            StoreUnavailable: the server does not answer, or did not a moment ago.
        """
        if self._connection is not None and not self._connection.is_closed():
            return self._connection
        now = asyncio.get_running_loop().time
        if now() < self._not_before:
            raise StoreUnavailable("PostgreSQL cannot be reached; it is tried again in a moment")
        try:
            self._connection = await connect(self._url, self._options)
        except StoreUnavailable:
            self._pause = min(max(2 * self._pause, _FIRST_PAUSE), _LONGEST_PAUSE)
            self._not_before = now() + self._pause
            raise
        self._pause = self._not_before = 0.0
        return self._connection

    def drop(self) -> None:
        """Let go of the connection without asking the server; the next use makes a new one."""
        held, self._connection = self._connection, None
        if held is not None:
            held.terminate()

    async def close(self) -> None:
        """Say goodbye to the server, if it listens."""
        held, self._connection = self._connection, None
        if held is not None:
            await held.close()


class Collision(StatementFailed):
    """Somebody else committed at the same time what this statement did not see, or waits for us while we wait for it.

    Carried out again, the operation sees it. When that does not help, it is what `outcome` says.
    """

    def __init__(self, problem: str, sql: str, state: str) -> None:
        super().__init__(problem, sql)
        self.state = state

    @property
    def stale(self) -> bool:
        """Whether the connection's own memory of the schema is what is in the way."""
        return self.state == _STALE_PLAN

    @property
    def repeatable(self) -> bool:
        """Whether it may pass after more than one repeat: nothing is wrong with the operation itself."""
        return self.state != _UNIQUE

    @property
    def outcome(self) -> StatementFailed | StoreUnavailable:
        """What to tell the caller in the end."""
        if self.state == _UNIQUE:
            return StatementFailed(self.problem, self.sql)
        return StoreUnavailable("transactions keep getting into each other's way")


class CommitUnknown(Exception):
    """The connection was lost before the server answered to COMMIT: it may have happened or not."""


def meaning(error: BaseException, sql: str, *, writing: bool, connected: bool = True) -> Exception:
    """What an error of the driver says: `StoreUnavailable`, `StatementFailed`, or `Collision`, which is one."""
    if isinstance(error, StatementFailed | StoreUnavailable):
        return error
    state = _state(error)
    if state in _COLLISIONS:
        return Collision(_problem(error), sql, state)
    if isinstance(error, OSError | TimeoutError | asyncpg.ConnectionDoesNotExistError) or not connected:
        return StoreUnavailable("the connection to PostgreSQL was lost")
    if state in _TROUBLE and (state != _READ_ONLY or writing):
        return StoreUnavailable(_TROUBLE[state])
    if state[:2] in _TROUBLED_CLASSES:
        return StoreUnavailable(f"PostgreSQL is in trouble: {_problem(error)}")
    return StatementFailed(_problem(error), sql)


def unsound(error: BaseException) -> bool:
    """Whether a connection that raised this should be replaced."""
    state = _state(error)
    if isinstance(error, Collision):
        return error.stale
    return isinstance(error, OSError | TimeoutError) or state[:2] in ("08", "57", "58", "XX") or state == _READ_ONLY


def refused_at_commit(error: BaseException) -> bool:
    """Whether the server has said that a COMMIT did not happen. Anything else leaves it open."""
    return _state(error)[:2] in ("23", "40")


async def require_fitness(driver: PostgresDriver, options: PostgresOptions) -> None:
    """Look whether what is committed here stays committed.

    Raises:
        IllegalTransition: the server is too old, or runs with settings that lose acknowledged writes.
    """
    await driver.execute(options.opening("BEGIN"))
    rows = await driver.fetch(
        "SELECT current_setting('server_version_num')::int / 10000, current_setting('synchronous_commit'),"
        " current_setting('fsync'), current_setting('full_page_writes'), current_setting('server_encoding'),"
        " current_database()::text"
    )
    await driver.execute("ROLLBACK")
    version, *settings, name = rows[0]
    if version < MINIMUM_VERSION:
        raise _unfit(name, f"served by PostgreSQL {version}", f"use PostgreSQL {MINIMUM_VERSION} or later")
    wanted = {"synchronous_commit": "on", "fsync": "on", "full_page_writes": "on", "server_encoding": "UTF8"}
    for (setting, expected), found in zip(wanted.items(), settings, strict=True):
        if found != expected:
            raise _unfit(name, f"where {setting} is {found} instead of {expected}", "change that on the server")


def _unfit(name: str, state: str, remedy: str) -> IllegalTransition:
    return IllegalTransition("database", name, state, "be opened", remedy)


_UNIQUE = "23505"
_STALE_PLAN = "0A000"
_READ_ONLY = "25006"
_COLLISIONS = frozenset({_UNIQUE, _STALE_PLAN, "40001", "40P01"})
_TROUBLE: Mapping[str, str] = {
    _READ_ONLY: "PostgreSQL takes no writes: it is a standby, or read-only",
    "25P03": "PostgreSQL ended a transaction that did nothing for too long",
    "25P04": "PostgreSQL ended a transaction that took too long",
    "42501": "PostgreSQL denies access",
    "53100": "PostgreSQL's disk is full",
    "53200": "PostgreSQL's memory is exhausted",
    "53300": "PostgreSQL has no connection left",
    "55P03": "somebody else holds a lock",
    "57014": "PostgreSQL took too long over a statement",
    "58030": "PostgreSQL's disk answered with an I/O error",
}
"""By SQLSTATE: postgresql.org/docs/current/errcodes-appendix.html"""
_TROUBLED_CLASSES = frozenset({"08", "53", "57", "58", "XX"})


def _state(error: BaseException) -> str:
    if isinstance(error, Collision):
        return error.state
    if isinstance(error, asyncpg.PostgresError):
        state = str(getattr(error, "sqlstate", None) or "")
        # Of what is "not supported" one kind passes: a plan that a change of the schema has made stale.
        if state == _STALE_PLAN and not isinstance(error, asyncpg.InvalidCachedStatementError):
            return "42000"
        return state
    return _STALE_PLAN if isinstance(error, asyncpg.OutdatedSchemaCacheError) else ""


def _problem(error: BaseException) -> str:
    """The error in words, without the values that the server's detail or the driver would quote."""
    told: str | None = getattr(error, "message", None)
    if told:
        return told
    place = re.search(r"query argument (\$\d+)[^:]*: .*\((.*)\)", str(error), re.DOTALL)
    if place:
        return f"parameter {place[1]} does not fit ({place[2]})"
    return str(error) or type(error).__name__
