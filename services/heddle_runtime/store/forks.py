"""How a thread begins with the history of another (SEMANTICS 10): at a boundary between runs, with the whole base."""

from dataclasses import replace

from heddle_core.errors import AlreadyExists, Conflict
from heddle_core.ids import RunId, TenantId, ThreadId
from heddle_core.runtime_errors import CursorAhead, ForkNotAtBoundary
from heddle_core.values import value
from heddle_database.port import Transaction
from heddle_runtime.facade.commands import ForkThread
from heddle_runtime.store import requests
from heddle_runtime.store.log import LogWriter, draft
from heddle_runtime.store.marks import ENDS, MESSAGE_REDACTED, RUN_STARTED, TURN_REQUESTED, Mark, read_marks
from heddle_runtime.store.reads import load_fold, log_bounds
from heddle_runtime.store.thread_rows import get_thread, insert_thread
from heddle_runtime.threads.events import ThreadForked
from heddle_runtime.threads.fold_codec import encode
from heddle_runtime.threads.settings import Thread, ThreadSettings


@value
class ForkBase:
    """What a fork begins with, as read from its source."""

    source_thread_id: ThreadId
    sequence: int
    hash: bytes
    base: bytes
    settings: ThreadSettings
    seen_sequence: int
    """Where the source's log ended when this was read: a redaction since then makes it stale."""


def read_base(tx: Transaction, tenant: TenantId, source: ThreadId, at_sequence: int) -> ForkBase:
    """The state of a thread at the end of a run; for zero, of the run that ended last.

    Raises:
        ThreadNotFound: the tenant has no such thread.
        CursorAhead: the log does not reach that far.
        CursorTooOld: retention has removed what would be needed.
        ForkNotAtBoundary: the sequence lies inside a run.
    """
    last, first = log_bounds(tx, tenant, source)
    if at_sequence > last:
        raise CursorAhead(at_sequence, last)
    marks = read_marks(tx, tenant, source, (TURN_REQUESTED, RUN_STARTED, *ENDS), last, after=first - 1)
    stretches = free_stretches(marks, max(first - 1, 1), last)  # the base that retention leaves is a boundary, too
    sequence = at_sequence or _latest_end(marks, stretches)
    if not any(begin <= sequence <= end for begin, end in stretches):
        raise ForkNotAtBoundary(source, sequence, nearest(stretches, sequence))
    fold = load_fold(tx, tenant, source, sequence)
    return ForkBase(source, sequence, fold.head_hash, encode(fold), fold.settings, last)


def fork_thread(writer: LogWriter, command: ForkThread, base: ForkBase) -> Thread:
    """Make the fork, or find the one that this request made before.

    Raises:
        RequestIdReused: the request id was used for another fork.
        AlreadyExists: another request made a thread of this id.
        ThreadNotFound: the source was deleted meanwhile.
        Conflict: words of the source were redacted meanwhile.
    """
    tenant = command.caller.tenant
    known = requests.find(writer.tx, command.caller, command.key)
    if known is not None:
        return get_thread(writer.tx, tenant, known.thread_id)
    if writer.lock_if_any(tenant, command.thread_id) is not None:
        raise AlreadyExists("thread", command.thread_id)
    writer.lock(tenant, base.source_thread_id)  # or words could be redacted beside us
    last, _ = log_bounds(writer.tx, tenant, base.source_thread_id)
    if read_marks(writer.tx, tenant, base.source_thread_id, (MESSAGE_REDACTED,), last, after=base.seen_sequence):
        raise Conflict(f"thread {base.source_thread_id}")
    settings = replace(base.settings, title=command.title or base.settings.title, pinned=False)
    head = insert_thread(
        writer.tx,
        tenant,
        command.thread_id,
        settings,
        manual_title=bool(command.title) or _title_is_chosen(writer.tx, tenant, base),
        forked_from=base.source_thread_id,
    )
    forked = ThreadForked(
        source_thread_id=base.source_thread_id,
        source_sequence=base.sequence,
        source_hash=base.hash,
        base=base.base,
        settings=settings,
        actor=command.caller.actor,
    )
    writer.append(head, [draft(RunId(""), forked)])
    # The fold of a fork counts its context from zero, whatever the source had.
    writer.tx.run(
        "UPDATE threads SET context_version = 0 WHERE tenant = :tenant AND thread_id = :thread",
        tenant=tenant,
        thread=command.thread_id,
    )
    requests.remember(writer.tx, command.caller, command.key, thread_id=command.thread_id)
    return get_thread(writer.tx, tenant, command.thread_id)


def find_fork(tx: Transaction, command: ForkThread) -> Thread | None:
    """The fork that this request made before.

    Raises:
        RequestIdReused: the request id was used for another fork.
    """
    known = requests.find(tx, command.caller, command.key)
    return get_thread(tx, command.caller.tenant, known.thread_id) if known else None


def free_stretches(marks: list[Mark], first: int, last: int) -> list[tuple[int, int]]:
    """Where a thread can be forked, as first and last sequences, in order: at the end of a run, and while none is open.

    A turn that only waits in the queue does not keep the end of another run from being a boundary; it is not copied.
    """
    stretches: list[tuple[int, int]] = []
    requested: set[RunId] = set()
    started: set[RunId] = set()
    begin: int | None = first
    for mark in marks:
        if begin is not None and mark.sequence > begin:
            stretches.append((begin, mark.sequence - 1))
        begin = None
        if mark.kind == TURN_REQUESTED:
            requested.add(mark.run_id)
        elif mark.kind == RUN_STARTED:
            started.add(mark.run_id)
        else:
            requested.discard(mark.run_id)
            started.discard(mark.run_id)
            if not requested:
                begin = mark.sequence
            elif not started:
                stretches.append((mark.sequence, mark.sequence))
    if begin is not None and begin <= last:
        stretches.append((begin, last))
    return stretches


def nearest(stretches: list[tuple[int, int]], sequence: int) -> int:
    """The boundary that is nearest to a sequence, the earlier of two; zero: there is none."""
    points = [min(max(sequence, begin), end) for begin, end in stretches]
    return min(points, key=lambda point: (abs(point - sequence), point), default=0)


def _title_is_chosen(tx: Transaction, tenant: TenantId, base: ForkBase) -> bool:
    """Whether a person chose the title that a fork inherits; one that the source has no more counts as automatic."""
    chosen = tx.row(
        "SELECT 1 FROM threads WHERE tenant = :tenant AND thread_id = :thread AND title_is_manual = 1"
        " AND title = :title AND title <> ''",
        tenant=tenant,
        thread=base.source_thread_id,
        title=base.settings.title,
    )
    return chosen is not None


def _latest_end(marks: list[Mark], stretches: list[tuple[int, int]]) -> int:
    """The end of the last finished run with nothing at work behind it; without one, the latest boundary."""
    begins = {begin for begin, _ in stretches}
    for mark in reversed(marks):
        if mark.kind in ENDS and mark.sequence in begins:
            return mark.sequence
    return stretches[0][1] if stretches else 0
