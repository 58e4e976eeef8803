"""What is asked of threads beyond the turns, and what is answered. Values only."""

from collections.abc import Mapping
from dataclasses import field
from enum import Enum

from heddle_core.ids import TenantId, ThreadId
from heddle_core.values import value
from heddle_runtime.facade.commands import Caller, Message, RequestKey
from heddle_runtime.facade.page_commands import Page
from heddle_runtime.threads.settings import ThreadActivity, ThreadStatus


class ThreadOrder(Enum):
    """How threads are listed; pinned ones always come first."""

    UPDATED_LAST = "update_time desc"
    CREATED_LAST = "create_time desc"
    TITLE = "title"


@value
class ListThreads:
    """Find threads."""

    tenant: TenantId
    page: Page
    order: ThreadOrder = ThreadOrder.UPDATED_LAST
    status: ThreadStatus = ThreadStatus.ACTIVE
    title_contains: str = ""
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    activity: ThreadActivity | None = None


@value
class ArchiveThread:
    """Have a thread take no turns, or take them again."""

    caller: Caller
    key: RequestKey
    thread_id: ThreadId
    archived: bool


@value
class ArchiveThreads:
    """Archive many threads, each on its own."""

    caller: Caller
    key: RequestKey
    thread_ids: tuple[ThreadId, ...]


@value
class ThreadsArchived:
    """What became of many threads."""

    archived: tuple[ThreadId, ...]
    unknown: tuple[ThreadId, ...]


@value
class DeleteThread:
    """Remove a thread."""

    caller: Caller
    key: RequestKey
    thread_id: ThreadId


@value
class ThreadDeleted:
    """What stays of a thread: where its log ended."""

    last_sequence: int
    last_hash: bytes


@value
class ListMessages:
    """Read the messages of a thread, newest first."""

    tenant: TenantId
    thread_id: ThreadId
    page: Page
    at_sequence: int = 0
    """As they were at this sequence; zero: now."""
    include_dropped: bool = False
    """Whether to list every message of the log, in its order, and not those of the history alone."""


@value
class MessageRedaction:
    """A message without its words, and the sequence of the event that says so."""

    message: Message
    sequence: int


@value
class ThreadVerified:
    """A log that verifies."""

    events: int
    last_sequence: int
    last_hash: bytes
    snapshots: int
    redacted_sequences: tuple[int, ...]
