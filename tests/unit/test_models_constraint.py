"""What the local model is asked."""

import json

import jsonschema
import pytest

from heddle_runtime.models.local import constraint
from heddle_runtime.models.port import ModelRequest, TextPart, ToolDeclaration, ToolMessage, UserMessage


def tool(name: str, description: str = "", **properties: object) -> ToolDeclaration:
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return ToolDeclaration(name, description, json.dumps(schema))


LOOKUP = tool("lookup", "Finds an order by its number.", q={"type": "string"})
PUBLISH = tool("publish_post", "Puts a text on a platform.", text={"type": "string"})


def asked(text: str, *more: ToolMessage) -> ModelRequest:
    return ModelRequest("m", "", (UserMessage((TextPart(text),)), *more), (LOOKUP, PUBLISH))


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Please look up 4711", ["lookup"]),
        ("publishing is due", ["publish_post"]),
        ("which order is late?", ["lookup"]),
        ("lookup it, then publish it", ["lookup", "publish_post"]),
        ("Hello, how are you?", []),
        ("use your tools please", []),
    ],
)
def test_tools_are_on_offer_where_the_words_name_them(text: str, names: list[str]) -> None:
    assert [each.name for each in constraint.tools_on_offer(asked(text))] == names


def test_after_a_result_the_model_only_talks() -> None:
    assert constraint.tools_on_offer(asked("look up 4711", ToolMessage("c", "lookup", "x"))) == ()
    assert (
        "lookup answered: x"
        in constraint.answer_messages(asked("look up", ToolMessage("c", "lookup", "x")))[-1]["content"]
    )


def test_every_string_and_list_of_a_schema_has_an_end() -> None:
    schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "pattern": "^a"},
            "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}},
            "kind": {"enum": ["a", "b"]},
            "either": {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}]},
            "loop": {"$ref": "#/$defs/loop"},
            "free": {},
        },
        "required": ["name", "gone"],
        "$defs": {"tag": {"type": "string"}, "loop": {"type": "object", "properties": {"n": {"$ref": "#/$defs/loop"}}}},
    }
    made = constraint.bounded(schema)
    assert made["properties"]["name"]["maxLength"] == 160
    assert made["properties"]["tags"]["maxItems"] == 4
    assert made["properties"]["tags"]["items"]["maxLength"] == 160
    assert made["properties"]["kind"] == {"enum": ["a", "b"]}
    assert made["properties"]["either"] == {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}]}
    assert made["properties"]["loop"] == made["properties"]["free"] == {"type": "string", "maxLength": 160}
    assert made["required"] == ["name"]
    assert made["additionalProperties"] is False


def test_the_schema_of_a_call_admits_calls_of_its_tools_and_nothing_else() -> None:
    check = jsonschema.Draft202012Validator(constraint.call_schema((LOOKUP, PUBLISH)))
    assert check.is_valid({"tool": "lookup", "arguments": {"q": "a"}})
    assert not check.is_valid({"tool": "lookup", "arguments": {"text": "a"}})
    assert not check.is_valid({"tool": "other", "arguments": {}})
    assert not check.is_valid({"tool": "lookup"})
