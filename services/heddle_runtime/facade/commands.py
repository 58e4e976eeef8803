"""What the facade asks of the store, and what it is answered. Values only."""

from enum import IntEnum

from heddle_core.clock import Micros
from heddle_core.ids import InputId, MessageId, RequestId, RunId, TenantId, ThreadId, WorkerId
from heddle_core.values import value
from heddle_runtime.runs.content import Actor, Parts
from heddle_runtime.runs.inputs import InputAnswer, InputProgress, InputRequest
from heddle_runtime.runs.run import CancelCause, Run
from heddle_runtime.runs.turn import Turn
from heddle_runtime.threads.events import Payload
from heddle_runtime.threads.settings import ThreadSettings


@value
class Caller:
    """Who asks, from the verified credential."""

    tenant: TenantId
    actor: Actor


@value
class RequestKey:
    """What makes a request the same request (SEMANTICS 3), within tenant and principal of its caller."""

    method: str
    request_id: RequestId
    fingerprint: bytes
    """Digest of the request's canonical form, without what does not change its meaning."""


class Disposition(IntEnum):
    """What became of a turn; the numbers are the contract's TurnDisposition."""

    STARTED = 1
    QUEUED = 2
    STEERED = 3
    EXISTING = 4
    VALIDATED = 5


@value
class AcceptTurn:
    """Take a turn onto a thread."""

    caller: Caller
    key: RequestKey
    run_id: RunId
    thread_id: ThreadId
    may_create: bool
    """Whether the thread is made if there is none of that id."""
    turn: Turn
    """With message id, agent version, model and limits as resolved."""
    etag: str = ""
    worker_id: WorkerId = WorkerId("")
    """Worker that takes the run at once if the lane is free; empty: the run is queued."""
    beginning: tuple[Payload, ...] = ()
    """What that worker says first of the run, committed with the turn if it takes it."""
    retry_of: RunId = RunId("")
    most_depth: int = 3
    most_children: int = 8
    title: str = ""
    """Automatic title, used where the thread has none."""


@value
class Accepted:
    """What became of a turn."""

    run: Run
    disposition: Disposition
    queue_position: int = 0
    blocking_input_ids: tuple[InputId, ...] = ()
    claimed: bool = False
    """Whether the asking worker holds the lane now."""


@value
class CancelRuns:
    """Stop runs and their cascading children. Exactly one target is set."""

    caller: Caller
    key: RequestKey
    run_ids: tuple[RunId, ...] = ()
    turn_request_id: RequestId = RequestId("")
    thread_id: ThreadId = ThreadId("")
    cause: CancelCause = CancelCause.REQUESTED
    note: str = ""


@value
class CancelledRun:
    """A run that a cancel has marked. Sequence zero: it had ended already."""

    run_id: RunId
    thread_id: ThreadId
    cancel_sequence: int


@value
class Cancelled:
    """What a cancel has done."""

    cancelled: tuple[CancelledRun, ...]
    run: Run | None = None
    unknown: tuple[RunId, ...] = ()


@value
class ResolveInput:
    """Answer an input, or report progress of the work behind it."""

    caller: Caller
    key: RequestKey
    input_id: InputId
    answer: InputAnswer | None = None
    progress: InputProgress | None = None
    reserved: InputRequest | None = None
    """The input as its tool call minted it, where it has no row yet."""


@value
class Resolved:
    """An input and its run after an answer."""

    input: InputRequest
    run: Run


@value
class CreateThread:
    """Make a thread."""

    caller: Caller
    key: RequestKey
    thread_id: ThreadId
    settings: ThreadSettings


@value
class UpdateThread:
    """Change settings of a thread."""

    caller: Caller
    key: RequestKey
    thread_id: ThreadId
    settings: ThreadSettings
    fields: tuple[str, ...]
    etag: str = ""
    context_version: int = 0
    validate_only: bool = False


@value
class ForkThread:
    """Make a thread that begins with another's history."""

    caller: Caller
    key: RequestKey
    source_thread_id: ThreadId
    at_sequence: int
    thread_id: ThreadId
    title: str


@value
class RedactMessage:
    """Remove the words of a message from the log."""

    caller: Caller
    key: RequestKey
    thread_id: ThreadId
    message_id: MessageId
    note: str


@value
class Message:
    """One message of a thread."""

    message_id: MessageId
    run_id: RunId
    sequence: int
    by_user: bool
    content: Parts
    incomplete: bool
    redacted: bool
    create_time: Micros
