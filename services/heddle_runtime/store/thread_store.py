"""What the facade needs of the database about threads, beyond their turns."""

from heddle_core.ids import MessageId, RunId, TenantId, ThreadId
from heddle_core.runtime_errors import ChainBroken
from heddle_database.port import Transaction
from heddle_runtime.facade.commands import (
    Caller,
    CreateThread,
    ForkThread,
    Message,
    RedactMessage,
    RequestKey,
    UpdateThread,
)
from heddle_runtime.facade.page_commands import Listing
from heddle_runtime.facade.thread_commands import (
    ArchiveThread,
    DeleteThread,
    ListMessages,
    ListThreads,
    MessageRedaction,
    ThreadDeleted,
    ThreadsArchived,
    ThreadVerified,
)
from heddle_runtime.runs.content import Actor
from heddle_runtime.store import deletions, forks, messages, redactions, thread_queries, thread_rows, threads
from heddle_runtime.store import verification as verify
from heddle_runtime.store.log import read_events
from heddle_runtime.store.reads import log_bounds
from heddle_runtime.store.store import Store
from heddle_runtime.threads.events import Event
from heddle_runtime.threads.settings import Thread


class ThreadStore:
    """Threads in the database. All methods raise StoreUnavailable when it is in trouble."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def create_thread(self, command: CreateThread) -> Thread:
        """Make a thread; see `store.threads`."""
        return await self._store.write(lambda writer: threads.create_thread(writer, command))

    async def find_answered(self, caller: Caller, key: RequestKey) -> Thread | None:
        """The thread that this very request made or changed before. Raises RequestIdReused, ThreadNotFound."""
        return await self._store.read(lambda tx: threads.find_answered(tx, caller, key), brief=True)

    async def get_thread(self, tenant: TenantId, thread_id: ThreadId) -> Thread:
        """A thread by its id. Raises ThreadNotFound."""
        return await self._store.read(lambda tx: thread_rows.get_thread(tx, tenant, thread_id), brief=True)

    async def get_threads(self, tenant: TenantId, thread_ids: frozenset[ThreadId]) -> tuple[Thread, ...]:
        """Those of the named threads that exist."""
        return await self._store.read(lambda tx: thread_queries.get_threads(tx, tenant, thread_ids))

    async def list_threads(self, command: ListThreads) -> Listing[Thread]:
        """A page of threads; see `store.thread_queries`."""
        return await self._store.read(lambda tx: thread_queries.list_threads(tx, command))

    async def update_thread(self, command: UpdateThread) -> Thread:
        """Change settings; see `store.threads`."""
        return await self._store.write(lambda writer: threads.update_thread(writer, command))

    async def archive_thread(self, command: ArchiveThread) -> Thread:
        """Archive or unarchive; see `store.threads`."""
        return await self._store.write(lambda writer: threads.archive_thread(writer, command))

    async def set_archived(self, tenant: TenantId, thread_id: ThreadId, actor: Actor) -> bool:
        """Archive a thread as part of a batch; whether there is one."""
        return await self._store.write(
            lambda writer: threads.set_archived(writer, tenant, thread_id, archived=True, actor=actor)
        )

    async def find_batch(self, caller: Caller, key: RequestKey) -> ThreadsArchived | None:
        """What a batch was answered the first time. Raises RequestIdReused."""
        return await self._store.read(lambda tx: threads.find_batch(tx, caller, key))

    async def remember_batch(self, caller: Caller, key: RequestKey, answer: ThreadsArchived) -> ThreadsArchived:
        """Keep what a batch is answered."""
        return await self._store.write(lambda writer: threads.remember_batch(writer, caller, key, answer))

    async def fork_thread(self, command: ForkThread) -> Thread:
        """Make a fork; see `store.forks`. The base is read beforehand, so that the writer need not fold."""
        known = await self._store.read(lambda tx: forks.find_fork(tx, command))
        if known is not None:
            return known
        tenant, source, sequence = command.caller.tenant, command.source_thread_id, command.at_sequence
        base = await self._store.read(lambda tx: forks.read_base(tx, tenant, source, sequence))
        return await self._store.write(lambda writer: forks.fork_thread(writer, command, base))

    async def find_deletion(self, command: DeleteThread) -> ThreadDeleted | None:
        """What an earlier deletion by this request has left. Raises RequestIdReused."""
        return await self._store.read(lambda tx: deletions.find_deletion(tx, command))

    async def begin_deletion(self, command: DeleteThread) -> tuple[RunId, ...]:
        """Archive a thread and cancel its runs; those that have not ended at once. Raises ThreadNotFound."""
        return await self._store.write(lambda writer: deletions.begin_deletion(writer, command))

    async def delete_thread(self, command: DeleteThread) -> ThreadDeleted:
        """Remove a thread; see `store.deletions`. Raises ThreadUnfinished while a run has not ended."""
        tenant, thread_id = command.caller.tenant, command.thread_id
        # Of many rows where the thread had many runs.
        deleted = await self._store.write(lambda writer: deletions.delete_thread(writer, command), thread_id, bulk=True)
        self._store.log.forget(tenant, thread_id)
        await deletions.purge_thread(self._store, tenant, thread_id)
        return deleted

    async def list_messages(self, command: ListMessages) -> Listing[Message]:
        """A page of messages; see `store.messages`."""
        return await self._store.read(lambda tx: messages.list_messages(tx, command))

    async def read_events(
        self, tenant: TenantId, thread_id: ThreadId, after: int, limit: int, run_id: RunId
    ) -> tuple[tuple[Event, ...], int, int]:
        """Events after a sequence, with the log's last sequence and the first that is kept. Raises ThreadNotFound."""

        def read(tx: Transaction) -> tuple[tuple[Event, ...], int, int]:
            last, first = log_bounds(tx, tenant, thread_id)
            return read_events(tx, tenant, thread_id, after, limit, run_id), last, first

        return await self._store.read(read)

    async def redact_message(self, command: RedactMessage) -> MessageRedaction:
        """Remove the words of a message; see `store.redactions`."""
        tenant, thread_id, message_id = command.caller.tenant, command.thread_id, command.message_id
        located = await self._store.read(lambda tx: redactions.locate(tx, tenant, thread_id, MessageId(message_id)))
        redacted = await self._store.write(
            lambda writer: redactions.redact_message(writer, command, located), thread_id, bulk=True
        )
        # What this process keeps of the thread was made of the words; other replicas hear of the event.
        self._store.log.forget(tenant, thread_id)
        return redacted

    async def verify_thread(self, tenant: TenantId, thread_id: ThreadId) -> ThreadVerified:
        """Check a thread's log; see `store.verification`. Raises ChainBroken.

        It is read in pages, and words that are redacted between two of them can look like damage; so what does not
        verify is looked at once more before anybody is alarmed.
        """
        try:
            return await self._verify(tenant, thread_id)
        except ChainBroken:
            return await self._verify(tenant, thread_id)

    async def _verify(self, tenant: TenantId, thread_id: ThreadId) -> ThreadVerified:
        verifier = await self._store.read(lambda tx: verify.begin(tx, tenant, thread_id))
        while not verifier.done:
            await self._store.read(lambda tx: verify.advance(tx, verifier))
        verifier.finish()
        await self._store.read(lambda tx: verify.verify_fork(tx, verifier))
        return verifier.result
