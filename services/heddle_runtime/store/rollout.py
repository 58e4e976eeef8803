"""Two versions on one database (SEMANTICS 36): nobody writes what a worker that lives could not read."""

from collections.abc import Iterable, Mapping

from heddle_core.errors import IllegalTransition
from heddle_database.port import Transaction
from heddle_runtime.threads.state import FOLD_VERSION

INTRODUCED: Mapping[int, int] = {}
"""Kinds of events, by the number of their case in the contract, with the fold version that first read them.

Those that are not here have been read since version 1. Whoever adds a kind raises `FOLD_VERSION`, names the kind here,
asks `may_write` before it writes one, and does without it until then.
"""


def live_fold_version(tx: Transaction) -> int:
    """The oldest fold version among workers whose leases have not ended; this version's where there is none."""
    row = tx.row("SELECT MIN(fold_version) FROM workers WHERE lease_until > :now", now=tx.now)
    return row[0] if row and row[0] is not None else FOLD_VERSION


def may_write(tx: Transaction, kind: int, introduced: Mapping[int, int] = INTRODUCED) -> bool:
    """Whether every worker that lives can read a kind of event."""
    since = introduced.get(kind, 1)
    return since <= 1 or since <= live_fold_version(tx)


def require_readable(tx: Transaction, kinds: Iterable[int], introduced: Mapping[int, int] = INTRODUCED) -> None:
    """Refuse events that some worker could not read. The log's own guard behind `may_write`.

    Raises:
        IllegalTransition: a worker of an older version still lives.
    """
    if introduced and not all(may_write(tx, kind, introduced) for kind in set(kinds)):
        version = live_fold_version(tx)
        raise IllegalTransition(
            "Log", "", f"read by a worker of fold version {version}", "take events of a newer one", "end that worker"
        )
