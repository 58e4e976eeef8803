"""The rules that each request meets, by type, by annotation and by name."""

import math
from typing import Any

import pytest
from google.protobuf.message import Message

from heddle_core import json_text
from heddle_core.errors import InvalidField
from heddle_core.faults import Violation
from heddle_grpc.field_rules import FieldLimits
from heddle_grpc.validation import MOST_VIOLATIONS, Validation
from tests.kit.grpc_probe import ask, message

MIB = 1 << 20


def wrong(request: Message, limits: FieldLimits | None = None) -> list[str]:
    """Paths of the fields that are refused."""
    try:
        Validation(limits).reader(type(request)).check(request)
    except InvalidField as error:
        assert all(each.remedy for each in error.violations)
        return [each.field for each in error.violations]
    return []


def parts(*given: dict[str, Any]) -> list[Message]:
    return [message("Part")(**each) for each in given]


def deep_tree(levels: int) -> Message:
    root = tree = message("Tree")(name="root")
    for _ in range(levels - 1):
        tree = tree.branches.add(name="b")
    return root


GOOD = {
    "empty but for what is required": {},
    "ids": {"thread_id": "thread_01-A", "run_ids": ["a", "b_-9"]},
    "longest id": {"thread_id": "a" * 64},
    "text at its limit": {"content": [{"text": "a" * MIB}]},
    "text of wide characters at its limit": {"content": [{"text": "\U0001f600" * (MIB // 4)}]},
    "known enum": {"policy": 2, "policies": [0, 1, 2]},
    "numbers": {"temperature": 0.5, "weights": [0.0, -1e308]},
    "page": {"page_size": 1000},
    "time": {"not_before": {"seconds": 253402300799, "nanos": 999999999}},
    "duration": {"wait": {"seconds": -5, "nanos": -1}},
    "money": {"limits": {"cost": {"currency_code": "USD", "units": -3, "nanos": -5}}},
    "json": {"schema_json": '{"a": [1, 2.5, "\\u00fc \\ud83d\\ude00", null, {"b": true}]}'},
    "labels": {"labels": {f"k{n}": "v" * 256 for n in range(64)}},
    "struct": {"fields": {"a": 1.5, "b": {"c": [True, None, "x"]}}},
    "nesting at its limit": {"tree": deep_tree(63)},
    "a thousand parts": {"content": [{"text": "x"}] * 1000},
}

BAD = {
    "required missing": ({"request_id": ""}, ["request_id"]),
    "id with a dot": ({"thread_id": "a.b"}, ["thread_id"]),
    "id with a newline at its end": ({"thread_id": "a\n"}, ["thread_id"]),
    "id with NUL": ({"thread_id": "a\0"}, ["thread_id"]),
    "id of other digits": ({"thread_id": "\u0661\u0662"}, ["thread_id"]),
    "long id": ({"thread_id": "a" * 65}, ["thread_id"]),
    "request id of another shape": ({"request_id": "a/b"}, ["request_id"]),
    "one of many ids": ({"run_ids": ["ok", "not ok", "ok", "*"]}, ["run_ids[1]", "run_ids[3]"]),
    "id in a part": ({"content": [{"text": "x"}, {"asset_id": ">"}]}, ["content[1].asset_id"]),
    "NUL in text": ({"content": [{"text": "a\0b"}]}, ["content[0].text"]),
    "NUL in a name": ({"model": "\0"}, ["model"]),
    "long text": ({"content": [{"text": "a" * (MIB + 1)}]}, ["content[0].text"]),
    "long text of wide characters": (
        {"content": [{"text": "\U0001f600" * (MIB // 4 + 1)}]},
        ["content[0].text"],
    ),
    "unknown enum": ({"policy": 99}, ["policy"]),
    "unknown enum in a list": ({"policies": [1, -1]}, ["policies[1]"]),
    "NaN": ({"temperature": math.nan}, ["temperature"]),
    "infinity in a list": ({"weights": [1.0, math.inf]}, ["weights[1]"]),
    "NaN within": ({"limits": {"factor": math.nan}}, ["limits.factor"]),
    "NaN in a struct": ({"fields": {"a": math.nan}}, ["fields.fields['a'].number_value"]),
    "page too large": ({"page_size": 1001}, ["page_size"]),
    "page below zero": ({"page_size": -1}, ["page_size"]),
    "time beyond": ({"not_before": {"seconds": 253402300800}}, ["not_before"]),
    "time with odd nanos": ({"not_before": {"nanos": -1}}, ["not_before"]),
    "duration beyond": ({"wait": {"seconds": 315576000001}}, ["wait"]),
    "duration of two signs": ({"limits": {"wall_time": {"seconds": 1, "nanos": -1}}}, ["limits.wall_time"]),
    "money of two signs": ({"limits": {"cost": {"units": 1, "nanos": -1}}}, ["limits.cost"]),
    "money without a currency code": (
        {"limits": {"cost": {"currency_code": "us"}}},
        ["limits.cost.currency_code"],
    ),
    "broken JSON": ({"content": [{"data_json": "{"}]}, ["content[0].data_json"]),
    "too many labels": ({"labels": {f"k{n}": "" for n in range(65)}}, ["labels"]),
    "long label key": ({"labels": {"k" * 257: ""}}, [f"labels['{'k' * 32}']"]),
    "long label value": ({"labels": {"k": "v" * 257}}, ["labels['k']"]),
    "NUL in a label": ({"labels": {"k": "\0"}}, ["labels['k']"]),
    "bad part in a map": ({"named_parts": {"p": {"asset_id": "/"}}}, ["named_parts['p'].asset_id"]),
    "an Any": ({"anything": {"type_url": "x/y"}}, ["anything"]),
    "too many elements": ({"run_ids": ["a"] * 1001}, ["run_ids"]),
    "several at once": ({"request_id": "", "page_size": -1, "policy": 7}, ["policy", "page_size", "request_id"]),
}


@pytest.mark.parametrize("fields", GOOD.values(), ids=GOOD.keys())
def test_a_good_request_passes(fields: dict[str, Any]) -> None:
    assert wrong(ask(**fields)) == []


@pytest.mark.parametrize(("fields", "paths"), BAD.values(), ids=BAD.keys())
def test_a_bad_request_names_the_path(fields: dict[str, Any], paths: list[str]) -> None:
    assert wrong(ask(**fields)) == paths


def test_messages_beyond_the_nesting_limit_are_refused() -> None:
    assert wrong(ask(tree=deep_tree(64))) == ["tree" + ".branches[0]" * 63]


def test_required_means_present_for_every_kind_of_field() -> None:
    strict = message("Strict")
    assert wrong(strict()) == ["name", "limits", "run_ids", "count"]
    assert wrong(strict(name="n", limits={}, run_ids=["r"], count=0)) == []


def test_an_update_may_lack_what_its_mask_does_not_name() -> None:
    change = message("ChangeRequest")
    given = {"request_id": "r", "update_mask": {"paths": ["count"]}}
    assert wrong(change(**given, strict={"run_ids": ["r"]})) == []
    assert wrong(change(**given)) == ["strict"]
    assert wrong(change(**given, strict={"run_ids": ["not an id"]})) == ["strict.run_ids[0]"]


def test_limits_are_settings() -> None:
    assert wrong(ask("abcd"), FieldLimits(text_bytes=3)) == ["content[0].text"]
    assert wrong(ask(schema_json="[1, 2]"), FieldLimits(json_bytes=3)) == ["schema_json"]


def test_no_more_violations_are_told_than_metadata_can_carry() -> None:
    assert len(wrong(ask(run_ids=["."] * 100))) == MOST_VIOLATIONS


def test_a_service_adds_its_own_check_after_the_rules() -> None:
    asked: list[str] = []

    def own(request: Any) -> list[Violation]:
        asked.append(request.request_id)
        return [Violation("content", "send one part")]

    reader = Validation(own_checks={"heddle.kit.v1.AskRequest": own}).reader(message("AskRequest"))
    with pytest.raises(InvalidField, match="content: send one part"):
        reader.check(ask(request_id="r7"))
    with pytest.raises(InvalidField, match="request_id"):
        reader.check(ask(request_id="."))
    assert asked == ["r7"]


@pytest.mark.parametrize("raw", [b"\xff", b"\x0a\x05ab", b"\x0a\x02\xc3\x28", b"\x0a\x03\xed\xa0\x80"])
def test_bytes_that_are_no_message_are_refused(raw: bytes) -> None:
    with pytest.raises(InvalidField, match="protobuf encoding"):
        Validation().reader(message("AskRequest")).read(raw)


def test_messages_nested_beyond_what_protobuf_reads_are_refused() -> None:
    raw = b""
    for _ in range(200):
        raw = b"\x12" + _varint(len(raw)) + raw
    with pytest.raises(InvalidField):
        Validation().reader(message("Tree")).read(raw)


@pytest.mark.parametrize(
    "text",
    [
        "nul",
        "",
        "{",
        "[1,]",
        "NaN",
        "[Infinity]",
        "-Infinity",
        "1e999",
        "[-1e999]",
        '{"a": 1, "a": 2}',
        '{"x": {"a": 1, "b": 2, "a": 1}}',
        "[" * 65 + "]" * 65,
        '{"a":' * 65 + "1" + "}" * 65,
        "[" * 100_000,
        "1" * 5_000,
        '"\\ud800"',
        '{"\\udc00": 1}',
        '"a\\u0000b"',
        "[1] [2]",
        '"' + "x" * MIB + '"',
    ],
)
def test_json_that_two_readers_could_read_differently_is_refused(text: str) -> None:
    assert json_text.problem_of(text, limit=MIB)


@pytest.mark.parametrize(
    "text",
    ["null", "0", '"x"', "[" * 64 + "]" * 64, '"' + "[" * 200 + '"', '"\\\\u0000"', "[[1], [2]]" + " " * 99],
)
def test_json_within_the_bounds_is_taken(text: str) -> None:
    assert json_text.problem_of(text, limit=MIB) is None


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])
