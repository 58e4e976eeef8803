"""The headers of a published event: CloudEvents attributes, and Heddle's own extension attributes among them.

The CloudEvents NATS binding spells an attribute `ce-<name>`, and allows a-z and 0-9 only in extension names.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache

from heddle_bus import subjects
from heddle_core.clock import MICROS_PER_SECOND, Micros
from heddle_core.errors import invalid
from heddle_core.ids import is_id
from heddle_core.values import value

_HIGHEST = 2**63 - 1


@value
class EventOrigin:
    """Which event a message carries: two messages with equal origins carry the same event."""

    log_epoch: int
    """Raised when the log is restored from a backup; under another epoch a sequence means another event."""
    tenant: str
    thread: str
    sequence: int
    """From 1, gapless within the thread."""

    @property
    def message_id(self) -> str:
        """The id under which it is published."""
        return subjects.event_message_id(
            log_epoch=self.log_epoch, tenant=self.tenant, thread=self.thread, sequence=self.sequence
        )


def event_headers(origin: EventOrigin, *, kind: str, committed: Micros, traceparent: str = "") -> dict[str, str]:
    """The headers of one event of the given kind, which was committed at that time."""
    time = datetime.fromtimestamp(committed / MICROS_PER_SECOND, UTC).isoformat(timespec="microseconds")
    headers = {
        "ce-specversion": "1.0",
        "ce-id": origin.message_id,
        "ce-source": f"/heddle/{origin.tenant}/threads/{origin.thread}",
        "ce-type": f"heddle.runtime.v1.{kind}",
        "ce-time": time,
        subjects.LOG_EPOCH: str(origin.log_epoch),
        subjects.TENANT: origin.tenant,
        subjects.THREAD: origin.thread,
        subjects.SEQUENCE: str(origin.sequence),
    }
    if traceparent:
        headers[subjects.TRACEPARENT] = traceparent
    return headers


def event_kind(headers: Mapping[str, str]) -> str:
    """The kind of event that the headers name, as RunStarted; empty if they do not."""
    return headers.get("ce-type", "").rpartition(".")[2]


def event_origin(headers: Mapping[str, str]) -> EventOrigin | None:
    """The origin that the headers name, or None if they do not name a well-formed one."""
    tenant, thread = headers.get(subjects.TENANT, ""), headers.get(subjects.THREAD, "")
    log_epoch = _number(headers.get(subjects.LOG_EPOCH, ""))
    sequence = _number(headers.get(subjects.SEQUENCE, ""))
    if log_epoch is None or not sequence or not is_id(tenant) or not is_id(thread):
        return None
    return EventOrigin(log_epoch, tenant, thread, sequence)


def checked_headers(headers: Mapping[str, str]) -> Mapping[str, str]:
    """`headers` themselves if they are safe on the wire; raises InvalidField if a line could be forged."""
    for name, text in headers.items():
        if not _is_name(name):
            raise invalid("header name", "must be 1 to 64 characters of A-Z, a-z, 0-9, _ and -")
        if not text.isprintable() or text != text.strip():
            raise invalid(f"header {name}", "must be printable, with no blank at either end")
    return headers


def stored_headers(headers: Mapping[str, str], message_id: str) -> dict[str, str]:
    """The headers under which a message is stored; raises InvalidField as `checked_headers`, or for an empty id."""
    if not message_id:
        raise invalid("message id", "must not be empty: without it a repeat would be stored twice")
    stored = {**headers, subjects.MESSAGE_ID: message_id}
    checked_headers(stored)
    return stored


@lru_cache(maxsize=256)
def _is_name(name: str) -> bool:
    return is_id(name)


def _number(text: str) -> int | None:
    if not (text.isascii() and text.isdigit() and len(text) <= 19):
        return None
    number = int(text)
    return number if number <= _HIGHEST else None
