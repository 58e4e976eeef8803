"""How the words of a message leave the log: payload bytes are replaced, digests stay, so the chain verifies.

They go from every place where this thread holds them: the event that says them and those that repeat them, every
summary that may tell of them, an automatic title, the run's row, and stored snapshots. A fork holds a copy of its own.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import heddle_runtime.threads.events as e
from heddle.runtime.v1 import run_pb2
from heddle_core.clock import Micros
from heddle_core.ids import MessageId, RunId, TenantId, ThreadId
from heddle_core.runtime_errors import MessageNotFound
from heddle_core.values import value
from heddle_database.port import Row, Transaction
from heddle_runtime.codec.codec import MAPPING, payload_value, stored_payload
from heddle_runtime.facade.commands import Message, RedactMessage
from heddle_runtime.facade.thread_commands import MessageRedaction
from heddle_runtime.facade.titles import automatic_title
from heddle_runtime.runs.run import RunResult
from heddle_runtime.store import requests
from heddle_runtime.store.log import LogWriter, draft
from heddle_runtime.store.marks import (
    CONTEXT_COMPACTED,
    MESSAGE_REDACTED,
    SAID,
    THREAD_CREATED,
    THREAD_FORKED,
    THREAD_UPDATED,
    marked_rows,
)
from heddle_runtime.store.messages import history_messages, message_of
from heddle_runtime.store.pages import placeholders
from heddle_runtime.store.reads import log_bounds, read_base, replace_base
from heddle_runtime.threads.fold_codec import decode, encode
from heddle_runtime.threads.fold_redactions import REDACTED, REDACTED_TEXT, silence_base, silent_summary, without_title

_COLUMNS = "sequence, run_id, commit_time, payload, redacted, kind"
_PAGE = 500


@value
class Located:
    """Where a message was found: read beforehand, so that the writer need not search."""

    sequence: int
    """Of the event that says it; zero: retention has removed that, and the log's base holds the message."""
    run_id: RunId


def locate(tx: Transaction, tenant: TenantId, thread_id: ThreadId, message_id: MessageId) -> Located:
    """Find a message in the log.

    Raises:
        ThreadNotFound: the tenant has no such thread.
        MessageNotFound: the thread has no such message.
    """
    last, first = log_bounds(tx, tenant, thread_id)
    for kind in (*SAID, THREAD_FORKED):
        end = last
        while True:
            rows = marked_rows(tx, _COLUMNS, (tenant, thread_id), (kind,), after=first - 1, last=end, newest=_PAGE)
            for row in rows:
                if _said_in(row, thread_id, message_id) is not None:
                    return Located(row[0], RunId(row[1]))
            if len(rows) < _PAGE:
                break
            end = rows[-1][0] - 1
    kept = _kept_in_base(tx, tenant, thread_id, message_id)
    if kept is None:
        raise MessageNotFound(message_id)
    return Located(0, kept.run_id)


def redact_message(writer: LogWriter, command: RedactMessage, located: Located) -> MessageRedaction:
    """Replace the words of a message wherever this thread holds them, and write that down, once.

    Raises:
        ThreadNotFound: it was deleted meanwhile.
        MessageNotFound: retention has removed its event meanwhile; asking again finds it in the base, if it is there.
        RequestIdReused: the request id was used for another redaction.
    """
    tenant, thread_id = command.caller.tenant, command.thread_id
    known = requests.find(writer.tx, command.caller, command.key)
    head = writer.lock(tenant, thread_id)
    message = _message(writer.tx, tenant, thread_id, command.message_id, located)
    if message is None:
        raise MessageNotFound(command.message_id)
    done = _redacted_before(writer.tx, tenant, thread_id, command.message_id)
    if not done:
        title = _title_of(writer.tx, tenant, thread_id, message)
        sequences = set(_silence_base(writer.tx, tenant, thread_id, message, title) if located.sequence == 0 else ())
        sequences |= set(_replace(writer, tenant, thread_id, command.message_id, title, located))
        sequences |= set(_replace_what_tells(writer, tenant, thread_id, title, located))
        _clear_result(writer, tenant, message.run_id, command.message_id)
        writer.tx.run(
            "DELETE FROM snapshots WHERE tenant = :tenant AND thread_id = :thread AND sequence <> :base",
            tenant=tenant,
            thread=thread_id,
            base=head.first_sequence - 1,
        )
        redacted = e.MessageRedacted(
            command.message_id,
            tuple(sorted(sequences)),
            command.note,
            command.caller.actor,
            title_redacted=_clear_title(writer, tenant, thread_id, title),
        )
        done = writer.append(head, [draft(RunId(""), redacted)])[0].sequence
    if known is None:
        requests.remember(writer.tx, command.caller, command.key, thread_id=thread_id)
    return MessageRedaction(replace(message, content=REDACTED, redacted=True), done)


def _said_in(row: Row, thread_id: ThreadId, message_id: MessageId) -> Message | None:
    payload = payload_value(row[3])
    if isinstance(payload, e.ThreadForked):
        return _among(history_messages(decode(payload.base, thread_id)), message_id)
    message = message_of(row[0], RunId(row[1]), Micros(row[2]), payload, bool(row[4]))
    return message if message and message.message_id == message_id else None


def _kept_in_base(tx: Transaction, tenant: TenantId, thread_id: ThreadId, message_id: MessageId) -> Message | None:
    base = read_base(tx, tenant, thread_id)
    return _among(history_messages(base), message_id) if base is not None else None


def _among(messages: list[Message], message_id: MessageId) -> Message | None:
    return next((each for each in messages if each.message_id == message_id), None)


def _message(
    tx: Transaction, tenant: TenantId, thread_id: ThreadId, message_id: MessageId, located: Located
) -> Message | None:
    if located.sequence == 0:
        return _kept_in_base(tx, tenant, thread_id, message_id)
    said = tx.row(
        f"SELECT {_COLUMNS} FROM events WHERE tenant = :tenant AND thread_id = :thread AND sequence = :sequence",
        tenant=tenant,
        thread=thread_id,
        sequence=located.sequence,
    )
    return _said_in(said, thread_id, message_id) if said else None


def _redacted_before(tx: Transaction, tenant: TenantId, thread_id: ThreadId, message_id: MessageId) -> int:
    """Sequence of the event that records an earlier redaction; zero: there was none."""
    last, _ = log_bounds(tx, tenant, thread_id)
    rows = marked_rows(tx, "sequence, payload", (tenant, thread_id), (MESSAGE_REDACTED,), last=last)
    for sequence, stored in rows:
        payload = payload_value(stored)
        if isinstance(payload, e.MessageRedacted) and payload.message_id == message_id:
            return sequence
    return 0


def _title_of(tx: Transaction, tenant: TenantId, thread_id: ThreadId, message: Message) -> str:
    """The title that the runtime would make of a message's words; empty: a person has chosen that very title."""
    words = automatic_title(message.content) if message.by_user else ""
    chosen = tx.row(
        "SELECT 1 FROM threads WHERE tenant = :tenant AND thread_id = :thread AND title_is_manual = 1"
        " AND title = :words",
        tenant=tenant,
        thread=thread_id,
        words=words,
    )
    return "" if chosen else words


def _silence_base(
    tx: Transaction, tenant: TenantId, thread_id: ThreadId, message: Message, title: str
) -> frozenset[int]:
    """Take the words out of the base with which the log begins; the sequences of removed events that held them."""
    base = read_base(tx, tenant, thread_id)
    if base is None:
        return frozenset()
    held = silence_base(base, message.message_id, title)
    replace_base(tx, tenant, thread_id, base.last_sequence, encode(base))
    return held


def _replace(
    writer: LogWriter, tenant: TenantId, thread_id: ThreadId, message_id: MessageId, title: str, located: Located
) -> Iterator[int]:
    """Put payloads without the words in the place of all that hold them: of the message's run from there on."""
    rows: Sequence[Row] = writer.tx.rows(
        f"SELECT {_COLUMNS} FROM events WHERE tenant = :tenant AND thread_id = :thread AND run_id = :run"
        " AND sequence >= COALESCE((SELECT MIN(request_sequence) FROM runs WHERE tenant = :tenant AND run_id = :run),"
        " :sequence)",
        tenant=tenant,
        thread=thread_id,
        run=located.run_id,
        sequence=located.sequence,
    )
    for row in rows:
        silent = without_words(payload_value(row[3]), message_id, title)
        if silent is not None:
            _store(writer, tenant, thread_id, row[0], silent)
            yield row[0]


def without_words(payload: e.Payload, message_id: MessageId, title: str) -> e.Payload | None:
    """The payload without the words of a message, or None where it does not hold them. Pure.

    `title` is what an automatic title says of them; empty: the thread may keep that title.
    """
    match payload:
        case e.TurnRequested() if payload.message_id == message_id:
            return replace(payload, turn=replace(payload.turn, content=REDACTED))
        case e.TurnSteered() | e.AssistantMessageCompleted() if payload.message_id == message_id:
            return replace(payload, content=REDACTED)
        case e.ReasoningRecorded() if payload.message_id == message_id:
            return replace(payload, text=REDACTED_TEXT)
        case e.RunCompleted() if payload.result.message_id == message_id:
            return replace(payload, result=replace(payload.result, parts=REDACTED, structured_json=""))
        case e.ThreadForked():
            base = decode(payload.base, payload.source_thread_id)
            said = _among(history_messages(base), message_id)
            if said is None:
                return None
            # Nobody sees the source's title here, so it may go even where a person chose it.
            silence_base(base, message_id, automatic_title(said.content))
            return replace(payload, base=encode(base), settings=without_title(payload.settings, title))
        case _:
            return None


def _replace_what_tells(
    writer: LogWriter, tenant: TenantId, thread_id: ThreadId, title: str, located: Located
) -> Iterator[int]:
    """Silence what tells of the message without being it: later summaries that reach over it, and automatic titles."""
    of_kinds, kinds = placeholders("kind", (THREAD_CREATED, THREAD_UPDATED, CONTEXT_COMPACTED))
    rows = writer.tx.rows(
        f"SELECT {_COLUMNS} FROM events WHERE tenant = :tenant AND thread_id = :thread AND kind {of_kinds}",
        tenant=tenant,
        thread=thread_id,
        **kinds,
    )
    for row in rows:
        match payload_value(row[3]):
            case e.ContextCompacted() as summary if summary.through_sequence >= located.sequence:
                _store(writer, tenant, thread_id, row[0], silent_summary(summary))
                yield row[0]
            case e.ThreadCreated() | e.ThreadUpdated() as told if title and told.settings.title == title:
                _store(writer, tenant, thread_id, row[0], replace(told, settings=without_title(told.settings, title)))
                yield row[0]
            case _:
                pass


def _clear_title(writer: LogWriter, tenant: TenantId, thread_id: ThreadId, title: str) -> bool:
    """Take a title out of the thread's row; whether it was there."""
    changed = title and writer.tx.run(
        "UPDATE threads SET title = :silent WHERE tenant = :tenant AND thread_id = :thread AND title = :title",
        silent=REDACTED_TEXT,
        tenant=tenant,
        thread=thread_id,
        title=title,
    )
    return bool(changed)


def _store(writer: LogWriter, tenant: TenantId, thread_id: ThreadId, sequence: int, payload: e.Payload) -> None:
    writer.tx.run(
        "UPDATE events SET payload = :payload, redacted = 1 WHERE tenant = :tenant AND thread_id = :thread"
        " AND sequence = :sequence",
        payload=stored_payload(payload),
        tenant=tenant,
        thread=thread_id,
        sequence=sequence,
    )


def _clear_result(writer: LogWriter, tenant: TenantId, run_id: RunId, message_id: MessageId) -> None:
    """A run's row repeats what it answered."""
    row = writer.tx.row("SELECT result FROM runs WHERE tenant = :tenant AND run_id = :run", tenant=tenant, run=run_id)
    if row is None or not row[0]:
        return
    result = MAPPING.decode(RunResult, run_pb2.RunResult.FromString(row[0]))
    if result.message_id == message_id:
        silent = replace(result, parts=REDACTED, structured_json="")
        writer.tx.run(
            "UPDATE runs SET result = :result WHERE tenant = :tenant AND run_id = :run",
            result=MAPPING.encode(silent).SerializeToString(),
            tenant=tenant,
            run=run_id,
        )
