"""Events that are looked up by kind, through the partial index `events_marks`: without their payloads, so quickly."""

from dataclasses import dataclass

from heddle.runtime.v1.event_pb2 import ThreadEvent
from heddle_core.ids import RunId, TenantId, ThreadId
from heddle_database.port import Transaction
from heddle_runtime.store.pages import placeholders

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

ENDS = (RUN_COMPLETED, RUN_FAILED, RUN_CANCELLED)
SAID = (TURN_REQUESTED, TURN_STEERED, ASSISTANT_MESSAGE_COMPLETED)

_KINDS = sorted((THREAD_FORKED, MESSAGE_REDACTED, RUN_STARTED, RUN_SUPERSEDED, *ENDS, *SAID))

MARKED = f"kind IN ({', '.join(map(str, _KINDS))})"
"""The index's own condition. SQLite uses a partial index only for a statement that says it in the very same words."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Where an event of some kind stands."""

    sequence: int
    kind: int
    run_id: RunId


def read_marks(
    tx: Transaction, tenant: TenantId, thread_id: ThreadId, kinds: tuple[int, ...], last: int, after: int = 0
) -> list[Mark]:
    """The marks of some kinds behind `after` and up to `last`, in order."""
    of_kinds, parameters = placeholders("kind", kinds)
    rows = tx.rows(
        f"SELECT sequence, kind, run_id FROM events WHERE tenant = :tenant AND thread_id = :thread AND kind {of_kinds}"
        f" AND {MARKED} AND sequence > :after AND sequence <= :last ORDER BY sequence",
        tenant=tenant,
        thread=thread_id,
        after=after,
        last=last,
        **parameters,
    )
    return [Mark(row[0], row[1], RunId(row[2])) for row in rows]
