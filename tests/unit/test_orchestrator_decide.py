"""What is done next: situations in a table, and the decision that each must lead to."""

from datetime import timedelta

import pytest

import heddle_runtime.threads.events as e
from heddle_core.clock import Micros
from heddle_core.ids import InputId, MessageId, RequestId, RunId, ThreadId, WorkerId
from heddle_core.usage import MicroUsd, Usage
from heddle_runtime.orchestrator.decisions import Ask, Compact, Complete, Dispatch, Fail, Record, Settle, Wait
from heddle_runtime.orchestrator.foresight import foresee
from heddle_runtime.orchestrator.opening import opening
from heddle_runtime.orchestrator.settlement import cancelled, closing
from heddle_runtime.runs.claim import Claim
from heddle_runtime.runs.content import Text
from heddle_runtime.runs.inputs import InputAnswer, InputDecision, InputKind
from heddle_runtime.runs.run import CancelCause, FailureReason
from heddle_runtime.runs.state import InputState
from heddle_runtime.runs.turn import AgentReference, Turn, TurnMode
from heddle_runtime.runs.usage import Limits
from tests.kit.decisions import NOW, TOOLS, called, decided, ended, failure_of, sent
from tests.kit.setups import setup_of
from tests.kit.thread_facts import RUN, asked, completed, more, requested, said, started, step, stepped, tell
from tests.kit.thread_stories import ADA, THREAD, Story

# --- steps ---


def test_a_new_run_asks_the_model() -> None:
    assert decided(tell(requested(), started())) == Ask(1, again=False, with_tools=True)


def test_a_step_that_was_lost_or_failed_is_asked_again_and_one_that_ended_is_followed() -> None:
    assert decided(tell(requested(), started(), step())) == Ask(1, again=True, with_tools=True)
    assert decided(tell(requested(), started(), step(), stepped(error="x"))) == Ask(1, again=True, with_tools=True)
    assert decided(ended(called("look"))) == Ask(2, again=False, with_tools=True)


def test_three_faults_of_one_step_are_enough_and_crashes_are_none() -> None:
    story = tell(requested(), started(), *[each for _ in range(2) for each in (step(), stepped(error="x"))])
    more(story, *[step(attempt=number) for number in range(3, 9)])
    assert isinstance(decided(story), Ask)
    more(story, stepped(error="x"))
    assert failure_of(decided(story)) is FailureReason.MODEL_UNAVAILABLE


def test_an_answer_completes_unless_somebody_has_said_more() -> None:
    story = tell(requested(), started(), step(), said("hi"), stepped())
    assert decided(story) == Complete()
    more(story, e.TurnSteered(RequestId("r"), MessageId("s2"), (Text("more"),), ADA))
    assert decided(story) == Ask(2, again=False, with_tools=True)


def test_words_that_were_cut_short_are_no_answer() -> None:
    story = tell(requested(), started(), step(), said("hi", incomplete=True), stepped())
    assert isinstance(decided(story), Ask)


def test_an_answer_that_does_not_fit_is_asked_for_once_more() -> None:
    mismatch = e.ErrorRecorded("OUTPUT_SCHEMA_MISMATCH", "n is missing")
    story = tell(requested(), started(), step(), said("x"), stepped(), mismatch)
    assert decided(story) == Ask(2, again=False, with_tools=True)
    more(story, step(2, "msg_2"), said("y", "msg_2"), stepped(2), mismatch)
    assert failure_of(decided(story)) is FailureReason.OUTPUT_SCHEMA_MISMATCH


def test_the_step_limit_counts_steps_and_not_attempts() -> None:
    story = tell(requested(), started(), step(), stepped(error="x"))
    assert isinstance(decided(story, limits=Limits(steps=1)), Ask)
    assert failure_of(decided(ended(called("look")), limits=Limits(steps=1))) is FailureReason.STEP_LIMIT


@pytest.mark.parametrize(
    ("limits", "which"),
    [
        (Limits(tokens=10), "tokens"),
        (Limits(cost=MicroUsd(7)), "micro-USD"),
        (Limits(tokens=11, cost=MicroUsd(7)), "micro-USD"),
    ],
)
def test_a_budget_is_checked_before_the_model_is_asked(limits: Limits, which: str) -> None:
    story = called("look")
    more(story, stepped(usage=Usage(8, 2, cost=MicroUsd(7))))
    decision = decided(ended(story), limits=limits)
    assert failure_of(decision) is FailureReason.BUDGET_EXCEEDED
    assert isinstance(decision, Fail) and decision.exceeded and decision.exceeded.which == which


def test_what_children_hold_counts_as_spent() -> None:
    story = tell(requested(), started())
    assert isinstance(decided(story, limits=Limits(tokens=10)), Ask)
    more(story, e.ChildSpawned(RunId("c"), ThreadId("t2"), AgentReference("a"), Limits(tokens=10)))
    assert failure_of(decided(story, limits=Limits(tokens=10))) is FailureReason.BUDGET_EXCEEDED


def test_a_run_that_is_out_of_time_fails_whatever_it_was_at() -> None:
    story = called("look")
    begun = story.events[2].commit_time
    wall = Limits(wall_time=timedelta(seconds=60))
    assert isinstance(decided(story, limits=wall, now=Micros(begun + 59_999_999)), Dispatch)
    assert failure_of(decided(story, limits=wall, now=Micros(begun + 60_000_000))) is FailureReason.DEADLINE_EXCEEDED


def test_a_cancelled_run_is_settled_before_anything_else() -> None:
    story = called("look")
    more(story, e.RunCancelRequested(CancelCause.REQUESTED))
    assert decided(story, limits=Limits(steps=1)) == Settle()


# --- plans ---


def planning(*payloads: e.Payload) -> Story:
    turn = Turn((Text("plan"),), agent=AgentReference("general", 1), mode=TurnMode.PLAN)
    story = tell(e.TurnRequested(RequestId("r"), MessageId("m"), turn, ADA, RUN), started())
    return more(story, *payloads)


def proposed(version: int, number: int) -> tuple[e.Payload, ...]:
    input_id = InputId(f"inp_1_plan_{number}")
    plan = e.Plan(version, "1. Do")
    revised = e.PlanRevised(plan, input_id) if version > 1 else e.PlanProposed(plan, input_id)
    return (step(number, f"msg_{number}"), said("1. Do", f"msg_{number}"), stepped(number), revised)


def test_a_plan_is_asked_for_without_tools_and_put_up_for_review() -> None:
    assert decided(planning()) == Ask(1, again=False, with_tools=False)
    decision = decided(planning(step(), said("1. Do"), stepped()))
    assert isinstance(decision, Record)
    kinds = [type(fact) for fact in decision.facts]
    assert kinds == [e.PlanProposed, e.InputRequested]


@pytest.mark.parametrize(
    ("state", "answer", "expected"),
    [
        (InputState.DENIED, InputAnswer(InputDecision.DENY), FailureReason.PLAN_REFUSED),
        (InputState.TIMED_OUT, InputAnswer(InputDecision.DENY), FailureReason.PLAN_REFUSED),
        (InputState.DENIED, InputAnswer(InputDecision.DENY, text="shorter"), Ask(2, again=False, with_tools=False)),
    ],
)
def test_a_reviewed_plan_is_refused_or_revised(state: InputState, answer: InputAnswer, expected: object) -> None:
    story = planning(*proposed(1, 1), asked("inp_1_plan_1", kind=InputKind.PLAN))
    assert decided(story) == Wait((InputId("inp_1_plan_1"),))
    more(story, e.InputResolved(InputId("inp_1_plan_1"), state, answer, ADA))
    decision = decided(story)
    assert (failure_of(decision) if isinstance(decision, Fail) else decision) == expected


def test_a_revision_is_bounded_like_every_step() -> None:
    wish = InputAnswer(InputDecision.DENY, text="shorter")
    story = planning(*proposed(1, 1), asked("inp_1_plan_1", kind=InputKind.PLAN))
    more(story, e.InputResolved(InputId("inp_1_plan_1"), InputState.DENIED, wish, ADA))
    assert failure_of(decided(story, limits=Limits(steps=1))) is FailureReason.STEP_LIMIT
    more(story, step(2, "msg_2"))
    assert decided(story) == Ask(2, again=True, with_tools=False)
    more(story, stepped(2, error="x"), stepped(2, error="x"), stepped(2, error="x"))
    assert failure_of(decided(story)) is FailureReason.MODEL_UNAVAILABLE


def test_an_approved_plan_is_carried_out_and_is_not_the_answer() -> None:
    story = planning(*proposed(1, 1), asked("inp_1_plan_1", kind=InputKind.PLAN))
    more(story, e.InputResolved(InputId("inp_1_plan_1"), InputState.APPROVED), e.PlanApproved(1, ADA))
    assert decided(story) == Ask(2, again=False, with_tools=True)
    more(story, step(2, "msg_2"), said("done", "msg_2"), stepped(2))
    assert decided(story) == Complete()


# --- beginnings and ends ---


def test_the_first_claim_starts_a_run_and_later_ones_go_on_with_it() -> None:
    story = tell(requested())
    run = story.fold.runs[RUN]
    claim = Claim("acme", THREAD, RUN, WorkerId("w"), 1, 1)  # type: ignore[arg-type]
    assert [type(fact) for fact in opening(claim, run, "m")] == [e.RunStarted]
    more(story, started())
    assert opening(claim, run, "m") == ()
    later = Claim("acme", THREAD, RUN, WorkerId("w2"), 2, 2)  # type: ignore[arg-type]
    assert opening(later, run, "m") == (e.RunResumed(2, 2, WorkerId("w2")),)
    more(story, e.RunCancelRequested(CancelCause.REQUESTED))
    assert opening(later, run, "m") == ()


def test_a_run_is_closed_with_one_result_for_every_call() -> None:
    story = called("look", "act", "guarded", "gone", "look")
    for number in (1, 2, 4):
        sent(story, number)
    more(story, asked("a3", "c3", InputKind.APPROVAL))
    ended(story, 5)
    run = story.fold.runs[RUN]
    facts = closing(run, setup_of(TOOLS))
    assert facts[0] == e.InputResolved(InputId("a3"), InputState.CANCELLED)
    outcomes = {fact.call_id: fact.outcome for fact in facts[1:] if isinstance(fact, e.ToolCallCompleted)}
    unknown, stopped = e.ToolCallOutcome.UNKNOWN, e.ToolCallOutcome.CANCELLED
    assert outcomes == {"c1": stopped, "c2": unknown, "c3": stopped, "c4": unknown}
    more(story, e.RunCancelRequested(CancelCause.ROLLED_BACK))
    last = cancelled(run, None)[-1]
    assert isinstance(last, e.RunCancelled) and (last.cause, last.rolled_back) == (CancelCause.ROLLED_BACK, True)
    after = foresee(story.fold, run, (*facts, last), NOW)
    assert not after.open_calls and not after.inputs and after.state.terminal


def test_a_summary_comes_before_the_first_step_of_a_run_that_would_forget() -> None:
    story = tell()
    for number in range(3):
        run = f"run_0{number}"
        more(story, requested(str(number), f"s{number}"), started(), said("x", f"m{number}"), completed(), run=run)
    more(story, requested("now", "s9"), started())
    window = {"agent": {"history_window": 4}}
    decision = decided(story, **window)
    assert isinstance(decision, Compact) and [each.run_id for each in decision.exchanges] == ["run_00", "run_01"]
    assert isinstance(decided(story, agent={"history_window": 6}), Ask)
    assert isinstance(decided(more(story, step()), **window), Ask), "not in the middle of a run"
