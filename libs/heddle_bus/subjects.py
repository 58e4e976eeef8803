"""Every subject, stream and header name of the bus: nothing else in Heddle spells one out.

A subject is built from ids by a function, so that no text of a caller can add a level, a wildcard or a line.
"""

import re

from heddle_core.errors import invalid
from heddle_core.ids import RESERVED_TENANTS, is_id

EVENT_STREAM = "HEDDLE_EVENTS"
"""The one durable stream: facts of every tenant's threads."""

SIGNAL_STREAM = "HEDDLE_SIGNALS"
"""Signals of every tenant, until the campaign service has taken them."""

SIGNAL_STREAM_SUBJECTS = ("heddle.v1.*.signals.*",)

DEDUPE_KEY = "Heddle-Dedupe-Key"
"""On a signal: names what happened, so that it starts no second cycle."""

EVENT_STREAM_SUBJECTS = ("heddle.v1.*.threads.*.*",)
"""What the stream stores. Six levels exactly: a doorbell, which has five, can never match."""

MESSAGE_ID = "Nats-Msg-Id"
"""Within the duplicate window, a second message with this id is acknowledged and not stored."""

EXPECTED_STREAM = "Nats-Expected-Stream"
"""Has a publish refused that would land in another stream."""

TRACEPARENT = "traceparent"
"""W3C trace context."""

LOG_EPOCH = "ce-logepoch"
TENANT = "ce-tenant"
THREAD = "ce-thread"
SEQUENCE = "ce-threadsequence"
"""With epoch, tenant and thread: what makes an event the same event, however often it arrives."""

IN_LOG = "ce-inlog"
"""Present on a message without a payload: the event is too large for the bus, and stands in the log alone."""

_ROOT = "heddle.v1"
_CONTROL = "control"
_ANY = "*"

_SUBJECT = re.compile(r"[A-Za-z0-9_-]{1,64}(?:\.[A-Za-z0-9_-]{1,64}){0,15}")
_EVENT_SUBJECT = re.compile(r"heddle\.v1\.[A-Za-z0-9_-]{1,64}\.threads(?:\.[A-Za-z0-9_-]{1,64}){2}")
_PATTERN = re.compile(r"(?:[A-Za-z0-9_-]{1,64}|\*)(?:\.(?:[A-Za-z0-9_-]{1,64}|\*)){0,14}(?:\.>)?")


def thread_event(tenant: str, thread: str, event: str) -> str:
    """Where an event of kind `event` of one thread is published. Durable."""
    return f"{_ROOT}.{_tenant(tenant)}.threads.{subject_token(thread)}.{subject_token(event)}"


def thread_events(tenant: str | None = None, thread: str | None = None, event: str | None = None) -> str:
    """The pattern for events; None stands for all tenants, threads or kinds."""
    return f"{_ROOT}.{_tenant_or_any(tenant)}.threads.{_token_or_any(thread)}.{_token_or_any(event)}"


def parts_of_thread_event(subject: str) -> tuple[str, str, str]:
    """Tenant, thread and kind of event of a subject that `thread_event` has made."""
    _, _, tenant, _, thread, event = checked_event_subject(subject).split(".")
    return tenant, thread, event


def deltas(tenant: str, thread: str, run: str) -> str:
    """Where the words of a run travel while they are made. Not durable."""
    return f"{_ROOT}.{_tenant(tenant)}.deltas.{subject_token(thread)}.{subject_token(run)}"


def thread_deltas(tenant: str, thread: str) -> str:
    """The pattern for the words of all runs of one thread."""
    return f"{_ROOT}.{_tenant(tenant)}.deltas.{subject_token(thread)}.{_ANY}"


def control(what: str, id: str) -> str:
    """A doorbell: `what` happened to `id`, go and look. Not durable, and carries no truth."""
    return f"{_ROOT}.{_CONTROL}.{subject_token(what)}.{subject_token(id)}"


def controls(what: str) -> str:
    """The pattern for all doorbells of one sort."""
    return f"{_ROOT}.{_CONTROL}.{subject_token(what)}.{_ANY}"


def signals(tenant: str, kind: str) -> str:
    """Where others report a signal that may trigger a campaign. Durable, once a campaign service has been here."""
    return f"{_ROOT}.{_tenant(tenant)}.signals.{subject_token(kind)}"


def all_signals(tenant: str | None = None) -> str:
    """The pattern for signals of one tenant, or of all."""
    return f"{_ROOT}.{_tenant_or_any(tenant)}.signals.{_ANY}"


def parts_of_signal(subject: str) -> tuple[str, str]:
    """Tenant and kind of a signal's subject, as they stand there; raises InvalidField if it is none of a signal."""
    levels = checked_subject(subject).split(".")
    if len(levels) != 5 or levels[3] != "signals" or levels[2] in RESERVED_TENANTS:
        raise invalid("subject", "must be heddle.v1.TENANT.signals.KIND")
    return levels[2], levels[4]


def jobs(tenant: str, job: str) -> str:
    """Where the progress of one media job is told. Not durable."""
    return f"{_ROOT}.{_tenant(tenant)}.jobs.{subject_token(job)}"


def event_message_id(*, log_epoch: int, tenant: str, thread: str, sequence: int) -> str:
    """The message id under which the relay publishes one event, however often (SEMANTICS 30)."""
    return f"{log_epoch}:{_tenant(tenant)}:{subject_token(thread)}:{sequence}"


def subject_token(text: str) -> str:
    """`text` itself if it may stand as one level of a subject; raises InvalidField otherwise."""
    if not is_id(text):
        raise invalid("subject token", "must be 1 to 64 characters of A-Z, a-z, 0-9, _ and -")
    return text


def checked_subject(subject: str) -> str:
    """`subject` itself if it is levels of the id alphabet; raises InvalidField otherwise."""
    if _SUBJECT.fullmatch(subject) is None:
        raise invalid("subject", "must be 1 to 16 levels of the id alphabet, joined by dots")
    return subject


def checked_event_subject(subject: str) -> str:
    """`subject` itself if the event stream stores it; raises InvalidField otherwise."""
    if _EVENT_SUBJECT.fullmatch(subject) is None:
        raise invalid("subject", "must be that of a thread event: the event stream stores no other")
    return subject


def checked_pattern(pattern: str) -> str:
    """`pattern` itself if its levels are of the id alphabet, `*`, or a last `>`; raises InvalidField."""
    if _PATTERN.fullmatch(pattern) is None:
        raise invalid("subject pattern", "must be levels of the id alphabet or *, joined by dots, > only last")
    return pattern


def matches(pattern: str, subject: str) -> bool:
    """Whether `subject` falls under `pattern`: `*` is one level, a last `>` is one or more."""
    wanted, levels = pattern.split("."), subject.split(".")
    if wanted[-1] == ">":
        wanted.pop()
        if len(levels) <= len(wanted):
            return False
        levels = levels[: len(wanted)]
    return len(wanted) == len(levels) and all(want in (_ANY, level) for want, level in zip(wanted, levels, strict=True))


def _tenant(tenant: str) -> str:
    if tenant in RESERVED_TENANTS:
        raise invalid("tenant", f"must not be {tenant}: its subjects would be those of doorbells")
    return subject_token(tenant)


def _tenant_or_any(tenant: str | None) -> str:
    return _ANY if tenant is None else _tenant(tenant)


def _token_or_any(text: str | None) -> str:
    return _ANY if text is None else subject_token(text)
