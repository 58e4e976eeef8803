"""The one family of errors. Reasons are those of `heddle.common.v1.ErrorReason`; a test holds both together.

Each docstring is the message that a caller reads, and says what to do next.
"""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import ClassVar

from heddle_core.faults import HeddleError, StatusCode, Violation

# --- bad input -------------------------------------------------------------------------------------------


@dataclass(eq=False)
class InvalidField(HeddleError):
    """{summary}"""

    status = StatusCode.INVALID_ARGUMENT
    violations: tuple[Violation, ...]

    @property
    def metadata(self) -> dict[str, str]:
        named = {"summary": "; ".join(f"{each.field}: {each.remedy}" for each in self.violations)}
        return {**named, "fields": ",".join(each.field for each in self.violations)}


def invalid(path: str, remedy: str) -> InvalidField:
    """The error for one bad field."""
    return InvalidField((Violation(path, remedy),))


@dataclass(eq=False)
class RequestTooLarge(HeddleError):
    """The request has {size} bytes and the limit is {limit}: send less, or refer to an asset."""

    status = StatusCode.RESOURCE_EXHAUSTED
    size: int
    limit: int


@dataclass(eq=False)
class ResponseTooLarge(HeddleError):
    """The answer has {size} bytes and the limit is {limit}: ask for a smaller page or a narrower mask."""

    status = StatusCode.FAILED_PRECONDITION
    size: int
    limit: int


@dataclass(eq=False)
class RequestIdReused(HeddleError):
    """request_id {request_id} was used for {method} with another body: mint a new id for a new request."""

    status = StatusCode.FAILED_PRECONDITION
    request_id: str
    method: str


# --- not here, or not yours ------------------------------------------------------------------------------


@dataclass(eq=False)
class NotFound(HeddleError):
    """No {kind} {id} here: check the id, and that the credential belongs to its tenant."""

    id: str
    kind: ClassVar[str] = "resource"

    @property
    def metadata(self) -> dict[str, str]:
        return {"kind": self.kind, "id": self.id}


@dataclass(eq=False)
class ThreadNotFound(NotFound):
    __doc__ = NotFound.__doc__
    status = StatusCode.NOT_FOUND
    kind = "thread"


@dataclass(eq=False)
class RunNotFound(NotFound):
    __doc__ = NotFound.__doc__
    status = StatusCode.NOT_FOUND
    kind = "run"


@dataclass(eq=False)
class RequestNotFound(NotFound):
    __doc__ = NotFound.__doc__
    status = StatusCode.NOT_FOUND
    kind = "request"


@dataclass(eq=False)
class InputNotFound(NotFound):
    __doc__ = NotFound.__doc__
    status = StatusCode.NOT_FOUND
    kind = "input"


@dataclass(eq=False)
class MessageNotFound(NotFound):
    __doc__ = NotFound.__doc__
    status = StatusCode.NOT_FOUND
    kind = "message"


@dataclass(eq=False)
class AgentNotFound(NotFound):
    __doc__ = NotFound.__doc__
    status = StatusCode.NOT_FOUND
    kind = "agent"


@dataclass(eq=False)
class ModelNotFound(HeddleError):
    """No model {id} is configured here: `heddle agents models` (ListModels) names those that are."""

    status = StatusCode.NOT_FOUND
    id: str


@dataclass(eq=False)
class ToolProviderNotFound(NotFound):
    __doc__ = NotFound.__doc__
    status = StatusCode.NOT_FOUND
    kind = "tool provider"


@dataclass(eq=False)
class ToolNotFound(HeddleError):
    """No tool {id} is registered; the nearest names are: {nearest}."""

    status = StatusCode.NOT_FOUND
    id: str
    nearest: str


@dataclass(eq=False)
class AlreadyExists(HeddleError):
    """A {kind} {id} exists already: choose another id, or update that one."""

    status = StatusCode.ALREADY_EXISTS
    kind: str
    id: str


# --- not in this state -----------------------------------------------------------------------------------


@dataclass(eq=False)
class ThreadBusy(HeddleError):
    """Thread {thread_id} is busy with run {run_id}: wait, cancel it, or set another conflict_policy."""

    status = StatusCode.FAILED_PRECONDITION
    thread_id: str
    run_id: str


@dataclass(eq=False)
class ThreadIsArchived(HeddleError):
    """Thread {thread_id} is archived and takes no turns: call UnarchiveThread first."""

    status = StatusCode.FAILED_PRECONDITION
    thread_id: str


@dataclass(eq=False)
class EtagMismatch(HeddleError):
    """{kind} {id} has changed since etag {given} was read (now {current}): read it again, then decide."""

    status = StatusCode.FAILED_PRECONDITION
    kind: str
    id: str
    given: str
    current: str


@dataclass(eq=False)
class IllegalTransition(HeddleError):
    """{kind} {id} is {state} and cannot {verb}: {remedy}."""

    status = StatusCode.FAILED_PRECONDITION
    kind: str
    id: str
    state: str
    verb: str
    remedy: str


@dataclass(eq=False)
class ParentCancelled(HeddleError):
    """Parent run {run_id} is cancelled and starts no children: nothing to do."""

    status = StatusCode.FAILED_PRECONDITION
    run_id: str


@dataclass(eq=False)
class ParentFinished(HeddleError):
    """Parent run {run_id} has ended and starts no children: start the turn without a parent."""

    status = StatusCode.FAILED_PRECONDITION
    run_id: str


@dataclass(eq=False)
class RequestCancelled(HeddleError):
    """request_id {request_id} was cancelled before it arrived: use a new request_id to start after all."""

    status = StatusCode.FAILED_PRECONDITION
    request_id: str


@dataclass(eq=False)
class InputAlreadyResolved(HeddleError):
    """Input {input_id} is {state} already, by {winner}: nothing changed."""

    status = StatusCode.FAILED_PRECONDITION
    input_id: str
    state: str
    winner: str


@dataclass(eq=False)
class InputExpired(HeddleError):
    """Input {input_id} expired, and its default decision {decision} was taken: the run has gone on."""

    status = StatusCode.FAILED_PRECONDITION
    input_id: str
    decision: str


@dataclass(eq=False)
class ForkNotAtBoundary(HeddleError):
    """Sequence {sequence} of thread {thread_id} lies inside a run: fork at {nearest}, where one ends."""

    status = StatusCode.FAILED_PRECONDITION
    thread_id: str
    sequence: int
    nearest: int


@dataclass(eq=False)
class ThreadUnfinished(HeddleError):
    """Thread {thread_id} still has an unfinished run {run_id}: cancel it or wait, then try again."""

    status = StatusCode.FAILED_PRECONDITION
    thread_id: str
    run_id: str


# --- limits ----------------------------------------------------------------------------------------------


@dataclass(eq=False)
class RateLimited(HeddleError):
    """Principal {principal} may start {limit} turns a minute: wait for RetryInfo, then send it again."""

    status = StatusCode.RESOURCE_EXHAUSTED
    retry_after = timedelta(seconds=2)
    principal: str
    limit: int


@dataclass(eq=False)
class Overloaded(HeddleError):
    """{what} is at its limit of {limit}: wait for RetryInfo, then send the same request again."""

    status = StatusCode.RESOURCE_EXHAUSTED
    retry_after = timedelta(seconds=1)
    what: str
    limit: int


@dataclass(eq=False)
class SlowReader(HeddleError):
    """The stream was cut because it was not read: resume after sequence {resume_after_sequence}."""

    status = StatusCode.RESOURCE_EXHAUSTED
    retry_after = timedelta(seconds=1)
    resume_after_sequence: int


@dataclass(eq=False)
class BudgetExceeded(HeddleError):
    """The budget of run {run_id} has {remaining} left of {which}, and {asked} was asked: ask for less."""

    status = StatusCode.RESOURCE_EXHAUSTED
    retry_after = timedelta(seconds=60)
    run_id: str
    which: str
    remaining: str
    asked: str


@dataclass(eq=False)
class DepthExceeded(HeddleError):
    """Run {run_id} stands at depth {depth} and the limit is {limit}: let the parent do this itself."""

    status = StatusCode.FAILED_PRECONDITION
    run_id: str
    depth: int
    limit: int


@dataclass(eq=False)
class FanOutExceeded(HeddleError):
    """Run {run_id} has {children} open children and the limit is {limit}: wait for one to end."""

    status = StatusCode.FAILED_PRECONDITION
    run_id: str
    children: int
    limit: int


@dataclass(eq=False)
class CursorAhead(HeddleError):
    """Cursor {cursor} lies beyond the log's end {last}, as after a restore: read from the start again."""

    status = StatusCode.OUT_OF_RANGE
    cursor: int
    last: int


@dataclass(eq=False)
class CursorTooOld(HeddleError):
    """Cursor {cursor} lies before the first event kept, {first}: read GetSnapshot, then watch from there."""

    status = StatusCode.OUT_OF_RANGE
    cursor: int
    first: int


# --- who are you -----------------------------------------------------------------------------------------


@dataclass(eq=False)
class CredentialMissing(HeddleError):
    """No credential: send metadata `authorization: Bearer TOKEN`, or connect with a client certificate."""

    status = StatusCode.UNAUTHENTICATED


@dataclass(eq=False)
class CredentialInvalid(HeddleError):
    """The credential was not accepted ({problem}): get a fresh one."""

    status = StatusCode.UNAUTHENTICATED
    problem: str


@dataclass(eq=False)
class ScopeMissing(HeddleError):
    """{method} needs scope {scope}, which this credential lacks: ask its issuer for it."""

    status = StatusCode.PERMISSION_DENIED
    method: str
    scope: str


@dataclass(eq=False)
class ResolutionTokenInvalid(HeddleError):
    """The resolution token does not belong to input {input_id}: send the one that came with the tool call."""

    status = StatusCode.PERMISSION_DENIED
    input_id: str


# --- try again -------------------------------------------------------------------------------------------


@dataclass(eq=False)
class Conflict(HeddleError):
    """Somebody else changed {what} at the same time: read it again, and retry the whole."""

    status = StatusCode.ABORTED
    retry_after = timedelta(milliseconds=50)
    what: str


@dataclass(eq=False)
class StaleFence(HeddleError):
    """Run {run_id} is owned by a later claim than fence {fence}: this worker must stop working on it."""

    status = StatusCode.ABORTED
    retry_after = timedelta(seconds=1)
    run_id: str
    fence: int


@dataclass(eq=False)
class Draining(HeddleError):
    """This server is shutting down: send the same request to another, or here again in a moment."""

    status = StatusCode.UNAVAILABLE
    retry_after = timedelta(milliseconds=500)


@dataclass(eq=False)
class StreamRotated(HeddleError):
    """The stream reached its age limit: open it again after sequence {resume_after_sequence}."""

    status = StatusCode.UNAVAILABLE
    retry_after = timedelta(milliseconds=10)
    resume_after_sequence: int


@dataclass(eq=False)
class StoreUnavailable(HeddleError):
    """The store cannot take this now ({problem}); nothing was acknowledged: send the same request again."""

    status = StatusCode.UNAVAILABLE
    retry_after = timedelta(seconds=1)
    problem: str


@dataclass(eq=False)
class ServiceUnreachable(HeddleError):
    """{target} does not answer ({problem}): check its address and that it runs, then send the same again."""

    status = StatusCode.UNAVAILABLE
    retry_after = timedelta(seconds=1)
    target: str
    problem: str


# --- the rest --------------------------------------------------------------------------------------------


@dataclass(eq=False)
class DeadlinePassed(HeddleError):
    """{method} was not answered within its deadline: nothing is cancelled by it; ask again with more time."""

    status = StatusCode.DEADLINE_EXCEEDED
    method: str


@dataclass(eq=False)
class CallCancelled(HeddleError):
    """The caller hung up. No run is cancelled by that: call CancelRun to stop one."""

    status = StatusCode.CANCELLED


@dataclass(eq=False)
class NotServed(HeddleError):
    """{method} is not served here: {remedy}."""

    status = StatusCode.UNIMPLEMENTED
    method: str
    remedy: str


@dataclass(eq=False)
class ChainBroken(HeddleError):
    """Thread {thread_id} does not verify at sequence {sequence} ({problem}): restore it from a backup."""

    status = StatusCode.DATA_LOSS
    thread_id: str
    sequence: int
    problem: str


@dataclass(eq=False)
class InternalFault(HeddleError):
    """A fault of Heddle itself, noted in its log as {incident}: please report it with that number."""

    status = StatusCode.INTERNAL
    incident: str = field(default="unknown")


# --- outside the contract: no reason of ErrorReason, because no server of this version tells them ----------


@dataclass(eq=False)
class CannotServe(HeddleError):
    """{what} cannot be served ({problem}): {remedy}."""

    what: str
    problem: str
    remedy: str


@dataclass(eq=False)
class ForeignError(HeddleError):
    """What a peer told, with a reason that this version does not know or with none.

    Kept as it came, so that it can be told onward without loss.
    """

    message: str
    code: StatusCode
    foreign_reason: str = ""
    pause: timedelta | None = None
    carried: dict[str, str] = field(default_factory=dict[str, str])

    def __post_init__(self) -> None:
        # Other classes have these per class; here they come with each instance.
        vars(self).update(status=self.code, reason=self.foreign_reason, retry_after=self.pause)

    def __str__(self) -> str:
        return self.message

    @property
    def metadata(self) -> dict[str, str]:
        return dict(self.carried)
