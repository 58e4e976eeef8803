"""How the words of a message leave the log: payload bytes are replaced, digests stay, so the chain verifies."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import heddle_runtime.threads.events as e
from heddle.runtime.v1 import run_pb2
from heddle_core.clock import Micros
from heddle_core.errors import MessageNotFound
from heddle_core.ids import MessageId, RunId, TenantId, ThreadId
from heddle_database.port import Row, Transaction
from heddle_runtime.codec.codec import MAPPING, payload_value, stored_payload
from heddle_runtime.facade.commands import Message, RedactMessage
from heddle_runtime.facade.thread_commands import MessageRedaction
from heddle_runtime.runs.run import RunResult
from heddle_runtime.store import requests
from heddle_runtime.store.log import LogWriter, draft
from heddle_runtime.store.marks import (
    MESSAGE_REDACTED,
    SAID,
    THREAD_CREATED,
    THREAD_FORKED,
    THREAD_UPDATED,
    TURN_REQUESTED,
    marked_rows,
)
from heddle_runtime.store.messages import base_messages, message_of
from heddle_runtime.store.pages import placeholders
from heddle_runtime.store.reads import log_bounds
from heddle_runtime.threads.fold import REDACTED, apply
from heddle_runtime.threads.fold_codec import decode, encode

_COLUMNS = "sequence, run_id, commit_time, payload, redacted, kind"
_PAGE = 500


@dataclass(frozen=True, slots=True)
class Located:
    """Where a message was found: read beforehand, so that the writer need not search."""

    sequence: int
    """Of the event that says it."""
    run_id: RunId


def locate(tx: Transaction, tenant: TenantId, thread_id: ThreadId, message_id: MessageId) -> Located:
    """Find a message in the log.

    Raises:
        ThreadNotFound: the tenant has no such thread.
        MessageNotFound: the thread has no such message.
    """
    last, _ = log_bounds(tx, tenant, thread_id)
    for kind in (*SAID, THREAD_FORKED):
        end = last
        while True:
            rows = marked_rows(tx, _COLUMNS, (tenant, thread_id), (kind,), last=end, newest=_PAGE)
            for row in rows:
                if _said_in(row, thread_id, message_id) is not None:
                    return Located(row[0], RunId(row[1]))
            if len(rows) < _PAGE:
                break
            end = rows[-1][0] - 1
    raise MessageNotFound(message_id)


def redact_message(writer: LogWriter, command: RedactMessage, located: Located) -> MessageRedaction:
    """Replace the words of a message wherever this thread holds them, and write that down, once.

    Raises:
        ThreadNotFound, MessageNotFound: they were deleted meanwhile.
        RequestIdReused: the request id was used for another redaction.
    """
    tenant, thread_id = command.caller.tenant, command.thread_id
    known = requests.find(writer.tx, command.caller, command.key)
    head = writer.lock(tenant, thread_id)
    said = _event(writer.tx, tenant, thread_id, located.sequence)
    message = _said_in(said, thread_id, command.message_id) if said else None
    if message is None:
        raise MessageNotFound(command.message_id)
    done = _redacted_before(writer.tx, tenant, thread_id, command.message_id)
    if not done:
        sequences = _replace(writer, tenant, thread_id, command.message_id, located)
        _forget_title(writer, tenant, thread_id, located, sequences)
        _clear_result(writer, tenant, located.run_id, command.message_id)
        writer.tx.run(
            "DELETE FROM snapshots WHERE tenant = :tenant AND thread_id = :thread", tenant=tenant, thread=thread_id
        )
        redacted = e.MessageRedacted(command.message_id, tuple(sorted(sequences)), command.note, command.caller.actor)
        done = writer.append(head, [draft(RunId(""), redacted)])[0].sequence
    if known is None:
        requests.remember(writer.tx, command.caller, command.key, thread_id=thread_id)
    return MessageRedaction(replace(message, content=REDACTED, redacted=True), done)


def _said_in(row: Row, thread_id: ThreadId, message_id: MessageId) -> Message | None:
    payload = payload_value(row[3])
    if isinstance(payload, e.ThreadForked):
        return next((each for each in base_messages(payload, thread_id) if each.message_id == message_id), None)
    message = message_of(row[0], RunId(row[1]), Micros(row[2]), payload, bool(row[4]))
    return message if message and message.message_id == message_id else None


def _event(tx: Transaction, tenant: TenantId, thread_id: ThreadId, sequence: int) -> Row | None:
    return tx.row(
        f"SELECT {_COLUMNS} FROM events WHERE tenant = :tenant AND thread_id = :thread AND sequence = :sequence",
        tenant=tenant,
        thread=thread_id,
        sequence=sequence,
    )


def _redacted_before(tx: Transaction, tenant: TenantId, thread_id: ThreadId, message_id: MessageId) -> int:
    """Sequence of the event that records an earlier redaction; zero: there was none."""
    last, _ = log_bounds(tx, tenant, thread_id)
    rows = marked_rows(tx, "sequence, payload", (tenant, thread_id), (MESSAGE_REDACTED,), last=last)
    for sequence, stored in rows:
        payload = payload_value(stored)
        if isinstance(payload, e.MessageRedacted) and payload.message_id == message_id:
            return sequence
    return 0


def _replace(
    writer: LogWriter, tenant: TenantId, thread_id: ThreadId, message_id: MessageId, located: Located
) -> list[int]:
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
    sequences: list[int] = []
    for row in rows:
        silent = without_words(payload_value(row[3]), message_id)
        if silent is not None:
            _store(writer, tenant, thread_id, row[0], silent)
            sequences.append(row[0])
    return sequences


def without_words(payload: e.Payload, message_id: MessageId) -> e.Payload | None:
    """The payload without the words of a message, or None where it does not hold them. Pure."""
    match payload:
        case e.TurnRequested() if payload.message_id == message_id:
            return replace(payload, turn=replace(payload.turn, content=REDACTED))
        case e.TurnSteered() | e.AssistantMessageCompleted() if payload.message_id == message_id:
            return replace(payload, content=REDACTED)
        case e.ReasoningRecorded() if payload.message_id == message_id:
            return replace(payload, text="[redacted]")
        case e.RunCompleted() if payload.result.message_id == message_id:
            return replace(payload, result=replace(payload.result, parts=REDACTED, structured_json=""))
        case e.ThreadForked():
            return _base_without_words(payload, message_id)
        case _:
            return None


def _base_without_words(payload: e.ThreadForked, message_id: MessageId) -> e.Payload:
    """The fork with a base in which the message is redacted, by the fold's own rule."""
    base = decode(payload.base, payload.source_thread_id)
    sequence = base.last_sequence + 1
    redaction = e.MessageRedacted(message_id, (), "", payload.actor)
    apply(base, e.Event(sequence, RunId(""), base.update_time, redaction, base.head_hash))
    return replace(payload, base=encode(base))


def _store(writer: LogWriter, tenant: TenantId, thread_id: ThreadId, sequence: int, payload: e.Payload) -> None:
    writer.tx.run(
        "UPDATE events SET payload = :payload, redacted = 1 WHERE tenant = :tenant AND thread_id = :thread"
        " AND sequence = :sequence",
        payload=stored_payload(payload),
        tenant=tenant,
        thread=thread_id,
        sequence=sequence,
    )


def _forget_title(
    writer: LogWriter, tenant: TenantId, thread_id: ThreadId, located: Located, sequences: list[int]
) -> None:
    """An automatic title is made of the words of the first turn, and goes with them."""
    turns = marked_rows(writer.tx, "sequence", (tenant, thread_id), (TURN_REQUESTED,), last=located.sequence)
    thread = writer.tx.row(
        "SELECT title, title_is_manual FROM threads WHERE tenant = :tenant AND thread_id = :thread",
        tenant=tenant,
        thread=thread_id,
    )
    is_first = bool(turns) and turns[0][0] == located.sequence
    if not is_first or thread is None or thread[1] or not thread[0]:
        return
    of_kinds, kinds = placeholders("kind", (THREAD_CREATED, THREAD_UPDATED))
    rows = writer.tx.rows(
        f"SELECT {_COLUMNS} FROM events WHERE tenant = :tenant AND thread_id = :thread AND kind {of_kinds}",
        tenant=tenant,
        thread=thread_id,
        **kinds,
    )
    for row in rows:
        payload = payload_value(row[3])
        if isinstance(payload, e.ThreadCreated | e.ThreadUpdated) and payload.settings.title == thread[0]:
            untitled = replace(payload, settings=replace(payload.settings, title="[redacted]"))
            _store(writer, tenant, thread_id, row[0], untitled)
            sequences.append(row[0])
    writer.tx.run(
        "UPDATE threads SET title = '[redacted]' WHERE tenant = :tenant AND thread_id = :thread",
        tenant=tenant,
        thread=thread_id,
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
