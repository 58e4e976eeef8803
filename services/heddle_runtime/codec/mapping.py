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
from heddle_core.usage import MicroUsd

T = TypeVar("T")
Convert = Callable[[Any], Any]
Fill = Callable[[Any, Any], None]
"""Makes an empty message that of a value: in its place, since a message that is handed to another is copied, deep."""


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
    value = Money()
    _fill_money(value, amount)
    return value


def micro_usd(amount: Money) -> MicroUsd:
    """Money as millionths; the currency is the deployment's own."""
    return MicroUsd(amount.units * MICROS_PER_SECOND + amount.nanos // 1_000)


def _fill_money(message: Money, amount: int) -> None:
    units, rest = divmod(abs(amount), MICROS_PER_SECOND)
    sign = -1 if amount < 0 else 1
    message.currency_code, message.units, message.nanos = "USD", sign * units, sign * rest * 1_000


def _fill_duration(message: Duration, span: timedelta) -> None:
    message.FromTimedelta(span)


class MessageMapping:
    """Converters between dataclasses and messages."""

    def __init__(
        self,
        messages: Mapping[type[Any], type[Message]],
        special: Mapping[Any, tuple[Fill, Convert]],
    ) -> None:
        """Compile all converters.

        Args:
            messages: message class by dataclass.
            special: (fill, decode) by annotation, for types that do not map field by field.

        Raises:
            FieldMismatch: the fields of a pair differ.
        """
        self._messages = messages
        self._special = special
        self._fills: dict[type[Any], Fill] = {}
        self._decoders: dict[type[Any], Convert] = {}
        for cls in messages:
            self._fills[cls], self._decoders[cls] = self._compile(cls)

    def encode(self, value: Any) -> Any:
        """The message for a dataclass value."""
        cls = cast("type[Any]", type(value))
        message = self._messages[cls]()
        self._fills[cls](message, value)
        return message

    def fill(self, message: Message, value: Any) -> None:
        """Make an empty message that of a dataclass value, and present in the message that it is a field of."""
        message.SetInParent()
        self._fills[type(value)](message, value)

    def decode(self, cls: type[T], message: Message) -> T:
        """The dataclass value for a message."""
        return cast("T", self._decoders[cls](message))

    def _compile(self, cls: type[Any]) -> tuple[Fill, Convert]:
        descriptor = self._messages[cls].DESCRIPTOR
        hints = get_type_hints(cls)
        names = [field.name for field in fields(cls)]
        proto_names = [field.name for field in descriptor.fields]
        if set(names) != set(proto_names):
            differing = sorted(set(names) ^ set(proto_names))
            raise FieldMismatch(f"{cls.__name__} and {descriptor.full_name} differ in {', '.join(differing)}")
        plans = [(name, *self._field(name, hints[name])) for name in names]
        tells_presence = {field.name for field in descriptor.fields if field.has_presence}
        scalars = [name for name, put, _, _ in plans if put is None and name not in tells_presence]
        present = [name for name, put, _, _ in plans if put is None and name in tells_presence]
        put_in = [(name, put) for name, put, _, _ in plans if put is not None]

        def fill(message: Any, value: Any) -> None:
            # What a field reads as when it is unset need not be set, where nobody can tell the difference.
            for name in scalars:
                if given := getattr(value, name):
                    setattr(message, name, given)
            for name in present:
                if (given := getattr(value, name)) is not None:
                    setattr(message, name, given)
            for name, put in put_in:
                if (given := getattr(value, name)) is not None:
                    put(message, given)

        def decode(message: Message) -> Any:
            arguments: dict[str, Any] = {}
            for name, _, convert, optional in plans:
                if optional and not message.HasField(name):
                    arguments[name] = None
                else:
                    given = getattr(message, name)
                    arguments[name] = given if convert is None else convert(given)
            return cls(**arguments)

        return fill, decode

    def _field(self, name: str, hint: Any) -> tuple[Fill | None, Convert | None, bool]:
        """How a field is put into its message (None: by assignment) and decoded, and whether it can be absent."""
        if get_origin(hint) in (Union, types.UnionType) and hint not in self._special:
            given = [each for each in get_args(hint) if each is not type(None)]
            return *self._field(name, given[0])[:2], True
        if get_origin(hint) is tuple:
            fill, decode = self._single(get_args(hint)[0])
            each_decoded: Convert = (lambda many: tuple(decode(each) for each in many)) if decode else tuple
            return (_many(name, fill) if fill else _extended(name)), each_decoded, False
        if get_origin(hint) is not None and hint not in self._special:
            return _updated(name), dict, False
        fill, decode = self._single(hint)
        return (_one(name, fill) if fill else None), decode, False

    def _single(self, hint: Any) -> tuple[Fill | None, Convert | None]:
        if hint in self._special:
            return self._special[hint]
        if hint is Micros:
            return fill_timestamp, micros
        if hint is MicroUsd:
            return _fill_money, micro_usd
        if hint is timedelta:
            return _fill_duration, Duration.ToTimedelta
        if isinstance(hint, NewType):
            return None, None
        if isinstance(hint, type) and is_dataclass(hint):
            return self._nested(hint)
        if isinstance(hint, type) and issubclass(hint, IntEnum):
            return None, _lenient(hint)
        return None, None

    def _nested(self, cls: type[Any]) -> tuple[Fill, Convert]:
        """Converters that look themselves up when used, because types may refer to later ones."""

        def fill(message: Any, value: Any) -> None:
            self._fills[cls](message, value)

        def decode(message: Any) -> Any:
            return self._decoders[cls](message)

        return fill, decode


def _one(name: str, fill: Fill) -> Fill:
    always = fill not in (_fill_money, _fill_duration)  # nothing is said of no money, and of no time

    def put(message: Any, given: Any) -> None:
        if given or always:
            inner = getattr(message, name)
            inner.SetInParent()  # an empty message is there all the same
            fill(inner, given)

    return put


def _many(name: str, fill: Fill) -> Fill:
    def put(message: Any, given: Any) -> None:
        if given:
            messages = getattr(message, name)
            for each in given:
                fill(messages.add(), each)

    return put


def _extended(name: str) -> Fill:
    def put(message: Any, given: Any) -> None:
        if given:
            getattr(message, name).extend(given)

    return put


def _updated(name: str) -> Fill:
    def put(message: Any, given: Any) -> None:
        if given:
            getattr(message, name).update(given)

    return put


def _lenient(enum: type[IntEnum]) -> Convert:
    """An enum's decoder; a number that this version does not know reads as the lowest: unspecified."""
    known = {member.value: member for member in enum}
    fallback = min(enum, key=lambda member: member.value)
    return lambda number: known.get(number, fallback)
