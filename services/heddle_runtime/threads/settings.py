"""What can be set on a thread, and a thread as its row tells of it. Values only."""

from collections.abc import Mapping
from dataclasses import field
from enum import IntEnum

from heddle_core.clock import Micros
from heddle_core.ids import RunId, TenantId, ThreadId
from heddle_core.values import value


class ThreadStatus(IntEnum):
    """Whether a thread takes turns; the numbers are those of the contract's ThreadState."""

    ACTIVE = 1
    ARCHIVED = 2


class ThreadActivity(IntEnum):
    """What a thread is doing; the numbers are the contract's."""

    IDLE = 1
    BUSY = 2
    WAITING = 3


@value
class ThreadSettings:
    """What a client can set on a thread."""

    title: str = ""
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    pinned: bool = False
    agent_id: str = ""
    model: str = ""
    instructions: str = ""
    context_json: str = ""


@value
class Thread:
    """A conversation, as stored."""

    tenant: TenantId
    thread_id: ThreadId
    settings: ThreadSettings
    status: ThreadStatus
    activity: ThreadActivity
    revision: int
    """Counts up with every change of settings or status; the etag."""
    context_version: int
    last_sequence: int
    first_sequence: int
    head_hash: bytes
    lane_run_id: RunId
    create_time: Micros
    update_time: Micros
    forked_from_thread_id: ThreadId = ThreadId("")
