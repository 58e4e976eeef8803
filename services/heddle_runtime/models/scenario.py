"""What a scripted model says, read from a YAML file. The only reader of scenario files.

The form is described in `examples/scenarios/README.md`; every field is a field of a class below. A file that
does not fit is refused with its name, the line, and what to write instead.
"""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from heddle_core.errors import InvalidField
from heddle_core.faults import Violation
from heddle_runtime.models.template import parse


def _template(text: str) -> str:
    parse(text)
    return text


def _templates(value: JsonValue) -> JsonValue:
    match value:
        case str():
            parse(value)
        case list():
            for each in value:
                _templates(each)
        case dict():
            for each in value.values():
                _templates(each)
        case float() if not math.isfinite(value):
            raise ValueError("NaN and infinity are not JSON: write a number or a string")
        case _:
            pass
    return value


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from error
    return text


TemplateText = Annotated[str, AfterValidator(_template)]
TemplateJson = Annotated[JsonValue, AfterValidator(_templates)]
Pattern = Annotated[str, AfterValidator(_pattern)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class When(_Section):
    """A rule; all that is given must hold."""

    user: Pattern | None = None
    """A regular expression, found anywhere in the user's text; letter case does not matter."""
    tool: Pattern | None = None
    """The same, in the latest tool result."""
    tool_error: bool | None = None
    """Whether the latest tool result is an error (a denied approval is one)."""


class Stream(_Section):
    """How the text is cut into deltas."""

    pieces: Literal["words", "whole"] | Annotated[int, Field(ge=1, le=10_000)] = "words"
    """A number cuts the text into so many nearly equal pieces."""
    delay_ms: Annotated[float, Field(ge=0, le=60_000)] = 0
    """Milliseconds before each delta."""


class Call(_Section):
    """One tool call."""

    tool: Annotated[str, Field(min_length=1)]
    arguments: dict[str, TemplateJson] | None = None
    """The arguments; templates are filled inside strings."""
    raw_arguments: str | None = None
    """Instead of `arguments`: this text to the letter, as a provider that mangles JSON would send it."""
    id: str | None = None
    """The id that the provider gives; one that repeats shows how it is minted anew."""
    pieces: Annotated[int, Field(ge=1, le=1_000)] = 1
    """Into how many fragments the arguments are cut."""

    @model_validator(mode="after")
    def _one_kind_of_arguments(self) -> "Call":
        if self.arguments is not None and self.raw_arguments is not None:
            raise ValueError("write either arguments or raw_arguments, not both")
        return self


class Usage(_Section):
    """Tokens; without it they are estimated as a quarter of the characters."""

    input: Annotated[int, Field(ge=0)] = 0
    output: Annotated[int, Field(ge=0)] = 0
    cached: Annotated[int, Field(ge=0)] = 0
    reasoning: Annotated[int, Field(ge=0)] = 0


class Fault(_Section):
    """What goes wrong in this step."""

    kind: Literal["retryable", "refused", "misconfigured", "hang"]
    """`hang` waits until it is cancelled."""
    message: str = "the scenario says so"
    after_deltas: Annotated[int, Field(ge=0)] = 0
    """How many deltas of text come first."""
    retry_after: Annotated[float, Field(ge=0)] | None = None
    """Seconds."""
    times: Annotated[int, Field(ge=1)] | None = None
    """On how many attempts of the same request it happens (counted in memory: a restart counts anew);
    always, if not given."""


class Reply(_Section):
    """What the model says in one step."""

    text: TemplateText | None = None
    deltas: tuple[TemplateText, ...] | None = None
    """Instead of `text`: the very deltas."""
    stream: Stream = Stream()
    reasoning: TemplateText = ""
    calls: tuple[Call, ...] = ()
    usage: Usage | None = None
    finish: Literal["stop", "tool_calls", "length", "content_filter", "other"] | None = None
    """Taken from the calls, if not given."""
    fault: Fault | None = None

    @model_validator(mode="after")
    def _says_something(self) -> "Reply":
        if self.text is not None and self.deltas is not None:
            raise ValueError("write either text or deltas, not both")
        if self.text is None and self.deltas is None and not self.calls and self.fault is None:
            raise ValueError("a step needs text, deltas, calls or a fault")
        return self


class Case(Reply):
    """A reply instead of the step's own, when its rule holds."""

    when: When


class Step(Reply):
    """One model call of a turn."""

    cases: tuple[Case, ...] = ()
    """Tried in order; the first whose rule holds replaces the step's own reply."""


class Turn(_Section):
    """The steps for those turns whose rule holds."""

    when: When = When()
    steps: Annotated[tuple[Step, ...], Field(min_length=1)]


class Scenario(_Section):
    """A whole file: `turns`, or `steps` for short when there is one kind of turn."""

    description: str = ""
    steps: tuple[Step, ...] = ()
    turns: tuple[Turn, ...] = ()

    @model_validator(mode="after")
    def _one_list(self) -> "Scenario":
        if bool(self.steps) == bool(self.turns):
            raise ValueError("write either steps (one kind of turn) or turns (with rules), and at least one step")
        return self


def load(path: Path) -> Scenario:
    """Read a scenario file. Raises `InvalidField`, whose violations name file, line, place and remedy."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _refusal(str(path), f"cannot be read ({error}): give a readable UTF-8 file") from error
    return read(text, str(path))


def read(text: str, origin: str) -> Scenario:
    """Read a scenario from YAML text; `origin` names it in errors. Raises `InvalidField`."""
    try:
        content: Any = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark is not None else ""
        raise _refusal(f"{origin}{line}", f"is not YAML: {getattr(error, 'problem', None) or error}") from error
    if not isinstance(content, Mapping):
        raise _refusal(f"{origin}:1", "must be a mapping with the key 'steps' or 'turns'")
    try:
        return Scenario.model_validate(content)
    except ValidationError as error:
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        raise InvalidField(
            tuple(
                Violation(
                    f"{origin}:{_line(tree, each['loc'])} {_place(each['loc'])}",
                    _remedy(each["type"], each["msg"]),
                )
                for each in error.errors(include_url=False, include_context=False, include_input=False)
            )
        ) from error


def compact_json(value: object) -> str:
    """JSON as models are shown it: no blanks, letters as they are."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _refusal(place: str, remedy: str) -> InvalidField:
    return InvalidField((Violation(place, remedy),))


def _line(tree: yaml.Node | None, location: tuple[int | str, ...]) -> int:
    node = tree
    line = 1
    for step in location:
        if isinstance(node, yaml.MappingNode):
            entries = cast("list[tuple[yaml.Node, yaml.Node]]", node.value)
            found = next(((key, value) for key, value in entries if key.value == step), None)
            if found is None:
                break
            key, node = found
            line = key.start_mark.line + 1
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = cast("list[yaml.Node]", node.value)[step]
            line = node.start_mark.line + 1
        else:
            break
    return line


def _place(location: tuple[int | str, ...]) -> str:
    place = ""
    for step in location:
        place += f"[{step}]" if isinstance(step, int) else f".{step}" if place else step
    return place or "the whole file"


def _remedy(kind: str, message: str) -> str:
    match kind:
        case "extra_forbidden":
            return "is not a field here: remove it, or correct its spelling"
        case "missing":
            return "is required: add it"
        case _:
            return message.removeprefix("Value error, ")
