"""How a frozen dataclass becomes a protobuf message and back: by equal field names, compiled once per type.

The dataclass and the message must have the same fields; a mismatch is found when the mapping is made, not when
it is used. The well-known types are special: `Micros` is a Timestamp, `timedelta` a Duration, `MicroUsd` a Money.
"""

import types
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from datetime import timedelta
from enum import IntEnum
from typing import Any, NewType, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.money_pb2 import Money

from heddle_core.clock import MICROS_PER_SECOND, Micros
from heddle_runtime.runs.usage import MicroUsd

T = TypeVar("T")
Convert = Callable[[Any], Any]


class FieldMismatch(Exception):
    """A dataclass and its message do not have the same fields: a fault of the programmer's."""


def timestamp(micros: int) -> Timestamp:
    """Microseconds since the epoch as a Timestamp."""
    seconds, rest = divmod(micros, MICROS_PER_SECOND)
    return Timestamp(seconds=seconds, nanos=rest * 1_000)


def fill_timestamp(stamp: Timestamp, micros: int) -> None:
    """Set a Timestamp in its place to microseconds since the epoch."""
    stamp.seconds, rest = divmod(micros, MICROS_PER_SECOND)
    stamp.nanos = rest * 1_000


def micros(stamp: Timestamp) -> Micros:
    """A Timestamp as microseconds since the epoch; finer parts are dropped."""
    return Micros(stamp.seconds * MICROS_PER_SECOND + stamp.nanos // 1_000)


def duration(span: timedelta) -> Duration:
    """A timedelta as a Duration."""
    value = Duration()
    value.FromTimedelta(span)
    return value


def money(amount: int) -> Money:
    """Millionths of a US dollar as Money."""
    units, rest = divmod(abs(amount), MICROS_PER_SECOND)
    sign = -1 if amount < 0 else 1
    return Money(currency_code="USD", units=sign * units, nanos=sign * rest * 1_000)


def micro_usd(amount: Money) -> MicroUsd:
    """Money as millionths; the currency is the deployment's own."""
    return MicroUsd(amount.units * MICROS_PER_SECOND + amount.nanos // 1_000)


class MessageMapping:
    """Converters between dataclasses and messages."""

    def __init__(
        self,
        messages: Mapping[type[Any], type[Message]],
        special: Mapping[Any, tuple[Convert, Convert]],
    ) -> None:
        """Compile all converters.

        Args:
            messages: message class by dataclass.
            special: (encode, decode) by annotation, for types that do not map field by field.

        Raises:
            FieldMismatch: the fields of a pair differ.
        """
        self._messages = messages
        self._special = special
        self._encoders: dict[type[Any], Convert] = {}
        self._decoders: dict[type[Any], Convert] = {}
        for cls in messages:
            self._encoders[cls], self._decoders[cls] = self._compile(cls)

    def encode(self, value: Any) -> Any:
        """The message for a dataclass value."""
        return self._encoders[type(value)](value)

    def decode(self, cls: type[T], message: Message) -> T:
        """The dataclass value for a message."""
        return cast("T", self._decoders[cls](message))

    def _compile(self, cls: type[Any]) -> tuple[Convert, Convert]:
        message_class = self._messages[cls]
        descriptor = message_class.DESCRIPTOR
        hints = get_type_hints(cls)
        names = [field.name for field in fields(cls)]
        proto_names = [field.name for field in descriptor.fields]
        if set(names) != set(proto_names):
            differing = sorted(set(names) ^ set(proto_names))
            raise FieldMismatch(f"{cls.__name__} and {descriptor.full_name} differ in {', '.join(differing)}")
        plans = [(name, *self._field(hints[name])) for name in names]
        tells_presence = {field.name for field in descriptor.fields if field.has_presence}
        scalars = [name for name, encode, _, _ in plans if encode is None and name not in tells_presence]
        present = [name for name, encode, _, _ in plans if encode is None and name in tells_presence]
        converted = [(name, encode) for name, encode, _, _ in plans if encode is not None]

        def encode_message(value: Any) -> Message:
            # What a field reads as when it is unset need not be set, where nobody can tell the difference.
            arguments: dict[str, Any] = {name: given for name in scalars if (given := getattr(value, name))}
            for name in present:
                arguments[name] = getattr(value, name)
            for name, convert in converted:
                given = getattr(value, name)
                if given is not None and given != ():
                    arguments[name] = convert(given)
            return message_class(**arguments)

        def decode_message(message: Message) -> Any:
            arguments: dict[str, Any] = {}
            for name, _, convert, optional in plans:
                if optional and not message.HasField(name):
                    arguments[name] = None
                else:
                    given = getattr(message, name)
                    arguments[name] = given if convert is None else convert(given)
            return cls(**arguments)

        return encode_message, decode_message

    def _field(self, hint: Any) -> tuple[Convert | None, Convert | None, bool]:
        """How one field is encoded and decoded, and whether it can be absent."""
        if hint in self._special:
            return *self._special[hint], False
        if get_origin(hint) in (Union, types.UnionType):
            given = [each for each in get_args(hint) if each is not type(None)]
            encode, decode, _ = self._field(given[0])
            return encode or _same, decode, True
        if get_origin(hint) is tuple:
            encode, decode, _ = self._field(get_args(hint)[0])
            return (
                (lambda many: [encode(each) for each in many]) if encode else list,
                (lambda many: tuple(decode(each) for each in many)) if decode else tuple,
                False,
            )
        if get_origin(hint) is not None:
            return dict, dict, False
        return self._single(hint)

    def _single(self, hint: Any) -> tuple[Convert | None, Convert | None, bool]:
        if hint is Micros:
            return timestamp, micros, False
        if hint is MicroUsd:
            return _money_if_any, micro_usd, False
        if hint is timedelta:
            return _duration_if_any, Duration.ToTimedelta, False
        if isinstance(hint, NewType):
            return None, None, False
        if isinstance(hint, type) and is_dataclass(hint):
            return self._nested(hint)
        if isinstance(hint, type) and issubclass(hint, IntEnum):
            return None, _lenient(hint), False
        return None, None, False

    def _nested(self, cls: type[Any]) -> tuple[Convert, Convert, bool]:
        """Converters that look themselves up when used, because types may refer to later ones."""

        def encode(value: Any) -> Any:
            return self._encoders[cls](value)

        def decode(message: Any) -> Any:
            return self._decoders[cls](message)

        return encode, decode, False


def _same(value: Any) -> Any:
    return value


def _money_if_any(amount: int) -> Money | None:
    return money(amount) if amount else None


def _duration_if_any(span: timedelta) -> Duration | None:
    return duration(span) if span else None


def _lenient(enum: type[IntEnum]) -> Convert:
    """An enum's decoder; a number that this version does not know reads as the lowest: unspecified."""
    known = {member.value: member for member in enum}
    fallback = min(enum, key=lambda member: member.value)
    return lambda number: known.get(number, fallback)
