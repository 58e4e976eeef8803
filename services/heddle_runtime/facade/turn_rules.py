"""What a turn must look like, beyond what the contract's conventions check for every request. Pure."""

from collections.abc import Iterator

from heddle_core.errors import InvalidField
from heddle_core.faults import Violation
from heddle_core.ids import is_id
from heddle_core.values import value
from heddle_runtime.runs.content import InlineData, Parts, Text
from heddle_runtime.runs.turn import Turn
from heddle_runtime.tools.schema import Schemas


@value
class TurnBounds:
    """How large a turn may be."""

    text_characters: int = 32_000
    parts: int = 64
    inline_bytes: int = 1024 * 1024
    context_items: int = 64
    client_tools: int = 64
    labels: int = 64


def check_turn(turn: Turn, bounds: TurnBounds, schemas: Schemas) -> None:
    """Refuse a turn that cannot be worked on.

    Raises:
        InvalidField: with every violation that was found.
    """
    found = tuple(_violations(turn, bounds, schemas))
    if found:
        raise InvalidField(found)


def check_content(content: Parts, bounds: TurnBounds, path: str) -> Iterator[Violation]:
    """What is wrong with what a user says."""
    if not content:
        yield Violation(path, "say something: at least one part")
    if len(content) > bounds.parts:
        yield Violation(path, f"at most {bounds.parts} parts; these are {len(content)}")
    length = sum(len(part.text) for part in content if isinstance(part, Text))
    if length > bounds.text_characters:
        yield Violation(path, f"at most {bounds.text_characters} characters of text; these are {length}")
    for place, part in enumerate(content):
        if isinstance(part, InlineData):
            if "/" not in part.media_type:
                yield Violation(f"{path}[{place}].inline_data.media_type", "an IANA media type, as image/png")
            if len(part.data) > bounds.inline_bytes:
                remedy = f"at most {bounds.inline_bytes} bytes; upload an asset and refer to it"
                yield Violation(f"{path}[{place}].inline_data.data", remedy)


def _violations(turn: Turn, bounds: TurnBounds, schemas: Schemas) -> Iterator[Violation]:
    yield from check_content(turn.content, bounds, "turn.content")
    if len(turn.context) > bounds.context_items:
        yield Violation("turn.context", f"at most {bounds.context_items} items")
    yield from _client_tools(turn, bounds, schemas)
    if turn.response_format and turn.response_format.json_schema:
        problem = schemas.problem_of_schema(turn.response_format.json_schema)
        if problem:
            yield Violation("turn.response_format.json_schema", problem)
    yield from _limits(turn)


def _client_tools(turn: Turn, bounds: TurnBounds, schemas: Schemas) -> Iterator[Violation]:
    if len(turn.client_tools) > bounds.client_tools:
        yield Violation("turn.client_tools", f"at most {bounds.client_tools} tools")
    names: set[str] = set()
    for place, tool in enumerate(turn.client_tools):
        path = f"turn.client_tools[{place}]"
        if not is_id(tool.name):
            yield Violation(f"{path}.name", "1 to 64 letters, digits, underscores and hyphens")
        if tool.name in names:
            yield Violation(f"{path}.name", "another tool of this turn has this name already")
        names.add(tool.name)
        problem = schemas.problem_of_schema(tool.parameters_json, of_object=True) if tool.parameters_json else None
        if problem:
            yield Violation(f"{path}.parameters_json", problem)


def _limits(turn: Turn) -> Iterator[Violation]:
    given = turn.limits
    if given is None:
        return
    for name in ("steps", "tokens", "output_tokens_per_step", "cost", "tool_calls"):
        if getattr(given, name) < 0:
            yield Violation(f"turn.limits.{name}", "zero for the default, or more")
    if given.wall_time.total_seconds() < 0:
        yield Violation("turn.limits.wall_time", "zero for the default, or more")
