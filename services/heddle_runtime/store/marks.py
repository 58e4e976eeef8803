"""Events that are looked up by kind, through the partial index `events_marks`: without their payloads, so quickly."""

from collections.abc import Iterable

from heddle.runtime.v1.event_pb2 import ThreadEvent
from heddle_core.ids import RunId, TenantId, ThreadId
from heddle_core.values import value
from heddle_database.port import Row, Transaction

THREAD_CREATED = ThreadEvent.THREAD_CREATED_FIELD_NUMBER
THREAD_UPDATED = ThreadEvent.THREAD_UPDATED_FIELD_NUMBER
THREAD_FORKED = ThreadEvent.THREAD_FORKED_FIELD_NUMBER
MESSAGE_REDACTED = ThreadEvent.MESSAGE_REDACTED_FIELD_NUMBER
TURN_REQUESTED = ThreadEvent.TURN_REQUESTED_FIELD_NUMBER
TURN_STEERED = ThreadEvent.TURN_STEERED_FIELD_NUMBER
RUN_STARTED = ThreadEvent.RUN_STARTED_FIELD_NUMBER
RUN_COMPLETED = ThreadEvent.RUN_COMPLETED_FIELD_NUMBER
RUN_FAILED = ThreadEvent.RUN_FAILED_FIELD_NUMBER
RUN_CANCELLED = ThreadEvent.RUN_CANCELLED_FIELD_NUMBER
RUN_SUPERSEDED = ThreadEvent.RUN_SUPERSEDED_FIELD_NUMBER
ASSISTANT_MESSAGE_COMPLETED = ThreadEvent.ASSISTANT_MESSAGE_COMPLETED_FIELD_NUMBER
PLAN_PROPOSED = ThreadEvent.PLAN_PROPOSED_FIELD_NUMBER
PLAN_REVISED = ThreadEvent.PLAN_REVISED_FIELD_NUMBER
CONTEXT_COMPACTED = ThreadEvent.CONTEXT_COMPACTED_FIELD_NUMBER

ENDS = (RUN_COMPLETED, RUN_FAILED, RUN_CANCELLED)
SAID = (TURN_REQUESTED, TURN_STEERED, ASSISTANT_MESSAGE_COMPLETED)

_KINDS = sorted((THREAD_FORKED, MESSAGE_REDACTED, RUN_STARTED, RUN_SUPERSEDED, *ENDS, *SAID))

MARKED = f"kind IN ({', '.join(map(str, _KINDS))})"
"""The index's own condition. SQLite uses a partial index only for a statement that says it in the very same words."""


@value
class Mark:
    """Where an event of some kind stands."""

    sequence: int
    kind: int
    run_id: RunId


def marked_rows(
    tx: Transaction,
    columns: str,
    place: tuple[TenantId, ThreadId],
    kinds: Iterable[int],
    *,
    after: int = 0,
    last: int,
    run_id: RunId = RunId(""),
    newest: int = 0,
) -> list[Row]:
    """Events of some kinds behind `after` and up to `last`, in order; of one run, if it is named.

    With `newest`, no more than so many, the newest first. The first of `columns` is the sequence.
    """
    statement = marked_statement(columns, of_run=bool(run_id), newest=bool(newest))
    rows: list[Row] = []
    for kind in kinds:
        rows += tx.rows(
            statement,
            tenant=place[0],
            thread=place[1],
            kind=kind,
            after=after,
            last=last,
            **({"run": run_id} if run_id else {}),
            **({"newest": newest} if newest else {}),
        )
    rows.sort(key=lambda row: row[0], reverse=bool(newest))
    return rows[:newest] if newest else rows


def marked_statement(columns: str, *, of_run: bool, newest: bool) -> str:
    """The statement of `marked_rows` for one kind.

    The inner one needs the index alone and gets its order from it; only the rows that are wanted are looked up then.
    Said in one, SQLite would rather walk through all events of the thread.
    """
    run = " AND run_id = :run" if of_run else ""
    order = " ORDER BY sequence DESC LIMIT :newest" if newest else ""
    return (
        f"SELECT {columns} FROM events WHERE tenant = :tenant AND thread_id = :thread AND sequence IN"
        " (SELECT sequence FROM events WHERE tenant = :tenant AND thread_id = :thread AND kind = :kind"
        f" AND {MARKED} AND sequence > :after AND sequence <= :last{run}{order})"
    )


def read_marks(
    tx: Transaction, tenant: TenantId, thread_id: ThreadId, kinds: Iterable[int], last: int, after: int = 0
) -> list[Mark]:
    """The marks of some kinds behind `after` and up to `last`, in order."""
    rows = marked_rows(tx, "sequence, kind, run_id", (tenant, thread_id), kinds, after=after, last=last)
    return [Mark(row[0], row[1], RunId(row[2])) for row in rows]
