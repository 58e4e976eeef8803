"""What makes two requests the same request, and where pages go on: the pure parts of the runtime's servicers."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heddle.common.v1.content_pb2 import ContentPart, InlineData
from heddle.runtime.v1.agent_runtime_pb2 import StartStreamingTurnRequest, StartTurnRequest
from heddle.runtime.v1.event_pb2 import ThreadEvent
from heddle.runtime.v1.thread_pb2 import ThreadSettings
from heddle.runtime.v1.thread_service_pb2 import (
    CreateThreadRequest,
    ListThreadsRequest,
    ListThreadsResponse,
    UpdateThreadRequest,
)
from heddle.runtime.v1.turn_pb2 import Limits, Turn
from heddle_core.errors import InvalidField
from heddle_core.ids import TenantId
from heddle_grpc.fingerprints import fingerprint
from heddle_grpc.masks import fields_named
from heddle_grpc.paging import ANSWER_BYTES, order_asked
from heddle_runtime.codec.cuts import cut
from heddle_runtime.facade.page_commands import Listing
from heddle_runtime.rpc.paging import page_asked, page_given
from heddle_runtime.rpc.requests import request_key

ACME = TenantId("acme")


def start(**fields: Any) -> StartTurnRequest:
    turn = Turn(content=[ContentPart(text="hello")], labels={"b": "1", "a": "2"}, limits=Limits(steps=3))
    return StartTurnRequest(**{"request_id": "r", "thread_id": "t", "turn": turn, **fields})


def test_what_does_not_change_the_meaning_does_not_change_the_fingerprint() -> None:
    same = fingerprint(start())
    assert fingerprint(start(request_id="other", wait_seconds=9, validate_only=True)) == same
    streamed = StartStreamingTurnRequest(request_id="r", thread_id="t", turn=start().turn, after_sequence=0)
    streamed.end_on_waiting = False
    assert fingerprint(streamed) == same
    assert request_key("StartStreamingTurn", streamed) == request_key("StartTurn", start())


def test_every_other_field_changes_the_fingerprint() -> None:
    other = [start(thread_id="u"), start(create_if_missing=True), start(etag="1"), start(thread_id="")]
    for path, value in (("model", "m"), ("message_id", "m"), ("mode", 2)):
        changed = start()
        setattr(changed.turn, path, value)
        other.append(changed)
    labelled, twice, split = start(), start(), start()
    labelled.turn.labels["a"] = "3"
    twice.turn.content.add(text="hello")
    del split.turn.content[:]
    split.turn.content.add(text="hel")
    split.turn.content.add(text="lo")
    other += [labelled, twice, split]
    prints = {fingerprint(each) for each in [start(), *other]}
    assert len(prints) == len(other) + 1


def test_an_optional_field_that_is_set_to_its_default_is_told_from_one_that_is_not() -> None:
    unset, zero = start(), start()
    zero.turn.parent.run_id = unset.turn.parent.run_id = "run_1"
    zero.turn.parent.cascade = False
    assert fingerprint(unset) != fingerprint(zero)


@given(st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=6), st.randoms())
def test_the_order_of_labels_means_nothing(labels: dict[str, str], random: Any) -> None:
    shuffled = list(labels.items())
    random.shuffle(shuffled)
    one = CreateThreadRequest(settings=ThreadSettings(labels=labels))
    other = CreateThreadRequest.FromString(
        b"".join(
            CreateThreadRequest(settings=ThreadSettings(labels=dict([item]))).SerializeToString() for item in shuffled
        )
    )
    other.settings.SetInParent()
    assert fingerprint(one) == fingerprint(other)


@given(st.lists(st.text(max_size=4), max_size=4), st.lists(st.text(max_size=4), max_size=4))
def test_different_lists_have_different_fingerprints(one: list[str], other: list[str]) -> None:
    first, second = UpdateThreadRequest(), UpdateThreadRequest()
    first.update_mask.paths.extend(one)
    second.update_mask.paths.extend(other)
    first.update_mask.SetInParent()
    second.update_mask.SetInParent()
    assert (fingerprint(first) == fingerprint(second)) == (one == other)


def listing(count: int, more: bool) -> Listing[int]:
    cursors = tuple((f"k{number}", number) for number in range(count))
    return Listing(tuple(range(count)), cursors, cursors[-1] if more else ())


def given_page(request: ListThreadsRequest, found: Listing[int], size: int) -> Any:
    def message(number: int) -> ListThreadsResponse:
        return ListThreadsResponse(next_page_token="x" * size + str(number))

    return page_given(ACME, request, found, message, str)


def test_a_token_leads_back_to_where_its_page_ended() -> None:
    request = ListThreadsRequest(title_contains="x")
    page = given_page(request, listing(3, more=True), 1)
    again = copy.deepcopy(request)
    again.page_token, again.page_size = page.next_page_token, 7
    asked = page_asked(ACME, again)
    assert (asked.after, asked.size) == (("k2", 2), 7)
    assert given_page(request, listing(3, more=False), 1).next_page_token == ""
    assert page_asked(ACME, request).size == 50
    with pytest.raises(InvalidField):
        page_asked(TenantId("globex"), again)


def test_a_page_that_would_be_too_large_ends_earlier() -> None:
    request = ListThreadsRequest()
    page = given_page(request, listing(5, more=False), ANSWER_BYTES // 2 - 100)
    assert len(page.messages) == 2
    asked = page_asked(ACME, ListThreadsRequest(page_token=page.next_page_token))
    assert asked.after == ("k1", 1)


@given(st.text(max_size=40))
def test_no_text_is_mistaken_for_a_token(text: str) -> None:
    if text:
        with pytest.raises(InvalidField):
            page_asked(ACME, ListThreadsRequest(page_token=text))


def test_orders_and_masks_name_what_there_is() -> None:
    assert order_asked("", ("a", "b")) == "a"
    assert order_asked(" update_time   desc ", ("update_time desc",)) == "update_time desc"
    with pytest.raises(InvalidField, match="`a`, `b`"):
        order_asked("c", ("a", "b"))
    mask = UpdateThreadRequest().update_mask
    mask.paths.extend(["settings.title", "model", "title"])
    assert fields_named(mask, ("model", "pinned", "title"), prefix="settings") == ("model", "title")
    mask.paths.append("*")
    assert fields_named(mask, ("model", "pinned"), prefix="settings") == ("model", "pinned")


def test_what_is_too_large_is_cut_where_it_is_longest_and_says_where_the_whole_is() -> None:
    event = ThreadEvent(sequence=7)
    parts = event.assistant_message_completed.content
    parts.add(text="short")
    parts.add(text="y" * 50_000)
    parts.add(json='{"a":"' + "z" * 40_000 + '"}')
    parts.add(inline_data=InlineData(media_type="image/png", data=b"x" * 90_000))
    whole = event.ByteSize()
    assert not cut(event, whole, "event 7")
    assert event.ByteSize() == whole
    assert cut(event, 100_000, "event 7")
    assert (parts[3].inline_data.data, len(parts[1].text)) == (b"", 50_000)
    assert "event 7" in parts[3].inline_data.name
    assert cut(event, 8_000, "event 7")
    assert event.ByteSize() <= 8_000
    assert (parts[0].text, parts[1].text[:5]) == ("short", "yyyyy")
    assert parts[2].json == '"[cut: 40008 in all; the whole stands in event 7]"'
