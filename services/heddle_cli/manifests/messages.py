"""Brings a file's model into a message of the contract: fields by their names, values by their types."""

import re
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, cast

from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from heddle_cli.manifests.campaign_file import Part

_CAPITAL = re.compile(r"(?<=[a-z])(?=[A-Z])")


def fill(message: Message, part: Part, *, leave: Iterable[str] = ()) -> None:
    """Set each field of `message` that `part` sets. Fields in `leave` are not the message's."""
    known = message.DESCRIPTOR.fields_by_name
    for name in type(part).model_fields:
        said: Any = getattr(part, name)
        if said is not None and name not in leave:
            _set(message, known[name], said)


def enum_word(kind: EnumDescriptor, number: int) -> str:
    """A value as it stands in a file: `buffer_one`. One that a newer server knows comes as its number."""
    found = kind.values_by_number.get(number)
    return found.name.removeprefix(_prefix(kind)).lower() if found is not None else str(number)


def enum_number(kind: EnumDescriptor, word: str) -> int:
    """The same back. Raises KeyError."""
    return kind.values_by_name[_prefix(kind) + word.upper()].number


def _prefix(kind: EnumDescriptor) -> str:
    return _CAPITAL.sub("_", kind.name).upper() + "_"


def _set(message: Message, field: Any, said: Any) -> None:
    held: Any = getattr(message, field.name)
    if isinstance(said, Part):
        held.SetInParent()
        fill(held, said)
    elif isinstance(said, dict):
        held.update(said)
    elif isinstance(said, list):
        for each in cast("list[Any]", said):
            if isinstance(each, Part):
                fill(held.add(), each)
            else:
                held.append(each)
    elif isinstance(said, timedelta | datetime | Message):
        held.CopyFrom(_message(said))
    elif field.enum_type is not None:
        setattr(message, field.name, enum_number(field.enum_type, said))
    else:
        setattr(message, field.name, said)


def _message(said: timedelta | datetime | Message) -> Message:
    match said:
        case timedelta():
            length = Duration()
            length.FromTimedelta(said)
            return length
        case datetime():
            at = Timestamp()
            at.FromDatetime(said)
            return at
        case _:
            return said
