"""How a PostgreSQL database is used. Knows no driver, so that whoever asks for a database need not load one."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True)
class PostgresOptions:
    """The defaults suit the runtime's log."""

    batch_limit: int = 256
    """Most operations in one transaction."""
    queue_limit: int = 10_000
    """Most writes, and most reads, that may wait; one more is refused with `Overloaded`."""
    writers: int = 4
    """Writing connections, each with a queue of its own."""
    readers: int = 4
    """Reading connections."""
    prepared_statements: bool = True
    """Off behind a proxy that gives each transaction another connection, such as PgBouncer in transaction mode:
    then nothing is kept on a connection from one transaction to the next, and settings are made in each."""
    connect_timeout: timedelta = timedelta(seconds=5)
    lock_timeout: timedelta = timedelta(seconds=5)
    """How long a statement waits for a lock that somebody else holds."""
    statement_timeout: timedelta = timedelta(seconds=30)
    silence_timeout: timedelta | None = None
    """After which a connection that says nothing is given up; None: 10 s after the server should have given up."""
    idle_timeout: timedelta = timedelta(seconds=10)
    """After which the server ends a transaction of a process that has stopped in the middle of it: until then nobody
    else can write to the threads that it has locked. Not longer than a lease, so that a takeover finds them free."""

    @property
    def settings(self) -> dict[str, str]:
        """What is set for every transaction."""
        return {
            "synchronous_commit": "on",
            "lock_timeout": _milliseconds(self.lock_timeout),
            "statement_timeout": _milliseconds(self.statement_timeout),
            "idle_in_transaction_session_timeout": _milliseconds(self.idle_timeout),
        }

    def opening(self, begin: str) -> str:
        """The statements that begin a transaction, sent together."""
        if self.prepared_statements:
            return begin  # the connection has its settings from its start
        return "; ".join([begin, *(f"SET LOCAL {name} = '{value}'" for name, value in self.settings.items())])


def _milliseconds(time: timedelta) -> str:
    return str(time // timedelta(milliseconds=1))
