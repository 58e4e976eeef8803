"""What is published is, byte for byte, what a client is shown: though its payload is never decoded on the way."""

from typing import get_args

import pytest

from heddle.runtime.v1.event_pb2 import ThreadEvent
from heddle_bus import subjects
from heddle_bus.events import DELETED
from heddle_core.clock import Micros
from heddle_core.ids import PrincipalId, RunId, TenantId, ThreadId
from heddle_runtime.codec.codec import event_message, payload_number, stored_payload
from heddle_runtime.codec.facts import event_fact, kind_name, stored_fact, tombstone_fact
from heddle_runtime.relay.ports import Fact, Tombstone
from heddle_runtime.relay.publications import REDACTED, publication
from heddle_runtime.runs.content import Actor
from heddle_runtime.threads import events as e

T1 = ThreadId("t1")
PAYLOAD = e.ThreadArchived(Actor(PrincipalId("ada"), PrincipalId("bob")))
PREVIOUS, HASH = bytes(range(32)), bytes(32)


@pytest.fixture(params=[False, True])
def event(request: pytest.FixtureRequest) -> e.Event:
    raw = stored_payload(PAYLOAD)
    time = Micros(1_700_000_000_123_456)
    return e.Event(7, RunId("run_1"), time, PAYLOAD, HASH, PREVIOUS, redacted=request.param, raw=raw)


def test_an_event_is_published_as_it_is_shown(event: e.Event) -> None:
    shown = event_message(T1, event).SerializeToString(deterministic=True)
    assert event_fact(T1, event) == Fact(7, "ThreadArchived", event.commit_time, shown)
    hashes = (event.previous_hash, event.hash)
    kind = payload_number(event.payload)
    stored = stored_fact(T1, 7, event.run_id, kind, event.commit_time, event.raw, hashes, redacted=event.redacted)
    assert stored == event_fact(T1, event)


@pytest.mark.parametrize("kind", [each for each in get_args(e.Payload) if each is not e.Unknown])
def test_every_kind_has_one_name_from_memory_and_from_the_log(kind: type) -> None:
    numbers = {field.message_type.name: field.number for field in ThreadEvent.DESCRIPTOR.fields if field.message_type}
    assert kind_name(numbers[kind.__name__]) == kind.__name__


def test_a_kind_of_a_later_version_is_published_under_a_name_of_its_own() -> None:
    assert kind_name(9_999) == "Unknown"
    assert e.MessageRedacted.__name__ == REDACTED


def test_the_end_of_a_thread_stands_behind_its_last_event() -> None:
    fact = tombstone_fact(Tombstone(TenantId("acme"), T1, 7, HASH, Micros(1_700_000_000_000_000)))
    told = ThreadEvent.FromString(fact.payload)
    assert (fact.kind, fact.sequence, told.sequence, told.previous_hash) == (DELETED, 8, 8, HASH)
    assert told.WhichOneof("payload") is None and told.thread_id == T1
    message = publication(2, (TenantId("acme"), T1), fact)
    assert message.subject == "heddle.v1.acme.threads.t1.ThreadDeleted"
    assert message.message_id == "2:acme:t1:8"
    assert subjects.IN_LOG not in message.headers
