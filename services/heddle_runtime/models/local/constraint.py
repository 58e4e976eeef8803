"""Decides what the local model is asked, so that 135 million parameters always give something usable.

So small a model cannot judge whether a tool is needed, nor when it has done enough, and its chat template
enforces no tool choice. So it is decided for it, by rules that a reader can predict:

* a tool is on offer if its name, or else its description, shares a word with what the user wrote (names split
  at `_`, words cut to five letters, so that "publishing" fits `publish_post`); if none does, the model answers
  in plain words;
* with tools on offer the answer is constrained to `{"tool": ..., "arguments": ...}`, where the arguments
  follow the chosen tool's own schema: it is always a valid call;
* once a tool has answered in this turn, the model says the rest in plain words: one round of tools a turn.
"""

import json
import re
from itertools import pairwise
from typing import Any, cast

from heddle_runtime.models.port import (
    AssistantMessage,
    BinaryPart,
    JsonPart,
    ModelRequest,
    Part,
    TextPart,
    ToolDeclaration,
    ToolMessage,
    UserMessage,
)

_LONGEST_STRING = 160
_LONGEST_LIST = 4
_STEM = 5
_COMMON_WORDS = frozenset(
    """about after again also because before could does from have here into just like more most need only other
    please should some than that their them then there these they this tool tools used uses using want what
    when where which will with would your""".split()  # noqa: SIM905 - forty words read better as text
)
_KEPT_KEYS = frozenset({"type", "enum", "const", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"})


def tools_on_offer(request: ModelRequest) -> tuple[ToolDeclaration, ...]:
    """The tools that the next answer must be a call of; empty if it shall be plain words."""
    said = ""
    for message in reversed(request.messages):
        if isinstance(message, ToolMessage):
            return ()
        if isinstance(message, UserMessage):
            said = " ".join(_words_of(part) for part in message.parts)
            break
    stems = _stems(said)
    by_name = tuple(tool for tool in request.tools if stems & _stems(tool.name))
    return by_name or tuple(tool for tool in request.tools if stems & _stems(tool.description))


def call_schema(tools: tuple[ToolDeclaration, ...]) -> dict[str, Any]:
    """The JSON schema of one call of one of `tools`, bounded so that the answer cannot run on."""
    return {
        "oneOf": [
            {
                "type": "object",
                "properties": {
                    "tool": {"const": tool.name},
                    "arguments": bounded(_object(json.loads(tool.parameters_json))),
                },
                "required": ["tool", "arguments"],
                "additionalProperties": False,
            }
            for tool in tools
        ]
    }


def bounded(schema: object, root: object = None) -> dict[str, Any]:
    """`schema` in the words that llama.cpp's grammar knows, with an end to every string and list.

    What it leaves out (patterns, conditions, formats) is checked by the caller, who has the whole schema.
    """
    root = schema if root is None else root
    if not isinstance(schema, dict):
        return {}
    given = cast("dict[str, Any]", schema)
    if isinstance(reference := given.get("$ref"), str):
        return bounded(_resolved(root, reference), root)
    for choice in ("oneOf", "anyOf"):
        if isinstance(options := given.get(choice), list) and options:
            return {"anyOf": [bounded(each, root) for each in cast("list[Any]", options)]}
    kept = {key: value for key, value in given.items() if key in _KEPT_KEYS}
    kind = kept.get("type")
    kinds = cast("list[Any]", kind) if isinstance(kind, list) else [kind]
    if "object" in kinds or "properties" in given:
        properties = cast("dict[str, Any]", given.get("properties") or {})
        kept["properties"] = {name: bounded(each, root) for name, each in properties.items()}
        kept["required"] = [name for name in given.get("required") or () if name in properties]
        kept["additionalProperties"] = False
    if "array" in kinds:
        kept["items"] = bounded(given.get("items", {"type": "string"}), root)
        kept["minItems"] = min(int(given.get("minItems", 0)), _LONGEST_LIST)
        kept["maxItems"] = min(int(given.get("maxItems", _LONGEST_LIST)), _LONGEST_LIST)
    if "string" in kinds and "enum" not in kept and "const" not in kept:
        kept["maxLength"] = min(int(given.get("maxLength", _LONGEST_STRING)), _LONGEST_STRING)
        kept["minLength"] = min(int(given.get("minLength", 0)), kept["maxLength"])
    return kept or {"type": "string", "maxLength": _LONGEST_STRING}


def call_messages(request: ModelRequest) -> list[dict[str, str]]:
    """The prompt for a call: one example and the user's words. The grammar holds the tools.

    Tried out: with an example and no list of tools the values were copied right ("order 4711" gave `4711`); with
    the list, with or without the example, they were mostly invented.
    """
    said = next(message for message in reversed(request.messages) if isinstance(message, UserMessage))
    return [
        {"role": "system", "content": "You call tools. Copy the values from the user's words."},
        {"role": "user", "content": "Find the red bike 77 in the garage"},
        {
            "role": "assistant",
            "content": '{"tool":"find","arguments":{"thing":"red bike 77","place":"garage"}}',
        },
        {"role": "user", "content": "\n".join(_words_of(part) for part in said.parts)},
    ]


def answer_messages(request: ModelRequest) -> list[dict[str, str]]:
    """The prompt for plain words. Tool results are told as the user's, since the template knows no tools."""
    messages = [{"role": "system", "content": request.instructions or "You are a helpful assistant."}]
    for message in request.messages:
        match message:
            case UserMessage(parts):
                _say(messages, "user", "\n".join(_words_of(part) for part in parts))
            case AssistantMessage(text=text) if text:
                _say(messages, "assistant", text)
            case AssistantMessage():
                pass
            case ToolMessage(tool=tool, content=content):
                _say(messages, "user", f"{tool} answered: {content}\nTell me what this means, in plain words.")
    return messages


def _say(messages: list[dict[str, str]], role: str, words: str) -> None:
    if messages[-1]["role"] == role:
        messages[-1]["content"] += f"\n{words}"
    else:
        messages.append({"role": role, "content": words})


def _words_of(part: Part) -> str:
    match part:
        case TextPart(text):
            return text
        case JsonPart(text):
            return text
        case BinaryPart(media_type, content):
            return f"[{media_type}, {len(content)} bytes: cannot be seen by this model]"


def _stems(text: str) -> set[str]:
    words = re.findall(r"[a-z0-9]{4,}", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text).replace("_", " ").lower())
    joined = re.findall(r"[a-z]+", text.lower())
    # "look up" is `lookup`: neighbours are tried together too.
    words += [first + second for first, second in pairwise(joined)]
    return {word[:_STEM] for word in words if word not in _COMMON_WORDS and len(word) >= 4}


def _object(schema: object) -> dict[str, Any]:
    given = cast("dict[str, Any]", schema) if isinstance(schema, dict) else {}
    return {**given, "type": "object"}


def _resolved(root: object, reference: str) -> object:
    place: Any = root
    for step in reference.removeprefix("#/").split("/"):
        place = cast("dict[str, Any]", place).get(step) if isinstance(place, dict) else None
    # A reference into itself would never end: such a part becomes a string.
    return {} if place is None or reference in json.dumps(place) else place
