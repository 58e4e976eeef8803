"""Which answers fit which inputs, how often callers may come, and how threads get their titles."""

import json

import pytest

from heddle_core.clock import ManualClock
from heddle_core.errors import InvalidField
from heddle_core.ids import InputId, PrincipalId, RunId, TenantId, ThreadId
from heddle_runtime.facade.answer_rules import check_answer
from heddle_runtime.facade.rates import Rates
from heddle_runtime.facade.titles import TITLE_LENGTH, automatic_title
from heddle_runtime.facade.turn_rules import TurnBounds, check_turn
from heddle_runtime.runs.content import InlineData, Json, Text
from heddle_runtime.runs.inputs import ApprovalScope, InputAnswer, InputDecision, InputKind, InputOption, InputRequest
from heddle_runtime.runs.state import InputState
from heddle_runtime.runs.turn import ClientTool, ContextItem, ResponseFormat, Turn
from heddle_runtime.runs.usage import Limits
from heddle_runtime.tools.schema import Schemas

SHAPE = json.dumps({"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}})
APPROVE, DENY, ANSWER = InputDecision.APPROVE, InputDecision.DENY, InputDecision.ANSWER
OPTIONS = (InputOption("red"), InputOption("blue"))


def asked(kind: InputKind, **fields: object) -> InputRequest:
    return InputRequest(InputId("i"), ThreadId("t"), RunId("r"), kind, InputState.PENDING, **fields)


def refusals(request: InputRequest, answer: InputAnswer) -> list[str]:
    try:
        check_answer(request, answer, Schemas(ManualClock()))
    except InvalidField as error:
        return [violation.field for violation in error.violations]
    return []


DECIDED = [InputKind.APPROVAL, InputKind.PLAN]
ANSWERED = [InputKind.QUESTION, InputKind.EXTERNAL, InputKind.CLIENT_TOOL, InputKind.RECONCILE, InputKind.AUTHORIZATION]


@pytest.mark.parametrize("kind", DECIDED)
def test_a_decision_is_asked_for_and_words_are_none(kind: InputKind) -> None:
    assert refusals(asked(kind), InputAnswer(APPROVE)) == []
    assert refusals(asked(kind), InputAnswer(DENY, text="no")) == []
    assert refusals(asked(kind), InputAnswer(ANSWER, text="yes")) == ["answer.decision"]
    assert refusals(asked(kind), InputAnswer(text="yes")) == ["answer.decision"]


@pytest.mark.parametrize("kind", ANSWERED)
def test_an_answer_is_asked_for_and_approval_is_none(kind: InputKind) -> None:
    assert refusals(asked(kind), InputAnswer(text="here")) == []
    assert refusals(asked(kind), InputAnswer(DENY)) == []
    assert refusals(asked(kind), InputAnswer(APPROVE, text="ok")) == ["answer.decision"]


@pytest.mark.parametrize(
    "kind", [kind for kind in InputKind if kind not in (InputKind.APPROVAL, InputKind.UNSPECIFIED)]
)
def test_only_approvals_take_edited_arguments(kind: InputKind) -> None:
    decision = APPROVE if kind in DECIDED else ANSWER
    edited = InputAnswer(decision, text="x", edited_arguments_json="{}")
    assert refusals(asked(kind), edited) == ["answer.edited_arguments_json"]
    assert refusals(asked(InputKind.APPROVAL), InputAnswer(APPROVE, edited_arguments_json="{}")) == []


def test_what_publishes_or_spends_is_not_approved_for_the_thread() -> None:
    strict = asked(InputKind.APPROVAL, thread_scope_refused=True)
    assert refusals(strict, InputAnswer(APPROVE, scope=ApprovalScope.THREAD)) == ["answer.scope"]
    assert refusals(strict, InputAnswer(APPROVE, scope=ApprovalScope.ONCE)) == []
    assert refusals(asked(InputKind.APPROVAL), InputAnswer(APPROVE, scope=ApprovalScope.THREAD)) == []


@pytest.mark.parametrize(
    ("fields", "answer", "expected"),
    [
        ({"options": OPTIONS}, InputAnswer(options=("red",)), []),
        ({"options": OPTIONS}, InputAnswer(options=("green",)), ["answer.options[0]"]),
        ({"options": OPTIONS}, InputAnswer(text="green"), ["answer.options"]),
        ({"options": OPTIONS, "free_text": True}, InputAnswer(text="green"), []),
        ({"free_text": True}, InputAnswer(), ["answer.text"]),
        ({"free_text": True}, InputAnswer(content=(Text("x"),)), []),
        ({"json_schema": SHAPE}, InputAnswer(), ["answer.json"]),
        ({"json_schema": SHAPE}, InputAnswer(json='{"n": "x"}'), ["answer.json"]),
        ({"json_schema": SHAPE}, InputAnswer(json='{"n": 1}'), []),
        ({"options": OPTIONS}, InputAnswer(DENY), []),
    ],
)
def test_a_question_says_which_answers_fit_it(
    fields: dict[str, object], answer: InputAnswer, expected: list[str]
) -> None:
    assert refusals(asked(InputKind.QUESTION, **fields), answer) == expected


def test_a_rate_is_a_bucket_per_principal_that_fills_with_time() -> None:
    rates = Rates(60)
    tenant, ada, bob = TenantId("acme"), PrincipalId("ada"), PrincipalId("bob")
    assert [rates.admit(tenant, ada, 0.0) for _ in range(61)] == [True] * 60 + [False]
    assert rates.admit(tenant, bob, 0.0)
    assert rates.admit(TenantId("globex"), ada, 0.0)
    assert not rates.admit(tenant, ada, 0.5)
    assert rates.admit(tenant, ada, 1.0)
    assert not rates.admit(tenant, ada, 1.0)
    assert [rates.admit(tenant, ada, 10_000.0) for _ in range(61)] == [True] * 60 + [False]
    assert all(Rates(0).admit(tenant, ada, 0.0) for _ in range(1_000))


@pytest.mark.parametrize(
    ("said", "title"),
    [
        ("Hello", "Hello"),
        ("  several\n\twords  ", "several words"),
        ("", ""),
        ("x" * TITLE_LENGTH, "x" * TITLE_LENGTH),
        ("x" * (TITLE_LENGTH + 1), "x" * (TITLE_LENGTH - 1) + "…"),
        ("word " * 20, ("word " * 11).strip() + "…"),
        ("a" * 54 + ", and then more", "a" * 54 + "…"),
    ],
)
def test_a_title_is_the_first_words_cut_at_a_words_end(said: str, title: str) -> None:
    assert automatic_title((Text(said),)) == title
    assert len(automatic_title((Text(said),))) <= TITLE_LENGTH


@pytest.mark.parametrize(
    ("turn", "field"),
    [
        (Turn(()), "turn.content"),
        (Turn((Text("x" * 32_001),)), "turn.content"),
        (Turn((Text("x"),) * 65), "turn.content"),
        (Turn((InlineData("png", b""),)), "turn.content[0].inline_data.media_type"),
        (Turn((InlineData("image/png", bytes(1024 * 1024 + 1)),)), "turn.content[0].inline_data.data"),
        (Turn((Text("x"),), context=(ContextItem("c"),) * 65), "turn.context"),
        (Turn((Text("x"),), client_tools=(ClientTool("a b", ""),)), "turn.client_tools[0].name"),
        (Turn((Text("x"),), client_tools=(ClientTool("a", ""), ClientTool("a", ""))), "turn.client_tools[1].name"),
        (Turn((Text("x"),), client_tools=(ClientTool("a", "", "[]"),)), "turn.client_tools[0].parameters_json"),
        (Turn((Text("x"),), response_format=ResponseFormat("{")), "turn.response_format.json_schema"),
        (Turn((Text("x"),), limits=Limits(steps=-1)), "turn.limits.steps"),
    ],
)
def test_a_turn_that_cannot_be_worked_on_is_refused_with_its_field(turn: Turn, field: str) -> None:
    with pytest.raises(InvalidField) as caught:
        check_turn(turn, TurnBounds(), Schemas(ManualClock()))
    assert field in [violation.field for violation in caught.value.violations]


def test_an_ordinary_turn_is_taken() -> None:
    turn = Turn((Text("x"), Json("{}")), limits=Limits(steps=1), response_format=ResponseFormat(SHAPE))
    check_turn(turn, TurnBounds(), Schemas(ManualClock()))
