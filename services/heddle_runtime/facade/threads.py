"""Threads as callers use them: made, found, changed, forked, deleted, read and watched."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from datetime import timedelta
from typing import Protocol

from heddle_core.ids import Ids, RunId, TenantId, ThreadId
from heddle_core.runtime_errors import CursorAhead, CursorTooOld, StreamRotated, ThreadUnfinished
from heddle_runtime.facade.agents import Agents
from heddle_runtime.facade.commands import (
    Caller,
    CreateThread,
    ForkThread,
    Message,
    RedactMessage,
    RequestKey,
    UpdateThread,
)
from heddle_runtime.facade.page_commands import Listing, Page
from heddle_runtime.facade.thread_commands import (
    ArchiveThread,
    ArchiveThreads,
    DeleteThread,
    ListMessages,
    ListThreads,
    MessageRedaction,
    ThreadDeleted,
    ThreadsArchived,
    ThreadVerified,
)
from heddle_runtime.facade.turns import ModelDirectory
from heddle_runtime.facade.waiting import Doorbells, rung
from heddle_runtime.runs.content import Actor
from heddle_runtime.runs.turn import AgentReference
from heddle_runtime.threads.events import Event
from heddle_runtime.threads.settings import Thread, ThreadSettings

DELETE_PATIENCE = timedelta(seconds=5)
"""How long DeleteThread waits for the runs that it has cancelled; half of what a cancel may take at most (P13)."""

WATCH_AGE = timedelta(minutes=15)
"""After which a stream of changes is to be opened anew (SEMANTICS 23)."""

_AT_ONCE = 20
"""Threads of a batch that are archived together; they share a commit."""
_MOST_CHANGED = 200
"""Threads of one frame."""


class ThreadSource(Protocol):
    """What is asked of the store; see `store.thread_store.ThreadStore`."""

    async def create_thread(self, command: CreateThread) -> Thread:
        """Make a thread."""
        ...

    async def find_answered(self, caller: Caller, key: RequestKey) -> Thread | None:
        """The thread that this very request made or changed before. Raises RequestIdReused, ThreadNotFound."""
        ...

    async def get_thread(self, tenant: TenantId, thread_id: ThreadId) -> Thread:
        """A thread by its id. Raises ThreadNotFound."""
        ...

    async def get_threads(self, tenant: TenantId, thread_ids: frozenset[ThreadId]) -> tuple[Thread, ...]:
        """Those of the named threads that exist."""
        ...

    async def list_threads(self, command: ListThreads) -> Listing[Thread]:
        """A page of threads."""
        ...

    async def update_thread(self, command: UpdateThread) -> Thread:
        """Change settings."""
        ...

    async def archive_thread(self, command: ArchiveThread) -> Thread:
        """Archive or unarchive."""
        ...

    async def set_archived(self, tenant: TenantId, thread_id: ThreadId, actor: Actor) -> bool:
        """Archive a thread as part of a batch; whether there is one."""
        ...

    async def find_batch(self, caller: Caller, key: RequestKey) -> ThreadsArchived | None:
        """What a batch was answered the first time. Raises RequestIdReused."""
        ...

    async def remember_batch(self, caller: Caller, key: RequestKey, answer: ThreadsArchived) -> ThreadsArchived:
        """Keep what a batch is answered."""
        ...

    async def fork_thread(self, command: ForkThread) -> Thread:
        """Make a fork. The base is read beforehand, so that the writer need not fold."""
        ...

    async def find_deletion(self, command: DeleteThread) -> ThreadDeleted | None:
        """What an earlier deletion by this request has left. Raises RequestIdReused."""
        ...

    async def begin_deletion(self, command: DeleteThread) -> tuple[RunId, ...]:
        """Archive a thread and cancel its runs; those that have not ended at once. Raises ThreadNotFound."""
        ...

    async def delete_thread(self, command: DeleteThread) -> ThreadDeleted:
        """Remove a thread. Raises ThreadUnfinished while a run has not ended."""
        ...

    async def list_messages(self, command: ListMessages) -> Listing[Message]:
        """A page of messages."""
        ...

    async def read_events(
        self, tenant: TenantId, thread_id: ThreadId, after: int, limit: int, run_id: RunId
    ) -> tuple[tuple[Event, ...], int, int]:
        """Events after a sequence, oldest first."""
        ...

    async def redact_message(self, command: RedactMessage) -> MessageRedaction:
        """Remove the words of a message."""
        ...

    async def verify_thread(self, tenant: TenantId, thread_id: ThreadId) -> ThreadVerified:
        """Check a thread's log. Raises ChainBroken."""
        ...


class Threads:
    """What callers can do with threads. Where nothing is said, the store's errors come through."""

    def __init__(
        self,
        source: ThreadSource,
        doorbells: Doorbells,
        agents: Agents,
        models: ModelDirectory,
        ids: Ids,
        *,
        delete_patience: timedelta = DELETE_PATIENCE,
        watch_age: timedelta = WATCH_AGE,
    ) -> None:
        self.source = source
        self._doorbells = doorbells
        self._agents = agents
        self._models = models
        self._ids = ids
        self._delete_patience = delete_patience
        self._watch_age = watch_age

    async def create(self, caller: Caller, key: RequestKey, thread_id: ThreadId, settings: ThreadSettings) -> Thread:
        """Make a thread, under the caller's id or a new one.

        Raises:
            AlreadyExists, RequestIdReused.
            AgentNotFound, IllegalTransition, ModelNotFound: the settings name what cannot be used.
        """
        if (known := await self._known(caller, key, settings)) is not None:
            return known
        named = thread_id or ThreadId(self._ids.new("thr"))
        return await self.source.create_thread(CreateThread(caller, key, named, settings))

    async def update(self, command: UpdateThread) -> Thread:
        """Change settings.

        Raises:
            ThreadNotFound, EtagMismatch, RequestIdReused.
            AgentNotFound, IllegalTransition, ModelNotFound: the new settings name what cannot be used.
        """
        named = ThreadSettings(
            agent_id=command.settings.agent_id if "agent_id" in command.fields else "",
            model=command.settings.model if "model" in command.fields else "",
        )
        if (known := await self._known(command.caller, command.key, named)) is not None:
            return known
        return await self.source.update_thread(command)

    async def archive_many(self, command: ArchiveThreads) -> ThreadsArchived:
        """Archive threads, each on its own: an unknown one is reported and keeps none of the others.

        Raises:
            RequestIdReused: the request id was used for other threads.
        """
        known = await self.source.find_batch(command.caller, command.key)
        if known is not None:
            return known
        tenant, actor = command.caller.tenant, command.caller.actor
        named = tuple(dict.fromkeys(command.thread_ids))
        found: dict[ThreadId, bool] = {}
        for place in range(0, len(named), _AT_ONCE):
            some = named[place : place + _AT_ONCE]
            async with asyncio.TaskGroup() as writes:
                tasks = [writes.create_task(self.source.set_archived(tenant, each, actor)) for each in some]
            found.update(zip(some, (task.result() for task in tasks), strict=True))
        archived = tuple(each for each in named if found[each])
        answer = ThreadsArchived(archived, tuple(each for each in named if not found[each]))
        return await self.source.remember_batch(command.caller, command.key, answer)

    async def fork(self, command: ForkThread) -> Thread:
        """Make a thread that begins with another's history.

        Raises:
            ThreadNotFound, CursorAhead, CursorTooOld, ForkNotAtBoundary, AlreadyExists, RequestIdReused, Conflict.
        """
        return await self.source.fork_thread(command)

    def new_id(self) -> ThreadId:
        """An id for a thread that its caller has given none."""
        return ThreadId(self._ids.new("thr"))

    async def delete(self, command: DeleteThread) -> ThreadDeleted:
        """Remove a thread: archive it, cancel what runs, wait a little for that to end, then remove everything.

        Raises:
            ThreadNotFound, RequestIdReused.
            ThreadUnfinished: a run needs longer to end. The thread stays archived and its runs cancelled: call again.
        """
        known = await self.source.find_deletion(command)
        if known is not None:
            return known
        tenant, thread_id = command.caller.tenant, command.thread_id
        until = asyncio.get_running_loop().time() + self._delete_patience.total_seconds()
        with self._doorbells.of_thread(tenant, thread_id) as bell:
            await self.source.begin_deletion(command)
            while True:
                bell.clear()
                try:
                    deleted = await self.source.delete_thread(command)
                except ThreadUnfinished:
                    if not await rung(bell, until):
                        raise
                else:
                    break
        self._doorbells.ring(tenant, thread_id)
        return deleted

    async def events(
        self,
        tenant: TenantId,
        thread_id: ThreadId,
        *,
        after: int,
        limit: int,
        run_id: RunId = RunId(""),
        wait: timedelta = timedelta(0),
    ) -> tuple[tuple[Event, ...], int]:
        """Events after a cursor with the log's last sequence; waits for one at most as long as told.

        Raises:
            ThreadNotFound, CursorAhead, CursorTooOld.
        """
        found, last = await self._events(tenant, thread_id, after, limit, run_id)
        if found or not wait:
            return found, last
        until = asyncio.get_running_loop().time() + wait.total_seconds()
        with self._doorbells.of_thread(tenant, thread_id) as bell:
            while True:
                bell.clear()
                found, last = await self._events(tenant, thread_id, after, limit, run_id)
                if found or not await rung(bell, until):
                    return found, last

    async def watch(
        self, tenant: TenantId, labels: Mapping[str, str], size: int
    ) -> AsyncGenerator[tuple[tuple[Thread, ...], bool], None]:
        """The newest threads first, marked as the whole state, then each that changes, as it is by then.

        Memory is bounded: a thread that changes often while the reader is slow is sent once.

        Raises:
            StreamRotated: the stream is old; opening it again is always safe.
        """
        until = asyncio.get_running_loop().time() + self._watch_age.total_seconds()
        with self._doorbells.of_tenant(tenant) as changes:
            while True:
                listing = await self.source.list_threads(ListThreads(tenant, Page(size), labels=labels))
                yield listing.items, True
                overrun = False
                while not overrun:
                    if not await rung(changes.doorbell, until):
                        raise StreamRotated(0)
                    changed, overrun = changes.take()
                    named = sorted(changed)
                    for place in range(0, 0 if overrun else len(named), _MOST_CHANGED):
                        some = frozenset(named[place : place + _MOST_CHANGED])
                        threads = await self.source.get_threads(tenant, some)
                        wanted = tuple(each for each in threads if labels.items() <= each.settings.labels.items())
                        if wanted:
                            yield wanted, False

    async def _events(
        self, tenant: TenantId, thread_id: ThreadId, after: int, limit: int, run_id: RunId
    ) -> tuple[tuple[Event, ...], int]:
        found, last, first = await self.source.read_events(tenant, thread_id, after, limit, run_id)
        if after > last:
            raise CursorAhead(after, last)
        if after + 1 < first:
            raise CursorTooOld(after, first)
        return found, last

    async def _known(self, caller: Caller, key: RequestKey, settings: ThreadSettings) -> Thread | None:
        """The answer to a repeat, if it is one; a new request must name what can be used, while a repeat need not."""
        if not settings.agent_id and not settings.model:
            return None
        known = await self.source.find_answered(caller, key)
        if known is None:
            await self._require_usable(caller.tenant, settings)
        return known

    async def _require_usable(self, tenant: TenantId, settings: ThreadSettings) -> None:
        if settings.agent_id:
            await self._agents.resolve(tenant, AgentReference(settings.agent_id))
        if settings.model:
            self._models.require(settings.model)
