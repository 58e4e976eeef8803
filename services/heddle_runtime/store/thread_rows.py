"""A thread's row: its columns, its value, and how both become each other."""

import json
from dataclasses import replace

from heddle_core.clock import Micros
from heddle_core.errors import AlreadyExists
from heddle_core.ids import RunId, TenantId, ThreadId
from heddle_database.port import Row, Transaction
from heddle_runtime.runs.content import RUNTIME
from heddle_runtime.runs.state import RunState
from heddle_runtime.store.log import Head
from heddle_runtime.store.tombstones import is_deleted, no_thread
from heddle_runtime.threads.events import ThreadUpdated
from heddle_runtime.threads.settings import Thread, ThreadActivity, ThreadSettings, ThreadStatus
from heddle_runtime.threads.state import NO_HASH

COLUMNS = (
    "t.tenant, t.thread_id, t.title, t.labels, t.pinned, t.agent_id, t.model, t.instructions, t.context_json,"
    " t.status, t.revision, t.context_version, t.last_sequence, t.first_sequence, t.head_hash, t.lane_run_id,"
    " t.create_time, t.update_time, t.forked_from_thread_id, h.state, (SELECT COUNT(*) FROM runs q WHERE"
    " q.tenant = t.tenant AND q.thread_id = t.thread_id AND q.state = 1)"
)

FROM = "FROM threads t LEFT JOIN runs h ON h.tenant = t.tenant AND h.run_id = t.lane_run_id"


def thread_value(row: Row) -> Thread:
    """The thread of a row of `COLUMNS`."""
    return Thread(
        tenant=TenantId(row[0]),
        thread_id=ThreadId(row[1]),
        settings=ThreadSettings(row[2], json.loads(row[3] or "{}"), bool(row[4]), row[5], row[6], row[7], row[8]),
        status=ThreadStatus(row[9]),
        revision=row[10],
        context_version=row[11],
        last_sequence=row[12],
        first_sequence=row[13],
        head_hash=row[14],
        lane_run_id=RunId(row[15]),
        create_time=Micros(row[16]),
        update_time=Micros(row[17]),
        forked_from_thread_id=ThreadId(row[18]),
        activity=_activity(row[19], row[20]),
    )


def find_thread(tx: Transaction, tenant: TenantId, thread_id: ThreadId) -> Thread | None:
    """A thread by its id."""
    row = tx.row(
        f"SELECT {COLUMNS} {FROM} WHERE t.tenant = :tenant AND t.thread_id = :thread",
        tenant=tenant,
        thread=thread_id,
    )
    return thread_value(row) if row else None


def get_thread(tx: Transaction, tenant: TenantId, thread_id: ThreadId) -> Thread:
    """A thread by its id.

    Raises:
        ThreadNotFound: the tenant has no such thread.
    """
    thread = find_thread(tx, tenant, thread_id)
    if thread is None:
        raise no_thread(tx, tenant, thread_id)
    return thread


def insert_thread(
    tx: Transaction,
    tenant: TenantId,
    thread_id: ThreadId,
    settings: ThreadSettings,
    manual_title: bool,
    forked_from: ThreadId = ThreadId(""),
) -> Head:
    """Write a new thread's row, with an empty log.

    Raises:
        AlreadyExists: the id was used for a thread that was deleted.
    """
    if is_deleted(tx, tenant, thread_id):
        raise AlreadyExists("deleted thread", thread_id)
    tx.run(
        "INSERT INTO threads (tenant, thread_id, title, labels, pinned, agent_id, model, instructions, context_json,"
        " status, revision, context_version, title_is_manual, first_sequence, head_hash, create_time, update_time,"
        " forked_from_thread_id) VALUES (:tenant, :thread, :title, :labels, :pinned, :agent, :model, :instructions,"
        " :context, :status, 1, :context_version, :manual, 1, :hash, :now, :now, :forked_from)",
        **settings_columns(settings),
        tenant=tenant,
        thread=thread_id,
        status=int(ThreadStatus.ACTIVE),
        context_version=1 if settings.context_json else 0,
        manual=int(manual_title),
        hash=NO_HASH,
        now=tx.now,
        forked_from=forked_from,
    )
    return Head(tenant, thread_id, 0, NO_HASH, RunId(""), ThreadStatus.ACTIVE, 1, 1)


def give_title(tx: Transaction, head: Head, title: str) -> ThreadUpdated:
    """Store an automatic title on a thread that has none; the event that says so."""
    settings = replace(get_thread(tx, head.tenant, head.thread_id).settings, title=title)
    tx.run(
        "UPDATE threads SET title = :title, revision = revision + 1 WHERE tenant = :tenant AND thread_id = :thread",
        title=title,
        tenant=head.tenant,
        thread=head.thread_id,
    )
    return ThreadUpdated(settings, ("title",), RUNTIME)


def settings_columns(settings: ThreadSettings) -> dict[str, object]:
    """Settings as parameters named after their columns."""
    return {
        "title": settings.title,
        "labels": json.dumps(dict(settings.labels)) if settings.labels else "",
        "pinned": int(settings.pinned),
        "agent": settings.agent_id,
        "model": settings.model,
        "instructions": settings.instructions,
        "context": settings.context_json,
    }


def _activity(lane_state: int | None, queued: int) -> ThreadActivity:
    if lane_state == RunState.WAITING:
        return ThreadActivity.WAITING
    return ThreadActivity.BUSY if lane_state is not None or queued else ThreadActivity.IDLE
