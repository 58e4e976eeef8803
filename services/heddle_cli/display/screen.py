"""The only place that writes to the terminal: results to stdout, everything else to stderr.

Plain words need nothing but `print`; rich is loaded for what is more than words, so that a server starts without it.
"""

import json
import re
import sys
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from rich.console import Console, RenderableType

_WIDE = 10_000
"""Columns where there is no terminal: one thing stays on one line, for grep and cut."""

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def clean(text: str) -> str:
    """`text` without control characters: no words of a model move the cursor or set a title."""
    return _CONTROLS.sub("", text.replace("\r\n", "\n"))


def as_json(message: "Message") -> dict[str, Any]:
    """A message in the contract's own JSON mapping, with the names of its proto and all plain fields."""
    from google.protobuf.json_format import MessageToDict

    return MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


class Screen:
    """Where one command writes. `machine`: whether results are JSON."""

    def __init__(self, *, machine: bool = False) -> None:
        self.machine = machine

    @cached_property
    def out(self) -> "Console":
        """Draws on stdout."""
        return _console(stderr=False)

    @cached_property
    def err(self) -> "Console":
        """Draws on stderr."""
        return _console(stderr=True)

    @property
    def is_live(self) -> bool:
        """Whether a person watches: stdout is a terminal, and wants no JSON."""
        return self.out.is_terminal and not self.machine

    @property
    def can_ask(self) -> bool:
        """Whether somebody can be asked: stdin and stdout are a terminal."""
        return self.is_live and sys.stdin.isatty()

    def result(self, message: "Message", shown: "Callable[[], RenderableType | Iterable[RenderableType]]") -> None:
        """A command's result: `message` as JSON, or as `shown` says."""
        if self.machine:
            self.data(as_json(message))
            return
        from rich.text import Text

        told = shown()
        for each in [told] if isinstance(told, str | Text) or not isinstance(told, Iterable) else told:
            self.say(each)

    def data(self, value: object) -> None:
        """JSON on several lines, where one result is one value."""
        print(json.dumps(value, ensure_ascii=False, indent=2), flush=True)

    def data_line(self, value: object) -> None:
        """JSON on one line, where one result is many values."""
        print(json.dumps(value, ensure_ascii=False, separators=(",", ":")), flush=True)

    def say(self, words: "RenderableType") -> None:
        """A result for people. A string is taken to the letter: no markup."""
        if isinstance(words, str):
            print(clean(words), flush=True)
        else:
            _draw(self.out, words)

    def note(self, words: "RenderableType") -> None:
        """What is not the result: progress, hints, problems. On stderr."""
        if isinstance(words, str):
            print(clean(words), file=sys.stderr, flush=True)
        else:
            _draw(self.err, words)


def _draw(console: "Console", shown: "RenderableType") -> None:
    from rich.text import Text

    console.print(shown, soft_wrap=isinstance(shown, Text))


def _console(*, stderr: bool) -> "Console":
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else _WIDE
    return Console(stderr=stderr, width=width, highlight=False, emoji=False, markup=False)
