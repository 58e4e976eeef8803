"""The keywords of JSON Schema under a meter, so that no schema and no value can hold the event loop for long.

Neither the size of a value nor that of a schema bounds the work: `allOf` over two references, nested, doubles it at
each level, and a pattern such as `(a+)+$` backtracks for ever on forty letters. So every keyword pays for its work
from a fixed purse, and every search of a pattern runs under a time limit, in an engine that can be stopped.
"""

from collections.abc import Callable, Iterator
from contextvars import ContextVar
from datetime import timedelta
from typing import Any, cast

import regex
from jsonschema import Draft202012Validator, validators
from jsonschema.exceptions import ValidationError

from heddle_core.clock import Clock
from heddle_runtime.tools.schema_rules import compile_pattern

MOST_WORK = 300_000
"""Units of work of one validation: keywords evaluated plus members looked at. About a second at the very most."""
MOST_SEARCH = timedelta(milliseconds=50)
"""For one search of one pattern; an honest pattern takes microseconds."""
MOST_SEARCHES = timedelta(milliseconds=250)
"""For all searches of one validation."""

_Keyword = Callable[[Any, Any, Any, Any], "Iterator[ValidationError] | None"]


class TooMuchWork(Exception):
    """A validation that was given up; the message says what to change."""


class Meter:
    """The purse of one validation."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._work = MOST_WORK
        self._searching = MOST_SEARCHES.total_seconds()
        self._patterns: dict[str, regex.Pattern[str]] = {}

    def pay(self, units: int) -> None:
        """Take `units` from the purse. Raises TooMuchWork when it is empty."""
        self._work -= units
        if self._work < 0:
            raise TooMuchWork("checking it against its schema takes too long: send a smaller value")

    def found(self, pattern: str, text: str) -> bool:
        """Whether `pattern` occurs in `text`. Raises TooMuchWork."""
        self.pay(1 + len(text) // 16)
        compiled = self._patterns.get(pattern) or self._patterns.setdefault(pattern, compile_pattern(pattern))
        begun = self._clock.monotonic()
        try:
            return compiled.search(text, timeout=min(MOST_SEARCH.total_seconds(), self._searching)) is not None
        except TimeoutError:
            raise TooMuchWork(f"pattern {pattern[:80]!r} takes too long on this text: send a shorter one") from None
        finally:
            self._searching = max(0.001, self._searching - (self._clock.monotonic() - begun))


METER: ContextVar[Meter] = ContextVar("METER")
"""The purse of the validation that runs now; the library passes none through its keywords."""


def metered_validator() -> type[Draft202012Validator]:
    """Draft 2020-12, every keyword of which pays the current meter."""
    own = {
        "additionalProperties": _additional_properties,
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "uniqueItems": _unique_items,
    }
    keywords = cast("dict[str, _Keyword]", dict(Draft202012Validator.VALIDATORS)) | own
    paying = {name: _paying(keyword, _PRICES.get(name, 1)) for name, keyword in keywords.items()}
    return cast("type[Draft202012Validator]", cast("Any", validators).extend(Draft202012Validator, paying))


_PRICES = {"$ref": 20}
"""Units of a keyword that costs more than a comparison: following a reference was measured at 50 microseconds."""


def _paying(keyword: _Keyword, price: int) -> _Keyword:
    def paid(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
        METER.get().pay(price + _members(value) + _members(instance))
        yield from keyword(validator, value, instance, schema) or ()

    return paid


def _members(value: Any) -> int:
    return len(cast("list[Any]", value)) if isinstance(value, dict | list) else 0


def _pattern(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if isinstance(instance, str) and not METER.get().found(pattern, instance):
        yield ValidationError(f"does not match the pattern {pattern!r}")


def _pattern_properties(validator: Any, patterns: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if isinstance(instance, dict):
        for pattern, subschema in patterns.items():
            for name, member in cast("dict[str, Any]", instance).items():
                if METER.get().found(pattern, name):
                    yield from validator.descend(member, subschema, path=name, schema_path=pattern)


def _additional_properties(validator: Any, allowed: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if not isinstance(instance, dict):
        return
    meter = METER.get()
    declared = schema.get("properties", {})
    patterns = schema.get("patternProperties", {})
    for name, member in cast("dict[str, Any]", instance).items():
        if name in declared or any(meter.found(pattern, name) for pattern in patterns):
            continue
        if allowed is False:
            yield ValidationError("is not known here", path=[name])
        else:
            yield from validator.descend(member, allowed, path=name)


def _unique_items(validator: Any, wanted: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    """The library compares objects pair by pair, which is quadratic."""
    if wanted and isinstance(instance, list):
        seen: set[Any] = set()
        for index, item in enumerate(cast("list[Any]", instance)):
            key = _key(item)
            if key in seen:
                yield ValidationError(f"repeats an earlier item at index {index}")
                return
            seen.add(key)


def _key(value: Any) -> Any:
    """Something hashable that is equal for equal JSON values: 1 is 1.0, and is not true."""
    METER.get().pay(1)
    if isinstance(value, bool):
        return ("bool", value)
    if isinstance(value, list):
        return ("list", *(_key(item) for item in cast("list[Any]", value)))
    if isinstance(value, dict):
        return frozenset((name, _key(member)) for name, member in cast("dict[str, Any]", value).items())
    return value
