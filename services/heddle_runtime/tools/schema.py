"""Whether a JSON value fits a JSON Schema, said so that a model can mend it.

Used for arguments of tools, for final answers under a `response_format`, and for answers to inputs. Both sides come
from outside: schemas are held to `schema_rules`, values to a size and a depth, and the work to a meter
(`schema_keywords`). Nothing is ever fetched, whatever a `$ref` says.
"""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from itertools import islice
from typing import Any, cast

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, relevance
from referencing import Registry

from heddle_core.clock import Clock
from heddle_core.json_text import problem_of
from heddle_core.texts import clipped
from heddle_runtime.tools.schema_keywords import METER, Meter, TooMuchWork, metered_validator
from heddle_runtime.tools.schema_rules import SchemaRefused, read_schema

MOST_VALUE = 1 << 20
"""Bytes of UTF-8 of one value (contract: a JSON part holds at most 1 MiB)."""
MOST_DEPTH = 64
"""Nested arrays and objects in one value (contract: limits)."""
MOST_PROBLEMS = 5
"""Problems told at once: a model that mends five is asked again, and a longer list hides the first."""

_MOST_COMPILED = 512
_MOST_REMEMBERED, _REMEMBERED_LENGTH = 1_024, 4_096
"""Values that were found to fit, and the most characters of one with its schema: 4 MiB at the worst."""
_MOST_SHOWN = 80
_METASCHEMA = cast("dict[str, Any]", Draft202012Validator.META_SCHEMA)


class Schemas:
    """Checks values against schemas; keeps the compiled ones, most recently used last, by digest of their text."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._validator = metered_validator()
        self._compiled: OrderedDict[bytes, Draft202012Validator | str] = OrderedDict()
        self._fitting: OrderedDict[tuple[str, str], None] = OrderedDict()

    def problem_of_schema(self, schema_json: str, *, of_object: bool = False) -> str | None:
        """Why `schema_json` is not accepted as a schema, in words that say what to write; None if it is.

        `of_object` asks that it describes an object, as the arguments of a tool are one.
        """
        compiled = self._compile(schema_json)
        if isinstance(compiled, str):
            return compiled
        schema = cast("Any", compiled).schema
        if of_object and not (isinstance(schema, dict) and cast("dict[str, Any]", schema).get("type") == "object"):
            return 'the schema must say "type": "object" at the top, because arguments are an object'
        return None

    def problems(self, schema_json: str, value_json: str) -> tuple[str, ...]:
        """What keeps `value_json` from fitting, at most five short sentences with path and remedy; empty if it fits.

        Never raises, and never takes longer than the meter allows.
        """
        key = (schema_json, value_json)
        if key in self._fitting:  # arguments are checked before the intent is written, and again where they arrive
            return ()
        found = self._problems(schema_json, value_json)
        if not found and len(schema_json) + len(value_json) <= _REMEMBERED_LENGTH:
            self._fitting[key] = None
            if len(self._fitting) > _MOST_REMEMBERED:
                self._fitting.popitem(last=False)
        return found

    def _problems(self, schema_json: str, value_json: str) -> tuple[str, ...]:
        compiled = self._compile(schema_json)
        if isinstance(compiled, str):
            return (f"nothing fits, because the schema is not valid: {compiled}",)
        problem = problem_of(value_json, limit=MOST_VALUE, depth=MOST_DEPTH)
        if problem is not None:
            return (problem,)
        errors = self._errors(compiled, json.loads(value_json))
        if isinstance(errors, str):
            return (errors,)
        return tuple(dict.fromkeys(_sentence(error) for error in errors))[:MOST_PROBLEMS]

    def _compile(self, schema_json: str) -> Draft202012Validator | str:
        key = hashlib.sha256(schema_json.encode("utf-8", "surrogatepass")).digest()
        known = self._compiled.get(key)
        if known is not None:
            self._compiled.move_to_end(key)
            return known
        if len(self._compiled) >= _MOST_COMPILED:
            self._compiled.popitem(last=False)
        compiled = self._compiled[key] = self._compiled_anew(schema_json)
        return compiled

    def _compiled_anew(self, schema_json: str) -> Draft202012Validator | str:
        try:
            schema = read_schema(schema_json)
        except SchemaRefused as refused:
            return str(refused)
        # A registry without a `retrieve`: the library's own default would open URLs.
        registry = cast("Any", Registry[Any]())
        errors = self._errors(self._validator(cast("Any", _METASCHEMA), registry=registry), schema)
        if isinstance(errors, str):
            return errors
        if errors:
            return f"the schema is not valid under draft 2020-12: {_sentence(errors[0])}"
        return self._validator(cast("Any", schema), registry=registry)

    def _errors(self, validator: Draft202012Validator, value: Any) -> Sequence[ValidationError] | str:
        token = METER.set(Meter(self._clock))
        errors = cast("Iterator[ValidationError]", cast("Any", validator).iter_errors(value))
        try:
            found = list(islice(errors, 4 * MOST_PROBLEMS))
        except TooMuchWork as reason:
            return str(reason)
        except RecursionError:
            return "it is nested too deeply for its schema: send a flatter value"
        except (ArithmeticError, ValueError) as error:
            return f"a number in it is too large to check ({type(error).__name__}): send it as a string"
        finally:
            METER.reset(token)
        return sorted(found, key=lambda error: (len(error.absolute_path), str(error.json_path)))


# --- sentences -------------------------------------------------------------------------------------------


def _sentence(error: ValidationError) -> str:
    """Where and what to do, as `days must be an integer, not a string`."""
    return f"{_where(error)} {_remedy(error)}"


def _where(error: ValidationError) -> str:
    path = error.json_path.removeprefix("$").removeprefix(".")
    return clipped(path, _MOST_SHOWN) if path else "the value"


def _remedy(error: ValidationError) -> str:
    wanted = cast("Any", error.validator_value)
    match str(error.validator):
        case "type":
            kinds = cast("list[str]", wanted if isinstance(wanted, list) else [wanted])
            return f"must be {' or '.join(_a(kind) for kind in kinds)}, not {_a(_kind(error.instance))}"
        case "required":
            missing = [name for name in wanted if name not in cast("dict[str, Any]", error.instance)]
            return f"lacks {_listed(missing)}: add {'it' if len(missing) == 1 else 'them'}"
        case "additionalProperties" if wanted is False:
            return _unknown(error)
        case "enum":
            return f"must be one of {_listed(wanted)}"
        case "const":
            return f"must be {_json(wanted)}"
        case "anyOf" | "oneOf" if error.context:
            nearest = min(error.context, key=relevance)
            return f"fits none of the {len(wanted)} allowed forms; of one of them: {_sentence(nearest)}"
        case "oneOf":
            return "fits more than one of the allowed forms: leave out what belongs to the others"
        case "minLength" | "maxLength":
            bound = "at least" if error.validator == "minLength" else "at most"
            return f"must have {bound} {wanted} characters, not {len(cast('str', error.instance))}"
        case "minItems" | "maxItems" | "minProperties" | "maxProperties":
            bound = "at least" if str(error.validator).startswith("min") else "at most"
            return f"must have {bound} {wanted} members, not {len(cast('list[Any]', error.instance))}"
        case "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum":
            signs = {"minimum": ">=", "maximum": "<=", "exclusiveMinimum": ">", "exclusiveMaximum": "<"}
            return f"must be {signs[str(error.validator)]} {_json(wanted)}"
        case "multipleOf":
            return f"must be a multiple of {_json(wanted)}"
        case "pattern":
            return f"must match the pattern {clipped(str(wanted), _MOST_SHOWN)}"
        case "uniqueItems":
            return f"must not repeat an item: it {error.message}"
        case "None":
            return "is not allowed: leave it out"
        case _:
            return f"does not fit `{error.validator}`: {_json(wanted)}"


def _unknown(error: ValidationError) -> str:
    known = list(cast("dict[str, Any]", cast("Any", error.schema)).get("properties", {}))
    if not known:
        return "is not known here: leave it out"
    near = get_close_matches(str(error.path[-1])[:_MOST_SHOWN], known, n=1)
    if near:
        return f"is not known here: did you mean {near[0]}?"
    return f"is not known here: leave it out; known are {_listed(known)}"


def _kind(value: object) -> str:
    kinds: dict[type, str] = {bool: "boolean", int: "integer", float: "number", str: "string"}
    return {**kinds, list: "array", dict: "object"}.get(type(value), "null")


def _a(kind: str) -> str:
    return kind if kind == "null" else f"an {kind}" if kind[0] in "aio" else f"a {kind}"


def _listed(values: Sequence[Any]) -> str:
    shown = ", ".join(_json(value) for value in values[:10])
    return shown if len(values) <= 10 else f"{shown} and {len(values) - 10} more"


def _json(value: Any) -> str:
    try:
        return clipped(json.dumps(value, ensure_ascii=False), _MOST_SHOWN)
    except ValueError:
        return "a number too long to show"
