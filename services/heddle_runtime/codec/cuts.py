"""How a message that is too large for one answer is cut, with words that say where the whole stands (SEMANTICS 24)."""

from collections.abc import Iterator
from typing import Any

from google.protobuf.message import Message

from heddle_core.values import value

KEPT = 1_024
"""Characters of a long text that are kept, for whoever wants to see what it was."""

SMALL = 8_192
"""Fields of fewer bytes are never cut."""


@value
class _Large:
    """A long field, with what cuts it."""

    size: int
    owner: Any
    name: str
    place: int = -1


def cut(message: Message, most_bytes: int, reference: str) -> bool:
    """Shorten the longest fields of `message`, in place, until it has at most `most_bytes`; whether that was needed.

    `reference` says where the whole stands, as `event 12 of thread t1`.
    """
    if message.ByteSize() <= most_bytes:
        return False
    for large in sorted(_large_fields(message), key=lambda each: -each.size):
        _shorten(large, reference)
        if message.ByteSize() <= most_bytes:
            break
    return True


def _large_fields(message: Message) -> Iterator[_Large]:
    for descriptor, content in message.ListFields():
        if descriptor.message_type is not None and descriptor.message_type.GetOptions().map_entry:
            continue  # labels and the like have small limits of their own
        many = content if descriptor.is_repeated else (content,)
        for place, each in enumerate(many):
            if isinstance(each, Message):
                yield from _large_fields(each)
            elif isinstance(each, str | bytes) and len(each) >= SMALL:
                yield _Large(len(each), message, descriptor.name, place if descriptor.is_repeated else -1)


def _shorten(large: _Large, reference: str) -> None:
    field = getattr(large.owner, large.name)
    whole: str | bytes = field[large.place] if large.place >= 0 else field
    note = f"[cut: {large.size} in all; the whole stands in {reference}]"
    shortened: str | bytes
    if isinstance(whole, bytes):
        shortened = b""
        if "name" in large.owner.DESCRIPTOR.fields_by_name:
            large.owner.name = note  # inline data has a name for people, and bytes have no room for words
    elif large.name.endswith("json"):
        shortened = f'"{note}"'
    else:
        shortened = f"{whole[:KEPT]} {note}"
    if large.place >= 0:
        field[large.place] = shortened
    else:
        setattr(large.owner, large.name, shortened)
