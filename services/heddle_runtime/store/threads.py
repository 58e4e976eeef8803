"""How threads are made, changed and archived: each change is an event, and the row follows the fold's rules."""

import json
from dataclasses import replace

from heddle_core.errors import AlreadyExists, EtagMismatch
from heddle_core.ids import RunId, TenantId, ThreadId
from heddle_database.port import Transaction
from heddle_runtime.facade.commands import Caller, CreateThread, RequestKey, UpdateThread
from heddle_runtime.facade.thread_commands import ArchiveThread, ThreadsArchived
from heddle_runtime.runs.content import Actor
from heddle_runtime.store import requests
from heddle_runtime.store.log import LogWriter, draft
from heddle_runtime.store.thread_rows import get_thread, insert_thread, settings_columns
from heddle_runtime.threads.events import ThreadArchived, ThreadCreated, ThreadUnarchived, ThreadUpdated
from heddle_runtime.threads.settings import Thread, ThreadSettings, ThreadStatus


def create_thread(writer: LogWriter, command: CreateThread) -> Thread:
    """Make a thread, or find the one that this request made before.

    Raises:
        RequestIdReused: the request id was used for another thread.
        ThreadNotFound: this request's thread was deleted since.
        AlreadyExists: another request made a thread of this id.
    """
    tenant = command.caller.tenant
    known = requests.find(writer.tx, command.caller, command.key)
    if known is not None:
        return get_thread(writer.tx, tenant, known.thread_id)
    if writer.lock_if_any(tenant, command.thread_id) is not None:
        raise AlreadyExists("thread", command.thread_id)
    settings = command.settings
    head = insert_thread(writer.tx, tenant, command.thread_id, settings, manual_title=bool(settings.title))
    writer.append(head, [draft(RunId(""), ThreadCreated(settings, command.caller.actor))])
    requests.remember(writer.tx, command.caller, command.key, thread_id=command.thread_id)
    return get_thread(writer.tx, tenant, command.thread_id)


def update_thread(writer: LogWriter, command: UpdateThread) -> Thread:
    """Change the settings that the command names.

    Raises:
        ThreadNotFound, RequestIdReused.
        EtagMismatch: the thread, or its context, was changed since the caller read it.
    """
    tenant = command.caller.tenant
    known = requests.find(writer.tx, command.caller, command.key)
    if known is not None:
        return get_thread(writer.tx, tenant, known.thread_id)
    head = writer.lock(tenant, command.thread_id)
    thread = get_thread(writer.tx, tenant, command.thread_id)
    _require_versions(thread, command)
    settings = replace(thread.settings, **{name: getattr(command.settings, name) for name in command.fields})
    changed = _changed(writer, thread, settings, command.fields)
    if command.validate_only:
        return _as_it_would_be(thread, settings, changed)
    if changed:
        writer.append(head, [draft(RunId(""), ThreadUpdated(settings, changed, command.caller.actor))])
        _store_settings(writer, thread, settings, changed)
    requests.remember(writer.tx, command.caller, command.key, thread_id=command.thread_id)
    return get_thread(writer.tx, tenant, command.thread_id)


def archive_thread(writer: LogWriter, command: ArchiveThread) -> Thread:
    """Have a thread take no turns, or take them again; one that is so already is left as it is.

    Raises:
        ThreadNotFound, RequestIdReused.
    """
    tenant = command.caller.tenant
    known = requests.find(writer.tx, command.caller, command.key)
    if known is None:
        if not set_archived(writer, tenant, command.thread_id, command.archived, command.caller.actor):
            writer.lock(tenant, command.thread_id)
        requests.remember(writer.tx, command.caller, command.key, thread_id=command.thread_id)
    return get_thread(writer.tx, tenant, command.thread_id)


def set_archived(writer: LogWriter, tenant: TenantId, thread_id: ThreadId, archived: bool, actor: Actor) -> bool:
    """Archive or unarchive a thread; whether there is one."""
    head = writer.lock_if_any(tenant, thread_id)
    if head is None:
        return False
    wanted = ThreadStatus.ARCHIVED if archived else ThreadStatus.ACTIVE
    if head.status is not wanted:
        payload = ThreadArchived(actor) if archived else ThreadUnarchived(actor)
        writer.append(head, [draft(RunId(""), payload)])
        writer.tx.run(
            "UPDATE threads SET status = :status, revision = revision + 1"
            " WHERE tenant = :tenant AND thread_id = :thread",
            status=int(wanted),
            tenant=tenant,
            thread=thread_id,
        )
    return True


def find_answered(tx: Transaction, caller: Caller, key: RequestKey) -> Thread | None:
    """The thread that this very request made or changed before.

    Raises:
        RequestIdReused: the request id was used for something else.
        ThreadNotFound: that thread was deleted since.
    """
    known = requests.find(tx, caller, key)
    return get_thread(tx, caller.tenant, known.thread_id) if known else None


def find_batch(tx: Transaction, caller: Caller, key: RequestKey) -> ThreadsArchived | None:
    """What a batch of archivings was answered the first time.

    Raises:
        RequestIdReused: the request id was used for other threads.
    """
    known = requests.find(tx, caller, key)
    if known is None:
        return None
    kept = json.loads(known.response)
    return ThreadsArchived(tuple(kept["archived"]), tuple(kept["unknown"]))


def remember_batch(writer: LogWriter, caller: Caller, key: RequestKey, answer: ThreadsArchived) -> ThreadsArchived:
    """Keep what a batch of archivings is answered, unless the same request was answered meanwhile."""
    known = find_batch(writer.tx, caller, key)
    if known is not None:
        return known
    response = json.dumps({"archived": answer.archived, "unknown": answer.unknown}).encode()
    requests.remember(writer.tx, caller, key, response=response)
    return answer


def _require_versions(thread: Thread, command: UpdateThread) -> None:
    if command.etag and command.etag != str(thread.revision):
        raise EtagMismatch("Thread", thread.thread_id, command.etag, str(thread.revision))
    if command.context_version and command.context_version != thread.context_version:
        given, current = str(command.context_version), str(thread.context_version)
        raise EtagMismatch("The context of thread", thread.thread_id, given, current)


def _changed(writer: LogWriter, thread: Thread, settings: ThreadSettings, fields: tuple[str, ...]) -> tuple[str, ...]:
    """The named settings that differ; the title also when a person confirms an automatic one, which keeps it."""
    confirmed = "title" in fields and not _title_is_manual(writer, thread)
    return tuple(
        name
        for name in fields
        if getattr(settings, name) != getattr(thread.settings, name) or (name == "title" and confirmed)
    )


def _title_is_manual(writer: LogWriter, thread: Thread) -> bool:
    row = writer.tx.row(
        "SELECT title_is_manual FROM threads WHERE tenant = :tenant AND thread_id = :thread",
        tenant=thread.tenant,
        thread=thread.thread_id,
    )
    return bool(row and row[0])


def _as_it_would_be(thread: Thread, settings: ThreadSettings, changed: tuple[str, ...]) -> Thread:
    return replace(
        thread,
        settings=settings,
        revision=thread.revision + bool(changed),
        context_version=thread.context_version + ("context_json" in changed),
    )


def _store_settings(writer: LogWriter, thread: Thread, settings: ThreadSettings, changed: tuple[str, ...]) -> None:
    writer.tx.run(
        "UPDATE threads SET title = :title, labels = :labels, pinned = :pinned, agent_id = :agent, model = :model,"
        " instructions = :instructions, context_json = :context, revision = revision + 1,"
        " context_version = context_version + :more, title_is_manual = CASE WHEN :manual = 1 THEN 1"
        " ELSE title_is_manual END WHERE tenant = :tenant AND thread_id = :thread",
        **settings_columns(settings),
        more=int("context_json" in changed),
        manual=int("title" in changed),
        tenant=thread.tenant,
        thread=thread.thread_id,
    )
