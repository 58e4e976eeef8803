"""What differs between two messages, field by field, in the words of the files. Pure."""

from collections.abc import Iterable, Iterator
from typing import Any, cast

from google.protobuf.descriptor import Descriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.money_pb2 import Money

from heddle_cli.manifests.messages import enum_word
from heddle_cli.manifests.values import money_text, span_text
from heddle_core.values import value

_KEYS = ("key", "role")
"""Fields that name one of a list: `agents[writer].objective` says more than `agents[0].objective`."""


@value
class FieldChange:
    """One field that is not as it should be."""

    field: str
    before: str | None
    """None: it is not set."""
    after: str | None


def field_changes(before: Message, after: Message, *, leave: Iterable[str] = ()) -> tuple[FieldChange, ...]:
    """Every field that differs, in the order of the contract, but for those that begin with one of `leave`."""
    left = tuple(leave)
    old = {path: told for path, told in _leaves(before, "") if not path.startswith(left)}
    new = {path: told for path, told in _leaves(after, "") if not path.startswith(left)}
    paths = [*new, *(path for path in old if path not in new)]
    return tuple(FieldChange(path, old.get(path), new.get(path)) for path in paths if old.get(path) != new.get(path))


def _leaves(message: Message, above: str) -> Iterator[tuple[str, str]]:
    for field, held in message.ListFields():
        path = f"{above}.{field.name}" if above else field.name
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            yield from ((f"{path}[{name}]", str(each)) for name, each in sorted(held.items()))
        elif field.is_repeated:
            yield from _items(field, list(held), path)
        else:
            yield from _one(field, held, path)


def _items(field: Any, items: list[Any], path: str) -> Iterator[tuple[str, str]]:
    kind = cast("Descriptor | None", field.message_type)
    key = next((name for name in _KEYS if kind is not None and name in kind.fields_by_name), "")
    if kind is None:
        yield path, ", ".join(str(each) for each in items)
        return
    if key:
        yield path, ", ".join(getattr(each, key) for each in items)
    for place, each in enumerate(items):
        name = f"{path}[{getattr(each, key) if key else place}]"
        yield from ((leaf, told) for leaf, told in _one(field, each, name) if not key or leaf != f"{name}.{key}")


def _one(field: Any, held: Any, path: str) -> Iterator[tuple[str, str]]:
    match held:
        case Duration():
            yield path, span_text(held.ToTimedelta())
        case Timestamp():
            yield path, held.ToJsonString()
        case Money():
            yield path, money_text(held)
        case Message():
            # An empty part is a choice too, as `viral_post: {}`.
            yield from list(_leaves(held, path)) or [(path, "{}")]
        case bool():
            yield path, "true" if held else "false"
        case float():
            yield path, f"{held:g}"
        case _:
            yield path, enum_word(field.enum_type, held) if field.enum_type is not None else str(held)
