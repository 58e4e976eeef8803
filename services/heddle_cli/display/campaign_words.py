"""Words that lists and sheets of campaigns share."""

from typing import Any

from google.protobuf.message import Message

from heddle_cli.manifests.messages import enum_word
from heddle_core.texts import clipped

_MOST_WORDS = 100


def word(message: Message, field: str) -> str:
    """An enum field of a message in words: `buffer one`."""
    kind: Any = message.DESCRIPTOR.fields_by_name[field].enum_type
    return enum_word(kind, getattr(message, field)).replace("_", " ")


def in_short(text: str, most: int = _MOST_WORDS) -> str:
    """The first words of a text, on one line."""
    line = " ".join(text.split())
    return clipped(line, most)
