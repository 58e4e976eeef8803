"""Ids: their alphabet, their types and how new ones are made."""

import os
import re
from typing import NewType, Protocol

from heddle_core.clock import Clock

TenantId = NewType("TenantId", str)
PrincipalId = NewType("PrincipalId", str)
ThreadId = NewType("ThreadId", str)
RunId = NewType("RunId", str)
StepId = NewType("StepId", str)
MessageId = NewType("MessageId", str)
CallId = NewType("CallId", str)
InputId = NewType("InputId", str)
RequestId = NewType("RequestId", str)
WorkerId = NewType("WorkerId", str)

ID_PATTERN = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""What any id may look like: safe in a NATS subject token, a file name and a URL path."""

RESERVED_TENANTS = frozenset({"control"})
"""No tenant may be called so: a level of NATS subjects means something else by it."""

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def is_id(text: str) -> bool:
    """Whether `text` is 1 to 64 characters of the id alphabet."""
    return ID_PATTERN.fullmatch(text) is not None


class Ids(Protocol):
    """What mints ids."""

    def new(self, prefix: str) -> str:
        """A new id that starts with `prefix` and an underscore, and sorts by the time it was made."""
        ...


class TimeOrderedIds:
    """ULID-shaped ids: 48 bits of milliseconds, then 80 random bits, in Crockford's base 32."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def new(self, prefix: str) -> str:
        value = (self._clock.now() // 1_000) << 80 | int.from_bytes(os.urandom(10), "big")
        return f"{prefix}_{_crockford(value)}"


class CountingIds:
    """Ids that count up from one per prefix: for tests that want to name them."""

    def __init__(self) -> None:
        self._last: dict[str, int] = {}

    def new(self, prefix: str) -> str:
        self._last[prefix] = self._last.get(prefix, 0) + 1
        return f"{prefix}_{self._last[prefix]}"


_PAIRS = tuple(first + second for first in _ALPHABET for second in _ALPHABET)


def _crockford(value: int) -> str:
    """128 bits in 26 digits, two at a time."""
    return "".join([_PAIRS[value >> shift & 1023] for shift in range(120, -1, -10)])
