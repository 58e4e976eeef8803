"""The messages of a thread, read from its events by kind: without loading the thread.

The history is its runs in the order of RunStarted, not the order of the log (SEMANTICS 10): a turn that waited in the
queue stands behind the answer that it waited for.
"""

from collections.abc import Iterator

import heddle_runtime.threads.events as e
from heddle_core.clock import Micros
from heddle_core.errors import invalid
from heddle_core.ids import RunId, TenantId, ThreadId
from heddle_core.runtime_errors import CursorAhead, CursorTooOld
from heddle_database.port import Row, Transaction
from heddle_runtime.codec.codec import payload_value
from heddle_runtime.facade.commands import Message
from heddle_runtime.facade.page_commands import Cursor, Listing
from heddle_runtime.facade.thread_commands import ListMessages
from heddle_runtime.store.marks import (
    RUN_CANCELLED,
    RUN_STARTED,
    RUN_SUPERSEDED,
    SAID,
    THREAD_FORKED,
    marked_rows,
)
from heddle_runtime.store.reads import log_bounds, read_base
from heddle_runtime.threads.fold_codec import decode
from heddle_runtime.threads.state import ThreadFold, UserSaid

_COLUMNS = "sequence, run_id, commit_time, payload, redacted"
_RUNS_AT_ONCE = 50


def list_messages(tx: Transaction, command: ListMessages) -> Listing[Message]:
    """A page of messages, newest first: of the history, or of the whole log with `include_dropped`.

    Raises:
        ThreadNotFound: the tenant has no such thread.
        CursorAhead: the log does not reach as far as `at_sequence`.
        CursorTooOld: retention has removed what would be needed.
        InvalidField: the cursor is of another list.
    """
    last, first = log_bounds(tx, command.tenant, command.thread_id)
    if command.at_sequence > last:
        raise CursorAhead(command.at_sequence, last)
    if command.at_sequence and command.at_sequence + 1 < first:
        raise CursorTooOld(command.at_sequence, first)
    after = command.page.after
    if after and (len(after) != 2 or not all(isinstance(each, int) and 0 <= each < 2**63 for each in after)):
        raise invalid("page_token", "send the token that this very list gave, with the same filters")
    end = command.at_sequence or last
    found = (_every_message if command.include_dropped else _history)(tx, command, first, end)
    items: list[Message] = []
    cursors: list[Cursor] = []
    for cursor, message in found:
        if len(items) == command.page.size:
            return Listing(tuple(items), tuple(cursors), cursors[-1])
        items.append(message)
        cursors.append(cursor)
    return Listing(tuple(items), tuple(cursors))


def message_of(sequence: int, run_id: RunId, commit_time: Micros, payload: e.Payload, redacted: bool) -> Message | None:
    """The message that an event holds, if it holds one."""
    match payload:
        case e.TurnRequested():
            said, content, by_user, incomplete = payload.message_id, payload.turn.content, True, False
        case e.TurnSteered():
            said, content, by_user, incomplete = payload.message_id, payload.content, True, False
        case e.AssistantMessageCompleted():
            said, content, by_user, incomplete = payload.message_id, payload.content, False, payload.incomplete
        case _:
            return None
    return Message(said, run_id, sequence, by_user, content, incomplete, redacted, commit_time)


def history_messages(state: ThreadFold) -> list[Message]:
    """The messages of a state with which a log begins, oldest first; those a fork has inherited have their source's
    sequences.
    """
    return [
        Message(
            message_id=said.message_id,
            run_id=exchange.run_id,
            sequence=said.sequence,
            by_user=isinstance(said, UserSaid),
            content=said.parts,
            incomplete=not isinstance(said, UserSaid) and said.incomplete,
            redacted=said.redacted,
            create_time=said.time,
        )
        for exchange in state.history
        for said in exchange.messages
    ]


def _every_message(tx: Transaction, command: ListMessages, first: int, end: int) -> Iterator[tuple[Cursor, Message]]:
    after = command.page.after
    last = min(end, (int(after[1]) - 1) * int(after[0] != 0)) if after else end
    newest = command.page.size + 1
    rows = marked_rows(tx, _COLUMNS, _place(command), SAID, after=first - 1, last=last, newest=newest)
    for row in rows:
        yield (1, row[0]), _message(row)
    if len(rows) <= command.page.size:
        yield from _inherited(tx, command, frozenset())


def _history(tx: Transaction, command: ListMessages, first: int, end: int) -> Iterator[tuple[Cursor, Message]]:
    """Messages by the start of their run, then by their place in the log, both backwards."""
    dropped = _dropped(tx, command, end)
    after = command.page.after
    start, place = (int(after[0]), int(after[1])) if after else (end + 1, 0)
    until = end
    for run_id, began in _starts(tx, command, first, min(start, end)):
        if run_id not in dropped:
            for row in reversed(_said(tx, command, run_id, until)):
                if began < start or row[0] < place:
                    yield (began, row[0]), _message(row)
        until = began  # A run has said everything before the next one starts.
    yield from _inherited(tx, command, dropped)


def _inherited(tx: Transaction, command: ListMessages, dropped: frozenset[RunId]) -> Iterator[tuple[Cursor, Message]]:
    """What stands before the log's first event, behind all of its own: of a fork's source, or what retention has kept.

    The cursor is (0, place).
    """
    base = read_base(tx, command.tenant, command.thread_id) or _forked_base(tx, command)
    if base is None:
        return
    messages = history_messages(base)
    after = command.page.after
    before = int(after[1]) if after and after[0] == 0 else len(messages)
    for place in reversed(range(min(before, len(messages)))):
        if messages[place].run_id not in dropped:
            yield (0, place), messages[place]


def _forked_base(tx: Transaction, command: ListMessages) -> ThreadFold | None:
    rows = marked_rows(tx, "sequence, payload", _place(command), (THREAD_FORKED,), last=1)
    payload = payload_value(rows[0][1]) if rows else None
    return decode(payload.base, command.thread_id) if isinstance(payload, e.ThreadForked) else None


def _starts(tx: Transaction, command: ListMessages, first: int, last: int) -> Iterator[tuple[RunId, int]]:
    """Runs with the sequences of their first RunStarted, the latest first; a run that was claimed again counts once.

    All claims of a run stand together, because it keeps the lane from the first to its end.
    """
    pending: tuple[RunId, int] | None = None
    place = _place(command)
    while last >= first:
        rows = marked_rows(
            tx, "sequence, run_id", place, (RUN_STARTED,), after=first - 1, last=last, newest=_RUNS_AT_ONCE
        )
        for sequence, run_id in rows:
            if pending is not None and pending[0] != run_id:
                yield pending
            pending = (RunId(run_id), sequence)
        if len(rows) < _RUNS_AT_ONCE:
            break
        last = rows[-1][0] - 1
    if pending is not None:
        yield pending


def _said(tx: Transaction, command: ListMessages, run_id: RunId, end: int) -> list[Row]:
    """The events in which a run's messages stand, in order, up to a sequence."""
    row = tx.row(
        "SELECT request_sequence FROM runs WHERE tenant = :tenant AND run_id = :run", tenant=command.tenant, run=run_id
    )
    return marked_rows(tx, _COLUMNS, _place(command), SAID, after=row[0] - 1 if row else 0, last=end, run_id=run_id)


def _dropped(tx: Transaction, command: ListMessages, end: int) -> frozenset[RunId]:
    """Runs that had left the history by then: rolled back, or superseded."""
    rows = marked_rows(tx, "sequence, run_id, payload", _place(command), (RUN_CANCELLED, RUN_SUPERSEDED), last=end)
    dropped: set[RunId] = set()
    for _, run_id, stored in rows:
        match payload_value(stored):
            case e.RunCancelled(rolled_back=True):
                dropped.add(RunId(run_id))
            case e.RunSuperseded(superseded_run_id=superseded):
                dropped.add(superseded)
            case _:
                pass
    return frozenset(dropped)


def _place(command: ListMessages) -> tuple[TenantId, ThreadId]:
    return command.tenant, command.thread_id


def _message(row: Row) -> Message:
    message = message_of(row[0], RunId(row[1]), Micros(row[2]), payload_value(row[3]), bool(row[4]))
    assert message is not None, "the statement asked for messages alone"
    return message
