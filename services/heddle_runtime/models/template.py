"""The tiny language in which a scenario quotes the turn. It looks things up and does no more: no code runs.

{{user}}                    the last user message's text
{{user.line 2}}             its second line, counted from 1
{{user.field Topic}}        what follows `Topic:` on a line of its own; letter case does not matter
{{tool.NAME}}               the latest result of the tool NAME since that message
{{tool.NAME field a.b.0}}   one value of that result, which must be JSON; keys and list places, by dots
{{... | words}}             the words to take where there is nothing; without them: nothing
"""

import json
import re
from collections.abc import Callable
from functools import cached_property
from typing import Any, cast

from heddle_core.values import value
from heddle_runtime.models.port import BinaryPart, JsonPart, Message, TextPart, ToolMessage, UserMessage

_HOLE = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_LINE = re.compile(r"user\.line\s+([1-9][0-9]{0,5})")
_FIELD = re.compile(r"user\.field\s+(\S.*)")
_TOOL = re.compile(r"tool\.([A-Za-z0-9_.:/-]+)(?:\s+field\s+(\S+))?")

REMEDY = (
    "write {{user}}, {{user.line 2}}, {{user.field NAME}}, {{tool.NAME}} or {{tool.NAME field a.b}}, "
    "each with an optional '| words for when it is missing'"
)


class TurnView:
    """What templates and rules may see of a request: what was said and done since the last user message."""

    def __init__(self, messages: tuple[Message, ...]) -> None:
        start = len(messages)
        while start and not isinstance(messages[start - 1], UserMessage):
            start -= 1
        self._said = messages[start - 1] if start else None
        self._since = messages[start:]

    @cached_property
    def user(self) -> str:
        """The last user message's text; structured parts as JSON, each part on lines of its own."""
        said = self._said
        return "" if not isinstance(said, UserMessage) else "\n".join(_text(part) for part in said.parts)

    @cached_property
    def steps_taken(self) -> int:
        """How many times the model has spoken since then."""
        return sum(1 for message in self._since if not isinstance(message, ToolMessage))

    @property
    def last_result(self) -> ToolMessage | None:
        """The latest tool result since then."""
        last = self._since[-1] if self._since else None
        return last if isinstance(last, ToolMessage) else None

    def result_of(self, tool: str) -> str:
        """The latest result of `tool` since then; empty if there is none."""
        for message in reversed(self._since):
            if isinstance(message, ToolMessage) and message.tool == tool:
                return message.content
        return ""


@value
class Template:
    """Text with holes, read once and filled per request."""

    pieces: tuple[str | Callable[[TurnView], str], ...]

    @property
    def literal(self) -> str | None:
        """The text, if it has no holes."""
        if not self.pieces:
            return ""
        first = self.pieces[0]
        return first if len(self.pieces) == 1 and isinstance(first, str) else None

    def fill(self, view: TurnView) -> str:
        """The text for one request."""
        return "".join(piece if isinstance(piece, str) else piece(view) for piece in self.pieces)


def parse(text: str) -> Template:
    """Read a template. Raises ValueError that says what may stand in a hole."""
    pieces: list[str | Callable[[TurnView], str]] = []
    end = 0
    for hole in _HOLE.finditer(text):
        if hole.start() > end:
            pieces.append(text[end : hole.start()])
        pieces.append(_hole(hole[1].strip()))
        end = hole.end()
    if end < len(text):
        pieces.append(text[end:])
    return Template(tuple(pieces))


def _hole(words: str) -> Callable[[TurnView], str]:
    source, bar, fallback = words.partition("|")
    find = _source(source.strip())
    if find is None:
        raise ValueError(f"'{{{{{words}}}}}' is not understood: {REMEDY}")
    if not bar:
        return find
    instead = fallback.strip()
    return lambda view: find(view) or instead


def _source(words: str) -> Callable[[TurnView], str] | None:
    if words == "user":
        return lambda view: view.user
    if line := _LINE.fullmatch(words):
        place = int(line[1]) - 1
        return lambda view: _line(view.user, place)
    if name := _FIELD.fullmatch(words):
        pattern = re.compile(rf"^[ \t*-]*{re.escape(name[1])}[ \t]*:[ \t]*(.*)$", re.IGNORECASE | re.MULTILINE)
        return lambda view: found[1].strip() if (found := pattern.search(view.user)) else ""
    if tool := _TOOL.fullmatch(words):
        name, path = tool[1], tuple(tool[2].split(".")) if tool[2] else ()
        return lambda view: _value(view.result_of(name), path) if path else view.result_of(name)
    return None


def _line(text: str, place: int) -> str:
    lines = text.splitlines()
    return lines[place].strip() if place < len(lines) else ""


def _value(text: str, path: tuple[str, ...]) -> str:
    try:
        value: Any = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    for step in path:
        if isinstance(value, dict):
            value = cast("dict[str, Any]", value).get(step)
        elif isinstance(value, list) and step.isdecimal() and int(step) < len(cast("list[Any]", value)):
            value = cast("list[Any]", value)[int(step)]
        else:
            return ""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _text(part: TextPart | BinaryPart | JsonPart) -> str:
    match part:
        case TextPart(text):
            return text
        case JsonPart(text):
            return text
        case BinaryPart(media_type, content):
            return f"[{media_type}, {len(content)} bytes]"
