"""Compiles a message descriptor into checks: by type, by annotation and by the field's name.

Speed decides the shape: one ListFields call per message, one dict lookup per field that is set, and no
path is built before something is wrong.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from google.api import field_behavior_pb2  # pyright: ignore[reportMissingTypeStubs]
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from heddle_core import json_text
from heddle_core.faults import Violation
from heddle_core.ids import ID_PATTERN
from heddle_grpc.well_known_rules import WELL_KNOWN, Violations


@dataclass(frozen=True)
class FieldLimits:
    """How much of everything one request may hold. The defaults are the contract's."""

    string_bytes: int = 1 << 20
    text_bytes: int = 1 << 20
    """For fields named `text`."""
    json_bytes: int = 1 << 20
    """For fields named `*_json`."""
    nesting: int = 64
    """Messages within messages, and arrays and objects within a `*_json` text."""
    elements: int = 1_000
    """Of one repeated field: it bounds the time that one request can hold the event loop."""
    page_size: int = 1_000
    labels: int = 64
    map_text: int = 256
    """Characters of a map's key, and of a value of `labels`."""


Check = Callable[[Any, int], Violations]


@dataclass
class MessageRules:
    """The checks of one message type."""

    limits: FieldLimits
    by_number: dict[int, Check] = field(default_factory=dict[int, Check])
    required: list[tuple[str, Callable[[Message], bool]]] = field(
        default_factory=list[tuple[str, Callable[[Message], bool]]]
    )

    def violations(self, message: Message, depth: int, *, whole: bool = True) -> Violations:
        """What is wrong with `message`, which stands `depth` messages deep; None when nothing is.

        One that is not `whole` may lack what is required: an update leaves out what its mask does not name.
        """
        if depth > self.limits.nesting:
            return [Violation("", f"nest at most {self.limits.nesting} messages")]
        found: Violations = None
        by_number = self.by_number
        for descriptor, value in message.ListFields():
            check = by_number.get(descriptor.number)
            if check is not None:
                wrong = check(value, depth)
                if wrong:
                    found = _joined(found, descriptor.name, wrong)
        for name, is_set in self.required if whole else ():
            if not is_set(message):
                found = _joined(found, name, [Violation("", "is required: set it")])
        return found


def rules_of(descriptor: Descriptor, limits: FieldLimits, compiled: dict[str, MessageRules]) -> MessageRules:
    """The rules of `descriptor`, compiled now unless `compiled` has them, which is filled on the way."""
    known = compiled.get(descriptor.full_name)
    if known is not None:
        return known
    rules = MessageRules(limits)
    compiled[descriptor.full_name] = rules  # Before its fields, because a message may hold itself.
    # AIP-134: beside an update mask, the resource has the fields that the mask names.
    is_update = "update_mask" in descriptor.fields_by_name
    for each in descriptor.fields:
        check = _field_check(each, limits, compiled, whole=not is_update)
        if check is not None:
            rules.by_number[each.number] = check
        if _is_required(each):
            rules.required.append((each.name, _presence(each)))
    return rules


def _is_required(descriptor: FieldDescriptor) -> bool:
    extensions: Any = descriptor.GetOptions().Extensions
    return field_behavior_pb2.REQUIRED in extensions[field_behavior_pb2.field_behavior]


def _joined(found: Violations, name: str, wrong: list[Violation]) -> list[Violation]:
    placed = [Violation(name + each.field, each.remedy) for each in wrong]
    return placed if found is None else found + placed


def _presence(descriptor: FieldDescriptor) -> Callable[[Message], bool]:
    name = descriptor.name
    if descriptor.has_presence:
        return lambda message: message.HasField(name)
    return lambda message: bool(getattr(message, name))


def _field_check(
    descriptor: FieldDescriptor, limits: FieldLimits, compiled: dict[str, MessageRules], *, whole: bool
) -> Check | None:
    entry = descriptor.message_type
    if entry is not None and entry.GetOptions().map_entry:
        return _map_check(descriptor, entry, limits, compiled)
    single = _value_check(descriptor, limits, compiled, whole=whole)
    if descriptor.is_repeated:
        return _repeated_check(single, limits.elements)
    return single


def _value_check(
    descriptor: FieldDescriptor, limits: FieldLimits, compiled: dict[str, MessageRules], *, whole: bool = True
) -> Check | None:
    match descriptor.cpp_type:
        case FieldDescriptor.CPPTYPE_STRING if descriptor.type == FieldDescriptor.TYPE_STRING:
            return _string_check(descriptor.name, limits)
        case FieldDescriptor.CPPTYPE_DOUBLE | FieldDescriptor.CPPTYPE_FLOAT:
            return _finite_check
        case FieldDescriptor.CPPTYPE_ENUM:
            return _enum_check(descriptor)
        case FieldDescriptor.CPPTYPE_INT32 if descriptor.name == "page_size":
            return _page_size_check(limits.page_size)
        case FieldDescriptor.CPPTYPE_MESSAGE:
            return _message_check(cast("Descriptor", descriptor.message_type), limits, compiled, whole=whole)
        case _:
            return None


def _string_check(name: str, limits: FieldLimits) -> Check:
    if name == "id" or name.endswith(("_id", "_ids")):
        return _id_check
    if name.endswith("_json"):
        return _json_check(limits)
    return _text_check(limits.text_bytes if name == "text" else limits.string_bytes)


def _id_check(value: str, _depth: int) -> Violations:
    if value and ID_PATTERN.fullmatch(value) is None:
        return [Violation("", "must be 1 to 64 characters of A-Z, a-z, 0-9, _ and -")]
    return None


def _json_check(limits: FieldLimits) -> Check:
    def check(value: str, _depth: int) -> Violations:
        problem = json_text.problem_of(value, limit=limits.json_bytes, depth=limits.nesting) if value else None
        return [Violation("", problem)] if problem else None

    return check


def _text_check(limit: int) -> Check:
    surely_within = limit // 4

    def check(value: str, _depth: int) -> Violations:
        if "\0" in value:
            return [Violation("", f"must not hold NUL; there is one at character {value.index(chr(0))}")]
        if len(value) > surely_within and len(value.encode()) > limit:
            return [Violation("", f"send at most {limit} bytes of UTF-8, or refer to an asset")]
        return None

    return check


def _finite_check(value: float, _depth: int) -> Violations:
    return None if math.isfinite(value) else [Violation("", "must be a finite number")]


def _enum_check(descriptor: FieldDescriptor) -> Check:
    enum = descriptor.enum_type
    assert enum is not None
    known = frozenset(each.number for each in enum.values)
    remedy = f"must be a value of {enum.full_name} that this server knows: GetServerInfo tells its version"

    def check(value: int, _depth: int) -> Violations:
        return None if value in known else [Violation("", remedy)]

    return check


def _page_size_check(most: int) -> Check:
    def check(value: int, _depth: int) -> Violations:
        return None if 0 <= value <= most else [Violation("", f"must be 0 (the default) to {most}")]

    return check


def _message_check(
    descriptor: Descriptor, limits: FieldLimits, compiled: dict[str, MessageRules], *, whole: bool
) -> Check | None:
    well_known = WELL_KNOWN.get(descriptor.full_name)
    if well_known is not None:
        return lambda value, _depth: well_known(value)
    rules = rules_of(descriptor, limits, compiled)

    def check(value: Message, depth: int) -> Violations:
        wrong = rules.violations(value, depth + 1, whole=whole)
        if wrong is None:
            return None
        return [Violation(f".{each.field}" if each.field else "", each.remedy) for each in wrong]

    return check


def _repeated_check(single: Check | None, most: int) -> Check:
    def check(values: Any, depth: int) -> Violations:
        if len(values) > most:
            return [Violation("", f"holds {len(values)} elements: send at most {most}")]
        if single is None:
            return None
        found: Violations = None
        for position, value in enumerate(cast("Iterable[Any]", values)):
            wrong = single(value, depth)
            if wrong:
                found = _joined(found, f"[{position}]", wrong)
        return found

    return check


def _map_check(
    descriptor: FieldDescriptor, entry: Descriptor, limits: FieldLimits, compiled: dict[str, MessageRules]
) -> Check:
    keys_are_text = entry.fields_by_name["key"].type == FieldDescriptor.TYPE_STRING
    are_labels = descriptor.name == "labels"
    most = limits.labels if are_labels else limits.elements
    single = None if are_labels else _value_check(entry.fields_by_name["value"], limits, compiled)

    def check(values: Mapping[Any, Any], depth: int) -> Violations:
        if len(values) > most:
            return [Violation("", f"holds {len(values)} entries: send at most {most}")]
        found: Violations = None
        for key, value in values.items():
            wrong = _label_check(key, limits.map_text) if keys_are_text else None
            if not wrong and single is not None:
                wrong = single(value, depth)
            if not wrong and are_labels:
                wrong = _label_check(value, limits.map_text)
            if wrong:
                found = _joined(found, f"[{str(key)[:32]!r}]", wrong)
        return found

    return check


def _label_check(value: str, most: int) -> Violations:
    if len(value) > most or "\0" in value:
        return [Violation("", f"keys and values must have at most {most} characters, none of them NUL")]
    return None
