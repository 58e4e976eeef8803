"""Errors of the runtime: threads, runs, inputs, agents, models, tools and budgets. See `heddle_core.errors`."""

from datetime import timedelta

from heddle_core.errors import NotFound
from heddle_core.faults import HeddleError, StatusCode

# --- not here, or not yours -----------------------------------------------------------------------------


class ThreadNotFound(NotFound, status=StatusCode.NOT_FOUND):
    deleted: bool = False  # told where a tombstone says so: what was never there gives the same bytes to everybody

    @property
    def metadata(self) -> dict[str, str]:
        return super().metadata | ({"deleted": "true"} if self.deleted else {})


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


# --- not in this state ----------------------------------------------------------------------------------


class ThreadBusy(HeddleError, status=StatusCode.FAILED_PRECONDITION):
    """Thread {thread_id} is busy with run {run_id}: wait, cancel it, or set another conflict_policy."""

    thread_id: str
    run_id: str


class ThreadIsArchived(HeddleError, status=StatusCode.FAILED_PRECONDITION):
    """Thread {thread_id} is archived and takes no turns: call UnarchiveThread first."""

    thread_id: str


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


# --- limits ---------------------------------------------------------------------------------------------


class RateLimited(HeddleError, status=StatusCode.RESOURCE_EXHAUSTED, retry_after=timedelta(seconds=2)):
    """Principal {principal} may start {limit} turns a minute: wait for RetryInfo, then send it again."""

    principal: str
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


# --- who are you ----------------------------------------------------------------------------------------


class ResolutionTokenInvalid(HeddleError, status=StatusCode.PERMISSION_DENIED):
    """The resolution token does not belong to input {input_id}: send the one that came with the tool call."""

    input_id: str


# --- try again ------------------------------------------------------------------------------------------


class StaleFence(HeddleError, status=StatusCode.ABORTED, retry_after=timedelta(seconds=1)):
    """Run {run_id} is owned by a later claim than fence {fence}: this worker must stop working on it."""

    run_id: str
    fence: int


class StreamRotated(HeddleError, status=StatusCode.UNAVAILABLE, retry_after=timedelta(milliseconds=10)):
    """The stream reached its age limit: open it again after sequence {resume_after_sequence}."""

    resume_after_sequence: int


# --- the rest -------------------------------------------------------------------------------------------


class ChainBroken(HeddleError, status=StatusCode.DATA_LOSS):
    """Thread {thread_id} does not verify at sequence {sequence} ({problem}): restore it from a backup."""

    thread_id: str
    sequence: int
    problem: str
