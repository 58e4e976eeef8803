"""What a `*_json` field must satisfy: the one bounded reader of JSON that a client sent."""

import json
import math
import re
from typing import Any, cast

_OPENING = re.compile(r"[\[{]")


class _Refused(ValueError):
    """Raised inside the parser to stop it at the first thing that is not accepted."""


def problem_of(text: str, *, limit: int, depth: int = 64) -> str | None:
    """What is wrong with `text` as JSON, in words that tell the caller what to do; None when nothing is.

    `limit` is in UTF-8 bytes, `depth` counts nested arrays and objects. Duplicate keys, NaN, infinities and
    characters that no text column takes (NUL, lone surrogates) are refused, because two readers of such a
    text would see two different values.
    """
    if len(text) * 4 > limit and len(text.encode("utf-8", "surrogatepass")) > limit:
        return f"send at most {limit} bytes of JSON"
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_float=_finite)
    except _Refused as refused:
        return str(refused)
    except json.JSONDecodeError as error:
        return f"must be JSON: {error.msg} at character {error.pos}"
    except ValueError:
        return "must be JSON whose integers have at most 4300 digits"
    except RecursionError:
        return f"nest at most {depth} arrays and objects"
    if "\\u" not in text and _openings_within(text, depth):
        return None
    return _deep_problem(value, depth)


def _openings_within(text: str, depth: int) -> bool:
    """Whether there are too few brackets for the depth to matter, which spares the walk."""
    return sum(1 for _ in zip(_OPENING.finditer(text), range(depth + 1), strict=False)) <= depth


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise _Refused("must not repeat a key in one object")
    return value


def _refuse_constant(name: str) -> float:
    raise _Refused(f"must not hold {name}: use null or a string")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise _Refused("must not hold a number beyond the range of a double: use a string")
    return value


def _deep_problem(root: Any, depth: int) -> str | None:
    waiting: list[tuple[Any, int]] = [(root, 1)]
    while waiting:
        value, level = waiting.pop()
        if isinstance(value, str):
            if "\0" in value or not _encodable(value):
                return "must not hold NUL or a lone surrogate in its strings"
        elif isinstance(value, dict | list):
            if level > depth:
                return f"nest at most {depth} arrays and objects"
            if isinstance(value, dict):
                members = cast("dict[str, Any]", value)
                waiting.extend((key, level) for key in members)
                waiting.extend((member, level + 1) for member in members.values())
            else:
                waiting.extend((member, level + 1) for member in cast("list[Any]", value))
    return None


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
