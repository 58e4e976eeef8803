"""Conditions over signals: what holds, what cannot be judged, and what is refused with the position of its fault."""

import re
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heddle_campaign.rules.conditions import BadCondition, check_condition, read
from heddle_core.errors import InvalidField

SIGNAL = {
    "score": 71.5,
    "count": 3,
    "tag": "sale",
    "nothing": None,
    "items": [1, 9],
    "shop": {"open": True, "name": "Zürich"},
}


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("", True),
        (" \n ", True),
        ("signal.score > 70", True),
        ("signal.score > 70.0 && signal.count == 3", True),
        ("signal.count > 2.5", True),
        ("signal.tag in ['sale', 'stock']", True),
        ("has(signal.missing) || signal.shop.open", True),
        ("signal.items.exists(x, x > 5)", True),
        ("signal.items.all(x, x > 5)", False),
        ("signal.items.filter(x, x > 5).size() == 1 && signal.count + 1 == 4", True),
        ("signal.tag.matches('^s.*e$')", True),
        ("signal.tag == 'a + b // all(' // a comment, with (brackets", False),
        ("signal.shop.name == 'Zürich'", True),
        ("signal['tag'].startsWith(r'sa')", True),
        ("signal.nothing == null", True),
        ("true || signal.missing == 1", True),
    ],
)
def test_a_condition_holds_or_not(condition: str, holds: bool) -> None:
    judged = read(condition).judge(SIGNAL)
    assert (judged.holds, judged.fault) == (holds, "")


@pytest.mark.parametrize(
    ("condition", "fault"),
    [
        ("signal.missing > 1", 'Key not found in map : "missing"'),
        ("signal.tag > 1", "No matching overloads"),
        ("signal.count / 0 == 1", "divide by zero"),
        ("signal.tag.matches('(')", "invalid regular expression"),
        ("signal.tag", "it tells a STRING and not true or false"),
        ("signal.count + 9223372036854775807 > 0", "overflow"),
    ],
)
def test_what_cannot_be_judged_does_not_hold_and_says_why(condition: str, fault: str) -> None:
    judged = read(condition).judge(SIGNAL)
    assert not judged.holds
    assert fault in judged.fault


@pytest.mark.parametrize(
    ("condition", "line", "column", "problem"),
    [
        ("signal.score >", 1, 15, "Syntax error"),
        ("signal.score > 70 &&\n  )", 2, 3, "Syntax error"),
        ("score > 70", 1, 1, "undeclared reference to 'score'"),
        ("true && lookup('x')", 1, 15, "undeclared reference to 'lookup'"),
        ("'x' + 1 == 2", 1, 5, "no matching overload"),
        ("'ü' == ü", 1, 8, "Syntax error"),
        ("signal.count + 1", 1, 1, "it tells a INT: compare it"),
        ("[1].all(x, [2].all(y, x < y))", 1, 19, "a macro inside a macro"),
        ("signal.items\n  .map(x, x + x) == []", 2, 13, "`+` inside a macro"),
        (" && ".join(["[1].all(x, x > 0)"] * 9), 1, 176, "more than 8 macros"),
        ("x" * 2_001, 1, 2_001, "use at most 2000"),
        ("true \x00", 1, 6, "this character cannot stand here"),
        ("true \ud800", 1, 6, "this character cannot stand here"),
        ("(" * 400 + "true" + ")" * 400, 1, 1, "recursion"),
    ],
)
def test_what_cannot_be_understood_is_refused_with_its_position(
    condition: str, line: int, column: int, problem: str
) -> None:
    with pytest.raises(BadCondition, match=re.escape(problem)) as refused:
        read(condition)
    assert (refused.value.line, refused.value.column) == (line, column)
    with pytest.raises(InvalidField, match=f"triggers\\[0\\].custom.condition: line {line}, column {column}"):
        check_condition(condition, "triggers[0].custom.condition")


@pytest.mark.parametrize(
    ("payload", "fault"),
    [
        ({"items": list(range(101))}, "signal.items has more than 100 elements"),
        ({"text": "x" * 4_097}, "signal.text has more than 4096 characters"),
        ({f"f{each}": each for each in range(2_000)}, "the signal has more than 2000 values"),
        ({"a": [[[[[[[[[1]]]]]]]]]}, "lies deeper than 8 levels"),
        ({"a": {"b": float("nan")}}, "signal.a.b is no number"),
        ({"a": 2**63}, "signal.a is too large a number"),
    ],
)
def test_a_signal_that_is_too_large_is_not_judged(payload: Any, fault: str) -> None:
    judged = read("true").judge(payload)
    assert not judged.holds
    assert fault in judged.fault


def test_the_costliest_condition_that_is_taken_ends_soon() -> None:
    payload = {"items": ["a" * 4_000] * 100, "text": "a" * 4_000}
    parts = ["signal.items.all(x, x.matches('(a|b|c)*(a*b*)*d') || signal.items == signal.items)"] * 8
    began = time.process_time()
    read(" && ".join(parts)).judge(payload)
    assert time.process_time() - began < 2


_json = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=10,
)


_texts = st.text(alphabet="signal.x()[]{}'\"+-&|!?:,<>=12 \n/ü\\allmapexists", max_size=40)


@settings(max_examples=60, deadline=None)
@given(_texts, st.dictionaries(st.text(max_size=5), _json, max_size=3))
def test_no_text_and_no_signal_raises_anything_else(condition: str, payload: Any) -> None:
    try:
        understood = read(condition)
    except BadCondition as problem:
        assert problem.line >= 1
        assert problem.column >= 1
    else:
        assert isinstance(understood.judge(payload).holds, bool)
