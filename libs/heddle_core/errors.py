"""The one family of errors. Reasons are those of `heddle.common.v1.ErrorReason`; a test holds both together.

Each docstring is the message that a caller reads, and says what to do next.
"""

from dataclasses import field
from datetime import timedelta

from heddle_core.faults import HeddleError, StatusCode, Violation

# --- bad input -------------------------------------------------------------------------------------------


class InvalidField(HeddleError, status=StatusCode.INVALID_ARGUMENT):
    """{summary}"""

    violations: tuple[Violation, ...]

    @property
    def metadata(self) -> dict[str, str]:
        summary = "; ".join(f"{each.field}: {each.remedy}" for each in self.violations)
        return {"summary": summary, "fields": ",".join(each.field for each in self.violations)}


def invalid(path: str, remedy: str) -> InvalidField:
    """The error for one bad field."""
    return InvalidField((Violation(path, remedy),))


class RequestTooLarge(HeddleError, status=StatusCode.RESOURCE_EXHAUSTED):
    """The request has {size} bytes and the limit is {limit}: send less, or refer to an asset."""

    size: int
    limit: int


class ResponseTooLarge(HeddleError, status=StatusCode.FAILED_PRECONDITION):
    """The answer has {size} bytes and the limit is {limit}: ask for a smaller page or a narrower mask."""

    size: int
    limit: int


class RequestIdReused(HeddleError, status=StatusCode.FAILED_PRECONDITION):
    """request_id {request_id} was used for {method} with another body: mint a new id for a new request."""

    request_id: str
    method: str


# --- not here, or not yours ------------------------------------------------------------------------------


class NotFound(HeddleError):
    """No {kind} {id} here: check the id, and that the credential belongs to its tenant."""

    id: str

    @property
    def metadata(self) -> dict[str, str]:
        return {"kind": self.reason.removesuffix("_NOT_FOUND").replace("_", " ").lower(), "id": self.id}


class ThreadNotFound(NotFound, status=StatusCode.NOT_FOUND): ...


class RunNotFound(NotFound, status=StatusCode.NOT_FOUND): ...


class RequestNotFound(NotFound, status=StatusCode.NOT_FOUND): ...


class InputNotFound(NotFound, status=StatusCode.NOT_FOUND): ...


class MessageNotFound(NotFound, status=StatusCode.NOT_FOUND): ...


class AgentNotFound(NotFound, status=StatusCode.NOT_FOUND): ...


class ModelNotFound(HeddleError, status=StatusCode.NOT_FOUND):
    """No model {id} is configured here: `heddle agents models` (ListModels) names those that are."""

    id: str


class ToolProviderNotFound(NotFound, status=StatusCode.NOT_FOUND): ...


class ToolNotFound(HeddleError, status=StatusCode.NOT_FOUND):
    """No tool {id} is registered; the nearest names are: {nearest}."""

    id: str
    nearest: str


class SpawnNotFound(NotFound, status=StatusCode.NOT_FOUND): ...


class CampaignNotFound(NotFound, status=StatusCode.NOT_FOUND): ...


class CycleNotFound(NotFound, status=StatusCode.NOT_FOUND): ...


class MemoryNotFound(NotFound, status=StatusCode.NOT_FOUND): ...


class AlreadyExists(HeddleError, status=StatusCode.ALREADY_EXISTS):
    """A {kind} {id} exists already: choose another id, or update that one."""

    kind: str
    id: str


# --- not in this state -----------------------------------------------------------------------------------


class ThreadBusy(HeddleError, status=StatusCode.FAILED_PRECONDITION):
    """Thread {thread_id} is busy with run {run_id}: wait, cancel it, or set another conflict_policy."""

    thread_id: str
    run_id: str


class ThreadIsArchived(HeddleError, status=StatusCode.FAILED_PRECONDITION):
    """Thread {thread_id} is archived and takes no turns: call UnarchiveThread first."""

    thread_id: str


class EtagMismatch(HeddleError, status=StatusCode.FAILED_PRECONDITION):
    """{kind} {id} has changed since etag {given} was read (now {current}): read it again, then decide."""

    kind: str
    id: str
    given: str
    current: str


class IllegalTransition(HeddleError, status=StatusCode.FAILED_PRECONDITION):
    """{kind} {id} is {state} and cannot {verb}: {remedy}."""

    kind: str
    id: str
    state: str
    verb: str
    remedy: str


class ParentCancelled(HeddleError, status=StatusCode.FAILED_PRECONDITION):
    """Parent run {run_id} is cancelled and starts no children: nothing to do."""

    run_id: str


class ParentFinished(HeddleError, status=StatusCode.FAILED_PRECONDITION):
    """Parent run {run_id} has ended and starts no children: start the turn without a parent."""

    run_id: str


class RequestCancelled(HeddleError, status=StatusCode.FAILED_PRECONDITION):
    """request_id {request_id} was cancelled before it arrived: use a new request_id to start after all."""

    request_id: str


class InputAlreadyResolved(HeddleError, status=StatusCode.FAILED_PRECONDITION):
    """Input {input_id} is {state} already, by {winner}: nothing changed."""

    input_id: str
    state: str
    winner: str


class InputExpired(HeddleError, status=StatusCode.FAILED_PRECONDITION):
    """Input {input_id} expired, and its default decision {decision} was taken: the run has gone on."""

    input_id: str
    decision: str


class ForkNotAtBoundary(HeddleError, status=StatusCode.FAILED_PRECONDITION):
    """Sequence {sequence} of thread {thread_id} lies inside a run: fork at {nearest}, where one ends."""

    thread_id: str
    sequence: int
    nearest: int


class ThreadUnfinished(HeddleError, status=StatusCode.FAILED_PRECONDITION):
    """Thread {thread_id} still has an unfinished run {run_id}: cancel it or wait, then try again."""

    thread_id: str
    run_id: str


# --- limits ----------------------------------------------------------------------------------------------


class RateLimited(HeddleError, status=StatusCode.RESOURCE_EXHAUSTED, retry_after=timedelta(seconds=2)):
    """Principal {principal} may start {limit} turns a minute: wait for RetryInfo, then send it again."""

    principal: str
    limit: int


class Overloaded(HeddleError, status=StatusCode.RESOURCE_EXHAUSTED, retry_after=timedelta(seconds=1)):
    """{what} is at its limit of {limit}: wait for RetryInfo, then send the same request again."""

    what: str
    limit: int


class SlowReader(HeddleError, status=StatusCode.RESOURCE_EXHAUSTED, retry_after=timedelta(seconds=1)):
    """The stream was cut because it was not read: resume after sequence {resume_after_sequence}."""

    resume_after_sequence: int


class BudgetExceeded(HeddleError, status=StatusCode.RESOURCE_EXHAUSTED, retry_after=timedelta(seconds=60)):
    """The budget of run {run_id} has {remaining} left of {which}, and {asked} was asked: ask for less."""

    run_id: str
    which: str
    remaining: str
    asked: str


class DepthExceeded(HeddleError, status=StatusCode.FAILED_PRECONDITION):
    """Run {run_id} stands at depth {depth} and the limit is {limit}: let the parent do this itself."""

    run_id: str
    depth: int
    limit: int


class FanOutExceeded(HeddleError, status=StatusCode.FAILED_PRECONDITION):
    """Run {run_id} has {children} open children and the limit is {limit}: wait for one to end."""

    run_id: str
    children: int
    limit: int


class CursorAhead(HeddleError, status=StatusCode.OUT_OF_RANGE):
    """Cursor {cursor} lies beyond the log's end {last}, as after a restore: read from the start again."""

    cursor: int
    last: int


class CursorTooOld(HeddleError, status=StatusCode.OUT_OF_RANGE):
    """Cursor {cursor} lies before the first event kept, {first}: read GetSnapshot, then watch from there."""

    cursor: int
    first: int


# --- who are you -----------------------------------------------------------------------------------------


class CredentialMissing(HeddleError, status=StatusCode.UNAUTHENTICATED):
    """No credential: send metadata `authorization: Bearer TOKEN`, or connect with a client certificate."""


class CredentialInvalid(HeddleError, status=StatusCode.UNAUTHENTICATED):
    """The credential was not accepted ({problem}): get a fresh one."""

    problem: str


class ScopeMissing(HeddleError, status=StatusCode.PERMISSION_DENIED):
    """{method} needs scope {scope}, which this credential lacks: ask its issuer for it."""

    method: str
    scope: str


class ResolutionTokenInvalid(HeddleError, status=StatusCode.PERMISSION_DENIED):
    """The resolution token does not belong to input {input_id}: send the one that came with the tool call."""

    input_id: str


# --- try again -------------------------------------------------------------------------------------------


class Conflict(HeddleError, status=StatusCode.ABORTED, retry_after=timedelta(milliseconds=50)):
    """Somebody else changed {what} at the same time: read it again, and retry the whole."""

    what: str


class StaleFence(HeddleError, status=StatusCode.ABORTED, retry_after=timedelta(seconds=1)):
    """Run {run_id} is owned by a later claim than fence {fence}: this worker must stop working on it."""

    run_id: str
    fence: int


class Draining(HeddleError, status=StatusCode.UNAVAILABLE, retry_after=timedelta(milliseconds=500)):
    """This server is shutting down: send the same request to another, or here again in a moment."""


class StreamRotated(HeddleError, status=StatusCode.UNAVAILABLE, retry_after=timedelta(milliseconds=10)):
    """The stream reached its age limit: open it again after sequence {resume_after_sequence}."""

    resume_after_sequence: int


class StoreUnavailable(HeddleError, status=StatusCode.UNAVAILABLE, retry_after=timedelta(seconds=1)):
    """The store cannot take this now ({problem}); nothing was acknowledged: send the same request again."""

    problem: str


class ServiceUnreachable(HeddleError, status=StatusCode.UNAVAILABLE, retry_after=timedelta(seconds=1)):
    """{target} does not answer ({problem}): check its address and that it runs, then send the same again."""

    target: str
    problem: str


# --- the rest --------------------------------------------------------------------------------------------


class DeadlinePassed(HeddleError, status=StatusCode.DEADLINE_EXCEEDED):
    """{method} was not answered within its deadline: nothing is cancelled by it; ask again with more time."""

    method: str


class CallCancelled(HeddleError, status=StatusCode.CANCELLED):
    """The caller hung up. No run is cancelled by that: call CancelRun to stop one."""


class NotServed(HeddleError, status=StatusCode.UNIMPLEMENTED):
    """{method} is not served here: {remedy}."""

    method: str
    remedy: str


class ChainBroken(HeddleError, status=StatusCode.DATA_LOSS):
    """Thread {thread_id} does not verify at sequence {sequence} ({problem}): restore it from a backup."""

    thread_id: str
    sequence: int
    problem: str


class InternalFault(HeddleError, status=StatusCode.INTERNAL):
    """A fault of Heddle itself, noted in its log as {incident}: please report it with that number."""

    incident: str = field(default="unknown")


# --- outside the contract: no reason of ErrorReason, because no server of this version tells them ----------


class CannotServe(HeddleError):
    """{what} cannot be served ({problem}): {remedy}."""

    what: str
    problem: str
    remedy: str


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
