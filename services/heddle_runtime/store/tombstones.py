"""What is said of threads that are not there: only a tombstone tells one that was deleted from one that never was."""

from heddle_core.ids import TenantId, ThreadId
from heddle_core.runtime_errors import ThreadNotFound
from heddle_database.port import Transaction


def is_deleted(tx: Transaction, tenant: TenantId, thread_id: ThreadId) -> bool:
    """Whether a tenant has deleted a thread of this id."""
    sql = "SELECT 1 FROM tombstones WHERE tenant = :tenant AND thread_id = :thread"
    return tx.row(sql, tenant=tenant, thread=thread_id) is not None


def no_thread(tx: Transaction, tenant: TenantId, thread_id: ThreadId) -> ThreadNotFound:
    """The error for a thread that is not there."""
    return ThreadNotFound(thread_id, is_deleted(tx, tenant, thread_id))
