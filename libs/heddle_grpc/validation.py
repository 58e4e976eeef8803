"""The rules that every request meets before a handler sees it, read from its descriptor and its field names.

A rule that holds for one message only belongs to its service, which passes it as an own check.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import cast

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError, Message

from heddle_core.errors import InvalidField
from heddle_core.faults import Violation
from heddle_grpc.field_rules import FieldLimits, MessageRules, rules_of

OwnCheck = Callable[[Message], Iterable[Violation]]

MOST_VIOLATIONS = 8
"""Violations told at once: more would not fit into the metadata that a stock client accepts (8 KiB)."""


@dataclass(frozen=True)
class Reader:
    """Reads one request type from the wire: what it returns may be trusted by shape."""

    message_class: type[Message]
    rules: MessageRules
    own: OwnCheck | None = None

    def read(self, raw: bytes) -> Message:
        """The message in `raw`. Raises InvalidField, naming each bad field by its path."""
        try:
            message = self.message_class.FromString(raw)
        except DecodeError as error:
            name = self.message_class.DESCRIPTOR.full_name
            remedy = f"must be {name} in protobuf encoding, with text in UTF-8 and at most 64 levels deep"
            raise InvalidField((Violation("request", remedy),)) from error
        self.check(message)
        return message

    def check(self, message: Message) -> None:
        """Raises InvalidField unless `message` meets every rule of its type."""
        found = self.rules.violations(message, 1)
        if found is None and self.own is not None:
            found = list(self.own(message))
        if found:
            raise InvalidField(tuple(found[:MOST_VIOLATIONS]))


class Validation:
    """Gives out readers; rules are compiled once per message type and kept."""

    def __init__(self, limits: FieldLimits | None = None, *, own_checks: Mapping[str, OwnCheck] | None = None) -> None:
        """`own_checks` maps a message's full name to a service's own check, run after these rules hold."""
        self._limits = limits or FieldLimits()
        self._own_checks = dict(own_checks or {})
        self._compiled: dict[str, MessageRules] = {}

    def reader(self, message_class: type[Message]) -> Reader:
        """The reader for one request type."""
        descriptor = cast("Descriptor", message_class.DESCRIPTOR)
        rules = rules_of(descriptor, self._limits, self._compiled)
        return Reader(message_class, rules, self._own_checks.get(descriptor.full_name))
