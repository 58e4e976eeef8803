"""The one family of errors. Reasons are those of `heddle.common.v1.ErrorReason`; a test holds both together.

Here is what any service may tell; `runtime_errors` and `companion_errors` have what only the runtime, or only a service
beside it, tells. Each docstring is the message that a caller reads, and says what to do next.
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


class AlreadyExists(HeddleError, status=StatusCode.ALREADY_EXISTS):
    """A {kind} {id} exists already: choose another id, or update that one."""

    kind: str
    id: str


# --- not in this state -----------------------------------------------------------------------------------


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


# --- limits ----------------------------------------------------------------------------------------------


class Overloaded(HeddleError, status=StatusCode.RESOURCE_EXHAUSTED, retry_after=timedelta(seconds=1)):
    """{what} is at its limit of {limit}: wait for RetryInfo, then send the same request again."""

    what: str
    limit: int


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


# --- try again -------------------------------------------------------------------------------------------


class Conflict(HeddleError, status=StatusCode.ABORTED, retry_after=timedelta(milliseconds=50)):
    """Somebody else changed {what} at the same time: read it again, and retry the whole."""

    what: str


class Draining(HeddleError, status=StatusCode.UNAVAILABLE, retry_after=timedelta(milliseconds=500)):
    """This server is shutting down: send the same request to another, or here again in a moment."""


class StoreUnavailable(HeddleError, status=StatusCode.UNAVAILABLE, retry_after=timedelta(seconds=1)):
    """The store cannot take this now ({problem}); nothing was acknowledged: send the same request again."""

    problem: str


class ServiceUnreachable(HeddleError, status=StatusCode.UNAVAILABLE, retry_after=timedelta(seconds=1)):
    """{target} does not answer ({problem}): check its address and that it runs, then send the same again."""

    target: str
    problem: str


class ServiceCredentialRefused(HeddleError, status=StatusCode.UNAVAILABLE, retry_after=timedelta(seconds=1)):
    """{target} does not let this service in ({problem}): its operator has to give it a credential with scope act_as."""

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
