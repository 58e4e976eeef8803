"""Requests that nobody should send: made from descriptors alone, half of them around ids that live."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import cache
from random import Random
from typing import Any

from google.api import field_behavior_pb2  # pyright: ignore[reportMissingTypeStubs]
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from tests.kit.bad_input_contract import Rpc, is_id, is_map
from tests.kit.bad_input_words import BAD, GOOD
from tests.kit.bad_input_world import World

_DEEPEST = 4
_MIB = 1 << 20

MOST_BYTES = 5 * _MIB - 1_024
"""Beyond this, a stock server's transport refuses in words of its own; the limit of the contract is 4 MiB."""

HEAVY = 0.01
"""The part of all cases that may hold megabytes, or thousands of elements: they cost as much as hundreds of others."""

_MARK = "\x01MARK\x01"
"""Stands in a text where bytes are put that no text may hold."""

_MARK_BYTES = _MARK.encode()

_NO_UTF8 = (
    b"\xed\xa0\x80\xed\xb0\x80",
    b"\xff\xfe\xfd\xfc\xfb\xfa",
    b"\xc0\x80\xc0\x80\xc0\x80",
    b"\xf8\x88\x80\x80\x80\x80",
)
"""A pair of surrogates, no characters at all, overlong forms: each as long as the mark."""

_TEXTS: Sequence[str] = (
    "",
    " ",
    "\0",
    "a\0b",
    "\u202egnirts",
    "\ufeff",
    "\U0010ffff",
    "\x7f\x1b[31m",
    "🌦" * 300,
    "x" * 65,
    "x" * 300,
    "x" * 33_000,
    "../../etc/passwd",
    "'; DROP TABLE threads; --",
    "%s%n{0}{tenant}",
    "{{user}}",
    "$(reboot)",
    "null",
    "*",
    "-1",
    "1e999",
    "NaN",
    "a,b;c",
    "thr_1/../run_1",
    _MARK,
    f"a{_MARK}",
)

_JSONS: Sequence[str] = (
    "{",
    "[]",
    "null",
    '"text"',
    "NaN",
    '{"a": Infinity}',
    '{"a": 1, "a": 2}',
    '{"a": 1e999}',
    '{"a": 123456789012345678901234567890}',
    '{"\\ud800": 1}',
    '{"a": "\\u0000"}',
    '{"type": "object", "$ref": "#"}',
    '{"$ref": "http://127.0.0.1:1/x"}',
    '{"type": "nonsense"}',
    '{"pattern": "(a+)+$"}',
    '{"pattern": "("}',
    '{"type": "object", "properties": {"a": {"$ref": "#/properties/a"}}}',
    "[" * 5_000,
    '{"a":' * 5_000 + "1" + "}" * 5_000,
    "[" * 60 + "]" * 60,
    '{"a": ' + "9" * 5_000 + "}",
)

_NUMBERS = (0, 1, -1, 2, 7, 61, 100, 101, 1_000, 1_001, 2**31 - 1, -(2**31), 2**63 - 1, -(2**63), 2**53 + 1)
_FLOATS = (0.0, -0.0, float("nan"), float("inf"), float("-inf"), 1e308, -1.0, 5e-324)
_MODELS = (
    "scripted:../../../etc/passwd",
    "scripted:",
    "openai:gpt-5",
    "local:",
    "compatible:x/y",
    ":",
    "scripted:nothing",
)
_ORDERS = ("create_time", "create_time desc", "title", "title desc", "password", "create_time; --", "a" * 500)

_AGO = {("TimeRange", "start_time"): 86_400, ("Schedule", "end_time"): -86_400 * 366, ("Schedule", "once"): -3_600}
"""Seconds before now that a good time lies, by message and field; 5 elsewhere."""

_SLOW = frozenset({"wait_seconds"})
"""Fields whose good values hold the call: their only good value is zero."""


class Cases:
    """Requests for one RPC."""

    def __init__(self, rpc: Rpc, random: Random, own: World, foreign: World) -> None:
        """`own` is the world of the caller's tenant, `foreign` that of another."""
        self.own = own
        self.foreign = foreign
        self._rpc = rpc
        self._random = random
        self._heavy = ""
        self._texts: dict[bool, Callable[[FieldDescriptor], str]] = {True: self._good_text, False: self._bad_text}

    def case(self, number: int) -> bytes:
        """A request on the wire; every second one is around living ids."""
        while len(raw := self._case(number)) > MOST_BYTES:
            pass
        return raw

    def _case(self, number: int) -> bytes:
        random = self._random
        self._heavy = random.choice(("long", "many")) if random.random() < HEAVY else ""
        if number % 2 == 0:
            message = self.good()
            for _ in range(random.choice((0, 1, 1, 1, 2, 3))):
                self._spoil(message)
            return self._wire(message)
        if random.random() < 0.5:
            message = self._rpc.request()
            self._fill(message, 1, good=0.25)
            return self._wire(message)
        return self._broken(self._wire(self.good()))

    def good(self) -> Any:
        """A request that fits the contract, as far as descriptors tell it."""
        message = self._rpc.request()
        self._fill(message, 1, good=1.0)
        return message

    def _fill(self, message: Any, depth: int, *, good: float) -> None:
        """Set fields of a message: those that are required, and some others."""
        random = self._random
        chosen = {each.name: random.choice(list(each.fields)).name for each in message.DESCRIPTOR.oneofs}
        for field in message.DESCRIPTOR.fields:
            oneof = field.containing_oneof
            if oneof is not None and chosen[oneof.name] != field.name:
                continue
            likely = 0.97 if _is_required(field) else 0.75 if is_id(field) and good == 1.0 else 0.3
            if random.random() < likely:
                self._set(message, field, depth, good=good)

    def _set(self, message: Any, field: FieldDescriptor, depth: int, *, good: float) -> None:
        if is_map(field):
            for _ in range(self._count(3, 100, good)):
                self._set_entry(getattr(message, field.name), field, good=good)
        elif field.message_type is not None:
            if depth >= _DEEPEST:
                return
            if field.is_repeated:
                for _ in range(self._count(2, 70, good)):
                    self._fill(getattr(message, field.name).add(), depth + (3 if good < 1.0 else 1), good=good)
            else:
                inner = getattr(message, field.name)
                inner.SetInParent()
                self._fill_known(inner, message, field, depth, good=good)
        elif field.is_repeated:
            count = self._count(2, 1_100, good)
            getattr(message, field.name).extend(self._value(field, good) for _ in range(count))
        else:
            setattr(message, field.name, self._value(field, good))

    def _count(self, few: int, many: int, good: float) -> int:
        """How many elements."""
        if good == 1.0:
            return self._random.choice((1, 1, few))
        return many if self._heavy == "many" and self._random.random() < 0.5 else self._random.choice((0, 1, 2))

    def _set_entry(self, entries: Any, field: FieldDescriptor, *, good: float) -> None:
        assert field.message_type is not None
        key, value = (field.message_type.fields_by_name[name] for name in ("key", "value"))
        if value.message_type is not None:
            self._fill(entries[self._value(key, good)], _DEEPEST, good=good)
        else:
            entries[self._value(key, good)] = self._value(value, good)

    def _fill_known(self, inner: Any, outer: Any, field: FieldDescriptor, depth: int, *, good: float) -> None:
        """Well-known types have meanings that their fields alone do not tell."""
        random = self._random
        fits = random.random() < good
        match inner.DESCRIPTOR.full_name:
            case "google.protobuf.FieldMask":
                inner.paths.extend(self._paths(outer.DESCRIPTOR) if fits else random.choices(_TEXTS[:20], k=2))
            case "google.protobuf.Timestamp":
                ago = _AGO.get((outer.DESCRIPTOR.name, field.name), 5)
                inner.seconds = round(datetime.now(UTC).timestamp()) - ago if fits else random.choice(_NUMBERS)
                inner.nanos = 0 if fits else random.choice((-1, 1, 999_999_999, 10**9, 2**31 - 1))
            case "google.protobuf.Duration":
                inner.seconds = 30 if fits else random.choice(_NUMBERS)
                inner.nanos = 0 if fits else random.choice((-1, 1, 999_999_999, 10**9, -(2**31)))
            case "google.type.Money":
                inner.currency_code = "USD" if fits else random.choice(("", "usd", "EURO", "\0"))
                inner.units = 1 if fits else random.choice(_NUMBERS)
                inner.nanos = 0 if fits else random.choice((-1, 10**9, 2**31 - 1, 5))
            case _:
                self._fill(inner, depth + 1, good=good)

    def _paths(self, request: Descriptor) -> list[str]:
        """Fields that an update of this request may name, or a snapshot's."""
        held = [each.message_type for each in request.fields if each.message_type is not None and not is_map(each)]
        names = [field.name for message in held for field in message.fields if message.name != "FieldMask"]
        return self._random.choices([*names, "*", "thread", "messages", "sequence"], k=self._random.choice((1, 2)))

    def _value(self, field: FieldDescriptor, good: float) -> Any:
        random = self._random
        fits = random.random() < good
        match field.cpp_type:
            case FieldDescriptor.CPPTYPE_STRING if field.type == FieldDescriptor.TYPE_BYTES:
                return random.randbytes(
                    8 if fits else random.choice((0, 1, 1_000, _MIB + 1 if self._heavy == "long" else 99))
                )
            case FieldDescriptor.CPPTYPE_STRING:
                return self._texts[fits](field)
            case FieldDescriptor.CPPTYPE_BOOL:
                return random.random() < 0.5
            case FieldDescriptor.CPPTYPE_ENUM:
                known = [each.number for each in field.enum_type.values] if field.enum_type else [0]
                return random.choice(known) if fits else random.choice((-1, 99, 2**31 - 1, -(2**31)))
            case FieldDescriptor.CPPTYPE_DOUBLE | FieldDescriptor.CPPTYPE_FLOAT:
                return 0.5 if fits else random.choice(_FLOATS)
            case FieldDescriptor.CPPTYPE_INT32:
                if field.name in _SLOW:
                    return 0 if fits else random.choice((-1, 61, 2**31 - 1))
                return self._number(field, fits)
            case _:
                return self._number(field, fits)

    def _number(self, field: FieldDescriptor, fits: bool) -> int:
        if fits:
            most = self.own.last_sequence if "sequence" in field.name else 5
            return self._random.randint(0, most)
        numbers = _NUMBERS
        if field.cpp_type == FieldDescriptor.CPPTYPE_INT32:
            numbers = tuple(each for each in _NUMBERS if -(2**31) <= each < 2**31)
        return self._random.choice(numbers)

    def _good_text(self, field: FieldDescriptor) -> str:
        random, name = self._random, field.name
        if name == "request_id":
            return self.own.spare("request_id") if random.random() < 0.8 else random.choice(self.own.ids[name])
        known = self.own.ids.get(_kind_of(name))
        if known:
            return random.choice(known)
        if name in GOOD:
            return random.choice(GOOD[name])
        if name.endswith("_json") or name == "json":
            return '{"type": "object"}'
        if name == "order_by":
            return random.choice(("", "create_time", "create_time desc"))
        if name == "grpc_target":
            return self.own.tools
        if name == "name" or is_id(field):
            return f"name-{random.randint(0, 9)}"
        return (
            "" if name in ("etag", "resolution_token", "category") else f"words\nkind={random.choice(('say', 'time'))}"
        )

    def _bad_text(self, field: FieldDescriptor) -> str:
        random, name = self._random, field.name
        kind = _kind_of(name)
        if self._heavy == "long":
            self._heavy = ""  # one is enough
            return "x" * random.choice((_MIB - 1, _MIB + 1, 3 * _MIB))
        pools: list[Sequence[str]] = [_TEXTS]
        if is_id(field) or kind in self.own.ids:
            others = [each for each in self.own.ids if each != kind and self.own.ids[each]]
            pools += [self.foreign.ids.get(kind) or ["gone"], self.own.ids[random.choice(others)], [f"{kind}-unknown"]]
        if name.endswith("json") or name == "text":
            pools += [_JSONS, _JSONS]
        if name == "page_token":
            token = random.choice(self.own.ids["page_token"] or ["AAAA"])
            pools += [(token[:-1], token[::-1], f"{token}=", f"{token}AAAA", token.swapcase()), self.foreign.ids[name]]
        if name in BAD:
            pools += [BAD[name], BAD[name]]
        if name == "model":
            pools.append(_MODELS)
        if name == "order_by":
            pools.append(_ORDERS)
        return random.choice(random.choice(pools))

    def _spoil(self, message: Any) -> None:
        """Make one field of a good request a bad one, at any depth."""
        random = self._random
        target: Any = message
        while True:
            inner = [value for _, value in target.ListFields() if isinstance(value, Message)]
            if not inner or random.random() < 0.4:
                break
            target = random.choice(inner)
        fields = [field for field in target.DESCRIPTOR.fields if field.name != "request_id" or random.random() < 0.2]
        if fields:
            field: FieldDescriptor = random.choice(fields)
            target.ClearField(field.name)
            self._set(target, field, _DEEPEST - 1, good=0.0)

    def _wire(self, message: Any) -> bytes:
        raw: bytes = message.SerializeToString()
        return raw.replace(_MARK_BYTES, self._random.choice(_NO_UTF8)) if _MARK_BYTES in raw else raw

    def _broken(self, raw: bytes) -> bytes:
        """Bytes that are hardly a message any more."""
        random = self._random
        match random.randrange(8):
            case 0:
                return b""
            case 1:
                return random.randbytes(random.choice((1, 7, 50, 500)))
            case 2:
                return raw[: random.randint(0, len(raw))]
            case 3:
                place = random.randint(0, len(raw))
                return raw[:place] + random.randbytes(random.choice((1, 2, 9))) + raw[place:]
            case 4:
                return raw + raw
            case 5:
                return b"\x0b" * random.choice((1, 101, 10_000))
            case 6:
                return _nested(random.choice((30, 99, 101, 2_000)), random.randint(1, 15)) + raw
            case _:
                spoilt = bytearray(raw or b"\0")
                for _ in range(random.choice((1, 1, 2, 8))):
                    spoilt[random.randrange(len(spoilt))] ^= 1 << random.randrange(8)
                return bytes(spoilt)


@cache
def _kind_of(name: str) -> str:
    """The pool that a field's name belongs to: `source_thread_id` and `thread_ids` name threads."""
    singular = name.removesuffix("s") if name.endswith("_ids") else name
    for kind in ("thread_id", "run_id", "input_id", "message_id", "agent_id", "provider_id"):
        if singular.endswith(kind):
            return kind
    return "request_id" if singular.endswith("request_id") else singular


@cache
def _is_required(field: FieldDescriptor) -> bool:
    extensions: Any = field.GetOptions().Extensions
    return field_behavior_pb2.REQUIRED in list(extensions[field_behavior_pb2.field_behavior])


def _nested(depth: int, number: int) -> bytes:
    """A field that holds itself, again and again."""
    raw = b""
    for _ in range(depth):
        raw = bytes([number << 3 | 2]) + _varint(len(raw)) + raw
    return raw


def _varint(value: int) -> bytes:
    said = bytearray()
    while value > 0x7F:
        said.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*said, value])
