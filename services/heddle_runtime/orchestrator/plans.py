"""Plan mode: the model proposes without tools, somebody approves, revises or refuses. Pure."""

from heddle_core.clock import MICROS_PER_SECOND, Micros
from heddle_core.ids import InputId
from heddle_runtime.orchestrator.decisions import Decision, Fail, Record, Wait
from heddle_runtime.orchestrator.setup import Setup
from heddle_runtime.runs.content import plain_text
from heddle_runtime.runs.inputs import InputKind, InputRequest
from heddle_runtime.runs.run import FailureReason, RunFailure
from heddle_runtime.runs.state import InputState
from heddle_runtime.threads.events import InputRequested, Plan, PlanProposed, PlanRevised
from heddle_runtime.threads.state import AgentSaid, RunFold, ThreadFold


def next_of_plan(thread: ThreadFold, run: RunFold, setup: Setup, now: Micros) -> Decision | None:
    """What to do with a run whose plan is not approved; None where the model must write one, or write it anew."""
    if run.plan_input_id in run.inputs:
        return Wait(tuple(run.inputs))
    resolution = run.resolutions.get(run.plan_input_id) if run.plan_input_id else None
    proposal = _unproposed(run)
    if proposal is not None:
        return Record(_propose(thread, run, setup, proposal, now))
    if resolution is None:
        return None
    if resolution.state in (InputState.TIMED_OUT, InputState.CANCELLED):
        failure = RunFailure(FailureReason.PLAN_REFUSED, "nobody approved the plan in time: start the turn again")
        return Fail(failure)
    if resolution.state is InputState.DENIED and not (resolution.answer and resolution.answer.text):
        failure = RunFailure(FailureReason.PLAN_REFUSED, "the plan was refused: say in a new turn what to do instead")
        return Fail(failure)
    return None


def revision_wish(run: RunFold) -> str:
    """What a reviewer wants changed in the plan, or empty."""
    resolution = run.resolutions.get(run.plan_input_id) if run.plan_input_id else None
    if resolution is None or resolution.state is not InputState.DENIED or resolution.answer is None:
        return ""
    return resolution.answer.text


def _unproposed(run: RunFold) -> AgentSaid | None:
    """The words of the last step, if they are whole and not put up for review yet."""
    last = run.exchange.entries[-1] if run.exchange.entries else None
    if not isinstance(last, AgentSaid) or run.step is None or not run.step.completed or last.incomplete:
        return None
    reviewed = run.plan_input_id.endswith(f"_{run.step.number}") if run.plan_input_id else False
    return None if reviewed or last.message_id != run.step.message_id else last


def _propose(
    thread: ThreadFold, run: RunFold, setup: Setup, said: AgentSaid, now: Micros
) -> tuple[PlanProposed | PlanRevised | InputRequested, ...]:
    assert run.step is not None, "a plan is said in a step"
    input_id = InputId(f"inp_{run.run_id.removeprefix('run_')}_plan_{run.step.number}")
    version = thread.plan.version + 1 if thread.plan else 1
    plan = Plan(version, plain_text(said.parts))
    expiry = round(setup.defaults.input_expiry.total_seconds() * MICROS_PER_SECOND)
    asked = InputRequest(
        input_id=input_id,
        thread_id=setup.thread_id,
        run_id=run.run_id,
        kind=InputKind.PLAN,
        state=InputState.PENDING,
        prompt=f"May version {version} of the plan be carried out?",
        expire_time=Micros(now + expiry),
        default_state=InputState.DENIED,
    )
    proposed = PlanRevised(plan, input_id) if run.plan_input_id else PlanProposed(plan, input_id)
    return (proposed, InputRequested(asked))
