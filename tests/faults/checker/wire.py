"""Just enough of protobuf's wire format to read events without the generated code."""

from collections.abc import Iterator

Fields = dict[int, list["int | bytes"]]


def fields(data: bytes) -> Fields:
    """What a message holds: by field number, in order; numbers and doubles as integers, all else as bytes.

    Raises:
        ValueError: the bytes are no message.
    """
    found: Fields = {}
    for number, value in _pairs(data):
        found.setdefault(number, []).append(value)
    return found


def text(message: Fields, number: int) -> str:
    """A text field; empty where it is not set."""
    return _last_bytes(message, number).decode()


def texts(message: Fields, number: int) -> list[str]:
    """A repeated text field."""
    return [value.decode() for value in message.get(number, ()) if isinstance(value, bytes)]


def integer(message: Fields, number: int) -> int:
    """A number; zero where it is not set."""
    value = message.get(number, [0])[-1]
    return value if isinstance(value, int) else 0


def inner(message: Fields, number: int) -> Fields:
    """A message within; empty where it is not set."""
    return fields(_last_bytes(message, number))


def inners(message: Fields, number: int) -> list[Fields]:
    """A repeated message."""
    return [fields(value) for value in message.get(number, ()) if isinstance(value, bytes)]


def _last_bytes(message: Fields, number: int) -> bytes:
    value = message.get(number, [b""])[-1]
    return value if isinstance(value, bytes) else b""


def _pairs(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    place = 0
    while place < len(data):
        key, place = _varint(data, place)
        match key & 7:
            case 0:
                value, place = _varint(data, place)
                yield key >> 3, value
            case 1:
                yield key >> 3, int.from_bytes(data[place : place + 8], "little")
                place += 8
            case 2:
                size, place = _varint(data, place)
                if place + size > len(data):
                    raise ValueError("a field is longer than its message")
                yield key >> 3, data[place : place + size]
                place += size
            case 5:
                yield key >> 3, int.from_bytes(data[place : place + 4], "little")
                place += 4
            case other:
                raise ValueError(f"wire type {other}")


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if place >= len(data) or shift > 63:
            raise ValueError("a number does not end")
        byte = data[place]
        value |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            return value, place
