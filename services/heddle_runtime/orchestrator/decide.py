"""What to do next with a run: one pure function of its fold. Recovery is the same function (ARCHITECTURE 7)."""

from datetime import timedelta

from heddle_core.clock import Micros
from heddle_runtime.orchestrator.call_rules import Awaiting, Known, Ready, next_of_call
from heddle_runtime.orchestrator.compacting import overdue
from heddle_runtime.orchestrator.decisions import (
    Ask,
    Compact,
    Complete,
    Decision,
    Dispatch,
    Fail,
    ReadyCall,
    Record,
    Settle,
    Wait,
)
from heddle_runtime.orchestrator.plans import next_of_plan
from heddle_runtime.orchestrator.setup import MOST_FAILURES, Setup
from heddle_runtime.runs.run import FailureReason, RunFailure
from heddle_runtime.runs.turn import TurnMode
from heddle_runtime.runs.usage import exhausted
from heddle_runtime.threads.events import BudgetExceeded, Payload
from heddle_runtime.threads.state import AgentSaid, RunFold, ThreadFold
from heddle_runtime.tools.schema import Schemas


def decide(thread: ThreadFold, run: RunFold, setup: Setup, schemas: Schemas, fence: int, now: Micros) -> Decision:
    """The next thing to do for a run that this worker holds under `fence`.

    `run` may be foreseen: ahead of the log by facts that will be written with this decision.
    """
    if run.cancel_sequence:
        return Settle()
    late = _out_of_time(run, setup, now)
    if late:
        return late
    if run.open_calls:
        return _with_open_calls(thread, run, setup, schemas, fence, now)
    if run.turn.mode is TurnMode.PLAN and not run.plan_approved:
        planned = next_of_plan(thread, run, setup, now)
        return planned or _ask(thread, run, setup)
    if run.inputs:
        return Wait(tuple(run.inputs))
    if _answered(run):
        return Complete()
    return _ask(thread, run, setup)


def _out_of_time(run: RunFold, setup: Setup, now: Micros) -> Fail | None:
    bound = setup.limits.wall_time
    worked = timedelta(microseconds=run.worked_until(now))
    if not bound or worked < bound:
        return None
    limit = f"{bound.total_seconds():g} s"
    failure = RunFailure(
        FailureReason.DEADLINE_EXCEEDED,
        f"the run was at work for {limit}, which is its limit: raise limits.wall_time, or ask for less",
    )
    return Fail(failure, BudgetExceeded("wall_time", limit, f"{worked.total_seconds():g} s"))


def _with_open_calls(
    thread: ThreadFold, run: RunFold, setup: Setup, schemas: Schemas, fence: int, now: Micros
) -> Decision:
    """Facts first, then calls to send, then waiting. Calls that only read go together, others one by one, in order."""
    facts: list[Payload] = []
    ready: list[ReadyCall] = []
    waiting = False
    for ordinal, call in enumerate(run.calls.values(), 1):
        if not call.open:
            continue
        match next_of_call(thread, run, call, ordinal, setup, schemas, fence, now):
            case Known(known):
                facts.extend(known)
            case Ready(spec, arguments):
                if not waiting and (not ready or (ready[0].spec.read_only and spec.read_only)):
                    ready.append(ReadyCall(call, spec, arguments, ordinal))
            case Awaiting():
                waiting = True
    if facts:
        return Record(tuple(facts))
    if ready:
        over = _too_many_calls(run, setup, sum(not each.call.started for each in ready))
        return over or Dispatch(tuple(ready[: setup.defaults.tool_concurrency]))
    return Wait(tuple(run.inputs))


def _too_many_calls(run: RunFold, setup: Setup, more: int) -> Fail | None:
    bound = setup.limits.tool_calls
    if not bound or run.usage.tool_calls + more <= bound:
        return None
    message = f"the run has made {run.usage.tool_calls} tool calls of {bound}: raise limits.tool_calls, or ask for less"
    exceeded = BudgetExceeded("tool_calls", str(bound), str(run.usage.tool_calls + more))
    return Fail(RunFailure(FailureReason.TOOL_CALL_LIMIT, message), exceeded)


def _answered(run: RunFold) -> bool:
    """Whether the last step's words are the answer: complete, accepted, and nothing was said since."""
    last = run.exchange.entries[-1] if run.exchange.entries else None
    return (
        run.step is not None
        and run.step.completed
        and not run.steered
        and not run.mismatch
        and isinstance(last, AgentSaid)
        and last.message_id == run.step.message_id
        and not last.incomplete
        and len(run.exchange.entries) > run.entries_planned  # an approved plan is no answer yet
    )


def _ask(thread: ThreadFold, run: RunFold, setup: Setup) -> Decision:
    if run.mismatches >= 2 and run.mismatch:
        return Fail(RunFailure(FailureReason.OUTPUT_SCHEMA_MISMATCH, run.mismatch))
    again = run.step is not None and not run.step.completed
    if run.step is not None and run.step.failures >= MOST_FAILURES:
        message = f"the model failed {MOST_FAILURES} times in a row: see the errors of its steps"
        return Fail(RunFailure(FailureReason.MODEL_UNAVAILABLE, message))
    number = run.steps if again else run.steps + 1
    if setup.limits.steps and number > setup.limits.steps:
        message = f"no answer after {setup.limits.steps} steps: raise limits.steps, or ask for less"
        exceeded = BudgetExceeded("steps", str(setup.limits.steps), str(run.steps))
        return Fail(RunFailure(FailureReason.STEP_LIMIT, message), exceeded)
    over = _over_budget(run, setup)
    if over is not None:
        return over
    leaving = overdue(thread, run.run_id, setup.history_window) if run.step is None else ()
    if leaving:
        return Compact(leaving)
    return Ask(number, again, with_tools=run.turn.mode is not TurnMode.PLAN or run.plan_approved)


def _over_budget(run: RunFold, setup: Setup) -> Fail | None:
    reserved = sum(child.tokens for child in run.children.values())
    reserved_cost = sum(child.cost for child in run.children.values())
    over = exhausted(setup.limits, run.usage, reserved, reserved_cost)
    if over is None:
        return None
    message = f"the run has used {over.used} of {over.limit} {over.which}: raise its limits, or ask for less"
    failure = RunFailure(FailureReason.BUDGET_EXCEEDED, message)
    return Fail(failure, BudgetExceeded(over.which, over.limit, over.used))
