"""What is read to carry on: folds from snapshots and tails, and single rows."""

from heddle_core.ids import InputId, RunId, TenantId, ThreadId
from heddle_core.runtime_errors import CursorAhead, CursorTooOld, InputNotFound
from heddle_database.port import Transaction
from heddle_runtime.runs.inputs import InputRequest
from heddle_runtime.store.input_rows import find_input
from heddle_runtime.store.log import read_events
from heddle_runtime.store.marks import MESSAGE_REDACTED
from heddle_runtime.store.tombstones import no_thread
from heddle_runtime.threads.events import Event
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
    if end + 1 < first:
        raise CursorTooOld(end, first)
    state = nearest_snapshot(tx, tenant, thread_id, end) or read_base(tx, tenant, thread_id) or ThreadFold(thread_id)
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
        raise no_thread(tx, tenant, thread_id)
    return row[0], row[1]


def read_kept_events(
    tx: Transaction, tenant: TenantId, thread_id: ThreadId, after: int, limit: int, run_id: RunId = RunId("")
) -> tuple[Event, ...]:
    """Events after a sequence, oldest first, for a reader that may miss none.

    Raises:
        ThreadNotFound: the tenant has no such thread, perhaps no longer.
        CursorTooOld: retention has removed events behind the cursor, perhaps while the reader was on its way.
    """
    events = read_events(tx, tenant, thread_id, after, limit, run_id)
    if not events or events[0].sequence != after + 1:
        row = tx.row(
            "SELECT first_sequence FROM threads WHERE tenant = :tenant AND thread_id = :thread",
            tenant=tenant,
            thread=thread_id,
        )
        if row is None:
            raise no_thread(tx, tenant, thread_id)
        if after + 1 < row[0]:
            raise CursorTooOld(after, row[0])
    return events


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


def read_base(tx: Transaction, tenant: TenantId, thread_id: ThreadId) -> ThreadFold | None:
    """The state with which a log begins whose earlier events retention has removed; None: it is whole.

    Whatever version of the fold made it: its events are gone, so every later version reads it as it is.
    """
    row = tx.row(
        "SELECT s.body FROM threads t JOIN snapshots s ON s.tenant = t.tenant AND s.thread_id = t.thread_id"
        " AND s.sequence = t.first_sequence - 1 WHERE t.tenant = :tenant AND t.thread_id = :thread"
        " AND t.first_sequence > 1",
        tenant=tenant,
        thread=thread_id,
    )
    return decode(row[0], thread_id) if row else None


def replace_base(tx: Transaction, tenant: TenantId, thread_id: ThreadId, sequence: int, body: bytes) -> None:
    """Put another body in the place of a base: words in it were redacted. Its hash is that of an event, and stays."""
    tx.run(
        "UPDATE snapshots SET body = :body, fold_version = :version WHERE tenant = :tenant AND thread_id = :thread"
        " AND sequence = :sequence",
        body=body,
        version=FOLD_VERSION,
        tenant=tenant,
        thread=thread_id,
        sequence=sequence,
    )


def store_snapshot(
    tx: Transaction, tenant: TenantId, thread_id: ThreadId, sequence: int, hash_: bytes, body: bytes
) -> None:
    """Keep a fold, so that later reads need not begin at the first event.

    Not one that was made before words of the thread were redacted: it may hold them.
    """
    if tx.row_lock:  # or it could be stored beside a redaction that does not see it
        tx.row(
            f"SELECT 1 FROM threads WHERE tenant = :tenant AND thread_id = :thread{tx.row_lock}",
            tenant=tenant,
            thread=thread_id,
        )
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
