"""What is read to carry on: folds from snapshots and tails, and single rows."""

from heddle_core.errors import CursorAhead, CursorTooOld, InputNotFound, ThreadNotFound
from heddle_core.ids import InputId, TenantId, ThreadId
from heddle_database.port import Transaction
from heddle_runtime.runs.inputs import InputRequest
from heddle_runtime.store.input_rows import find_input
from heddle_runtime.store.log import read_events
from heddle_runtime.store.marks import MESSAGE_REDACTED
from heddle_runtime.threads.fold import fold
from heddle_runtime.threads.fold_codec import decode
from heddle_runtime.threads.state import FOLD_VERSION, ThreadFold

PAGE = 1_000
"""Events read at a time while folding."""


def load_fold(tx: Transaction, tenant: TenantId, thread_id: ThreadId, at_sequence: int = 0) -> ThreadFold:
    """The state of a thread at a sequence, or at its end for zero: the nearest stored snapshot and the tail behind it.

    Raises:
        ThreadNotFound: the tenant has no such thread.
        CursorAhead: the log does not reach that far.
        CursorTooOld: retention has removed what would be needed.
    """
    last, first = log_bounds(tx, tenant, thread_id)
    if at_sequence > last:
        raise CursorAhead(at_sequence, last)
    end = at_sequence or last
    state = nearest_snapshot(tx, tenant, thread_id, end) or ThreadFold(thread_id)
    if state.last_sequence + 1 < first:
        raise CursorTooOld(end, first)
    while state.last_sequence < end:
        page = min(PAGE, end - state.last_sequence)
        fold(state, read_events(tx, tenant, thread_id, state.last_sequence, page))
    return state


def log_bounds(tx: Transaction, tenant: TenantId, thread_id: ThreadId) -> tuple[int, int]:
    """The last sequence of a thread, and the first that is kept.

    Raises:
        ThreadNotFound: the tenant has no such thread.
    """
    row = tx.row(
        "SELECT last_sequence, first_sequence FROM threads WHERE tenant = :tenant AND thread_id = :thread",
        tenant=tenant,
        thread=thread_id,
    )
    if row is None:
        raise ThreadNotFound(thread_id)
    return row[0], row[1]


def nearest_snapshot(tx: Transaction, tenant: TenantId, thread_id: ThreadId, end: int) -> ThreadFold | None:
    """The newest stored snapshot that is not younger than `end` and that this version's fold made."""
    row = tx.row(
        "SELECT body FROM snapshots WHERE tenant = :tenant AND thread_id = :thread AND sequence <= :end"
        " AND fold_version = :version ORDER BY sequence DESC LIMIT 1",
        tenant=tenant,
        thread=thread_id,
        end=end,
        version=FOLD_VERSION,
    )
    return decode(row[0], thread_id) if row else None


def store_snapshot(
    tx: Transaction, tenant: TenantId, thread_id: ThreadId, sequence: int, hash_: bytes, body: bytes
) -> None:
    """Keep a fold, so that later reads need not begin at the first event.

    Not one that was made before words of the thread were redacted: it may hold them.
    """
    tx.run(
        "INSERT INTO snapshots (tenant, thread_id, sequence, fold_version, hash, body)"
        " SELECT :tenant, :thread, :sequence, :version, :hash, :body WHERE EXISTS (SELECT 1 FROM threads"
        " WHERE tenant = :tenant AND thread_id = :thread) AND NOT EXISTS (SELECT 1 FROM events WHERE tenant = :tenant"
        " AND thread_id = :thread AND sequence > :sequence AND kind = :redacted)"
        " ON CONFLICT (tenant, thread_id, sequence) DO UPDATE SET fold_version = :version, hash = :hash, body = :body",
        tenant=tenant,
        thread=thread_id,
        sequence=sequence,
        version=FOLD_VERSION,
        hash=hash_,
        body=body,
        redacted=MESSAGE_REDACTED,
    )


def last_snapshot(tx: Transaction, tenant: TenantId, thread_id: ThreadId) -> int:
    """Sequence of the newest stored snapshot that this version's fold made; zero: there is none."""
    row = tx.row(
        "SELECT COALESCE(MAX(sequence), 0) FROM snapshots WHERE tenant = :tenant AND thread_id = :thread"
        " AND fold_version = :version",
        tenant=tenant,
        thread=thread_id,
        version=FOLD_VERSION,
    )
    return row[0] if row else 0


def get_input(tx: Transaction, tenant: TenantId, input_id: InputId) -> InputRequest:
    """An input by its id.

    Raises:
        InputNotFound: the tenant has no such input.
    """
    found = find_input(tx, tenant, input_id)
    if found is None:
        raise InputNotFound(input_id)
    return found
