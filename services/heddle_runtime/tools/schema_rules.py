"""Which JSON Schemas are accepted, decided before one is ever used: a schema comes from outside like any input.

The accepted language is draft 2020-12 without what could reach out, run on or slip past the limits of `schema`:
references stay inside the document and name a schema there, and there are no dynamic references, anchors, embedded
documents or `unevaluated*` keywords.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, cast
from urllib.parse import unquote

import regex

from heddle_core.json_text import problem_of

MOST_SCHEMA = 65_536
"""Bytes of UTF-8 of one schema."""
MOST_PATTERN = 1_000
"""Characters of one regular expression."""

Schema = dict[str, Any]

_DIALECTS = {"https://json-schema.org/draft/2020-12/schema", "https://json-schema.org/draft/2020-12/schema#"}
_ONE = ("additionalProperties", "contains", "contentSchema", "else", "if", "items", "not", "propertyNames", "then")
_LIST = ("allOf", "anyOf", "oneOf", "prefixItems")
_NAMED = ("$defs", "definitions", "dependentSchemas", "patternProperties", "properties")
_IN_PLACE = {"allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas"}
"""Keywords whose schemas see the same value: a cycle through these alone has no end."""
_REFUSED = {
    "$dynamicRef": "use $ref",
    "$recursiveRef": "use $ref",
    "$dynamicAnchor": "name the schema under $defs",
    "$recursiveAnchor": "name the schema under $defs",
    "$anchor": "name the schema under $defs",
    "$vocabulary": "leave it out",
    "unevaluatedProperties": "use additionalProperties",
    "unevaluatedItems": "use items",
}


class SchemaRefused(ValueError):
    """A schema that is not accepted; the message says where and what to write instead."""


def read_schema(schema_json: str) -> Schema | bool:
    """The schema in `schema_json`, without `$schema` and `$id`, whose references and patterns are sound.

    Whether its keywords have the right types is left to the metaschema. Raises SchemaRefused.
    """
    problem = problem_of(schema_json, limit=MOST_SCHEMA)
    if problem is not None:
        raise SchemaRefused(f"the schema {problem}")
    root: Any = json.loads(schema_json)
    if isinstance(root, bool):
        return root
    if not isinstance(root, dict):
        raise SchemaRefused("the schema must be a JSON object")
    schema = cast("Schema", root)
    dialect = schema.pop("$schema", None)
    if dialect is not None and dialect not in _DIALECTS:
        raise SchemaRefused("$schema must be that of draft 2020-12: write it in that, or leave $schema out")
    schema.pop("$id", None)
    places = dict(_places(schema, "#"))
    for place, each in places.items():
        _check_keywords(place, each, places)
    _check_cycles(places)
    return schema


def compile_pattern(pattern: str) -> "regex.Pattern[str]":
    """The regular expression, searched as JSON Schema wants it: anywhere in a text. Raises SchemaRefused."""
    if len(pattern) > MOST_PATTERN:
        raise SchemaRefused(f"a pattern has at most {MOST_PATTERN} characters")
    try:
        return regex.compile(pattern)
    except (regex.error, RecursionError, OverflowError, ValueError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise SchemaRefused(f"pattern {pattern[:80]!r} is not understood: {reason}") from None


def _places(schema: object, place: str) -> Iterator[tuple[str, Schema]]:
    """Every schema of the document by its JSON pointer, parents first; true and false as empty ones."""
    if isinstance(schema, bool):
        yield place, {}
    if not isinstance(schema, dict):
        return
    known = cast("Schema", schema)
    yield place, known
    for keyword in _ONE:
        yield from _places(known.get(keyword), f"{place}/{keyword}")
    for keyword in _LIST:
        members = known.get(keyword)
        if isinstance(members, list):
            for index, member in enumerate(cast("list[object]", members)):
                yield from _places(member, f"{place}/{keyword}/{index}")
    for keyword in _NAMED:
        members = known.get(keyword)
        if isinstance(members, dict):
            for name, member in cast("Schema", members).items():
                yield from _places(member, f"{place}/{keyword}/{_escaped(name)}")


def _check_keywords(place: str, schema: Schema, places: Mapping[str, Schema]) -> None:
    for keyword, remedy in _REFUSED.items():
        if keyword in schema:
            raise SchemaRefused(f"{place}: {keyword} is not supported: {remedy}")
    for keyword in ("$schema", "$id"):
        if keyword in schema:
            raise SchemaRefused(f"{place}: {keyword} belongs to the outermost schema: leave it out")
    if "$ref" in schema and _target(schema["$ref"]) not in places:
        raise SchemaRefused(
            f"{place}: $ref {str(schema['$ref'])[:80]!r} names no schema in this document: "
            "nothing is ever fetched; put it under $defs and refer to `#/$defs/NAME`"
        )
    if isinstance(schema.get("pattern"), str):
        compile_pattern(schema["pattern"])
    if isinstance(schema.get("patternProperties"), dict):
        for pattern in cast("Schema", schema["patternProperties"]):
            compile_pattern(pattern)


def _check_cycles(places: Mapping[str, Schema]) -> None:
    """Refuse a schema that refers to itself without going into the value. Depth first, without recursion."""
    done: set[str] = set()
    for start in places:
        path: dict[str, Iterator[str]] = {}
        path[start] = _in_place(start, places)
        while path and start not in done:
            place, successors = next(reversed(path.items()))
            following = next((each for each in successors if each not in done), None)
            if following is None:
                done.add(place)
                del path[place]
            elif following in path:
                raise SchemaRefused(f"{following} refers to itself without an end: put it below properties or items")
            else:
                path[following] = _in_place(following, places)


def _in_place(place: str, places: Mapping[str, Schema]) -> Iterator[str]:
    """The schemas that see the very value that the schema at `place` sees."""
    schema = places[place]
    if "$ref" in schema and (target := _target(schema["$ref"])) in places:
        yield target
    for keyword in _IN_PLACE & schema.keys():
        value = schema[keyword]
        if keyword in _LIST and isinstance(value, list):
            names = [f"/{index}" for index in range(len(cast("list[object]", value)))]
        elif keyword in _NAMED and isinstance(value, dict):
            names = [f"/{_escaped(name)}" for name in cast("Schema", value)]
        else:
            names = [""]
        yield from (below for name in names if (below := f"{place}/{keyword}{name}") in places)


def _target(reference: object) -> str:
    """The JSON pointer that a `$ref` names, spelled as `_places` does; empty if it leads out of the document."""
    if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
        return ""
    steps = unquote(reference).split("/")[1:]
    return "/".join(["#", *(_escaped(step.replace("~1", "/").replace("~0", "~")) for step in steps)])


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
