"""A fact of a thread as a message of the bus: subject, id and headers. Pure."""

from heddle_bus import subjects
from heddle_bus.headers import EventOrigin, event_headers
from heddle_bus.port import Publication
from heddle_runtime.relay.ports import Fact
from heddle_runtime.threads.log import ThreadKey

REDACTED = "MessageRedacted"
"""The kind of fact after which what the stream still holds of the thread has to go."""


def publication(log_epoch: int, key: ThreadKey, fact: Fact) -> Publication:
    """The message of one fact. Raises InvalidField if its tenant cannot be part of a subject."""
    tenant, thread_id = key
    origin = EventOrigin(log_epoch, tenant, thread_id, fact.sequence)
    headers = event_headers(origin, kind=fact.kind, committed=fact.commit_time)
    if not fact.payload:
        headers[subjects.IN_LOG] = "1"
    subject = subjects.thread_event(tenant, thread_id, fact.kind)
    return Publication(subject, fact.payload, message_id=headers["ce-id"], headers=headers)


def of_thread(key: ThreadKey) -> str:
    """The pattern of everything that is published of a thread."""
    return subjects.thread_events(key[0], key[1])
