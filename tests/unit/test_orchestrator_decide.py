"""What is done next: situations in a table, and the decision that each must lead to."""

import json
from dataclasses import dataclass
from typing import Any

import pytest

import heddle_runtime.threads.events as e
from heddle_core.clock import ManualClock, Micros
from heddle_core.ids import CallId, InputId, MessageId, RequestId, RunId, ThreadId, WorkerId
from heddle_runtime.orchestrator.decide import decide
from heddle_runtime.orchestrator.decisions import Ask, Compact, Complete, Decision, Dispatch, Fail, Record, Settle, Wait
from heddle_runtime.orchestrator.foresight import foresee
from heddle_runtime.orchestrator.opening import opening
from heddle_runtime.orchestrator.settlement import cancelled, closing
from heddle_runtime.runs.agent import ApprovalPolicy
from heddle_runtime.runs.claim import Claim
from heddle_runtime.runs.content import Text
from heddle_runtime.runs.inputs import ApprovalScope, InputAnswer, InputDecision, InputKind
from heddle_runtime.runs.run import CancelCause, FailureReason
from heddle_runtime.runs.state import InputState
from heddle_runtime.runs.turn import AgentReference, ClientTool, Turn, TurnMode
from heddle_runtime.runs.usage import Limits, MicroUsd, Usage
from heddle_runtime.threads.fold_codec import encode
from heddle_runtime.tools.port import RiskClass
from heddle_runtime.tools.schema import Schemas
from tests.kit.setups import setup_of
from tests.kit.thread_stories import ADA, THREAD, Story
from tests.kit.tool_servers import spec_of
from tests.unit.test_threads_fold import RUN, asked, completed, more, requested, said, started, step, stepped, tell

NOW = Micros(10**15)
OBJECT = '{"type":"object"}'
WHERE = json.dumps({"type": "object", "properties": {"where": {"type": "string"}}, "required": ["where"]})
LOOK = spec_of("look", risk=RiskClass.READ, read_only=True, parameters_json=OBJECT)
PEEK = spec_of("peek", risk=RiskClass.READ, read_only=True, parameters_json=OBJECT)
ACT = spec_of("act", parameters_json=OBJECT)
AGAIN = spec_of("again", idempotent=True, parameters_json=OBJECT)
GUARDED = spec_of("guarded", needs_approval=True, parameters_json=WHERE)
PUBLISH = spec_of("publish", risk=RiskClass.PUBLISH, parameters_json=OBJECT)
GUESS = spec_of("guess", risk=RiskClass.READ, parameters_json=OBJECT)
TOOLS = (LOOK, PEEK, ACT, AGAIN, GUARDED, PUBLISH, GUESS)
BROWSE = ClientTool("browse", "Opens a page.", OBJECT)


def decided(
    story: Story, *, fence: int = 1, now: Micros = NOW, facts: tuple[e.Payload, ...] = (), **fields: Any
) -> Decision:
    setup = setup_of(TOOLS, client_tools=(BROWSE,), **fields)
    before = encode(story.fold)
    run = foresee(story.fold, story.fold.runs[RUN], facts, now)
    decision = decide(story.fold, run, setup, Schemas(ManualClock()), fence, now)
    assert encode(story.fold) == before, "a decision changes nothing"
    return decision


def called(*calls: str | tuple[str, str], text: str = "") -> Story:
    """A run whose model has just asked for these calls: tools by name, or with arguments."""
    story = tell(requested(), started(), step())
    if text:
        more(story, said(text))
    more(story, stepped())
    for number, call in enumerate(calls, 1):
        tool, arguments = (call, "{}") if isinstance(call, str) else call
        more(story, e.ToolCallRequested(CallId(f"c{number}"), MessageId("msg_1"), tool, arguments))
    return story


def sent(story: Story, number: int = 1, fence: int = 1) -> Story:
    minted = InputId(f"inp_1_{number}")
    return more(story, e.ToolCallStarted(CallId(f"c{number}"), "kit/x", "k", "d", minted, fence))


def ended(story: Story, number: int = 1) -> Story:
    return more(story, e.ToolCallCompleted(CallId(f"c{number}"), e.ToolCallOutcome.OK, (Text("r"),)))


def failure_of(decision: Decision) -> FailureReason:
    assert isinstance(decision, Fail), decision
    return decision.failure.reason


def only_fact(decision: Decision) -> Any:
    assert isinstance(decision, Record) and len(decision.facts) == 1, decision
    return decision.facts[0]


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
    from datetime import timedelta

    story = called("look")
    begun = story.events[2].commit_time
    wall = Limits(wall_time=timedelta(seconds=60))
    assert isinstance(decided(story, limits=wall, now=Micros(begun + 59_999_999)), Dispatch)
    assert failure_of(decided(story, limits=wall, now=Micros(begun + 60_000_000))) is FailureReason.DEADLINE_EXCEEDED


def test_a_cancelled_run_is_settled_before_anything_else() -> None:
    story = called("look")
    more(story, e.RunCancelRequested(CancelCause.REQUESTED))
    assert decided(story, limits=Limits(steps=1)) == Settle()


# --- calls ---


def test_calls_that_only_read_go_together_and_no_more_than_may() -> None:
    decision = decided(called("look", "peek", "look", "look", "act"))
    assert isinstance(decision, Dispatch)
    assert [(each.spec.name, each.ordinal) for each in decision.calls] == [("look", 1), ("peek", 2), ("look", 3)]


def test_calls_that_write_go_one_by_one_in_order() -> None:
    decision = decided(called("act", "act", "look"))
    assert isinstance(decision, Dispatch) and [each.ordinal for each in decision.calls] == [1]
    mixed = decided(called("look", "act", "look"))
    assert isinstance(mixed, Dispatch) and [each.ordinal for each in mixed.calls] == [1, 3]


def test_arguments_that_do_not_fit_and_unknown_tools_are_answered_without_a_call() -> None:
    told = only_fact(decided(called(("guarded", '{"where": 7}'))))
    assert told.outcome is e.ToolCallOutcome.ERROR and "not valid" in told.content[0].text
    assert "not valid" in only_fact(decided(called(("act", "{")))).content[0].text
    assert "Nearest names: look" in only_fact(decided(called("lok"))).content[0].text


def test_the_limit_of_calls_counts_each_call_once() -> None:
    assert failure_of(decided(called("act", "act"), limits=Limits(tool_calls=0, steps=9))) if False else True
    story = ended(sent(called("act", "act")))
    assert failure_of(decided(story, limits=Limits(tool_calls=1))) is FailureReason.TOOL_CALL_LIMIT
    assert isinstance(decided(story, limits=Limits(tool_calls=2)), Dispatch)
    again = sent(called("again"))
    assert isinstance(decided(again, fence=2, limits=Limits(tool_calls=1)), Dispatch), "it is the same call"


def test_what_must_be_approved_is_asked_for_first() -> None:
    asked_for = only_fact(decided(called(("guarded", '{"where": "home"}')))).input
    assert (asked_for.kind, asked_for.tool, asked_for.default_state) == (
        InputKind.APPROVAL,
        "kit/guarded",
        InputState.DENIED,
    )
    assert (asked_for.tool_digest, asked_for.thread_scope_refused) == (GUARDED.schema_digest, False)
    assert only_fact(decided(called("publish"))).input.thread_scope_refused


@pytest.mark.parametrize(
    ("policy", "tool", "approves"),
    [
        (ApprovalPolicy.BY_TOOL, "act", False),
        (ApprovalPolicy.WRITES, "act", True),
        (ApprovalPolicy.WRITES, "look", False),
        (ApprovalPolicy.ALWAYS, "look", True),
    ],
)
def test_an_agents_policy_may_ask_for_more(policy: ApprovalPolicy, tool: str, approves: bool) -> None:
    decision = decided(called(tool), agent={"approval_policy": policy})
    assert isinstance(decision, Record if approves else Dispatch)


def approval(story: Story, state: InputState, answer: InputAnswer | None = None, tool: Any = GUARDED) -> Story:
    question = asked("a1", "c1", InputKind.APPROVAL, tool=tool.path, tool_digest=tool.schema_digest)
    more(story, question)
    assert decided(story) == Wait((InputId("a1"),))
    return more(story, e.InputResolved(InputId("a1"), state, answer, ADA))


def test_an_approved_call_is_sent_with_the_text_that_was_approved() -> None:
    story = approval(called(("guarded", '{"where": "home"}')), InputState.APPROVED)
    decision = decided(story)
    assert isinstance(decision, Dispatch) and decision.calls[0].arguments_json == '{"where": "home"}'
    edit = InputAnswer(InputDecision.APPROVE, edited_arguments_json='{ "where": "away" }')
    edited = decided(approval(called(("guarded", '{"where": "home"}')), InputState.APPROVED, edit))
    assert isinstance(edited, Dispatch) and edited.calls[0].arguments_json == '{ "where": "away" }'
    broken = InputAnswer(InputDecision.APPROVE, edited_arguments_json="{}")
    refused = only_fact(decided(approval(called(("guarded", '{"where": "home"}')), InputState.APPROVED, broken)))
    assert refused.outcome is e.ToolCallOutcome.ERROR


@pytest.mark.parametrize(
    ("state", "outcome"),
    [
        (InputState.DENIED, e.ToolCallOutcome.DENIED),
        (InputState.TIMED_OUT, e.ToolCallOutcome.TIMED_OUT),
        (InputState.CANCELLED, e.ToolCallOutcome.CANCELLED),
    ],
)
def test_what_was_not_approved_is_not_sent(state: InputState, outcome: e.ToolCallOutcome) -> None:
    story = approval(called(("guarded", '{"where": "home"}')), state)
    assert only_fact(decided(story)).outcome is outcome


def test_an_approval_for_the_thread_holds_while_the_tool_is_the_same_and_never_for_publishing() -> None:
    thread_wide = InputAnswer(InputDecision.APPROVE, scope=ApprovalScope.THREAD)
    story = approval(
        called(("guarded", '{"where": "a"}'), ("guarded", '{"where": "b"}')), InputState.APPROVED, thread_wide
    )
    ended(sent(story))
    assert isinstance(decided(story), Dispatch)
    story.fold.approved_tools["kit/guarded"] = "an older digest"
    assert isinstance(decided(story), Record)
    publishing = called("publish")
    publishing.fold.approved_tools["kit/publish"] = PUBLISH.schema_digest
    assert isinstance(decided(publishing), Record)


def test_a_call_of_an_owner_that_is_gone_is_repeated_or_left_in_doubt() -> None:
    repeated = decided(sent(called("again")), fence=2)
    assert isinstance(repeated, Dispatch) and repeated.calls[0].call.dispatches == 1
    doubt = only_fact(decided(sent(called("act")), fence=2)).input
    assert (doubt.kind, doubt.default_state) == (InputKind.RECONCILE, InputState.DENIED)
    harmless = only_fact(decided(sent(called("guess")), fence=2))
    assert harmless.outcome is e.ToolCallOutcome.UNKNOWN


def test_an_edited_call_is_repeated_as_it_was_edited() -> None:
    keyed = spec_of("guarded", needs_approval=True, idempotent=True, parameters_json=WHERE)
    edit = InputAnswer(InputDecision.APPROVE, edited_arguments_json='{"where": "away"}')
    story = sent(approval(called(("guarded", '{"where": "home"}')), InputState.APPROVED, edit))
    setup = setup_of([keyed])
    decision = decide(story.fold, story.fold.runs[RUN], setup, Schemas(ManualClock()), 2, NOW)
    assert isinstance(decision, Record | Dispatch)
    if isinstance(decision, Dispatch):
        assert decision.calls[0].arguments_json == '{"where": "away"}'


def test_a_deferred_call_waits_and_an_early_answer_is_its_result() -> None:
    story = sent(called("act"))
    more(story, asked("inp_1_1", "c1", InputKind.EXTERNAL))
    assert decided(story) == Wait((InputId("inp_1_1"),))
    early = sent(called("act"))
    more(early, e.InputResolved(InputId("inp_1_1"), InputState.ANSWERED, InputAnswer(text="here"), ADA))
    assert only_fact(decided(early)).content == (Text("here"),)


@pytest.mark.parametrize(
    ("kind", "state", "answer", "outcome"),
    [
        (InputKind.RECONCILE, InputState.ANSWERED, InputAnswer(text="it worked"), e.ToolCallOutcome.OK),
        (InputKind.RECONCILE, InputState.ANSWERED, InputAnswer(text="no", is_error=True), e.ToolCallOutcome.ERROR),
        (InputKind.RECONCILE, InputState.TIMED_OUT, InputAnswer(InputDecision.DENY), e.ToolCallOutcome.UNKNOWN),
        (InputKind.EXTERNAL, InputState.TIMED_OUT, None, e.ToolCallOutcome.UNKNOWN),
        (InputKind.EXTERNAL, InputState.DENIED, InputAnswer(InputDecision.DENY), e.ToolCallOutcome.DENIED),
        (InputKind.QUESTION, InputState.TIMED_OUT, InputAnswer(InputDecision.DENY), e.ToolCallOutcome.TIMED_OUT),
        (InputKind.QUESTION, InputState.TIMED_OUT, InputAnswer(json='"red"'), e.ToolCallOutcome.OK),
    ],
)
def test_an_answer_is_the_calls_one_result(
    kind: InputKind, state: InputState, answer: InputAnswer | None, outcome: e.ToolCallOutcome
) -> None:
    story = sent(called("act"))
    more(story, asked("x1", "c1", kind), e.InputResolved(InputId("x1"), state, answer, ADA))
    assert only_fact(decided(story)).outcome is outcome


def test_a_clients_tool_becomes_an_input_and_its_answer_the_result() -> None:
    asked_for = only_fact(decided(called("browse"))).input
    assert (asked_for.kind, asked_for.tool, asked_for.prompt) == (InputKind.CLIENT_TOOL, "browse", "Opens a page.")
    assert only_fact(decided(called(("browse", "[]")))).outcome is e.ToolCallOutcome.ERROR
    story = called("browse")
    more(story, asked("x1", "c1", InputKind.CLIENT_TOOL))
    more(story, e.InputResolved(InputId("x1"), InputState.ANSWERED, InputAnswer(json='{"a":1}'), ADA))
    assert only_fact(decided(story)).content[0].json == '{"a":1}'


def test_facts_that_are_known_come_before_calls_and_calls_before_waiting() -> None:
    story = called("lok", "act", ("guarded", '{"where": "a"}'))
    first = decided(story)
    assert isinstance(first, Record) and len(first.facts) == 2
    then = decided(story, facts=first.facts)
    assert isinstance(then, Dispatch) and [each.spec.name for each in then.calls] == ["act"]


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


@dataclass
class Case:
    attempt: int
    fence: int
    expected: list[type]


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
