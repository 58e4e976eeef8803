"""How facts become bytes and come back: every kind, with random values, and what a later version may write."""

from dataclasses import fields
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import heddle_runtime.threads.events as e
from heddle.runtime.v1 import event_pb2, run_events_pb2, turn_pb2
from heddle_core.clock import Micros
from heddle_core.ids import RunId, ThreadId
from heddle_runtime.codec.codec import MAPPING, event_message, payload_number, payload_value, stored_payload
from heddle_runtime.codec.mapping import FieldMismatch, MessageMapping, micro_usd, micros, money, timestamp
from heddle_runtime.runs.content import Actor
from heddle_runtime.runs.run import CancelCause
from heddle_runtime.runs.turn import AgentReference, Turn
from heddle_runtime.threads.timeline import case_name
from tests.kit.random_values import values_of

PAYLOADS = [cls for cls in get_args(e.Payload) if cls is not e.Unknown]
ENVELOPE = {"thread_id", "sequence", "run_id", "commit_time", "previous_hash", "hash", "redacted"}


@pytest.mark.parametrize("cls", PAYLOADS, ids=lambda cls: cls.__name__)
@given(st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_every_kind_comes_back_as_it_was_written(cls: type[Any], data: st.DataObject) -> None:
    payload = data.draw(values_of(cls))
    stored = stored_payload(payload)
    assert payload_value(stored) == payload
    assert stored_payload(payload_value(stored)) == stored, "the same bytes, or a hash would not verify"


def test_every_case_of_the_contract_is_a_kind_with_the_same_fields() -> None:
    cases = {each.name: each for each in event_pb2.ThreadEvent.DESCRIPTOR.oneofs_by_name["payload"].fields}
    assert set(cases) == {case_name(cls) for cls in PAYLOADS}
    for cls in PAYLOADS:
        message = cases[case_name(cls)].message_type
        assert {field.name for field in fields(cls)} == {field.name for field in message.fields}
        assert payload_number.__doc__ and cases[case_name(cls)].number >= 10
    others = {each.name for each in event_pb2.ThreadEvent.DESCRIPTOR.fields} - set(cases)
    assert others == ENVELOPE


def test_a_kind_of_a_later_version_is_unknown_and_moves_the_cursor() -> None:
    later = bytes([0xFA, 0x07, 0x02, 0x08, 0x01])  # field 127, a message
    assert payload_value(later) == e.Unknown()
    event = e.Event(7, RunId("r"), Micros(1), e.Unknown(), b"h" * 32, b"p" * 32, raw=later)
    message = event_message(ThreadId("t"), event)
    assert (message.sequence, message.WhichOneof("payload")) == (7, None)
    assert message.SerializeToString().count(later) == 1, "what is not understood is still passed on"


def test_a_number_of_a_later_versions_enum_reads_as_unspecified() -> None:
    message = run_events_pb2.RunCancelled(cause=99)  # type: ignore[arg-type]
    assert MAPPING.decode(e.RunCancelled, message).cause is CancelCause.UNSPECIFIED
    stored = event_pb2.ThreadEvent(run_cancelled=message).SerializeToString()
    assert payload_value(stored) == e.RunCancelled(CancelCause.UNSPECIFIED)


def test_an_event_carries_the_stored_bytes_under_its_envelope() -> None:
    payload = e.RunWaiting(("i1", "i2"))
    event = e.Event(3, RunId("r"), Micros(1_700_000_000_123_456), payload, b"h", b"p", raw=stored_payload(payload))
    message = event_message(ThreadId("t"), event)
    assert (message.thread_id, message.run_id, message.hash, message.previous_hash) == ("t", "r", b"h", b"p")
    assert list(message.run_waiting.input_ids) == ["i1", "i2"]
    assert message.commit_time.ToMicroseconds() == 1_700_000_000_123_456


def test_absent_and_empty_are_told_apart() -> None:
    assert MAPPING.decode(Turn, turn_pb2.Turn()).agent is None
    assert MAPPING.decode(Turn, turn_pb2.Turn(agent={})).agent == AgentReference("")
    assert MAPPING.decode(e.ChildSpawned, event_pb2.ThreadEvent().child_spawned).budget is None


@given(st.integers(-(10**15), 10**15), st.integers(-(10**12), 10**15))
def test_money_and_times_keep_every_millionth(amount: int, moment: int) -> None:
    assert micro_usd(money(amount)) == amount
    assert micros(timestamp(moment)) == moment
    carried = money(amount)
    assert carried.units * carried.nanos >= 0, "units and nanos have the same sign"


def test_fields_that_differ_are_found_when_the_mapping_is_made() -> None:
    with pytest.raises(FieldMismatch, match="acted_by"):
        MessageMapping({Actor: turn_pb2.AgentReference}, {})
