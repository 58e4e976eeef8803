"""Custom conditions over signals: a bounded part of CEL, read and judged by Google's own engine.

The engine stops after 10,000 steps of macros and 32 levels of nesting, and its regular expressions are RE2's. That does
not bound memory, because a macro can double a text with each step; so a condition has no macro inside a macro and no
`+` inside one, and a signal has short texts and lists.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import isfinite

from cel_expr_python import cel  # pyright: ignore[reportMissingTypeStubs] -- it has them, but no py.typed

from heddle_core.errors import invalid

Value = None | bool | int | float | str | Sequence["Value"] | Mapping[str, "Value"]
"""What a signal's payload is made of: JSON."""

LONGEST = 2_000
"""Characters that a condition may have."""
MOST_MACROS = 8
LONGEST_TEXT = 4_096
LONGEST_LIST = 100
MOST_VALUES = 2_000
DEEPEST = 8

_MACROS = frozenset({"all", "exists", "exists_one", "map", "filter"})
_TOKEN = re.compile(
    r"""(?P<skip>\s+|//[^\n]*)
    |(?P<text>[rRbB]{0,2}(?:\"{3}.*?\"{3}|'{3}.*?'{3}|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'))
    |(?P<name>[A-Za-z_]\w*)
    |(?P<sign>.)""",
    re.VERBOSE | re.DOTALL,
)
_FAULT = re.compile(r"<input>:(-?\d+):(-?\d+): (.*)")


class BadCondition(ValueError):
    """A condition cannot be taken."""

    def __init__(self, problem: str, line: int, column: int) -> None:
        super().__init__(f"line {line}, column {column}: {problem}")
        self.line = line
        """From 1."""
        self.column = column
        """In characters, from 1."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a condition says of a signal."""

    holds: bool
    fault: str = ""
    """Why it could not be judged, as for a field that the signal lacks; it then does not hold."""


class Condition:
    """A condition that was understood."""

    def __init__(self, expression: cel.Expression) -> None:
        self._expression = expression

    def judge(self, signal: Mapping[str, Value]) -> Judgement:
        """Whether it holds for a signal's payload. Never raises: whatever goes wrong is a fault that is told."""
        if misfit := _misfit(signal):
            return Judgement(False, misfit)
        try:
            told = self._expression.eval(data={"signal": signal})
        except (RuntimeError, MemoryError, OverflowError, TypeError, ValueError) as problem:
            return Judgement(False, _first_line(str(problem)))
        if told.type() == cel.Type.BOOL:
            return Judgement(bool(told.value()))
        if told.type() == cel.Type.ERROR:
            return Judgement(False, _first_line(str(told.value())))
        return Judgement(False, f"it tells a {told.type().name()} and not true or false")


@lru_cache(maxsize=1_024)
def read(text: str) -> Condition:
    """Understand a condition. An empty one always holds.

    Raises:
        BadCondition: with the position of the first fault.
    """
    if len(text) > LONGEST:
        raise BadCondition(f"it has {len(text)} characters: use at most {LONGEST}", 1, LONGEST + 1)
    if not text.isprintable() and (odd := re.search(r"[^\S\n\r\t ]|[\x00-\x08\x0e-\x1f\ud800-\udfff]", text)):
        raise BadCondition("this character cannot stand here", *_position(text, odd.start()))
    if not text.strip():
        text = "true"
    _check_bounds(text)
    try:
        expression = _environment().compile(text)
    except RuntimeError as problem:
        raise _fault_of(str(problem)) from None
    kind = expression.return_type()
    if kind not in (cel.Type.BOOL, cel.Type.DYN):
        raise BadCondition(f"it tells a {kind.name()}: compare it with something", 1, 1)
    return Condition(expression)


def check_condition(text: str, path: str) -> None:
    """Refuse a condition that cannot be understood.

    Raises:
        InvalidField: for the field `path`, with the position of the fault.
    """
    try:
        read(text)
    except BadCondition as problem:
        raise invalid(path, str(problem)) from None


@lru_cache(maxsize=1)
def _environment() -> cel.Env:
    return cel.NewEnv(variables={"signal": cel.Type.DYN})


def _check_bounds(text: str) -> None:
    """Refuse what could need memory without bound."""
    # What each open bracket belongs to: True for a macro's.
    brackets: list[bool] = []
    macros = 0
    before: list[str] = ["", ""]
    for place, sign in _signs(text):
        if sign in ("(", "[", "{"):
            is_macro = sign == "(" and before[1] in _MACROS and before[0] == "."
            macros += is_macro
            if is_macro and (any(brackets) or macros > MOST_MACROS):
                problem = "a macro inside a macro" if any(brackets) else f"more than {MOST_MACROS} macros"
                raise BadCondition(f"{problem} is too costly: judge one list at a time", *_position(text, place))
            brackets.append(is_macro)
        elif sign in (")", "]", "}") and brackets:
            brackets.pop()
        elif sign == "+" and any(brackets):
            raise BadCondition("`+` inside a macro is too costly: take the sum outside", *_position(text, place))
        before = [before[1], sign]


def _signs(text: str) -> Iterator[tuple[int, str]]:
    for token in _TOKEN.finditer(text):
        if token.lastgroup != "skip":
            yield token.start(), "text" if token.lastgroup == "text" else token[0]


def _position(text: str, place: int) -> tuple[int, int]:
    return text.count("\n", 0, place) + 1, place - text.rfind("\n", 0, place)


def _fault_of(told: str) -> BadCondition:
    for line, column, problem in _FAULT.findall(told):
        if int(line) > 0:
            return BadCondition(_first_line(problem), int(line), int(column))
    return BadCondition(_first_line(told.removeprefix("CANCELLED: ")), 1, 1)


def _first_line(told: str) -> str:
    line = told.splitlines()[0] if told else "it cannot be judged"
    return re.sub(r" \[[A-Z_]+\]$", "", line)[:300]


def _misfit(signal: Mapping[str, Value]) -> str:
    """Why a signal is too large to be judged, or nothing."""
    values = 0
    open_values: list[tuple[str, int, Value]] = [("signal", 0, signal)]
    while open_values:
        path, depth, value = open_values.pop()
        values += 1
        if values > MOST_VALUES:
            return f"the signal has more than {MOST_VALUES} values"
        if depth > DEEPEST:
            return f"{path} lies deeper than {DEEPEST} levels"
        if isinstance(value, str):
            if len(value) > LONGEST_TEXT:
                return f"{path} has more than {LONGEST_TEXT} characters"
        elif isinstance(value, Mapping):
            open_values.extend((f"{path}.{key}", depth + 1, each) for key, each in value.items())
        elif isinstance(value, Sequence):
            if len(value) > LONGEST_LIST:
                return f"{path} has more than {LONGEST_LIST} elements"
            open_values.extend((f"{path}[{place}]", depth + 1, each) for place, each in enumerate(value))
        elif isinstance(value, float) and not isfinite(value):
            return f"{path} is no number"
        elif isinstance(value, int) and not -(2**63) <= value < 2**63:
            return f"{path} is too large a number"
    return ""
