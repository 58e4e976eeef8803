"""What must be said in a log that was put back from a copy, before anybody serves it (SEMANTICS 30)."""

from heddle_core.clock import MICROS_PER_SECOND
from heddle_database.port import Transaction
from heddle_runtime.store.relay_rows import log_epoch, raise_epoch


def begin_again(tx: Transaction) -> int:
    """Raise the log's epoch and end every lease of the time before the copy; returns the epoch.

    The epoch is at least the time in seconds: one copy that is restored twice must not give the same epoch twice.
    """
    epoch = max(raise_epoch(tx), tx.now // MICROS_PER_SECOND)
    if epoch > log_epoch(tx):
        tx.run("UPDATE log_epoch SET epoch = :epoch WHERE number = 1", epoch=epoch)
    for table in ("workers", "relay_workers"):
        tx.run(f"DELETE FROM {table}")
    tx.run("UPDATE relay_shards SET owner = '', fence = fence + 1")
    return epoch
