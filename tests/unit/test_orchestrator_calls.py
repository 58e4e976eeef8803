"""What is done next with a tool call: asked for, sent, awaited, or left in doubt (SEMANTICS 26 to 28)."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

import heddle_runtime.threads.events as e
from heddle_core.clock import ManualClock
from heddle_core.ids import InputId
from heddle_core.usage import MicroUsd
from heddle_runtime.orchestrator.decide import decide
from heddle_runtime.orchestrator.decisions import Dispatch, Record, Wait
from heddle_runtime.orchestrator.settlement import closing
from heddle_runtime.runs.agent import ApprovalPolicy
from heddle_runtime.runs.content import Text
from heddle_runtime.runs.inputs import ApprovalScope, InputAnswer, InputDecision, InputKind
from heddle_runtime.runs.run import FailureReason
from heddle_runtime.runs.state import InputState
from heddle_runtime.runs.usage import Limits
from heddle_runtime.tools.port import RiskClass, ToolSpec
from heddle_runtime.tools.schema import Schemas
from heddle_runtime.tools.terms import sent_tool
from tests.kit.decisions import (
    ACT,
    AGAIN,
    GUARDED,
    NOW,
    PUBLISH,
    WHERE,
    called,
    decided,
    ended,
    failure_of,
    only_fact,
    sent,
)
from tests.kit.setups import setup_of
from tests.kit.thread_facts import RUN, asked, more
from tests.kit.thread_stories import ADA, Story
from tests.kit.tool_servers import spec_of

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


def only_waits(story: Story) -> bool:
    """Whether nothing can be done about the first call."""
    decision = decided(story)
    calls = (
        [fact.input.call_id for fact in decision.facts if isinstance(fact, e.InputRequested)]
        if isinstance(decision, Record)
        else []
    )
    return isinstance(decision, Wait) or (isinstance(decision, Record) and "c1" not in calls)


def approval(story: Story, state: InputState, answer: InputAnswer | None = None, tool: Any = GUARDED) -> Story:
    question = asked("a1", "c1", InputKind.APPROVAL, tool=tool.path, tool_digest=tool.schema_digest)
    more(story, question)
    assert only_waits(story)
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


def test_a_call_of_which_nothing_is_on_record_stays_in_doubt_when_its_tool_is_gone() -> None:
    assert only_fact(decided(called("gone"))).outcome is e.ToolCallOutcome.ERROR
    doubt = only_fact(decided(sent(called("gone")), fence=2)).input
    assert (doubt.kind, doubt.tool) == (InputKind.RECONCILE, "gone")


def test_a_call_whose_tool_is_gone_is_repeated_as_its_intent_promises() -> None:
    gone = spec_of("gone", idempotent=True, deadline=timedelta(seconds=7), price=MicroUsd(3), risk=RiskClass.SPEND)
    decision = decided(sent(called("gone"), spec=gone), fence=2)
    assert isinstance(decision, Dispatch)
    assert decision.calls[0].spec == replace(gone, description="")
    doubt = only_fact(decided(sent(called("gone"), spec=spec_of("gone")), fence=2)).input
    assert (doubt.kind, doubt.tool) == (InputKind.RECONCILE, "kit/gone")
    harmless = sent(called("gone"), spec=spec_of("gone", risk=RiskClass.READ))
    assert only_fact(decided(harmless, fence=2)).outcome is e.ToolCallOutcome.UNKNOWN


def test_a_call_is_repeated_only_if_its_tool_promises_so_then_and_now() -> None:
    grown = sent(called("again"), spec=replace(AGAIN, idempotent=False))
    assert only_fact(decided(grown, fence=2)).input.kind is InputKind.RECONCILE
    shrunk = sent(called("act"), spec=replace(ACT, idempotent=True))
    assert only_fact(decided(shrunk, fence=2)).input.kind is InputKind.RECONCILE
    keyed_then_only_read = sent(called("look"), spec=spec_of("look", idempotent=True))
    assert only_fact(decided(keyed_then_only_read, fence=2)).input.kind is InputKind.RECONCILE
    renewed = replace(AGAIN, deadline=timedelta(seconds=7))
    same = decided(sent(called("again"), spec=renewed), fence=2)
    assert isinstance(same, Dispatch) and same.calls[0].spec == AGAIN, "as it is declared now"


def test_a_call_is_never_repeated_to_another_tool_of_that_name() -> None:
    elsewhere = spec_of("again", "other", idempotent=True)
    decision = decided(sent(called("again"), spec=elsewhere), fence=2)
    assert isinstance(decision, Dispatch) and decision.calls[0].spec.path == "other/again"


def test_a_risk_that_only_a_later_version_knows_counts_as_the_worst() -> None:
    assert sent_tool("kit/gone", e.ToolTerms(risk=99), None).risk is max(RiskClass)


@pytest.mark.parametrize(
    ("spec", "outcome"),
    [
        (spec_of("gone", risk=RiskClass.READ, read_only=True), e.ToolCallOutcome.CANCELLED),
        (spec_of("gone", idempotent=True), e.ToolCallOutcome.UNKNOWN),
    ],
)
def test_a_run_that_ends_closes_its_calls_by_what_is_on_record(spec: ToolSpec, outcome: e.ToolCallOutcome) -> None:
    story = sent(called("gone"), spec=spec)
    (closed,) = closing(story.fold.runs[RUN], None)
    assert isinstance(closed, e.ToolCallCompleted) and closed.outcome is outcome


def test_an_edited_call_is_repeated_as_it_was_edited() -> None:
    keyed = spec_of("guarded", needs_approval=True, idempotent=True, parameters_json=WHERE)
    edit = InputAnswer(InputDecision.APPROVE, edited_arguments_json='{"where": "away"}')
    story = sent(approval(called(("guarded", '{"where": "home"}')), InputState.APPROVED, edit))
    setup = setup_of([keyed])
    decision = decide(story.fold, story.fold.runs[RUN], setup, Schemas(ManualClock()), 2, NOW)
    assert isinstance(decision, Dispatch) and decision.calls[0].arguments_json == '{"where": "away"}'


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
