"""Values against schemas: what is told, what is refused, and that neither side can hang or reach out."""

import json
import socket
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heddle_core.clock import SystemClock
from heddle_runtime.tools.schema import Schemas
from heddle_runtime.tools.schema_rules import MOST_PATTERN, MOST_SCHEMA

DIALECT = "https://json-schema.org/draft/2020-12/schema"
TRIP = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "minLength": 1, "maxLength": 20},
        "days": {"type": ["integer", "null"], "minimum": 1},
        "unit": {"enum": ["c", "f"]},
        "stops": {"type": "array", "items": {"type": "object", "required": ["name"]}, "uniqueItems": True},
        "when": {"anyOf": [{"type": "string"}, {"type": "object", "required": ["from", "to"]}]},
    },
    "required": ["city"],
    "additionalProperties": False,
}


@pytest.fixture
def schemas() -> Schemas:
    return Schemas(SystemClock())


def told(schemas: Schemas, schema: object, value: object) -> tuple[str, ...]:
    return schemas.problems(json.dumps(schema), json.dumps(value))


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ({}, 'the value lacks "city": add it'),
        ([], "the value must be an object, not an array"),
        ({"city": "Rome", "days": "2"}, "days must be an integer or null, not a string"),
        ({"city": "Rome", "days": 0}, "days must be >= 1"),
        ({"city": "Rome", "dayz": 2}, "dayz is not known here: did you mean days?"),
        ({"city": "Rome", "unit": "k"}, 'unit must be one of "c", "f"'),
        ({"city": ""}, "city must have at least 1 characters, not 0"),
        ({"city": "Rome", "stops": [{"name": "a"}, {}]}, 'stops[1] lacks "name": add it'),
        ({"city": "Rome", "stops": [{"name": 1}, {"name": 1.0}]}, "stops must not repeat an item: it repeats"),
        ({"city": "Rome", "when": {"from": 1}}, "when fits none of the 2 allowed forms; of one of them: when lacks"),
    ],
)
def test_a_problem_says_where_and_what_to_do(schemas: Schemas, value: object, sentence: str) -> None:
    (problem,) = told(schemas, TRIP, value)
    assert problem.startswith(sentence)


def test_a_value_that_fits_has_no_problems(schemas: Schemas) -> None:
    value = {"city": "Rome", "days": None, "stops": [{"name": True}, {"name": 1}], "when": "soon"}
    assert told(schemas, TRIP, value) == ()


def test_at_most_five_problems_are_told(schemas: Schemas) -> None:
    assert len(told(schemas, {"type": "array", "items": {"type": "string"}}, list(range(100)))) == 5


def test_a_long_value_is_not_quoted_back(schemas: Schemas) -> None:
    (problem,) = told(schemas, {"enum": ["x" * 5000]}, 1)
    assert len(problem) < 200


@pytest.mark.parametrize("text", ["", "{", "nul", '{"a": NaN}', '{"a":1,"a":2}', '"\\u0000"', "[" * 65 + "]" * 65])
def test_what_is_not_sound_json_is_told_as_such(schemas: Schemas, text: str) -> None:
    assert len(schemas.problems("{}", text)) == 1


def test_sixty_four_levels_are_checked_and_no_more(schemas: Schemas) -> None:
    schema = json.dumps({"anyOf": [{"type": "null"}, {"allOf": [{"type": "array", "items": {"$ref": "#"}}]}]})
    assert schemas.problems(schema, "[" * 64 + "]" * 64) == ()
    assert schemas.problems(schema, "[" * 65 + "]" * 65) == ("nest at most 64 arrays and objects",)


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"$ref": "https://example.com/s.json"}, "nothing is ever fetched"),
        ({"$ref": "file:///etc/passwd"}, "nothing is ever fetched"),
        ({"$ref": "other.json#/a"}, "nothing is ever fetched"),
        ({"$ref": "#/$defs/absent"}, "nothing is ever fetched"),
        ({"$ref": "#/examples/0", "examples": [{"$ref": "https://example.com"}]}, "nothing is ever fetched"),
        ({"properties": {"a": {"$id": "https://example.com/"}}}, "$id belongs to the outermost"),
        ({"properties": {"a": {"$schema": DIALECT}}}, "$schema belongs to the outermost"),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, "draft 2020-12"),
        ({"$dynamicRef": "#a"}, "use $ref"),
        ({"unevaluatedProperties": False}, "use additionalProperties"),
        ({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"allOf": [{"$ref": "#/$defs/a"}]}}}, "without an end"),
        ({"$ref": "#"}, "without an end"),
        ({"pattern": "("}, "is not understood"),
        ({"patternProperties": {"[": {}}}, "is not understood"),
        ({"pattern": "(" * 400 + ")" * 400}, "nested too deeply"),
        ({"pattern": "a" * (MOST_PATTERN + 1)}, "at most 1000 characters"),
        ({"minimum": "1"}, "not valid under draft 2020-12"),
        ({"type": "text"}, "not valid under draft 2020-12"),
        ({"description": "x" * MOST_SCHEMA}, "at most 65536 bytes"),
        ([], "must be a JSON object"),
    ],
)
def test_a_schema_that_is_not_accepted_says_why(schemas: Schemas, schema: object, words: str) -> None:
    assert words in str(schemas.problem_of_schema(json.dumps(schema)))
    assert words in told(schemas, schema, 1)[0]


@pytest.mark.parametrize(
    "schema",
    [
        {"$schema": DIALECT, "$id": "https://example.com/me", "type": "object"},
        {"$defs": {"a/b~c": {"type": "string"}}, "items": {"$ref": "#/$defs/a~1b~0c"}},
        {"properties": {"$ref": {"type": "string"}, "$schema": {"type": "string"}}},
        {"$defs": {"tree": {"properties": {"below": {"items": {"$ref": "#/$defs/tree"}}}}}, "$ref": "#/$defs/tree"},
        {"$defs": {"anything": True}, "items": {"$ref": "#/$defs/anything"}},
        True,
    ],
)
def test_a_sound_schema_is_accepted(schemas: Schemas, schema: object) -> None:
    assert schemas.problem_of_schema(json.dumps(schema)) is None
    assert told(schemas, schema, {}) == ()


def test_arguments_must_be_described_as_an_object(schemas: Schemas) -> None:
    assert schemas.problem_of_schema('{"type":"object"}', of_object=True) is None
    assert "object" in str(schemas.problem_of_schema("{}", of_object=True))


class Watcher:
    """Sees every look-up and connection of this process, as the interpreter reports them; a hook cannot be removed."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.watching = False

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        if self.watching and event.split(".")[0] in ("socket", "urllib", "http", "open"):
            self.seen.append(event)


@pytest.fixture(scope="module")
def watcher() -> Watcher:
    hook = Watcher()
    sys.addaudithook(hook)
    return hook


def test_the_watcher_sees_a_connection(watcher: Watcher) -> None:
    watcher.watching = True
    with socket.socket() as probe, pytest.raises(OSError):
        probe.connect(("127.0.0.1", 1))
    watcher.watching = False
    assert "socket.connect" in watcher.seen


@pytest.mark.parametrize("place", ["$ref", "$schema", "$id", "$dynamicRef"])
def test_no_schema_makes_a_connection_or_opens_a_file(schemas: Schemas, watcher: Watcher, place: str) -> None:
    watcher.seen.clear()
    watcher.watching = True
    for target in ("http://127.0.0.1:1/schema.json", "file:///etc/passwd"):
        remote = {place: target}
        for schema in (remote, {"items": remote}, {"properties": {"a": remote}}, {"$defs": {"a": remote}, **remote}):
            told(schemas, schema, [{"a": 1}])
    watcher.watching = False
    assert watcher.seen == []


HOSTILE = [
    ({"pattern": "^(a|aa)+$"}, "a" * 5000 + "b"),
    ({"pattern": "^(x+x+)+y$"}, "x" * 60_000),
    ({"items": {"pattern": "^(a|aa)+$"}}, ["a" * 32 + "b"] * 5000),
    ({"patternProperties": {"^(a|aa)+$": {}}}, {"a" * 5000 + "b": 1}),
    ({"patternProperties": {"^(a|aa)+$": {}}, "additionalProperties": False}, {"a" * 5000 + "b": 1}),
    ({"allOf": [{"items": {"$ref": "#"}}, {"items": {"$ref": "#"}}]}, json.loads("[" * 60 + "]" * 60)),
    (
        {
            "$defs": {f"a{i}": {"allOf": [{"$ref": f"#/$defs/a{i + 1}"}] * 2} for i in range(40)} | {"a40": {}},
            "$ref": "#/$defs/a0",
        },
        1,
    ),
    ({"items": {"enum": list(range(5000))}}, list(range(100_000))),
]


@pytest.mark.parametrize(("schema", "value"), HOSTILE)
def test_a_hostile_schema_is_given_up_soon(schemas: Schemas, schema: object, value: object) -> None:
    begun = time.process_time()
    (problem,) = told(schemas, schema, value)
    assert "too long" in problem
    assert time.process_time() - begun < 5


def test_many_distinct_objects_are_compared_without_comparing_pairs(schemas: Schemas) -> None:
    assert told(schemas, {"uniqueItems": True}, [{"a": i} for i in range(20_000)]) == ()


def test_numbers_beyond_a_double_are_told_and_do_not_break_the_check(schemas: Schemas) -> None:
    (problem,) = schemas.problems('{"multipleOf": 0.1}', "1" + "0" * 400)
    assert "too large" in problem


def test_schemas_are_compiled_once_and_forgotten_in_turn(schemas: Schemas) -> None:
    for index in range(600):
        assert schemas.problems(json.dumps({"const": index}), str(index)) == ()
    assert schemas.problems(json.dumps({"const": 0}), "1") == ("the value must be 0",)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)
KEYWORDS = """
    type properties items required enum const anyOf oneOf allOf not if then else pattern patternProperties minimum
    multipleOf uniqueItems additionalProperties $ref $defs prefixItems contains dependentSchemas minLength
"""
keywords = st.sampled_from(KEYWORDS.split())
schemas_of_any_kind = st.dictionaries(
    keywords, json_values | st.dictionaries(keywords, json_values, max_size=3), max_size=4
)


@settings(max_examples=300, deadline=None)
@given(schemas_of_any_kind, json_values)
def test_no_schema_and_no_value_raises(schema: object, value: object) -> None:
    problems = Schemas(SystemClock()).problems(json.dumps(schema), json.dumps(value))
    assert all(isinstance(problem, str) and problem for problem in problems)
