"""Threads as they are found and listed."""

from heddle_core.ids import TenantId, ThreadId
from heddle_database.port import Transaction
from heddle_runtime.facade.page_commands import Listing
from heddle_runtime.facade.thread_commands import ListThreads, ThreadOrder
from heddle_runtime.runs.state import RunState
from heddle_runtime.store.pages import Key, Query, placeholders, read_page
from heddle_runtime.store.thread_rows import COLUMNS, FROM, thread_value
from heddle_runtime.threads.settings import Thread, ThreadActivity

_PINNED = Key("t.pinned", descending=True)
_ID = Key("t.thread_id", descending=True, text=True)

_ORDERS = {
    ThreadOrder.UPDATED_LAST: (
        _PINNED,
        Key("t.update_time", descending=True),
        Key("t.thread_id", descending=True, text=True),
    ),
    ThreadOrder.CREATED_LAST: (
        _PINNED,
        Key("t.create_time", descending=True),
        Key("t.thread_id", descending=True, text=True),
    ),
    ThreadOrder.TITLE: (_PINNED, Key("t.title", text=True), Key("t.thread_id", text=True)),
}

_QUEUED = (
    "EXISTS (SELECT 1 FROM runs q WHERE q.tenant = t.tenant AND q.thread_id = t.thread_id"
    f" AND q.state = {int(RunState.QUEUED)})"
)

_ACTIVITIES = {
    ThreadActivity.WAITING: f"h.state = {int(RunState.WAITING)}",
    ThreadActivity.BUSY: f"(h.state <> {int(RunState.WAITING)} OR (h.state IS NULL AND {_QUEUED}))",
    ThreadActivity.IDLE: f"h.state IS NULL AND NOT {_QUEUED}",
}
"""The same rule as `thread_rows` has for one row, in SQL."""


def list_threads(tx: Transaction, command: ListThreads) -> Listing[Thread]:
    """A page of threads.

    Raises:
        InvalidField: the cursor does not fit the order.
    """
    conditions = ["t.tenant = :tenant", "t.status = :status"]
    if command.activity is not None:
        conditions.append(_ACTIVITIES[command.activity])
    query = Query(
        select=COLUMNS,
        source=FROM,
        keys=_ORDERS[command.order],
        conditions=conditions,
        parameters={"tenant": command.tenant, "status": int(command.status)},
    )
    wanted, labels = command.title_contains.casefold(), command.labels.items()

    def keep(thread: Thread) -> bool:
        return wanted in thread.settings.title.casefold() and labels <= thread.settings.labels.items()

    return read_page(tx, query, command.page, thread_value, keep if wanted or labels else None)


def get_threads(tx: Transaction, tenant: TenantId, thread_ids: frozenset[ThreadId]) -> tuple[Thread, ...]:
    """Those of the named threads that exist, in no particular order."""
    if not thread_ids:
        return ()
    condition, parameters = placeholders("thread", sorted(thread_ids))
    rows = tx.rows(
        f"SELECT {COLUMNS} {FROM} WHERE t.tenant = :tenant AND t.thread_id {condition}", tenant=tenant, **parameters
    )
    return tuple(thread_value(row) for row in rows)
