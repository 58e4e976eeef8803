"""Why a run does not move, and what would move it, in words that a person can act on. Pure."""

from heddle_core.clock import MICROS_PER_SECOND, Micros
from heddle_core.ids import InputId, RunId, WorkerId
from heddle_core.values import value
from heddle_runtime.facade.run_commands import RunFacts
from heddle_runtime.runs.run import Run
from heddle_runtime.runs.state import RunState


@value
class Explanation:
    """Why a run stands where it stands."""

    run: Run
    sentence: str
    blocking_run_id: RunId = RunId("")
    queue_position: int = 0
    owner_worker_id: WorkerId = WorkerId("")
    lease_until: Micros | None = None
    pending_inputs: tuple[InputId, ...] = ()
    quota: str = ""


def explain(facts: RunFacts, quota: str = "") -> Explanation:
    """What the rows add up to; `quota` names a limit of this process that holds back what could start."""
    run = facts.run
    blocking = facts.holder.run_id if facts.holder else facts.ahead_run_id
    queued = run.state is RunState.QUEUED
    return Explanation(
        run=run,
        sentence=_sentence(facts, quota),
        blocking_run_id=blocking if queued else RunId(""),
        queue_position=facts.queue_position,
        owner_worker_id=facts.run.owner if run.state is RunState.RUNNING else WorkerId(""),
        lease_until=facts.lease_until,
        pending_inputs=facts.pending_inputs if not run.state.terminal else (),
        quota=quota if queued and not blocking and not _delay(facts) else "",
    )


def _sentence(facts: RunFacts, quota: str) -> str:
    match facts.run.state:
        case RunState.QUEUED:
            return _why_queued(facts, quota)
        case RunState.RUNNING:
            return _who_works(facts)
        case RunState.WAITING:
            return _what_it_waits_for(facts)
        case RunState.COMPLETED:
            return "It has answered; nothing is to be done."
        case RunState.FAILED:
            failure = facts.run.failure
            why = f" ({failure.reason.name}): {failure.message}" if failure else ""
            return f"It has failed{why}. Call RetryRun to start it again."
        case RunState.CANCELLED:
            return f"It was cancelled ({facts.run.cancel_cause.name}). Call RetryRun to start it again."


def _why_queued(facts: RunFacts, quota: str) -> str:
    run = facts.run
    if run.cancel_sequence:
        return "It is cancelled; a worker will settle it within seconds. Nothing is to be done."
    seconds = _delay(facts)
    if seconds:
        return f"It is not to start for another {seconds} s (not_before). Cancel it and start it again to run it now."
    if facts.holder is not None:
        return f"It is number {facts.queue_position} in its thread's queue, behind run {_holder(facts, facts.holder)}"
    if facts.ahead_run_id:
        place = f"It is number {facts.queue_position} in its thread's queue"
        return f"{place}, behind run {facts.ahead_run_id}, which starts first. Wait, or cancel that run."
    if quota:
        return f"It is next in its thread, and waits for {quota}. Wait, or add a worker."
    if run.attempt:
        return "It is next in its thread, and goes on as soon as a worker takes it, within seconds."
    return "It is next in its thread, and starts as soon as a worker takes it, within seconds."


def _holder(facts: RunFacts, holder: Run) -> str:
    match holder.state:
        case RunState.WAITING if facts.pending_inputs:
            answer = f"call ResolveInput for {_named(facts.pending_inputs)}, or cancel that run"
            return f"{holder.run_id}, which waits for {_inputs(facts.pending_inputs)}: {answer}."
        case RunState.RUNNING:
            return f"{holder.run_id}, which is at work. Wait, or cancel that run."
        case _:
            return f"{holder.run_id}, which is about to go on. Wait, or cancel that run."


def _who_works(facts: RunFacts) -> str:
    run = facts.run
    if facts.lease_until is None or facts.lease_until <= facts.now:
        return f"Its worker {run.owner} is gone; another takes it over within 30 s. Nothing is to be done."
    if run.cancel_sequence:
        return f"It is cancelled, and worker {run.owner} is stopping it. Nothing is to be done."
    return f"Worker {run.owner} is at work on it. Watch it with WatchRun, or cancel it."


def _what_it_waits_for(facts: RunFacts) -> str:
    if facts.run.cancel_sequence:
        return "It is cancelled; a worker will settle it within seconds. Nothing is to be done."
    if not facts.pending_inputs:
        return "Its inputs are all resolved; a worker takes it up within seconds. Nothing is to be done."
    answer = f"Call ResolveInput for {_named(facts.pending_inputs)}, or cancel it."
    return f"It waits for {_inputs(facts.pending_inputs)}. {answer}"


def _delay(facts: RunFacts) -> int:
    """Seconds until the run may start, rounded up."""
    left = (facts.run.not_before or 0) - facts.now
    return -(-left // MICROS_PER_SECOND) if left > 0 else 0


def _inputs(inputs: tuple[InputId, ...]) -> str:
    return "an input" if len(inputs) == 1 else f"{len(inputs)} inputs"


def _named(inputs: tuple[InputId, ...]) -> str:
    shown = ", ".join(inputs[:3])
    return f"{shown} and {len(inputs) - 3} more" if len(inputs) > 3 else shown
